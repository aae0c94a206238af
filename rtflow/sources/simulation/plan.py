"""Everything about a simulated run that does not depend on its voxels, drawn once from the seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rtflow.source_settings import SimulateSource
from rtflow.sources.simulation import motion, noise, response
from rtflow.sources.simulation.anatomy import CENTRE, REGIONS
from rtflow.trials import Design

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Plan:
    """What happens in each volume; arrays run over volumes along their first axis.

    Parameters
    ----------
    design
        What the participant is asked to do.
    times
        Seconds from onset 0 to the moment of each volume that is planned, shape (n,): to its start, unless
        `make_plan` was asked for another.
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


def echo_chance(seed: int, echo: int) -> tuple[np.random.Generator, np.random.Generator]:
    """Noise in phase and in quadrature of one echo (from 1), each echo's its own.

    The first echo's is `Chance`'s, so that further echoes leave it as it was.
    """
    if echo == 1:
        chance = Chance.of(seed)
        return chance.noise, chance.quadrature
    # As `Chance.of` would have spawned them after its own seven.
    in_phase, quadrature = (np.random.SeedSequence(seed, spawn_key=(2 * echo + n,)) for n in (3, 4))
    return np.random.Generator(np.random.PCG64(in_phase)), np.random.Generator(np.random.PCG64(quadrature))


def make_plan(spec: SimulateSource, design: Design, volumes: int, at: float = 0.0) -> Plan:
    """Draw the run that a seed stands for, as it is at one moment of every volume.

    Parameters
    ----------
    spec
        What is simulated.
    design
        What the participant is asked to do.
    volumes
        Length of the run.
    at
        Seconds from the start of each volume to the moment, less than TR: when a slice is taken, say. The
        head moves evenly from the start of one volume to the next; motion stays relative to
        the start of volume 1, and saturation is that of the volume, which excites each slice once.
    """
    chance = Chance.of(spec.seed)
    times = np.arange(volumes, dtype=np.float64) * spec.tr
    share = at / spec.tr
    # One more than there are volumes: the way that the head is on in the last one.
    moves = spec.motion * motion.walk(volumes + 1, spec.tr, chance.steps, chance.jumps)
    starts = np.arange(volumes + 1, dtype=np.float64) * spec.tr
    moves += motion.nod(response.on_task(design, starts, spec.tr), spec.task_motion)
    if at:
        moves[:-1] += share * np.diff(moves, axis=0)
        times += at
    moves = moves[:-1]
    courses = response.region_courses(
        design, times, regions=len(REGIONS), delay=spec.hrf_delay, crosstalk=spec.crosstalk
    )
    return Plan(
        design=design,
        times=times,
        motion=moves,
        responses=spec.activation / 100.0 * courses,
        drift=noise.drift(volumes, spec.drift, chance.drift, share),
        breath=spec.breathing / 100.0 * noise.breath(volumes, spec.tr, chance.breath, share),
        unsaturated=noise.unsaturated(volumes, spec.tr),
        arrivals=noise.arrivals(
            volumes, spec.tr, delay=spec.reconstruction, jitter=spec.jitter, chance=chance.delivery
        ),
    )
