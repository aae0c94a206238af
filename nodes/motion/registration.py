"""Rigid registration of one volume to a reference.

The estimate is an inverse-compositional Gauss-Newton fit (Baker & Matthews, IJCV 2004; 56:221-255): gradients
and design are those of the reference, made once, so a volume costs only the sampling of its own voxels at
the moved points and a small linear solve, four to six times. Five choices make it accurate and quick, each
measured on volumes sampled from a fine template under known motion:

* Both images are smoothed by the cubic B-spline itself: their voxels stand as spline coefficients, without
  the prefilter. That costs nothing, treats both alike wherever the points fall between voxels (an
  interpolated image is less noisy halfway between two), and halves the error.
* Next to the six parameters stand a gain and its slope along the three axes, so that a change of receive
  sensitivity is not taken for motion.
* Tukey's biweight (Beaton & Tukey, Technometrics 1974; 16:147-185) begins at the residuals of the pose at
  hand, not at those of a least-squares fit that lost signal has already pulled aside.
* A slice that has lost signal as a whole is scaled to its neighbours first (`rtflow.nodes.motion.slices`).
* Steps are lengthened: by the mean weight over the mean slope of Tukey's function, which turns reweighted
  least squares into Newton's method on average (Huber, Robust Statistics 1981, 7.8), and by what the step
  before has shown (Anderson, J ACM 1965; 12:547-560, with a memory of one). That saves two of seven steps.

All positions are RAS+ millimetres, so that the grids of volume and reference may differ; conventions are
those of `rtflow.nodes.motion.rigid`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtflow.nodes.images.reslice import reslice
from rtflow.nodes.images.spline import Spline
from rtflow.nodes.motion.reference import MAD, RADIUS, Level, Reference, prepare
from rtflow.nodes.motion.rigid import parameters_of, transform_of
from rtflow.nodes.motion.slices import slice_factors, told

#: Most iterations, over both levels.
ITERATIONS = 20

#: Each level ends with an update that moves the surface of the head by less than this, mm. An update leaves
#: about a third of itself to the next.
TOLERANCES = (0.3, 0.01)

# Tukey's constant: 95 % efficiency where the noise is normal.
_TUKEY = 4.685

# By how much steps of reweighted least squares are lengthened at most; 1.2 where the noise is normal.
_LONGEST = 1.5

# Parameters in millimetres at the head's surface.
_REACH = np.array([1.0, 1.0, 1.0, RADIUS, RADIUS, RADIUS])

# What an estimate must reach to be trusted. Within real runs the residual is 0.01 to 0.1, on noise above 1.
_LEAST_OVERLAP = 0.5
_LEAST_INLIERS = 0.5
_MOST_RESIDUAL = 0.4
_GAIN = (0.5, 2.0)


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
    slices
        Which slices of the volume (from 0) have lost signal as a whole.
    """

    transform: NDArray[np.float64]
    gain: float
    residual: float
    inliers: float
    overlap: float
    iterations: int
    converged: bool
    slices: tuple[int, ...] = ()


def estimate(
    reference: Reference,
    volume: NDArray[Any] | Spline,
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
    volume
        Shape (i, j, k) of any size, integers or floats, finite; or the `Spline` of it.
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
    spline = volume if isinstance(volume, Spline) else Spline(volume)
    factors = _slice_factors(reference, spline, affine)
    if factors is not None:
        spline = spline.scaled(factors)
    search = _Search(reference, spline, affine, np.eye(4) if start is None else start)
    converged = False
    for level, tolerance in zip(reference.levels, TOLERANCES, strict=True):
        converged = False
        search.begin()
        while not converged and search.count < iterations:
            step = search.step(level)
            if step is None:
                break
            converged = step < tolerance
        if not converged:
            break
    # By way of the parameters: products of many rotations drift away from being one.
    transform = transform_of(parameters_of(search.transform, reference.centre), reference.centre)
    return Estimate(
        transform=transform,
        gain=search.gain,
        residual=search.residual / (search.gain * reference.spread) if search.gain > 0.0 else np.inf,
        inliers=search.inliers,
        overlap=search.overlap,
        iterations=search.count,
        converged=converged,
        slices=() if factors is None else told(factors),
    )


def _slice_factors(reference: Reference, spline: Spline, affine: NDArray[Any]) -> NDArray[np.float64] | None:
    """What to multiply the slices with; None where they are sound, or not those of the reference."""
    if spline.shape != reference.data.shape or not np.allclose(affine, reference.affine, atol=1e-3):
        return None
    return slice_factors(spline.slice_sums(reference.levels[-1].runs), reference.slices)


class _Search:
    """Where the fit has got to.

    ``model`` are the weights of the design, of which the first six are zero at the pose at hand.
    """

    def __init__(
        self,
        reference: Reference,
        spline: Spline,
        affine: NDArray[Any],
        transform: NDArray[np.float64],
    ) -> None:
        from rtflow.nodes.motion import fit_kernels

        self.kernels = fit_kernels
        self.reference = reference
        self.spline = spline
        self.to_voxels = np.linalg.inv(affine)
        self.transform = transform
        size = len(reference.levels[0].design)
        self.model: NDArray[np.float64] = np.zeros(size)
        self.matrix, self.right = np.empty((size, size)), np.empty(size)
        self.residual, self.inliers, self.overlap = 0.0, 0.0, 0.0
        self.count = 0
        self.begin()

    @property
    def gain(self) -> float:
        return float(self.model[6])

    def begin(self) -> None:
        """Forget the step before: the next level has other points."""
        self._before: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None

    def step(self, level: Level) -> float | None:
        """Improve the pose; how far that moves the head's surface in mm, or None at a dead end."""
        self.count += 1
        move = self.to_voxels @ self.transform @ self.reference.affine
        sampled, seen, self.overlap = self.spline.along(move, level.runs)
        if seen < _LEAST_OVERLAP / 2:
            return None
        if self.count == 1:
            there = np.isfinite(sampled)
            known = level.design[6, there].sum(dtype=np.float64)
            if not known > 0.0:
                return None
            self.model[6] = sampled[there].sum(dtype=np.float64) / known
        self.model[:6] = 0.0
        try:
            self._fit(level.design, sampled, seen)
        except np.linalg.LinAlgError:
            return None
        if not np.isfinite(self.model).all() or self.gain <= 0.0:
            return None
        step = self._lengthened(self.model[:6] / self.gain * _REACH) / _REACH
        self.transform = self.transform @ np.linalg.inv(transform_of(step, self.reference.centre))
        return float(np.abs(step[:3]).sum() + RADIUS * np.abs(step[3:]).sum())

    def _lengthened(self, step: NDArray[np.float64]) -> NDArray[np.float64]:
        """The step to take, by what the one before has left to this one (Anderson's acceleration)."""
        taken = step
        if self._before is not None:
            change = step - self._before[0]
            norm = float(change @ change)
            share = float(change @ step) / norm if norm > 0.0 else 0.0
            if abs(share) < 0.5:
                taken = step - share * (self._before[1] + change)
        self._before = (step, taken)
        return taken

    def _fit(self, design: NDArray[np.float32], sampled: NDArray[np.float32], seen: float) -> None:
        """One step of reweighted least squares with Tukey's biweight, from the model at hand.

        Raises
        ------
        numpy.linalg.LinAlgError
            If too few points keep a weight to tell the parameters apart.
        """
        model = self.model.astype(np.float32)
        residuals = np.empty(design.shape[1], dtype=np.float32)
        self.residual = MAD * self.kernels.scale(design, sampled, model, residuals)
        inliers, weights, slopes = self.kernels.normal_equations(
            design, residuals, _TUKEY * self.residual, self.matrix, self.right
        )
        self.inliers = inliers / (seen * design.shape[1])
        longer = min(_LONGEST, weights / slopes) if slopes > 0.0 else _LONGEST
        self.model = self.model + longer * np.linalg.solve(self.matrix, self.right)


def warm_up() -> None:
    """Run all compiled loops once, so that the first volume does not wait for a compiler.

    They take one type of array whatever the volume's type is: int16, uint16 and float32 go the same way.
    """
    i, j, k = np.ogrid[-1.0:1.0:12j, -1.0:1.0:12j, -1.0:1.0:12j]
    ball = 1000.0 * np.exp(-4.0 * (i**2 + j**2 + k**2) ** 2) * (1.0 + 0.3 * i - 0.2 * j)
    affine = np.diag([3.0, 3.0, 3.0, 1.0])
    reference = prepare(ball, affine)
    dim = ball.copy()
    dim[:, :, 6] *= 0.5
    for data in (ball.astype(np.int16), dim.astype(np.uint16)):
        found = estimate(reference, data, affine)
        reslice(data, affine, found.transform, reference.grid)


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
    if found.overlap < _LEAST_OVERLAP:
        return f"only {found.overlap:.0%} of the brain would lie in the field of view"
    if not np.isfinite(found.transform).all() or not np.isfinite(found.gain) or found.gain <= 0:
        return "the fit has no solution"
    if found.residual > _MOST_RESIDUAL:
        return f"the volume does not look like the reference (residual {found.residual:.2f})"
    if found.inliers < _LEAST_INLIERS:
        return f"only {found.inliers:.0%} of the brain looks like the reference"
    if not found.converged:
        return f"the fit has not converged after {found.iterations} iterations"
    if gain is not None and not _GAIN[0] <= found.gain / gain <= _GAIN[1]:
        return f"the signal is {found.gain / gain:.2f} times that of earlier volumes"
    return ""
