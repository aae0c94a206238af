"""A run of a small head within its mask: responses to a design, drift, motion and noise, all known."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rtflow.bids.grid import Grid
from rtflow.bids.masked import Features, Mask
from rtflow.design import block_design
from rtflow.nodes.models.glm import GLM
from rtflow.nodes.models.regressors import TaskColumns
from rtflow.stream.interface import RunContext, StreamInterface
from rtflow.trials import Design

TR, VOLUMES, SHAPE = 2.0, 150, (8, 7, 6)
DESIGN = block_design(["scene", "face"], blocks=8, block=16.0, rest=16.0, opening=30.0)


def head_mask(reference: str = "abc", shift: float = 0.0) -> Mask:
    affine = np.diag([3.0, 3.0, 3.5, 1.0])
    affine[:3, 3] = [shift, -20.0, 5.0]
    inside = np.ones(SHAPE, bool)
    inside[0] = inside[:, :, -1] = False
    return Mask(inside, Grid.of(SHAPE, affine, reference))


MASK = head_mask()
VOXELS = MASK.indices.size
#: Voxels that answer scenes, and faces, by their place among those of the mask.
SCENE, FACE = np.arange(0, 30), np.arange(30, 60)


@dataclass
class HeadRun:
    """What each volume of the run holds.

    Parameters
    ----------
    percent
        Height of the response to a long trial.
    drift
        Percent over the run.
    moves
        How strongly motion shows in the signal.
    noise
        Percent, with a correlation of 0.4 from volume to volume.
    """

    design: Design = DESIGN
    percent: float = 2.0
    drift: float = 3.0
    moves: float = 1.0
    noise: float = 0.5
    seed: int = 0
    motion: np.ndarray = field(init=False)
    data: np.ndarray = field(init=False)
    base: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        self.base = rng.uniform(600.0, 1400.0, VOXELS)
        self.motion = np.cumsum(rng.normal(0.0, [0.02] * 3 + [3e-4] * 3, (VOLUMES, 6)), axis=0)
        white = rng.normal(0.0, 1.0, (VOLUMES, VOXELS))
        for volume in range(1, VOLUMES):
            white[volume] = 0.4 * white[volume - 1] + np.sqrt(1 - 0.4**2) * white[volume]
        relative = self.noise * white
        task = TaskColumns.of(self.design, TR)
        courses = np.array([task.row(volume * TR) for volume in range(VOLUMES)])
        for name, voxels in (("scene", SCENE), ("face", FACE)):
            relative[:, voxels] += self.percent * courses[:, task.names.index(name), None]
        time = np.linspace(0.0, 1.0, VOLUMES)
        relative += np.outer(self.drift * (time + 0.3 * np.sin(2.0 * time)), rng.normal(1.0, 0.3, VOXELS))
        moved = self.motion / ([0.1] * 3 + [0.002] * 3)
        relative += self.moves * moved @ rng.normal(0.0, 0.2, (6, VOXELS))
        self.data = (self.base * (1.0 + relative / 100.0)).astype(np.float32)

    def inputs(self, volume: int, mask: Mask = MASK) -> dict[str, Any]:
        """What a node gets with a volume, from 1."""
        return {
            "features": Features(self.data[volume - 1], mask),
            "motion": self.motion[volume - 1],
        }


def feed(
    node: StreamInterface,
    run: HeadRun,
    numbers: Iterable[int] = range(1, VOLUMES + 1),
    changes: Mapping[int, Mapping[str, Any]] | None = None,
) -> dict[int, dict[str, Any]]:
    """Take volumes of a run through a node that has been started; volume to outputs.

    ``changes`` has inputs of single volumes that are others. Motion is given to a node that asks for it.
    """
    outputs = {}
    for volume in numbers:
        inputs = run.inputs(volume) | dict((changes or {}).get(volume, {}))
        if "motion" not in node.inputs.nuisance:
            del inputs["motion"]
        for name, value in inputs.items():
            setattr(node.inputs, name, value)
        node.volume = volume
        node._results = {}
        node._run_interface(None)
        outputs[volume] = dict(node._results)
    return outputs


def start_glm(context: RunContext, **options: Any) -> GLM:
    """A model of scenes against faces, with motion, at the start of a run; options say what is otherwise."""
    node = GLM(**({"design": DESIGN, "contrast": "scene - face", "nuisance": ["motion"]} | options))
    node.start_run(context)
    return node
