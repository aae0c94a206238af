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

from rtflow.nodes.motion import parameters_of, transform_of
from rtflow.nodes.reference import MAD, RADIUS, Level, Reference
from rtflow.nodes.spline import Spline

#: Most iterations, over both levels.
ITERATIONS = 20

#: Each level ends with an update that moves the surface of the head by less than this, mm. An update leaves
#: about a tenth of itself to the next.
TOLERANCES = (0.3, 0.05)

#: Tukey's constant: 95 % efficiency where the noise is normal.
_TUKEY = 4.685

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
    """

    transform: NDArray[np.float64]
    gain: float
    residual: float
    inliers: float
    overlap: float
    iterations: int
    converged: bool


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
    search = _Search(reference, data, affine, np.eye(4) if start is None else start)
    converged = False
    for level, tolerance in zip(reference.levels, TOLERANCES, strict=True):
        converged = False
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
    )


class _Search:
    """Where the fit has got to.

    ``model`` are the weights of the design, of which the first six are zero at the pose at hand.
    """

    def __init__(
        self,
        reference: Reference,
        data: NDArray[Any],
        affine: NDArray[Any],
        transform: NDArray[np.float64],
    ) -> None:
        self.reference = reference
        self.spline = Spline(data)
        self.to_voxels = np.linalg.inv(affine)
        self.transform = transform
        self.model: NDArray[np.float64] = np.zeros(len(reference.levels[0].design))
        self.residual, self.inliers, self.overlap = 0.0, 0.0, 0.0
        self.count = 0

    @property
    def gain(self) -> float:
        return float(self.model[6])

    def step(self, level: Level) -> float | None:
        """Improve the pose; how far that moves the head's surface in mm, or None at a dead end."""
        self.count += 1
        move = self.to_voxels @ self.transform @ self.reference.affine
        where = move[:3, :3] @ level.points + move[:3, 3:]
        # Beyond these the spline has no neighbours to rest on.
        last = np.array(self.spline.shape)[:, None] - 2.0
        seen = np.all((where >= 1.0) & (where <= last), axis=0)
        self.overlap = float(np.mean(np.all((where >= -0.5) & (where <= last + 1.5), axis=0)))
        if seen.mean() < _LEAST_OVERLAP / 2:
            return None
        sampled = self.spline.at(list(where)).astype(np.float64)
        if self.count == 1:
            self.model[6] = sampled[seen].sum() / level.design[6, seen].sum()
        self.model[:6] = 0.0
        try:
            self._fit(level.design, sampled, seen)
        except np.linalg.LinAlgError:
            return None
        if not np.isfinite(self.model).all() or self.gain <= 0.0:
            return None
        step = self.model[:6] / self.gain
        self.transform = self.transform @ np.linalg.inv(transform_of(step, self.reference.centre))
        return float(np.abs(step[:3]).sum() + RADIUS * np.abs(step[3:]).sum())

    def _fit(
        self,
        design: NDArray[np.float64],
        sampled: NDArray[np.float64],
        seen: NDArray[np.bool_],
        passes: int = 3,
    ) -> None:
        """Iteratively reweighted least squares with Tukey's biweight, from the model at hand on.

        Raises
        ------
        numpy.linalg.LinAlgError
            If too few points keep a weight to tell the parameters apart.
        """
        for _ in range(passes):
            residual = sampled - self.model @ design
            self.residual = MAD * float(np.median(np.abs(residual[seen])))
            # A volume equal to the reference leaves nothing: any scale does then.
            trust = 1.0 - (residual / (_TUKEY * self.residual or 1.0)) ** 2
            np.clip(trust, 0.0, None, out=trust)
            trust *= trust
            trust *= seen
            self.inliers = float(np.count_nonzero(trust) / np.count_nonzero(seen))
            weighted = design * trust
            solved = np.linalg.solve(weighted @ design.T, weighted @ sampled)
            self.model = np.asarray(solved, dtype=np.float64)


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
