"""What each voxel is compared with: the rest so far, older rest counting less."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtflow.nodes.decoding.classifier import Values, percent

# The median of a squared normal deviate, in units of its variance.
_MEDIAN = 0.455

# Effective number of volumes at most that the rest of another run counts for: about what `RunningRest` holds.
_MOST = 8.0


@dataclass
class RunningRest:
    """The mean over the rest volumes so far, each weighted by ``exp(-age / memory)``.

    Only rest enters it, so a running mean that swallows the task it is not. It holds more volumes than the
    rest block before a trial alone: its noise, which all volumes of the trial share, is lower, and what is
    left in that rest of the trial before it weighs less. It follows drifts that are slower than ``memory``.

    Parameters
    ----------
    memory
        Seconds after which a volume counts 1/e.
    """

    memory: float
    _total: NDArray[np.float64] | None = None
    _weight: NDArray[np.float64] | None = None
    _time: float = 0.0
    _squares: float = 0.0
    _changes: int = 0

    @property
    def noise(self) -> float | None:
        """Variance of a volume of rest about the mean of those before it, percent squared, median voxel."""
        return self._squares / self._changes if self._changes else None

    @property
    def count(self) -> float:
        """How many volumes the mean holds, older ones counting less; of the median voxel."""
        return 0.0 if self._weight is None else float(np.median(self._weight))

    @property
    def value(self) -> NDArray[np.float64] | None:
        """The mean, shape (voxels,); not-a-number where no volume had a value. None before any rest."""
        if self._total is None or self._weight is None:
            return None
        seen = self._weight > 0
        mean: NDArray[np.float64] = np.divide(
            self._total, self._weight, out=np.full(seen.shape, np.nan), where=seen
        )
        return mean

    def add(self, values: Values, time: float) -> None:
        """Take in a volume of rest.

        Parameters
        ----------
        values
            Shape (voxels,); not-a-number where a voxel was not seen, which counts for nothing.
        time
            Of the volume, seconds; not before that of the one before.
        """
        if (before := self.value) is not None:
            self._squares += spread(percent(values, before))
            self._changes += 1
        seen = np.isfinite(values)
        fading = np.exp((self._time - time) / self.memory)
        total = 0.0 if self._total is None else fading * self._total
        weight = 0.0 if self._weight is None else fading * self._weight
        # Not in place: a snapshot stays what it was.
        self._total = total + np.where(seen, values, 0.0)
        self._weight = weight + seen
        self._time = time


def spread(change: NDArray[np.floating[Any]]) -> float:
    """The mean square over voxels, as the median one has it: a few wild voxels do not count.

    Parameters
    ----------
    change
        Shape (voxels,), percent; not-a-number where it is not known. All unknown: infinite.
    """
    known = change[np.isfinite(change)]
    return float(np.median(known.astype(np.float64) ** 2)) / _MEDIAN if known.size else np.inf


def blend(
    own: NDArray[np.float64], count: float, other: NDArray[np.float64], noise: float
) -> NDArray[np.float64]:
    """The rest of this run and that of another one, each as far as it says something of this run.

    The two differ by one factor (the receiver), which is taken out, by noise, and by what truly differs
    between the runs. Each voxel's rest of this run is seen as drawn about that of the other run with the
    variance that is left of the spread between them once the noise is taken off; the estimate is the
    posterior mean (empirical Bayes: Efron & Morris 1973). Runs that follow each other without a move share
    their rest from the start; of another day next to nothing is taken once this run has rest of its own.

    Parameters
    ----------
    own, other
        Shape (voxels,).
    count
        Number of volumes in ``own``.
    noise
        Variance of one volume of rest, percent squared.
    """
    scaled = other * gain(own, other)
    excess = max(spread(percent(own, scaled)) - noise / count, 0.0)
    borrowed = min(noise / excess, _MOST) if excess > 0 else _MOST
    mean: NDArray[np.float64] = (count * own + borrowed * scaled) / (count + borrowed)
    return np.where(np.isfinite(own), mean, scaled)


def gain(values: NDArray[np.floating[Any]], rest: NDArray[np.float64]) -> float:
    """By which factor values lie above a rest, in the median voxel; 1 where nothing is known of it."""
    ratio = np.divide(values, rest, out=np.full(rest.shape, np.nan), where=rest > 0)
    known = ratio[np.isfinite(ratio)]
    return float(np.median(known)) if known.size else 1.0


def percent_of_rest(
    samples: Values,
    times: NDArray[np.float64],
    rest: Values,
    rest_times: NDArray[np.float64],
    memory: float,
) -> Values:
    """Volumes that are all there already as percent of the rest before and after them.

    The weights are those of `RunningRest`, ``exp(-|distance| / memory)``, on both sides: for training, which
    comes after all of them. With one block a condition, a drift and the conditions are confounded; rest on
    both sides takes out its slope, too.

    Parameters
    ----------
    samples, rest
        Shape (volumes, voxels) each, float32; not-a-number where a voxel was not seen.
    times, rest_times
        Of their volumes, seconds.
    memory
        Seconds after which a volume counts 1/e.

    Returns
    -------
    Shape (volumes, voxels), float32; not-a-number where there is no value or no rest.
    """
    weights = np.exp(-np.abs(times[:, None] - rest_times[None, :]) / memory)
    seen = np.isfinite(rest)
    shares = weights @ seen
    totals = weights @ np.where(seen, rest, 0.0)
    means = np.divide(totals, shares, out=np.full(shares.shape, np.nan), where=shares > 0)
    return np.stack([percent(row, mean) for row, mean in zip(samples, means, strict=True)])
