"""What a fit makes of the sampled points: the loops over points, compiled by numba.

Sums over points are taken in float32 over short stretches, and in float64 over those.
"""
# Compiled functions have no annotations: numba finds their types.
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, check-untyped-defs=False

from __future__ import annotations

import numpy as np

from rtflow.nodes.images.compiling import compiled

#: Points whose contributions are summed in float32.
STRETCH = 512

# Bits of the exponent and first bits of the mantissa of a float32: bins 3 % wide.
_SHIFT = 18
_BINS = 1 << (31 - _SHIFT)


@compiled()
def scale(design, sampled, model, residuals):
    """The median of what a model leaves, in absolute value; a fortieth of itself is how exact it is.

    Parameters
    ----------
    design
        Shape (regressors, points), float32.
    sampled
        Shape (points or more,), float32; points that are NaN do not count.
    model
        Shape (regressors,), float32.
    residuals
        Shape (points,), float32: becomes what the model leaves.
    """
    count, points = design.shape
    for n in range(points):
        residuals[n] = sampled[n]
    for regressor in range(count):
        weight = model[regressor]
        line = design[regressor]
        for n in range(points):
            residuals[n] -= weight * line[n]
    bins = np.zeros(_BINS + 1, np.int64)
    bits = residuals.view(np.int32)
    total = 0
    for n in range(points):
        # Without the sign, the bits of floats are in the order of their values, and NaN comes last.
        found = (bits[n] & 0x7FFFFFFF) >> _SHIFT
        bins[found] += 1
    for found in range(0x7F800000 >> _SHIFT):
        total += bins[found]
    half = (total + 1) // 2
    below = 0
    found = 0
    while found < _BINS and below + bins[found] < half:
        below += bins[found]
        found += 1
    edges = np.array([found << _SHIFT, (found + 1) << _SHIFT], dtype=np.int32).view(np.float32)
    if bins[found] == 0:
        return 0.0
    return edges[0] + (edges[1] - edges[0]) * (half - below) / bins[found]


@compiled()
def normal_equations(design, residuals, limit, matrix, right):
    """Weighted normal equations, with Tukey's biweight of what a model leaves.

    Parameters
    ----------
    design, residuals
        As `scale` takes and leaves them.
    limit
        Residual from which on a point has no weight.
    matrix, right
        Shapes (regressors, regressors) and (regressors,), float64: become the equations for the improvement
        of the model.

    Returns
    -------
    How many points have a weight; the sum of the weights, and that of the slopes of Tukey's function.
    """
    count, points = design.shape
    matrix[:] = 0.0
    right[:] = 0.0
    left = np.empty(STRETCH, np.float32)
    trust = np.empty(STRETCH, np.float32)
    weighted = np.empty(STRETCH, np.float32)
    inverse = np.float32(1.0 / limit) if limit > 0.0 else np.float32(0.0)
    one, none = np.float32(1.0), np.float32(0.0)
    inliers, weights, slopes = 0, 0.0, 0.0
    for begin in range(0, points, STRETCH):
        size = min(STRETCH, points - begin)
        for n in range(size):
            left[n] = residuals[begin + n]
        kept, weight, slope = 0, none, none
        for n in range(size):
            squared = left[n] * inverse
            squared = squared * squared
            part = one - squared
            # NaN compares as false.
            good = part > none
            trust[n] = part * part if good else none
            weight += trust[n]
            slope += part * (one - np.float32(5.0) * squared) if good else none
            left[n] = left[n] if good else none
            kept += good
        inliers += kept
        weights += weight
        slopes += slope
        for first in range(count):
            line = design[first, begin : begin + size]
            for n in range(size):
                weighted[n] = trust[n] * line[n]
            total = none
            for n in range(size):
                total += weighted[n] * left[n]
            right[first] += total
            for second in range(first + 1):
                other = design[second, begin : begin + size]
                total = none
                for n in range(size):
                    total += weighted[n] * other[n]
                matrix[first, second] += total
    for first in range(count):
        for second in range(first):
            matrix[second, first] = matrix[first, second]
    return inliers, weights, slopes
