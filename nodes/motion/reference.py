"""The reference that volumes are aligned with, and all that can be computed of it beforehand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from rtflow.bids.grid import Grid, identify
from rtflow.errors import VolumeError
from rtflow.nodes.images.brain import brain_mask
from rtflow.nodes.images.reslice import require_signal
from rtflow.nodes.images.spline import Spline

#: Points at which volume and reference are compared, at most.
POINTS = 60_000

#: Half the size of a head, mm: what turns angles into distances, and distances into fractions.
RADIUS = 60.0

#: The standard deviation of normal noise over its median absolute deviation.
MAD = 1.4826

# The coarse level has every fourth point.
_COARSE = 4

# The cubic B-spline at whole voxels, and its derivative there.
_SPLINE = np.array([1.0, 4.0, 1.0]) / 6.0
_SLOPE = np.array([-0.5, 0.0, 0.5])


@dataclass(frozen=True, eq=False)
class Level:
    """Where volumes are compared with the reference, coarsely or finely.

    Parameters
    ----------
    runs
        Shape (m, 4), int32: voxels of the reference that lie side by side along i; indices i, j, k of the
        first, and how many they are.
    design
        Shape (10, n), float32, for each voxel of the runs: derivatives of the reference by the six
        parameters, the reference, and the reference times the position along the three axes (in units of
        60 mm from the centre).
    """

    runs: NDArray[np.int32]
    design: NDArray[np.float32]

    @property
    def points(self) -> NDArray[np.int64]:
        """Voxel indices, shape (3, n)."""
        return voxels_of(self.runs)


@dataclass(frozen=True, eq=False)
class Reference:
    """What volumes are aligned with, and all that can be computed of it beforehand.

    Parameters
    ----------
    data
        Voxels as they came, shape (i, j, k).
    affine
        4x4, voxel indices to RAS+ mm.
    identity
        `rtflow.bids.grid.identify` of both.
    centre
        Shape (3,), RAS+ mm: the middle of the points; rotations are about it.
    levels
        Coarse, then fine.
    spread
        Robust standard deviation of the reference over the points.
    slices
        Sums of the reference over the fine points of each slice, shape (k,).
    brain
        Its brain mask, grown by two voxels, shape (i, j, k).
    """

    data: NDArray[Any]
    affine: NDArray[np.float64]
    identity: str
    centre: NDArray[np.float64]
    levels: tuple[Level, Level]
    spread: float
    slices: NDArray[np.float64]
    brain: NDArray[np.bool_]

    @property
    def grid(self) -> Grid:
        """Where the resliced volumes lie."""
        return Grid.of(self.data.shape, self.affine, self.identity)


def prepare(
    data: NDArray[Any],
    affine: NDArray[Any],
    *,
    points: int = POINTS,
    identity: str = "",
    centre: NDArray[np.float64] | None = None,
) -> Reference:
    """Make a reference of a volume.

    Parameters
    ----------
    data
        Shape (i, j, k), finite.
    affine
        4x4, voxel indices to RAS+ mm.
    points
        How many voxels of the dilated brain mask to compare at, at most.
    identity
        Of the image that this one stands for; default: its own.
    centre
        Shape (3,), RAS+ mm: what rotations are about; default: the middle of the points.

    Raises
    ------
    VolumeError
        If the volume is no image of a brain, or too thin.
    """
    require_signal(data, "the reference")
    if min(data.shape) < 4:
        raise VolumeError(
            f"the reference has shape {data.shape}; motion correction needs at least 4 voxels along each axis"
        )
    mask = ndimage.binary_dilation(brain_mask(data), iterations=2)
    # At the border the spline has no neighbours to rest on.
    inner = np.zeros_like(mask)
    inner[1:-1, 1:-1, 1:-1] = mask[1:-1, 1:-1, 1:-1]
    rows = _rows(inner)
    if rows[:, 3].sum() < 200:
        raise VolumeError(
            f"the reference has a brain of {rows[:, 3].sum()} voxels only; give another reference"
        )
    runs = _thinned(rows, points)
    voxels = voxels_of(runs)
    # What lies about the brain is not needed, and is most of the volume.
    corner = voxels.min(axis=1) - 1
    box = tuple(slice(low, high + 2) for low, high in zip(corner, voxels.max(axis=1), strict=True))
    about = data[box].astype(np.float64)
    found = tuple(voxels - corner[:, None])

    values = _correlate(about, (_SPLINE, _SPLINE, _SPLINE))[found]
    kernels = [[_SLOPE if a == axis else _SPLINE for a in range(3)] for axis in range(3)]
    by_voxel = np.stack([_correlate(about, kernel)[found] for kernel in kernels])
    # Gradients transform by the inverse transpose of the affine.
    gradient = np.linalg.solve(affine[:3, :3].T, by_voxel)

    world = affine[:3, :3] @ voxels + affine[:3, 3:]
    centre = world.mean(axis=1) if centre is None else centre
    arm = world - centre[:, None]
    design = np.concatenate([gradient, np.cross(arm, gradient, axis=0), values[None], values * arm / RADIUS])
    spread = MAD * float(np.median(np.abs(values - np.median(values))))
    if spread <= 0.0 or values.sum() <= 0.0:
        raise VolumeError("the reference has a brain without contrast; give another reference")
    fine = Level(runs, np.ascontiguousarray(design, dtype=np.float32))
    return Reference(
        data=data,
        affine=np.asarray(affine, dtype=np.float64),
        identity=identity or identify(data, affine),
        centre=centre,
        levels=(_thinned_level(fine), fine),
        spread=spread,
        slices=Spline(data).slice_sums(runs),
        brain=mask,
    )


def voxels_of(runs: NDArray[np.int32]) -> NDArray[np.int64]:
    """Voxel indices, shape (3, n), of runs along i: shape (m, 4), the first i, j, k and how many."""
    i, j, k, counts = runs.astype(np.int64).T
    along = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.stack([np.repeat(i, counts) + along, np.repeat(j, counts), np.repeat(k, counts)])


def _rows(mask: NDArray[np.bool_]) -> NDArray[np.int32]:
    """The runs of a mask along i, in the order of memory (k, then j, then i)."""
    edges = np.diff(np.pad(mask, ((1, 1), (0, 0), (0, 0))).astype(np.int8), axis=0)
    k, j, i = np.nonzero(edges.T == 1)
    ends = np.nonzero(edges.T == -1)[2]
    return np.stack([i, j, k, ends - i], axis=1).astype(np.int32)


def _chosen(runs: NDArray[np.int32], points: int) -> NDArray[np.intp]:
    """Which runs to keep, evenly spread, for that many points or a little more or less."""
    keep = max(1, round(len(runs) * min(1.0, points / runs[:, 3].sum())))
    chosen: NDArray[np.intp] = np.arange(keep) * len(runs) // keep
    return chosen


def _thinned(runs: NDArray[np.int32], points: int) -> NDArray[np.int32]:
    return np.ascontiguousarray(runs[_chosen(runs, points)])


def _thinned_level(fine: Level) -> Level:
    counts = fine.runs[:, 3]
    kept = _chosen(fine.runs, int(counts.sum()) // _COARSE)
    which = np.isin(np.repeat(np.arange(len(counts)), counts), kept)
    return Level(fine.runs[kept].copy(), np.ascontiguousarray(fine.design[:, which]))


def _correlate(data: NDArray[np.float64], kernels: Any) -> NDArray[np.float64]:
    for axis, kernel in enumerate(kernels):
        data = ndimage.correlate1d(data, kernel, axis, mode="mirror")
    return data
