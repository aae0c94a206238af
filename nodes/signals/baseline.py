"""What a volume is compared with: rest that has been seen, of one time course or of many voxels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from rtflow.trials import REST

# The mean over a region, or the values of its voxels: shape (voxels,), float64.
SignalT = TypeVar("SignalT", float, NDArray[np.float64])


@dataclass
class _Mean(Generic[SignalT]):
    """A mean that grows."""

    total: SignalT | None = None
    count: int = 0

    def add(self, signal: SignalT) -> None:
        # Not in place: an array that was given stays the giver's.
        self.total = signal if self.total is None else self.total + signal
        self.count += 1

    @property
    def value(self) -> SignalT | None:
        return None if self.total is None else self.total / self.count


@dataclass
class RestBaseline(Generic[SignalT]):
    """The mean over the preceding rest block; task volumes never enter it.

    A task volume is compared with the rest block before it, a rest volume with the last rest block that has
    ended; in the first rest block of the run, none has, and its earlier volumes serve. Volumes that never
    come count for nothing: rest before and after a gap is one block if no task volume came between.
    """

    _ended: _Mean[SignalT] | None = None
    _running: _Mean[SignalT] | None = None

    def add(self, signal: SignalT, label: str) -> SignalT | None:
        """Take one volume, and say what to compare it with.

        Parameters
        ----------
        signal
            Mean over the region, or one value a voxel.
        label
            What shows in the volume, the haemodynamic lag already applied: ``rest`` or a trial type.

        Returns
        -------
        The baseline, made of earlier volumes only; None while there is none.
        """
        if label != REST:
            if self._running is not None:
                self._ended, self._running = self._running, None
            return None if self._ended is None else self._ended.value
        if self._running is None:
            self._running = _Mean()
        base = self._ended or self._running
        value = base.value
        self._running.add(signal)
        return value


@dataclass
class OpeningBaseline:
    """The mean over the first seconds of the run, counted from the first volume that comes.

    Parameters
    ----------
    seconds
        How many; the first volume is always among them.
    """

    seconds: float
    _first: int = 0
    _mean: _Mean[float] | None = None

    @staticmethod
    def holds(volume: int, first: int, tr: float, *, seconds: float) -> bool:
        """Whether a volume belongs to the opening, which begins with the volume ``first``."""
        # A microsecond's grace: n * TR is not exact.
        return volume == first or (volume - first) * tr < seconds - 1e-6

    def add(self, signal: float, volume: int, tr: float) -> float | None:
        """Take one volume, and say what to compare it with.

        Parameters
        ----------
        signal
            Mean over the region.
        volume
            Its number.
        tr
            Repetition time, s.

        Returns
        -------
        The baseline; None as long as it grows.
        """
        if self._mean is None:
            self._first, self._mean = volume, _Mean()
        if self.holds(volume, self._first, tr, seconds=self.seconds):
            self._mean.add(signal)
            return None
        return self._mean.value


def percent_change(signal: float, baseline: float) -> float:
    """By how many percent a signal lies above its baseline (which must be positive)."""
    return 100.0 * (signal - baseline) / baseline
