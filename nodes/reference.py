"""The reference that volumes are aligned with, and all that can be computed of it beforehand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from rtflow.bids.grid import Grid, identify
from rtflow.errors import VolumeError
from rtflow.nodes.brain import brain_mask
from rtflow.nodes.reslice import require_signal

#: Points at which volume and reference are compared, at most.
POINTS = 15_000

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
    points
        Shape (3, n), voxel indices of the reference.
    design
        Shape (10, n): derivatives of the reference by the six parameters, the reference, and the reference
        times the position along the three axes (in units of 60 mm from the centre).
    """

    points: NDArray[np.float64]
    design: NDArray[np.float64]


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
    """

    data: NDArray[Any]
    affine: NDArray[np.float64]
    identity: str
    centre: NDArray[np.float64]
    levels: tuple[Level, Level]
    spread: float

    @property
    def grid(self) -> Grid:
        """Where the resliced volumes lie."""
        return Grid.of(self.data.shape, self.affine, self.identity)


def prepare(data: NDArray[Any], affine: NDArray[Any], *, points: int = POINTS) -> Reference:
    """Make a reference of a volume.

    Parameters
    ----------
    data
        Shape (i, j, k), finite.
    affine
        4x4, voxel indices to RAS+ mm.
    points
        How many voxels of the dilated brain mask to compare at, at most.

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
    coefficients = data.astype(np.float64)
    mask = ndimage.binary_dilation(brain_mask(data), iterations=2)
    # At the border the spline has no neighbours to rest on.
    inner = np.zeros_like(mask)
    inner[1:-1, 1:-1, 1:-1] = mask[1:-1, 1:-1, 1:-1]
    found = np.flatnonzero(inner)
    if found.size > points:
        found = found[np.arange(points) * found.size // points]
    if found.size < 200:
        raise VolumeError(f"the reference has a brain of {found.size} voxels only; give another reference")
    voxels = np.array(np.unravel_index(found, data.shape), dtype=np.float64)

    values = _correlate(coefficients, (_SPLINE, _SPLINE, _SPLINE)).ravel()[found]
    kernels = [[_SLOPE if a == axis else _SPLINE for a in range(3)] for axis in range(3)]
    by_voxel = np.stack([_correlate(coefficients, kernel).ravel()[found] for kernel in kernels])
    # Gradients transform by the inverse transpose of the affine.
    gradient = np.linalg.solve(affine[:3, :3].T, by_voxel)

    world = affine[:3, :3] @ voxels + affine[:3, 3:]
    centre = world.mean(axis=1)
    arm = world - centre[:, None]
    design = np.concatenate([gradient, np.cross(arm, gradient, axis=0), values[None], values * arm / RADIUS])
    spread = MAD * float(np.median(np.abs(values - np.median(values))))
    if spread <= 0.0 or values.sum() <= 0.0:
        raise VolumeError("the reference has a brain without contrast; give another reference")
    return Reference(
        data=data,
        affine=np.asarray(affine, dtype=np.float64),
        identity=identify(data, affine),
        centre=centre,
        levels=(Level(voxels[:, ::_COARSE].copy(), design[:, ::_COARSE].copy()), Level(voxels, design)),
        spread=spread,
    )


def _correlate(data: NDArray[np.float64], kernels: Any) -> NDArray[np.float64]:
    for axis, kernel in enumerate(kernels):
        data = ndimage.correlate1d(data, kernel, axis, mode="mirror")
    return data
