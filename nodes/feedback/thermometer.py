"""From a value to what is shown of it: smoothed over the past, scaled to a span, cut into levels."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from rtflow.errors import VolumeError

#: Fewest values that a span is taken from: of volumes, and of blocks (two, and the rest between them).
LEAST_VALUES, LEAST_BLOCKS = 10, 3


@dataclass
class Smoother:
    """A causal filter of one time course whose samples may have gaps.

    - ``exponential``: ``y += (1 - exp(-dt / seconds)) (x - y)``, ``dt`` the time since the last sample
      (Brown, Statistical Forecasting for Inventory Control, 1959). A step has reached 63 % after ``seconds``;
      a ramp comes ``seconds`` late.
    - ``mean``: the mean over the samples of the last ``seconds``. A step is there after ``seconds``, a ramp
      comes half of that late.
    - ``none``.

    Either begins at the first sample after `reset`.

    Parameters
    ----------
    kind, seconds
        Which, and over how long.

    Examples
    --------
    >>> smoother = Smoother("mean", 4.0)
    >>> [smoother.step(value, at) for value, at in [(1.0, 0.0), (2.0, 2.0), (6.0, 4.0)]]
    [1.0, 1.5, 4.0]
    """

    kind: Literal["none", "exponential", "mean"]
    seconds: float
    _past: deque[tuple[float, float]] = field(default_factory=deque)

    def step(self, value: float, at: float) -> float:
        """The smoothed value.

        Parameters
        ----------
        value
            A sample.
        at
            Its time, seconds; later than that of the one before.
        """
        if self.kind == "exponential" and self._past:
            before, then = self._past.pop()
            value = before - math.expm1(-(at - then) / self.seconds) * (value - before)
        self._past.append((value, at))
        if self.kind != "mean":
            if len(self._past) > 1:
                self._past.popleft()
            return value
        # A microsecond's grace: n * TR is not exact.
        while self._past[0][1] <= at - self.seconds + 1e-6 and len(self._past) > 1:
            self._past.popleft()
        return math.fsum(sample for sample, _ in self._past) / len(self._past)

    def reset(self) -> None:
        """Forget the past."""
        self._past.clear()


@dataclass(frozen=True)
class Span:
    """The values between which feedback moves.

    Parameters
    ----------
    low, high
        What is shown as 0, and as 1.
    """

    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float], low: float, high: float, least: int = LEAST_VALUES) -> Span:
        """The span between two percentiles of some values.

        Parameters
        ----------
        values
            Finite.
        low, high
            Percentiles, 0 to 100, by linear interpolation.
        least
            How many values it takes.

        Raises
        ------
        VolumeError
            If there are fewer, or the percentiles are equal.
        """
        if len(values) < least:
            raise VolumeError(
                f"the range of feedback was to be found from {len(values)} values, expected {least} "
                "at least; make that part of the run longer, or give low and high"
            )
        bottom, top = (float(found) for found in np.percentile(np.asarray(values), [low, high]))
        if not bottom < top:
            raise VolumeError(
                f"the range of feedback is from {bottom:g} to {top:g}: the values do not vary; "
                "give low and high"
            )
        return cls(bottom, top)

    def scaled(self, value: float) -> float:
        """Where a value lies in the span: 0 at ``low`` and below, 1 at ``high`` and above.

        >>> [Span(-1.0, 3.0).scaled(value) for value in (-2.0, 0.0, 3.0, 9.0)]
        [0.0, 0.25, 1.0, 1.0]
        """
        return min(max((value - self.low) / (self.high - self.low), 0.0), 1.0)


def level(scaled: float, levels: int) -> int:
    """The nearest of so many equal steps above 0, halves upwards.

    >>> [level(scaled, 10) for scaled in (0.0, 0.04, 0.05, 0.5, 0.96, 1.0)]
    [0, 0, 1, 5, 10, 10]
    """
    # What is a half but for rounding is a half.
    return math.floor(scaled * levels + 0.5 + 1e-9)


def reached(value: float, thresholds: Sequence[float]) -> int:
    """How many of some ascending thresholds a value has reached.

    >>> [reached(value, [0.5, 1.0, 2.0]) for value in (0.4, 0.5, 3.0)]
    [0, 1, 3]
    """
    return bisect_right(list(thresholds), value)
