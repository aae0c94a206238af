"""The loop over voxels of Gaussian smoothing, compiled by numba.

Along each axis, long stretches of memory are added up that lie a plane, a row or a voxel apart, so that the
processor works on 8 or 16 voxels at once; a plane goes through all three axes while it is in the cache.
"""
# Compiled functions have no annotations: numba finds their types.
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtflow.nodes.images.compiling import compiled

#: Where the kernel is cut, in standard deviations.
TRUNCATE = 4.0


# Voxels that go through one sum together: they stay in the first cache.
_STRETCH = 2048


def half_kernel(sigma: float) -> NDArray[np.float32]:
    """The middle of a Gaussian kernel and one side of it; the whole has the sum 1 (as SciPy's).

    Parameters
    ----------
    sigma
        Standard deviation, voxels.

    Returns
    -------
    Shape (radius + 1,), float32.
    """
    radius = int(TRUNCATE * sigma + 0.5)
    weights = np.exp(-0.5 * (np.arange(radius + 1) / max(sigma, 1e-9)) ** 2)
    weights /= weights[0] + 2.0 * weights[1:].sum()
    scaled: NDArray[np.float32] = weights.astype(np.float32)
    return scaled


def mirrored(size: int, radius: int) -> NDArray[np.intp]:
    """Indices from ``-radius`` to ``size + radius``, mirrored about the edges: ``d c b a | a b c d``."""
    inside: NDArray[np.intp] = np.pad(np.arange(size), radius, mode="symmetric")
    return inside


def gaussian(data: NDArray[np.float32], sigma: Any, keep_zeros: bool = False) -> NDArray[np.float32]:
    """Convolve with a Gaussian of these standard deviations (voxels along i, j, k).

    Parameters
    ----------
    data
        Shape (i, j, k), float32, C order.
    keep_zeros
        Whether voxels that are exactly 0 stay 0.

    Returns
    -------
    Shape (i, j, k), float32, C order; NaN about every voxel that is not finite.
    """
    kernels = [half_kernel(float(width)) for width in sigma]
    where = [mirrored(size, k.size - 1) for size, k in zip(data.shape, kernels, strict=True)]
    out = np.empty_like(data)
    _convolve(data, out, *kernels, *where, keep_zeros)
    return out


# Inner loops go over slices from 0 on: an index that might be negative is looked at each time.


@compiled(forceinline=True)
def _start(source, weight, out):
    for n in range(out.size):
        out[n] = weight * source[n]


@compiled(forceinline=True)
def _add(before, after, weight, out):
    for n in range(out.size):
        out[n] += weight * (before[n] + after[n])


@compiled(forceinline=True)
def _add_two(before, after, weight, farther_before, farther_after, farther_weight, out):
    for n in range(out.size):
        out[n] += weight * (before[n] + after[n]) + farther_weight * (farther_before[n] + farther_after[n])


@compiled(forceinline=True)
def _sum_about(source, first, apart, weights, out, count):
    """``out[n]`` is the weighted sum of ``source`` about ``first + n``, in steps of ``apart``."""
    radius = weights.size - 1
    for begin in range(0, count, _STRETCH):
        end = min(begin + _STRETCH, count)
        a, b = first + begin, first + end
        target = out[begin:end]
        _start(source[a:b], weights[0], target)
        step = 1
        # Two steps at once: the target is read and written half as often.
        while step < radius:
            near, far = step * apart, (step + 1) * apart
            _add_two(
                source[a - near : b - near],
                source[a + near : b + near],
                weights[step],
                source[a - far : b - far],
                source[a + far : b + far],
                weights[step + 1],
                target,
            )
            step += 2
        if step == radius:
            near = step * apart
            _add(source[a - near : b - near], source[a + near : b + near], weights[step], target)


@compiled(forceinline=True)
def _sum_planes(planes, at, weights, where, out):
    """``out`` is the weighted sum of the planes about plane ``at``."""
    radius = weights.size - 1
    for begin in range(0, out.size, _STRETCH):
        end = min(begin + _STRETCH, out.size)
        target = out[begin:end]
        _start(planes[at, begin:end], weights[0], target)
        step = 1
        while step < radius:
            _add_two(
                planes[where[at + radius - step], begin:end],
                planes[where[at + radius + step], begin:end],
                weights[step],
                planes[where[at + radius - step - 1], begin:end],
                planes[where[at + radius + step + 1], begin:end],
                weights[step + 1],
                target,
            )
            step += 2
        if step == radius:
            before, after = where[at + radius - step], where[at + radius + step]
            _add(planes[before, begin:end], planes[after, begin:end], weights[step], target)


@compiled()
def _convolve(data, out, weights_i, weights_j, weights_k, where_i, where_j, where_k, keep_zeros):
    size_i, size_j, size_k = data.shape
    over, beside = weights_j.size - 1, weights_k.size - 1
    planes = data.reshape(size_i, size_j * size_k)
    plane = np.empty(size_j * size_k, dtype=np.float32)
    # A plane with its mirror image about it: one sum over all its voxels, whatever row they are in.
    width = size_k + 2 * beside
    framed = np.empty((size_j + 2 * over) * width, dtype=np.float32)
    rows = np.zeros(size_j * width + 2 * beside, dtype=np.float32)
    both = np.empty(size_j * width, dtype=np.float32)
    for i in range(size_i):
        _sum_planes(planes, i, weights_i, where_i, plane)
        for j in range(size_j + 2 * over):
            source = plane[where_j[j] * size_k : where_j[j] * size_k + size_k]
            target = framed[j * width : j * width + width]
            middle = target[beside : beside + size_k]
            for n in range(size_k):
                middle[n] = source[n]
            for n in range(beside):
                target[n] = source[where_k[n]]
                target[beside + size_k + n] = source[where_k[beside + size_k + n]]
        _sum_about(framed, over * width, width, weights_j, rows[beside:], size_j * width)
        _sum_about(rows, beside, 1, weights_k, both, size_j * width)
        for j in range(size_j):
            source = both[j * width + beside : j * width + beside + size_k]
            target = out[i, j]
            unseen = data[i, j]
            if keep_zeros:
                for n in range(size_k):
                    target[n] = source[n] if unseen[n] != 0.0 else np.float32(0.0)
            else:
                for n in range(size_k):
                    target[n] = source[n]


def warm_up() -> None:
    """Compile, or load what was compiled: before the first volume."""
    gaussian(np.ones((2, 2, 2), dtype=np.float32), (1.0, 1.0, 1.0))
