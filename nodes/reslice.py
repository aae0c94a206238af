"""Bringing a volume onto another grid under a rigid transform, with one interpolation."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from rtflow.bids.grid import Grid
from rtflow.errors import VolumeError


def reslice(
    data: NDArray[Any],
    affine: NDArray[Any],
    transform: NDArray[np.float64],
    onto: Grid,
) -> NDArray[np.float32]:
    """A volume as it would have been scanned on another grid, had the head not moved.

    One interpolation by cubic B-splines, prefiltered (Unser, IEEE Signal Process Mag 1999; 16:22-38). A voxel
    of the field of view reaches half a voxel to either side of its centre: there the value is that of
    the nearest centre, so that a hundredth of a millimetre does not blank a slice; farther out it is 0.

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
    coefficients = ndimage.spline_filter(data, order=3, output=np.float32, mode="mirror")
    resliced: NDArray[np.float32] = ndimage.affine_transform(
        coefficients,
        move[:3, :3],
        move[:3, 3],
        output_shape=onto.shape,
        output=np.float32,
        order=3,
        prefilter=False,
        mode="nearest",
    )
    outside = _outside(move, onto.shape, data.shape)
    if outside is not None:
        resliced[outside] = 0.0
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


def _outside(
    move: NDArray[np.float64], shape: tuple[int, ...], field: tuple[int, ...]
) -> NDArray[np.bool_] | None:
    """Which voxels of a grid lie outside a field of view; None if none does.

    ``move`` takes voxel indices of the grid (of ``shape``) to those of the field.
    """
    ends = np.array(np.meshgrid(*[(0, n - 1) for n in shape])).reshape(3, -1)
    corners = move[:3, :3] @ ends + move[:3, 3:]
    edge = [n - 0.5 for n in field]
    if np.all(corners >= -0.5) and np.all(corners <= np.array(edge)[:, None]):
        return None
    outside = np.zeros(shape, dtype=bool)
    i, j, k = np.ix_(*(np.arange(n, dtype=np.float64) for n in shape))
    for axis in range(3):
        where = (move[axis, 0] * i + move[axis, 3]) + move[axis, 1] * j + move[axis, 2] * k
        outside |= (where < -0.5) | (where > edge[axis])
    return outside
