"""Rigid registration of one volume to a reference.

The estimate is an inverse-compositional Gauss-Newton fit (Baker & Matthews, IJCV 2004; 56:221-255): gradients
and design are those of the reference, made once, so a volume costs only the sampling of its own voxels at
the moved points and a small linear solve, twice when the head is almost where it was. Three choices make
it accurate, each measured on volumes sampled from a fine template under known motion:

* Both images are smoothed by the cubic B-spline itself: their voxels stand as spline coefficients, without
  the prefilter. That costs nothing, treats both alike wherever the points fall between voxels (an
  interpolated image is less noisy halfway between two), and halves the error.
* Next to the six parameters stand a gain and its slope along the three axes, so that a change of receive
  sensitivity is not taken for motion.
* Tukey's biweight (Beaton & Tukey, Technometrics 1974; 16:147-185) begins at the residuals of the pose at
  hand, not at those of a least-squares fit that lost signal has already pulled aside.

All positions are RAS+ millimetres, so that the grids of volume and reference may differ; conventions are
those of `rtflow.nodes.motion`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from rtflow.bids.grid import Grid, identify
from rtflow.errors import VolumeError
from rtflow.nodes.brain import brain_mask
from rtflow.nodes.motion import parameters_of, transform_of
from rtflow.nodes.reslice import require_signal

#: Points at which volume and reference are compared, at most.
POINTS = 15_000

#: A volume is registered when an update moves the head's surface by less than this, mm.
TOLERANCE = 0.01

ITERATIONS = 16

#: Distance from the centre at which an update is judged, mm.
_RADIUS = 60.0

#: Tukey's constant: 95 % efficiency where the noise is normal.
_TUKEY = 4.685

#: The standard deviation of normal noise over its median absolute deviation.
_MAD = 1.4826

# The cubic B-spline at whole voxels, and its derivative there.
_SPLINE = np.array([1.0, 4.0, 1.0]) / 6.0
_SLOPE = np.array([-0.5, 0.0, 0.5])


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
    points
        Shape (3, n), voxel indices: where volumes are compared.
    design
        Shape (10, n): derivatives of the reference by the six parameters, the reference, and the reference
        times the position along the three axes (in units of 60 mm from the centre).
    spread
        Robust standard deviation of the reference over the points.
    """

    data: NDArray[Any]
    affine: NDArray[np.float64]
    identity: str
    centre: NDArray[np.float64]
    points: NDArray[np.float64]
    design: NDArray[np.float64]
    spread: float

    @property
    def grid(self) -> Grid:
        """Where the resliced volumes lie."""
        return Grid.of(self.data.shape, self.affine, self.identity)


@dataclass(frozen=True, eq=False)
class Estimate:
    """How one volume lies against the reference.

    Parameters
    ----------
    transform
        4x4, RAS+ mm, reference to moved volume.
    gain
        Signal of the volume over that of the reference.
    residual
        Robust standard deviation of what the fit leaves, over the gain and the reference's own spread.
    inliers
        Fraction of the points in the field of view that the fit does not reject.
    overlap
        Fraction of the points that lie in the volume's field of view.
    iterations
        How many it took.
    converged
        Whether the last update was below the tolerance.
    """

    transform: NDArray[np.float64]
    gain: float
    residual: float
    inliers: float
    overlap: float
    iterations: int
    converged: bool


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
    design = np.concatenate([gradient, np.cross(arm, gradient, axis=0), values[None], values * arm / _RADIUS])
    spread = _MAD * float(np.median(np.abs(values - np.median(values))))
    if spread <= 0.0 or values.sum() <= 0.0:
        raise VolumeError("the reference has a brain without contrast; give another reference")
    return Reference(
        data=data,
        affine=np.asarray(affine, dtype=np.float64),
        identity=identify(data, affine),
        centre=centre,
        points=voxels,
        design=np.ascontiguousarray(design),
        spread=spread,
    )


def estimate(
    reference: Reference,
    data: NDArray[Any],
    affine: NDArray[Any],
    start: NDArray[np.float64] | None = None,
    *,
    iterations: int = ITERATIONS,
) -> Estimate:
    """Find the rigid transform from the reference to a volume.

    Parameters
    ----------
    reference
        What to align with.
    data
        The volume, shape (i, j, k) of any size, integers or floats, finite.
    affine
        Its 4x4, voxel indices to RAS+ mm.
    start
        Where to begin: the transform of an earlier volume; None for the identity.
    iterations
        At most.

    Returns
    -------
    An estimate that is as good as its fit: judge it by `distrust`.
    """
    transform = np.eye(4) if start is None else np.array(start)
    to_voxels = np.linalg.inv(affine)
    design = reference.design
    # Beyond these the spline has no neighbours to rest on.
    last = np.array(data.shape)[:, None] - 2.0
    fit = _Fit(np.zeros(len(design)), 0.0, 0.0)
    overlap, count, converged = 0.0, 0, False
    for count in range(1, iterations + 1):
        move = to_voxels @ transform @ reference.affine
        where = move[:3, :3] @ reference.points + move[:3, 3:]
        sampled = ndimage.map_coordinates(
            data, where, output=np.float64, order=3, prefilter=False, mode="nearest"
        )
        seen = np.all((where >= 1.0) & (where <= last), axis=0)
        overlap = float(np.mean(np.all((where >= -0.5) & (where <= last + 1.5), axis=0)))
        if seen.mean() < _LEAST_OVERLAP:
            break
        if count == 1:
            fit.weights[6] = sampled[seen].sum() / design[6, seen].sum()
        fit.weights[:6] = 0.0
        try:
            fit = _robust_fit(design, sampled, seen, fit.weights)
        except np.linalg.LinAlgError:
            break
        gain = float(fit.weights[6])
        if not np.isfinite(fit.weights).all() or gain <= 0.0:
            break
        step = fit.weights[:6] / gain
        transform = transform @ np.linalg.inv(transform_of(step, reference.centre))
        if np.abs(step[:3]).sum() + _RADIUS * np.abs(step[3:]).sum() < TOLERANCE:
            converged = True
            break
    # By way of the parameters: products of many rotations drift away from being one.
    transform = transform_of(parameters_of(transform, reference.centre), reference.centre)
    gain = float(fit.weights[6])
    scale = abs(gain) * reference.spread
    return Estimate(
        transform=transform,
        gain=gain,
        residual=fit.residual / scale if scale else np.inf,
        inliers=fit.inliers,
        overlap=overlap,
        iterations=count,
        converged=converged,
    )


_LEAST_OVERLAP = 0.5
_LEAST_INLIERS = 0.5
_MOST_RESIDUAL = 0.4
_GAIN = (0.5, 2.0)


def distrust(found: Estimate, gain: float | None = None) -> str:
    """Why an estimate cannot be trusted; empty if it can.

    Parameters
    ----------
    found
        The estimate.
    gain
        Of the last trusted estimate of the run. A run may begin with any gain against a reference of
        another day; from then on it stays within a factor of two.
    """
    if not np.isfinite(found.transform).all() or not np.isfinite(found.gain) or found.gain <= 0:
        return "the fit has no finite solution"
    if found.overlap < _LEAST_OVERLAP:
        return f"only {found.overlap:.0%} of the brain would lie in the field of view"
    if found.residual > _MOST_RESIDUAL:
        return f"the volume does not look like the reference (residual {found.residual:.2f})"
    if found.inliers < _LEAST_INLIERS:
        return f"only {found.inliers:.0%} of the brain looks like the reference"
    if not found.converged:
        return f"the fit has not converged after {found.iterations} iterations"
    if gain is not None and not _GAIN[0] <= found.gain / gain <= _GAIN[1]:
        return f"the signal is {found.gain / gain:.2f} times that of earlier volumes"
    return ""


class _Fit:
    """Weights of a linear model, with how well it fits."""

    def __init__(self, weights: NDArray[np.float64], residual: float, inliers: float) -> None:
        self.weights = weights
        self.residual = residual
        self.inliers = inliers


def _robust_fit(
    design: NDArray[np.float64],
    sampled: NDArray[np.float64],
    seen: NDArray[np.bool_],
    weights: NDArray[np.float64],
    steps: int = 3,
) -> _Fit:
    """Iteratively reweighted least squares with Tukey's biweight, from given weights on.

    Raises
    ------
    numpy.linalg.LinAlgError
        If too few points keep a weight to tell the parameters apart.
    """
    scale, inliers = 0.0, 0.0
    for _ in range(steps):
        residual = sampled - weights @ design
        scale = _MAD * float(np.median(np.abs(residual[seen])))
        # A volume equal to the reference leaves nothing: any scale does then.
        trust = 1.0 - (residual / (_TUKEY * scale or 1.0)) ** 2
        np.clip(trust, 0.0, None, out=trust)
        trust *= trust
        trust *= seen
        weighted = design * trust
        weights = np.asarray(np.linalg.solve(weighted @ design.T, weighted @ sampled), dtype=np.float64)
        inliers = float(np.mean(trust[seen] > 0.0))
    return _Fit(weights, scale, inliers)


def _correlate(data: NDArray[np.float64], kernels: Any) -> NDArray[np.float64]:
    for axis, kernel in enumerate(kernels):
        data = ndimage.correlate1d(data, kernel, axis, mode="mirror")
    return data
