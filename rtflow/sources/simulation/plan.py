"""Everything about a simulated run that does not depend on its voxels, drawn once from the seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rtflow.design import Design
from rtflow.source_settings import SimulateSource
from rtflow.sources.simulation import motion, noise, response
from rtflow.sources.simulation.anatomy import CENTRE, REGIONS

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Plan:
    """What happens in each volume; arrays run over volumes along their first axis.

    Parameters
    ----------
    design
        What the participant is asked to do.
    times
        Seconds from onset 0 to the start of each volume, shape (n,). All slices are taken at once.
    motion
        Shape (n, 6), as `rtflow.sources.simulation.motion` has it, relative to volume 1.
    responses
        Shape (n, regions): what each region adds, as a fraction of its signal.
    drift, breath, unsaturated
        Shape (n,): fractions of the signal, and of the first volume's excess.
    arrivals
        Shape (n,): seconds from onset 0 to each volume's last byte.
    """

    design: Design
    times: Floats
    motion: Floats
    responses: Floats
    drift: Floats
    breath: Floats
    unsaturated: Floats
    arrivals: Floats

    @property
    def transforms(self) -> Floats:
        """Shape (n, 4, 4): where the head of volume 1 lies in each volume, scanner millimetres."""
        return np.array([motion.rigid(six, CENTRE) for six in self.motion])


@dataclass(frozen=True, eq=False)
class Chance:
    """One stream of random numbers per effect, so that switching one off leaves the others as they were."""

    noise: np.random.Generator
    quadrature: np.random.Generator
    steps: np.random.Generator
    jumps: np.random.Generator
    drift: np.random.Generator
    breath: np.random.Generator
    delivery: np.random.Generator

    @classmethod
    def of(cls, seed: int) -> Chance:
        """All streams of a seed."""
        streams = np.random.SeedSequence(seed).spawn(7)
        return cls(*(np.random.Generator(np.random.PCG64(stream)) for stream in streams))


def make_plan(spec: SimulateSource, design: Design, volumes: int) -> Plan:
    """Draw the run that a seed stands for."""
    chance = Chance.of(spec.seed)
    times = np.arange(volumes, dtype=np.float64) * spec.tr
    moves = spec.motion * motion.walk(volumes, spec.tr, chance.steps, chance.jumps)
    moves += motion.nod(response.on_task(design, times, spec.tr), spec.task_motion)
    courses = response.region_courses(
        design, times, regions=len(REGIONS), delay=spec.hrf_delay, crosstalk=spec.crosstalk
    )
    return Plan(
        design=design,
        times=times,
        motion=moves,
        responses=spec.activation / 100.0 * courses,
        drift=noise.drift(volumes, spec.drift, chance.drift),
        breath=spec.breathing / 100.0 * noise.breath(volumes, spec.tr, chance.breath),
        unsaturated=noise.unsaturated(volumes, spec.tr),
        arrivals=noise.arrivals(
            volumes, spec.tr, delay=spec.reconstruction, jitter=spec.jitter, chance=chance.delivery
        ),
    )
