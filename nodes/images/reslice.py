"""Bringing a volume onto another grid under a rigid transform, with one interpolation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtflow.bids.grid import Grid
from rtflow.errors import VolumeError
from rtflow.nodes.images.spline import Spline


@dataclass(frozen=True, eq=False)
class Places:
    """The voxels of a mask, as rows along i.

    Parameters
    ----------
    mask
        Shape (i, j, k).
    rows
        Shape (j, k, 2), int64: from which i to which i the mask reaches.
    gaps
        Flat C-order indices of the voxels in between that are not in the mask.
    """

    mask: NDArray[np.bool_]
    rows: NDArray[np.int64]
    gaps: NDArray[np.intp]

    @classmethod
    def of(cls, mask: NDArray[np.bool_]) -> Places:
        """Those of a mask, shape (i, j, k)."""
        size = mask.shape[0]
        inside = mask.any(axis=0)
        first = np.where(inside, mask.argmax(axis=0), 0)
        last = np.where(inside, size - mask[::-1].argmax(axis=0), 0)
        i = np.arange(size)[:, None, None]
        gaps = np.flatnonzero((i >= first) & (i < last) & ~mask)
        return cls(mask, np.stack([first, last], axis=-1).astype(np.int64), gaps)

    def clear(self, image: NDArray[np.float32]) -> None:
        """Set the voxels of an image to 0 that are not in the mask."""
        image[~self.mask] = 0.0


def reslice(
    volume: NDArray[Any] | Spline,
    affine: NDArray[Any],
    transform: NDArray[np.float64],
    onto: Grid,
    places: Places | None = None,
) -> NDArray[np.float32]:
    """A volume as it would have been scanned on another grid, had the head not moved.

    One interpolation by a cubic B-spline through the voxels. A voxel of the field of view reaches half a
    voxel to either side of its centre: there the value is that of the nearest centre, so that a hundredth
    of a millimetre does not blank a slice; farther out it is 0.

    Parameters
    ----------
    volume
        Shape (i, j, k), integers or floats, finite; or the `Spline` of it.
    affine
        Its 4x4, voxel indices to RAS+ mm.
    transform
        4x4, RAS+ mm: positions on the new grid to positions in the volume.
    onto
        The new grid.
    places
        Which of its voxels to make; the others are 0. None for all.

    Returns
    -------
    Shape ``onto.shape``, float32.
    """
    spline = volume if isinstance(volume, Spline) else Spline(volume)
    move = np.linalg.inv(affine) @ transform @ onto.matrix()
    if places is None:
        return spline.through().onto(move, onto.shape)
    resliced = spline.through().onto(move, onto.shape, places.rows)
    resliced.reshape(-1)[places.gaps] = 0.0
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
