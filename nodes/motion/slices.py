"""Slices that have lost signal, or gained some, as a whole.

Motion during excitation, a spike in one readout or a package that never came change single slices. Robust
weights see the points in such a slice, but interpolation spreads the loss over its neighbours, too. Where
each slice of a volume may be compared with the same slice of the reference, what makes one differ from its
neighbours on either side is no motion: that changes along the slices only slowly.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: A slice that differs by this fraction from the slices on both sides is scaled to them.
DIFFERS = 0.1

#: One that differs by this fraction is told of.
TOLD = 0.2

#: One that has less than this of the volume's median is unknown.
LOST = 0.2

# Slices on either side that one is held against, at most and at least.
_MOST, _LEAST = 4, 2


def slice_factors(sums: NDArray[np.float64], expected: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """What to multiply each slice with, for the estimate of motion.

    Parameters
    ----------
    sums
        Of the volume over the same voxels of each slice, shape (k,).
    expected
        Those of the reference; slices with less than a tenth of the largest are left alone.

    Returns
    -------
    Shape (k,): 1 for a slice that is like its neighbours, NaN for one without signal. None if all are 1.
    """
    judged = np.flatnonzero(expected > 0.1 * expected.max())
    ratio = sums[judged] / expected[judged]
    middle = float(np.median(ratio))
    if not middle > 0.0:
        return None
    lost = ratio < LOST * middle
    there = np.flatnonzero(~lost)
    factors = np.ones(len(sums))
    factors[judged[lost]] = np.nan
    ratios = ratio[there].tolist()
    for place in range(_LEAST, len(ratios) - _LEAST):
        below = ratios[place] / _median(ratios[max(0, place - _MOST) : place])
        above = ratios[place] / _median(ratios[place + 1 : place + 1 + _MOST])
        if min(below, above) > 1.0 + DIFFERS or max(below, above) < 1.0 - DIFFERS:
            factors[judged[there[place]]] = 1.0 / np.sqrt(below * above)
    return None if (factors == 1.0).all() else factors


def _median(values: list[float]) -> float:
    """The median of a few numbers, in a microsecond."""
    ordered = sorted(values)
    return (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2.0


def told(factors: NDArray[np.float64]) -> tuple[int, ...]:
    """Which slices have lost or gained enough to tell of, from 0."""
    with np.errstate(invalid="ignore"):
        apart = ~(np.abs(1.0 / factors - 1.0) <= TOLD)
    return tuple(np.flatnonzero(apart).tolist())
