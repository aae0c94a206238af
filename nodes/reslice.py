"""Bringing a volume onto another grid under a rigid transform, with one interpolation."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtflow.bids.grid import Grid
from rtflow.errors import VolumeError
from rtflow.nodes.spline import CHUNK, Spline, interpolating


def reslice(
    data: NDArray[Any],
    affine: NDArray[Any],
    transform: NDArray[np.float64],
    onto: Grid,
) -> NDArray[np.float32]:
    """A volume as it would have been scanned on another grid, had the head not moved.

    One interpolation by a cubic B-spline through the voxels. A voxel of the field of view reaches half a
    voxel to either side of its centre: there the value is that of the nearest centre, so that a hundredth
    of a millimetre does not blank a slice; farther out it is 0.

    Parameters
    ----------
    data
        Shape (i, j, k), integers or floats, finite.
    affine
        Its 4x4, voxel indices to RAS+ mm.
    transform
        4x4, RAS+ mm: positions on the new grid to positions in the volume.
    onto
        The new grid.

    Returns
    -------
    Shape ``onto.shape``, float32.
    """
    move = np.linalg.inv(affine) @ transform @ onto.matrix()
    spline = Spline(interpolating(data))
    resliced = np.empty(onto.shape, dtype=np.float32)
    i, j, k = np.ix_(*(np.arange(n, dtype=np.float64) for n in onto.shape))
    in_plane = [move[axis, 1] * j + move[axis, 2] * k + move[axis, 3] for axis in range(3)]
    rows = max(1, CHUNK // (onto.shape[1] * onto.shape[2]))
    for start in range(0, onto.shape[0], rows):
        slab = slice(start, start + rows)
        where = [(move[axis, 0] * i[slab] + in_plane[axis]).ravel() for axis in range(3)]
        values = spline.at(where)
        for axis, size in zip(where, data.shape, strict=True):
            if axis.min() < -0.5 or axis.max() > size - 0.5:
                values[(axis < -0.5) | (axis > size - 0.5)] = 0.0
        resliced[slab] = values.reshape(resliced[slab].shape)
    return resliced


def require_signal(data: NDArray[Any], what: str) -> None:
    """Refuse a volume that holds no image.

    Raises
    ------
    VolumeError
        If a voxel is not finite, or all are alike.
    """
    if data.dtype.kind not in "iuf":
        raise VolumeError(f"{what} has voxels of type {data.dtype}; expected integers or floats")
    low, high = data.min(), data.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        raise VolumeError(f"{what} has voxels that are not finite; they cannot be interpolated")
    if low == high:
        raise VolumeError(f"{what} holds no signal: every voxel is {low:g}")
