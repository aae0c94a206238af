"""The scanner: it reads the moving head at its voxels, volume after volume."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from rtflow.errors import SourceError
from rtflow.source_settings import SimulateSource
from rtflow.sources.simulation.anatomy import (
    CENTRE,
    REFERENCE_ECHO,
    REGIONS,
    make_head,
    read,
    receive_field,
    scanner_affine,
)
from rtflow.sources.simulation.noise import NoiseField
from rtflow.sources.simulation.plan import Plan, echo_chance, make_plan

Floats = NDArray[np.float64]
Field = NDArray[np.float32]

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


# A phase image: half a turn either way, in 12 bits; and what is left of the static field by shimming, Hz.
_PHASE_STEPS = 4096
_OFF_RESONANCE = 12.0


@dataclass(frozen=True, eq=False)
class _Slices:
    """The voxels that are taken at one moment of every volume.

    Parameters
    ----------
    where
        Which of the voxels that are read.
    plan, transforms
        What happens at that moment of each volume.
    indices
        Shape (3, n): voxels along i, j, k.
    field, drift, breath
        Shape (n,): sensitivity of the coil, and how much of drift and breath is seen.
    near
        For each region the voxels of these that it can reach.
    """

    where: slice | NDArray[np.intp]
    plan: Plan
    transforms: Floats
    indices: Floats
    field: Field
    drift: Field
    breath: Field
    near: tuple[NDArray[np.intp], ...]


class Scan:
    """One run of a simulated scanner.

    Parameters
    ----------
    spec
        What is simulated.
    plan
        What happens at the start of each volume.
    orientation
        How the slices lie: one of `rtflow.sources.simulation.anatomy.ORIENTATIONS`.
    echo_times
        Seconds from excitation to each echo.
    slice_times
        Seconds from the start of a volume to each slice along k: the head goes on moving and answering within
        the volume. Empty if the whole volume shows the moment at which it starts.

    Attributes
    ----------
    affine
        4x4, voxel indices to RAS+ millimetres of the scanner, in float32 steps.

    Raises
    ------
    SourceError
        If no brain is in the field of view.
    """

    def __init__(
        self,
        spec: SimulateSource,
        plan: Plan,
        *,
        orientation: str = "oblique",
        echo_times: Sequence[float] = (REFERENCE_ECHO,),
        slice_times: Sequence[float] = (),
    ) -> None:
        self._spec = spec
        self._plan = plan
        self._transforms = plan.transforms
        self._shape = spec.shape
        self.affine: Floats = scanner_affine(spec.shape, spec.voxel, orientation)
        self._echo_times = tuple(echo_times)
        blur = BLUR * spec.voxel
        self._head, *self._heads = (
            make_head(blur, capsule=spec.capsule, echo_time=time) for time in (REFERENCE_ECHO, *echo_times)
        )
        self._pose = np.eye(4)
        self._pose[0, 3] = spec.shift
        # Slices that are excited at once share a plan.
        self._plans = {
            time: make_plan(spec, plan.design, len(plan.times), time) if time else plan
            for time in dict.fromkeys(slice_times or (0.0,))
        }
        self._select(np.array(slice_times or [0.0] * spec.shape[2]))

    def _select(self, slice_times: Floats) -> None:
        """Find the voxels that the head or a region can reach, so that no others are read."""
        from scipy import ndimage

        every = np.indices(self._shape[::-1], dtype=np.float64)[::-1].reshape(3, -1)
        points = self._to_head(self._transforms[0], every)
        still = self._read(self._head.signal, points)
        transforms = {time: plan.transforms for time, plan in self._plans.items()}
        reach = max(self._farthest(moved) for moved in transforms.values())
        # The nearest voxel centre may be half a voxel's diagonal away from the edge of the head.
        room = reach + 0.87 * self._spec.voxel
        away = ndimage.distance_transform_edt(still.reshape(self._shape[::-1]) < _FAINT)
        self._reached = np.flatnonzero(away * self._spec.voxel <= room)
        self._indices = np.ascontiguousarray(every[:, self._reached])
        offsets = self._in_scanner(self._indices) - np.array(CENTRE)[:, None]
        self._field = receive_field(offsets)
        # Drift differs from place to place; breath shows most near the lungs.
        drift = (1.0 + 0.3 * offsets[1] / 80.0 - 0.3 * offsets[2] / 80.0).astype(np.float32)
        breath = np.clip(1.0 - 0.8 * offsets[2] / 60.0, 0.0, 2.0).astype(np.float32)
        there = points[:, self._reached].T
        taken = slice_times[self._indices[2].astype(int)]
        self._slices = []
        for time, plan in self._plans.items():
            at_once = len(self._plans) == 1
            where = slice(None) if at_once else np.flatnonzero(taken == time)
            near = tuple(
                np.flatnonzero(
                    np.min(
                        [np.linalg.norm(there[where] - np.array(c), axis=1) for c in region.centres], axis=0
                    )
                    < region.radius + 4.0 + reach
                )
                for region in REGIONS
            )
            indices = np.ascontiguousarray(self._indices[:, where])
            seen = (self._field[where], drift[where], breath[where])
            self._slices.append(_Slices(where, plan, transforms[time], indices, *seen, near))
        self._signal = still[self._reached]
        # What the static field leaves turns with the echo time: more at the front, where the sinuses are.
        self._off_resonance = (
            _OFF_RESONANCE * (offsets[1] / 60.0 + 0.5 * offsets[0] * offsets[2] / 60.0**2)
        ).astype(np.float32)
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

    def _read(self, values: Field, points: Floats) -> Field:
        # The heads of all echoes lie on one grid.
        return read(values, self._head.indices(points))

    def _farthest(self, transforms: Floats) -> float:
        """Millimetres that any point of the head moves away from where it lies in volume 1, at most."""
        # Displacement under a rigid motion is convex: the corners of an octagonal hull bound the brain.
        turn = np.arange(16) * np.pi / 8
        ring = [(78 * np.cos(a), 98 * np.sin(a) - 17, z) for a in turn for z in (-78.0, 86.0)]
        ends = np.array([(*point, 1.0) for point in ring]).T
        moved = (transforms - np.eye(4)) @ (self._pose @ ends)
        return float(np.linalg.norm(moved[:, :3], axis=1).max())

    @property
    def sigma(self) -> float:
        """Standard deviation of the noise, before the gain; it is that of every echo."""
        return self._sigma

    @cached_property
    def peak(self) -> float:
        """What no stored value of the run exceeds, as far as drift, breath and activation are moderate."""
        brightest = max(float(self.clean(1, echo + 1).max()) for echo in range(len(self._echo_times)))
        return self._spec.gain * (1.15 * brightest + 8.0 * self._sigma)

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

    def clean(self, number: int, echo: int = 1) -> Field:
        """Signal of volume ``number`` (from 1) without noise, at the voxels that the head can reach.

        A response is a change of the rate of decay: as a share of the signal it grows with the echo time.
        """
        whole = np.empty(self._reached.size, dtype=np.float32)
        for slices in self._slices:
            whole[slices.where] = self._part(slices, number - 1, echo - 1)
        return whole

    def _part(self, slices: _Slices, at: int, echo: int) -> Field:
        plan, head = slices.plan, self._heads[echo]
        points = self._to_head(slices.transforms[at], slices.indices)
        signal = self._read(head.signal, points)
        if plan.responses[at].any():
            grown = self._echo_times[echo] / REFERENCE_ECHO
            for region, near, height in zip(REGIONS, slices.near, plan.responses[at], strict=True):
                signal[near] *= 1.0 + grown * height * region.weight(points[:, near].T)
        if plan.unsaturated[at]:
            signal += np.float32(plan.unsaturated[at]) * self._read(head.excess, points)
        signal *= slices.field
        if plan.drift[at]:
            signal *= 1.0 + np.float32(plan.drift[at]) * slices.drift
        if plan.breath[at]:
            signal *= 1.0 + np.float32(plan.breath[at]) * slices.breath
        return signal

    def volumes(self) -> Iterator[NDArray[np.int16]]:
        """The volumes of the run in turn, shape (k, j, i): the order in which a NIfTI file holds them.

        A voxel is the magnitude of a complex signal with noise in both channels, as in a real image.
        Of several echoes it is the first.
        """
        for images in self.images():
            yield images[0]

    def images(self, *, phase: bool = False) -> Iterator[tuple[NDArray[np.int16], ...]]:
        """For each volume its magnitude images, one per echo, as `volumes` has them.

        Parameters
        ----------
        phase
            Whether as many phase images follow: 0 to 4095 for half a turn backwards to half a turn forwards,
            growing with the echo time in what is left of the static field.
        """
        noise = [self._noise(echo) for echo in range(1, len(self._echo_times) + 1)]
        for number in range(1, len(self._plan.times) + 1):
            magnitudes, phases = [], []
            for echo, (real, imaginary) in enumerate(noise, start=1):
                in_phase = real.draw()
                in_phase *= np.float32(self._sigma)
                in_phase.reshape(-1)[self._reached] += self.clean(number, echo)
                out_of_phase = imaginary.draw()
                out_of_phase *= np.float32(self._sigma)
                if phase:
                    phases.append(self._phase(in_phase, out_of_phase, self._echo_times[echo - 1]))
                in_phase *= in_phase
                out_of_phase *= out_of_phase
                in_phase += out_of_phase
                np.sqrt(in_phase, out=in_phase)
                magnitudes.append(self._stored(in_phase))
            yield (*magnitudes, *phases)

    def reference(self) -> tuple[NDArray[np.int16], ...]:
        """A single-band reference of volume 1, one per echo: the head not yet saturated, without noise."""
        images = []
        for echo in range(1, len(self._echo_times) + 1):
            image = np.zeros(self._shape[::-1], dtype=np.float32)
            image.reshape(-1)[self._reached] = self.clean(1, echo)
            images.append(self._stored(image))
        return tuple(images)

    def _noise(self, echo: int) -> tuple[NoiseField, NoiseField]:
        spec = self._spec
        blur = spec.smooth_noise / np.sqrt(8.0 * np.log(2.0)) / spec.voxel
        backwards = self._shape[::-1]
        real, imaginary = echo_chance(spec.seed, echo)
        return (
            NoiseField(backwards, ar=spec.ar, sigma=blur, chance=real),
            NoiseField(backwards, ar=0.0, sigma=blur, chance=imaginary),
        )

    def _stored(self, magnitude: Field) -> NDArray[np.int16]:
        magnitude *= np.float32(self._spec.gain)
        np.rint(magnitude, out=magnitude)
        np.minimum(magnitude, 32767.0, out=magnitude)
        return magnitude.astype(np.int16)

    def _phase(self, in_phase: Field, out_of_phase: Field, echo_time: float) -> NDArray[np.int16]:
        turns = np.arctan2(out_of_phase, in_phase) / np.float32(2.0 * np.pi)
        turns.reshape(-1)[self._reached] += np.float32(echo_time) * self._off_resonance
        steps = np.floor((turns - np.floor(turns + 0.5) + 0.5) * _PHASE_STEPS)
        return np.clip(steps, 0, _PHASE_STEPS - 1).astype(np.int16)
