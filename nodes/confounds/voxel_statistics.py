"""Running statistics of the voxels of a mask: what each volume is held against.

One pass over the voxels for the mean, the difference to the volume before and Welford's mean and variance
(Welford, Technometrics 1962; 4:419-420), another for outliers: 0.1 ms for 100 000 voxels. A voxel that is
exactly 0 lies outside the field of view after motion correction: it counts for nothing in that volume.
"""
# Compiled functions have no annotations: numba finds their types.
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from rtflow.bids.grid import Grid
from rtflow.bids.masked import Mask
from rtflow.nodes.images.brain import COVERAGE
from rtflow.nodes.images.compiling import compiled

#: Of voxels of normal noise, this fraction passes for outliers (as `-qthr` of AFNI's 3dToutcount).
OUTLIERS = 0.001

# How often noise passes for a spike.
_RARE = 1e-6

#: Outliers and spikes are held against about so many volumes; older ones count less and less.
MEMORY = 30

#: Voxels that vary less (scanner's units) have no tSNR, as in nipype.algorithms.confounds.TSNR.
LEAST_SD = 1e-3

#: Slices with fewer voxels in the mask are not looked at for spikes.
LEAST_VOXELS = 20


@compiled()
def _accumulate(values, before, mean, squares, count):
    """Welford's update; sums of the values and of the squared differences, and of how many voxels each is."""
    total = 0.0
    changed = 0.0
    seen_twice = 0.0
    for v in range(values.size):
        value = np.float64(values[v])
        last = np.float64(before[v])
        seen = 1.0 if value != 0.0 else 0.0
        both = seen if last != 0.0 else 0.0
        total += value
        change = (value - last) * both
        changed += change * change
        seen_twice += both
        n = count[v] + seen
        count[v] = n
        off = (value - mean[v]) * seen
        centre = mean[v] + off / max(n, 1.0)
        mean[v] = centre
        squares[v] += off * (value - centre)
    return total, changed, seen_twice


@compiled()
def _outliers(values, centre, variance, count, limit, memory):
    """How many voxels lie farther than ``limit`` SDs from their centre; then, clipped there, they move it."""
    found = 0.0
    for v in range(values.size):
        value = values[v]
        seen = np.float32(1.0) if value != 0.0 else np.float32(0.0)
        n = min(max(np.float32(count[v]), np.float32(1.0)), memory)
        off = (value - centre[v]) * seen
        # What has not varied yet has no outliers.
        reach = limit * math.sqrt(variance[v]) if variance[v] > 0.0 else np.float32(np.inf)
        found += 1.0 if abs(off) > reach else 0.0
        off = min(max(off, -reach), reach)
        centre[v] += off / n
        variance[v] += (off * off * (n - np.float32(1.0)) / n - variance[v]) / n * seen
    return found


@compiled()
def _ratio(mean, squares, count, least, out):
    """Mean over standard deviation of each voxel; infinite where it does not vary, or was hardly seen."""
    for v in range(mean.size):
        deviation = math.sqrt(np.float32(squares[v] / max(count[v], 1.0)))
        known = deviation > least and count[v] > 1.0
        out[v] = np.float32(mean[v]) / deviation if known else np.float32(np.inf)


def prediction_limit(earlier: Any, probability: float) -> NDArray[np.float64]:
    """How many standard deviations of ``earlier`` values the next one may lie from their mean.

    The prediction interval of a normal variable of unknown mean and variance: Student's t with
    ``earlier - 1`` degrees of freedom, times ``sqrt(1 + 1 / earlier)``, for a variance that is divided by
    ``earlier`` (hence the last factor).

    Parameters
    ----------
    earlier
        How many values there were, 2 or more; a number or an array.
    probability
        That a value lies outside.

    >>> prediction_limit(np.array([3, 10, 100]), 0.001).round(2).tolist()
    [44.69, 5.29, 3.43]
    """
    earlier = np.asarray(earlier, dtype=np.float64)
    student = -special.stdtrit(earlier - 1.0, probability / 2.0)
    limit: NDArray[np.float64] = student * np.sqrt((1.0 + 1.0 / earlier) * earlier / (earlier - 1.0))
    return limit


@dataclass
class VoxelStatistics:
    """Statistics of the voxels of a mask over the volumes of a run so far.

    Parameters
    ----------
    voxels
        How many there are.

    Attributes
    ----------
    volumes
        How many volumes have been taken.
    mean, squares, count
        Of each voxel: mean, sum of squared deviations from it, and in how many volumes it was seen; float64.
    """

    voxels: int
    volumes: int = 0
    mean: NDArray[np.float64] = field(init=False)
    squares: NDArray[np.float64] = field(init=False)
    count: NDArray[np.float64] = field(init=False)
    _centre: NDArray[np.float32] = field(init=False)
    _variance: NDArray[np.float32] = field(init=False)

    def __post_init__(self) -> None:
        self.mean, self.squares, self.count = (np.zeros(self.voxels) for _ in range(3))
        self._centre, self._variance = (np.zeros(self.voxels, dtype=np.float32) for _ in range(2))

    def take(
        self, values: NDArray[np.float32], before: NDArray[np.float32] | None
    ) -> tuple[float, float | None, float | None]:
        """Take one volume.

        Parameters
        ----------
        values
            Shape (voxels,), float32, finite.
        before
            The same of the volume before; None where that is missing.

        Returns
        -------
        total
            Sum over the voxels.
        dvars
            Root mean square, over the voxels seen in both, of the difference to the volume before, in
            their units; None without one.
        outliers
            Fraction of the voxels, of those seen, that lie outside the prediction interval of their own
            earlier volumes (`prediction_limit`); None for the first three volumes. Means and variances of
            this are their own: an outlier enters them as if it lay at the edge of the interval, so that one
            bad volume hides no other, and they forget (`MEMORY`), so that a drift, or a beginning in which
            the magnetisation had not settled, does not make them wide for good.
        """
        total, changed, both = _accumulate(
            values, values if before is None else before, self.mean, self.squares, self.count
        )
        earlier, self.volumes = self.volumes, self.volumes + 1
        dvars = None if before is None or not both else math.sqrt(changed / both)
        if earlier < 3:
            # Too few to say what an outlier would be.
            _catch_up(self)
            return total, dvars, None
        found = _outliers(
            values,
            self._centre,
            self._variance,
            self.count,
            np.float32(prediction_limit(min(earlier, MEMORY), OUTLIERS)),
            np.float32(MEMORY),
        )
        return total, dvars, found / max(int(np.count_nonzero(values)), 1)

    def tsnr(self) -> float | None:
        """The median over the voxels of mean over standard deviation (divided by the number of volumes).

        Voxels that do not vary (`LEAST_SD`), and those seen once or never, are left out; None if nothing is
        left.
        """
        ratios = np.empty(self.voxels, dtype=np.float32)
        _ratio(self.mean, self.squares, self.count, np.float32(LEAST_SD), ratios)
        known = self.voxels - int(np.count_nonzero(np.isinf(ratios)))
        if not known:
            return None
        # What is infinite comes last. One pivot is a tenth of the time of two.
        parted = np.partition(ratios, known // 2)
        upper = float(parted[known // 2])
        return upper if known % 2 else (float(parted[: known // 2].max()) + upper) / 2.0


def _catch_up(statistics: VoxelStatistics) -> None:
    statistics._centre[:] = statistics.mean
    statistics._variance[:] = statistics.squares / np.maximum(statistics.count, 1.0)


@dataclass
class Spread:
    """How far each of a few signals lies from its own past, in standard deviations.

    Mean and variance are over the earlier volumes, about the last `MEMORY` of them; what lies farther than
    ``limit`` standard deviations enters them as if it lay at that distance, so that one spike hides no other.

    Parameters
    ----------
    signals
        How many there are.
    limit
        In standard deviations. While the past is short it is a wider one, which noise passes once in a
        million times (`prediction_limit`).
    shared
        Whether what the signals have in common is no deviation of any: the median of their deviations, which
        does not follow a few of them, is taken off.
    """

    signals: int
    limit: float = 6.0
    shared: bool = False
    count: NDArray[np.float64] = field(init=False)
    _mean: NDArray[np.float64] = field(init=False)
    _variance: NDArray[np.float64] = field(init=False)

    def __post_init__(self) -> None:
        self.count, self._mean, self._variance = (np.zeros(self.signals) for _ in range(3))

    def take(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Take the signals of one volume.

        Parameters
        ----------
        values
            Shape (signals,); NaN where there is none.

        Returns
        -------
        Shape (signals,): distance from the mean of the earlier volumes over their standard deviation, less by
        as much as the limit is wider than ``limit``; NaN where there is no value, or none that varied
        before.
        """
        known = np.isfinite(values)
        off = np.where(known, values - self._mean, 0.0)
        if self.shared and known.any():
            off = np.where(known, off - np.median(off[known]), 0.0)
        deviation = np.sqrt(self._variance)
        with np.errstate(divide="ignore", invalid="ignore"):
            distance = np.where(known & (deviation > 0), np.abs(off) / deviation, np.nan)
        limit = np.maximum(self.limit, prediction_limit(np.clip(self.count, 2, MEMORY), _RARE))
        distance *= self.limit / limit
        # Two values have no spread that a third could be held against.
        reach = np.where((self.count < 3) | (deviation == 0), np.inf, limit * deviation)
        off = np.clip(off, -reach, reach)
        self.count += known
        n = np.clip(self.count, 1.0, MEMORY)
        self._mean += off / n
        self._variance += np.where(known, (off * off * (n - 1.0) / n - self._variance) / n, 0.0)
        return np.where(self.count > 3, distance, np.nan)


@compiled()
def _sums(values, numbers, totals, seen):
    for v in range(values.size):
        value = values[v]
        totals[numbers[v]] += value
        seen[numbers[v]] += 1.0 if value != 0.0 else 0.0


class Slices:
    """The slices that the voxels of a mask lie in.

    Parameters
    ----------
    mask
        The mask.
    axis
        Of the grid, along which the slices lie.
    """

    def __init__(self, mask: Mask, axis: int) -> None:
        numbers = np.unravel_index(mask.indices, mask.grid.shape)[axis]
        self._numbers = numbers.astype(np.int32)
        self._voxels = np.bincount(numbers, minlength=mask.grid.shape[axis])

    def means(self, values: NDArray[np.float32]) -> NDArray[np.float64]:
        """Mean of each slice within the mask, over the voxels that are not 0.

        Parameters
        ----------
        values
            Within the mask, shape (voxels,).

        Returns
        -------
        Shape (slices,), float64; NaN for a slice of fewer than `LEAST_VOXELS` voxels, or of which less than
        95 % was seen: the mean over another part of a slice is another mean.
        """
        totals, seen = np.zeros((2, self._voxels.size))
        _sums(values, self._numbers, totals, seen)
        enough = (seen >= LEAST_VOXELS) & (seen >= COVERAGE * self._voxels)
        return np.where(enough, totals / np.maximum(seen, 1.0), np.nan)


def warm_up() -> None:
    """Compile, or load what was compiled: before the first volume."""
    statistics = VoxelStatistics(8)
    values = np.arange(1.0, 9.0, dtype=np.float32)
    for _ in range(5):
        statistics.take(values, values)
    statistics.tsnr()
    grid = Grid.of((2, 2, 2), np.eye(4))
    Slices(Mask(np.ones(grid.shape, dtype=bool), grid), 2).means(values)
