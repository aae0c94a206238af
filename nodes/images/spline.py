"""Values of a cubic B-spline between the voxels of a volume.

Each value is a weighted sum of 4 x 4 x 4 coefficients (Unser, IEEE Signal Process Mag 1999; 16:22-38). The
loops are in `rtflow.nodes.images.sampling`, which is imported, and compiled, when the first spline is made.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtflow.errors import VolumeError

# What a vector load may read beyond the last coefficient.
_SPARE = 64


class Spline:
    """A volume that has values between its voxels, too.

    Made of voxels, it is a smoothed one: they stand as coefficients, and the kernel has a standard deviation
    of 0.58 voxels. `through` gives the one that passes through every voxel.

    Parameters
    ----------
    voxels
        Shape (i, j, k), at least 2 along each axis, integers or floats.

    Raises
    ------
    VolumeError
        If there is one voxel along an axis.
    """

    def __init__(self, voxels: NDArray[Any]) -> None:
        from rtflow.nodes.images import sampling

        if min(voxels.shape) < 2:
            raise VolumeError(f"a volume of shape {voxels.shape} has nothing between its voxels")
        self.shape: tuple[int, ...] = voxels.shape
        self._sampling = sampling
        self._sizes = np.array(voxels.shape, dtype=np.int64)
        self._flat, padded, inner = self._padded()
        inner[...] = voxels.T
        _reflect(padded)

    def _padded(self) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Room for coefficients in the order k, j, i: flat, in its shape, and without the padding."""
        before, after = self._sampling.BEFORE, self._sampling.AFTER
        shape = [size + before + after for size in self.shape[::-1]]
        flat = np.empty(int(np.prod(shape)) + _SPARE, dtype=np.float32)
        flat[-_SPARE:] = 0.0
        padded = flat[:-_SPARE].reshape(shape)
        inner = padded[tuple(slice(before, before + size) for size in self.shape[::-1])]
        return flat, padded, inner

    def through(self) -> Spline:
        """The spline through the voxels that this one is made of."""
        other = object.__new__(Spline)
        other.shape, other._sampling, other._sizes = self.shape, self._sampling, self._sizes
        other._flat, padded, _ = other._padded()
        from rtflow.nodes.images import prefilter

        prefilter.prefilter(self._flat, self._sizes, other._flat)
        _reflect(padded)
        return other

    def along(
        self, move: NDArray[np.float64], runs: NDArray[np.int32]
    ) -> tuple[NDArray[np.float32], float, float]:
        """Values along runs of voxels of a grid.

        Parameters
        ----------
        move
            4x4: voxel indices of that grid to voxel indices of this volume.
        runs
            Shape (n, 4), int32: i, j, k of the first voxel, and the number of voxels along i.

        Returns
        -------
        values, seen, viewed
            Shape (points,), float32, in the order of the runs, NaN for a point that is less than a voxel from
            the outermost centres: the spline has no neighbours to rest on there. The fraction of points that
            are not, and the fraction that lies in the field of view.
        """
        points = int(runs[:, 3].sum())
        values = np.empty(points + self._sampling.LANES, dtype=np.float32)
        seen, viewed = self._sampling.sample(self._flat, self._sizes, move, runs, values)
        return values[:points], seen / points, viewed / points

    def slice_sums(self, runs: NDArray[np.int32]) -> NDArray[np.float64]:
        """Sums over runs of voxels of this volume, as in `along`, for each slice: shape (k,)."""
        sums = np.empty(self.shape[2])
        self._sampling.slice_sums(self._flat, self._sizes, runs, sums)
        return sums

    def scaled(self, factors: NDArray[np.float64]) -> Spline:
        """The spline of the volume with each slice times its factor, shape (k,); NaN makes it unknown."""
        other = object.__new__(Spline)
        other.shape, other._sampling, other._sizes = self.shape, self._sampling, self._sizes
        other._flat, padded, _ = other._padded()
        by_plane = np.pad(factors, (self._sampling.BEFORE, self._sampling.AFTER), mode="reflect")
        np.multiply(
            self._flat[:-_SPARE].reshape(padded.shape),
            by_plane[:, None, None].astype(np.float32),
            out=padded,
        )
        return other

    def onto(
        self,
        move: NDArray[np.float64],
        shape: tuple[int, int, int],
        where: NDArray[np.int64] | None = None,
    ) -> NDArray[np.float32]:
        """Values on a grid.

        Parameters
        ----------
        move
            4x4: voxel indices of that grid to voxel indices of this volume.
        shape
            Of that grid.
        where
            Shape (j, k, 2): from which i to which i values are wanted; None for all.

        Returns
        -------
        Shape ``shape``, float32. A point less than half a voxel beyond the outermost centres takes the value
        of the nearest point between them; farther out, and where no value is wanted, it is 0.
        """
        if where is None:
            where = np.zeros((*shape[1:], 2), dtype=np.int64)
            where[..., 1] = shape[0]
        values = np.empty(shape, dtype=np.float32)
        self._sampling.resample(self._flat, self._sizes, move, where, values)
        return values


def _reflect(padded: NDArray[np.float32]) -> None:
    """Continue coefficients by their mirror image about the outermost centres: one before, two after."""
    for axis, size in enumerate(padded.shape):
        along = np.moveaxis(padded, axis, 0)
        last = size - 3
        along[0] = along[2]
        along[last + 1] = along[last - 1]
        along[last + 2] = along[last - 2]
