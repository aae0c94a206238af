"""The scanner: it reads the moving head at its voxels, volume after volume."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from rtflow.errors import SourceError
from rtflow.source_settings import SimulateSource
from rtflow.sources.simulation.anatomy import (
    CENTRE,
    REGIONS,
    Head,
    make_head,
    read,
    receive_field,
    scanner_affine,
)
from rtflow.sources.simulation.noise import NoiseField
from rtflow.sources.simulation.plan import Chance, Plan

Floats = NDArray[np.float64]

BRAIN = 400.0
"""Steady-state intensity above which a voxel belongs to the brain: well over the blurred edge."""

BLUR = 1.5
"""Full width at half maximum of the point spread, voxels.

A scanner samples k-space and so takes in nothing above the Nyquist frequency of its voxels; a Gaussian
this wide leaves an eighth of the amplitude there. With less, motion would show as aliasing that no
interpolation can undo and that real images do not have.
"""

# Intensity below which there is no head to speak of: a thousandth of the brain's.
_FAINT = 1.0


class Scan:
    """One run of a simulated scanner.

    Parameters
    ----------
    spec
        What is simulated.
    plan
        What happens in each volume.

    Attributes
    ----------
    affine
        4x4, voxel indices to RAS+ millimetres of the scanner, in float32 steps.

    Raises
    ------
    SourceError
        If no brain is in the field of view.
    """

    def __init__(self, spec: SimulateSource, plan: Plan) -> None:
        self._spec = spec
        self._plan = plan
        self._shape = spec.shape
        self.affine: Floats = scanner_affine(spec.shape, spec.voxel)
        self._head: Head = make_head(BLUR * spec.voxel, capsule=spec.capsule)
        self._pose = np.eye(4)
        self._pose[0, 3] = spec.shift
        self._transforms = plan.transforms
        self._select()

    def _select(self) -> None:
        """Find the voxels that the head or a region can reach, so that no others are read."""
        from scipy import ndimage

        every = np.indices(self._shape[::-1], dtype=np.float64)[::-1].reshape(3, -1)
        points = self._to_head(self._transforms[0], every)
        still = self._read(self._head.signal, points)
        reach = self._farthest()
        # The nearest voxel centre may be half a voxel's diagonal away from the edge of the head.
        room = reach + 0.87 * self._spec.voxel
        away = ndimage.distance_transform_edt(still.reshape(self._shape[::-1]) < _FAINT)
        self._reached = np.flatnonzero(away * self._spec.voxel <= room)
        self._indices = np.ascontiguousarray(every[:, self._reached])
        offsets = self._in_scanner(self._indices) - np.array(CENTRE)[:, None]
        self._field = receive_field(offsets)
        # Drift differs from place to place; breath shows most near the lungs.
        self._drift_field = (1.0 + 0.3 * offsets[1] / 80.0 - 0.3 * offsets[2] / 80.0).astype(np.float32)
        self._breath_field = np.clip(1.0 - 0.8 * offsets[2] / 60.0, 0.0, 2.0).astype(np.float32)

        there = points[:, self._reached].T
        self._near = [
            np.flatnonzero(
                np.min(
                    [np.linalg.norm(there - np.array(centre), axis=1) for centre in region.centres], axis=0
                )
                < region.radius + 4.0 + reach
            )
            for region in REGIONS
        ]
        self._signal = still[self._reached]
        brain = self._signal > BRAIN
        if not brain.any():
            raise SourceError(
                f"simulate: with a shift of {self._spec.shift:g} mm the brain is out of view; give less"
            )
        self._sigma = float(np.median((self._signal * self._field)[brain])) / self._spec.tsnr

    def _in_scanner(self, indices: Floats) -> Floats:
        points: Floats = self.affine[:3, :3] @ indices + self.affine[:3, 3:]
        return points

    def _to_head(self, transform: Floats, indices: Floats) -> Floats:
        matrix = np.linalg.inv(transform @ self._pose) @ self.affine
        points: Floats = matrix[:3, :3] @ indices + matrix[:3, 3:]
        return points

    def _read(self, values: NDArray[np.float32], points: Floats) -> NDArray[np.float32]:
        return read(values, points - np.array(self._head.origin)[:, None])

    def _farthest(self) -> float:
        """Millimetres that any point of the head moves away from where it lies in volume 1, at most."""
        # Displacement under a rigid motion is convex: the corners of an octagonal hull bound the brain.
        turn = np.arange(16) * np.pi / 8
        ring = [(78 * np.cos(a), 98 * np.sin(a) - 17, z) for a in turn for z in (-78.0, 86.0)]
        ends = np.array([(*point, 1.0) for point in ring]).T
        moved = (self._transforms - np.eye(4)) @ (self._pose @ ends)
        return float(np.linalg.norm(moved[:, :3], axis=1).max())

    @property
    def sigma(self) -> float:
        """Standard deviation of the noise, before the gain."""
        return self._sigma

    @property
    def pose(self) -> Floats:
        """4x4: head coordinates to the scanner's in volume 1, mm."""
        return self._pose.copy()

    def masks(self) -> dict[str, NDArray[np.bool_]]:
        """Where the brain and each region lie in volume 1, shape (i, j, k)."""
        found: dict[str, NDArray[np.bool_]] = {"brain": self._spread(self._signal > BRAIN)}
        points = self._to_head(self._transforms[0], self._indices).T
        for region in REGIONS:
            inside = (region.weight(points) >= 0.5) & (self._signal > BRAIN)
            found[region.name] = self._spread(inside)
        return found

    def _spread(self, chosen: NDArray[np.bool_]) -> NDArray[np.bool_]:
        whole = np.zeros(int(np.prod(self._shape)), dtype=bool)
        whole[self._reached[chosen]] = True
        return whole.reshape(self._shape[::-1]).T

    def clean(self, number: int) -> NDArray[np.float32]:
        """Signal of volume ``number`` (from 1) without noise, at the voxels that the head can reach."""
        at = number - 1
        plan = self._plan
        points = self._to_head(self._transforms[at], self._indices)
        signal = self._read(self._head.signal, points)
        if plan.responses[at].any():
            for region, near, height in zip(REGIONS, self._near, plan.responses[at], strict=True):
                signal[near] *= 1.0 + height * region.weight(points[:, near].T)
        if plan.unsaturated[at]:
            signal += np.float32(plan.unsaturated[at]) * self._read(self._head.excess, points)
        signal *= self._field
        if plan.drift[at]:
            signal *= 1.0 + np.float32(plan.drift[at]) * self._drift_field
        if plan.breath[at]:
            signal *= 1.0 + np.float32(plan.breath[at]) * self._breath_field
        return signal

    def volumes(self) -> Iterator[NDArray[np.int16]]:
        """The volumes of the run in turn, shape (k, j, i): the order in which a NIfTI file holds them.

        A voxel is the magnitude of a complex signal with noise in both channels, as in a real image.
        """
        spec = self._spec
        chance = Chance.of(spec.seed)
        blur = spec.smooth_noise / np.sqrt(8.0 * np.log(2.0)) / spec.voxel
        backwards = self._shape[::-1]
        real = NoiseField(backwards, ar=spec.ar, sigma=blur, chance=chance.noise)
        imaginary = NoiseField(backwards, ar=0.0, sigma=blur, chance=chance.quadrature)
        for number in range(1, len(self._plan.times) + 1):
            in_phase = real.draw()
            in_phase *= np.float32(self._sigma)
            in_phase.reshape(-1)[self._reached] += self.clean(number)
            out_of_phase = imaginary.draw()
            out_of_phase *= np.float32(self._sigma)
            in_phase *= in_phase
            out_of_phase *= out_of_phase
            in_phase += out_of_phase
            np.sqrt(in_phase, out=in_phase)
            in_phase *= np.float32(spec.gain)
            np.rint(in_phase, out=in_phase)
            np.minimum(in_phase, 32767.0, out=in_phase)
            yield in_phase.astype(np.int16)
