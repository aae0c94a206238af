"""What each voxel is compared with: the rest so far, older rest counting less."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rtflow.nodes.classifier import Values, percent


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
        seen = np.isfinite(values)
        fading = np.exp((self._time - time) / self.memory)
        total = 0.0 if self._total is None else fading * self._total
        weight = 0.0 if self._weight is None else fading * self._weight
        # Not in place: a snapshot stays what it was.
        self._total = total + np.where(seen, values, 0.0)
        self._weight = weight + seen
        self._time = time


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
