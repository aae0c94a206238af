"""A run of noise with a drift, taken through Confounds."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtflow.bids.grid import Grid
from rtflow.bids.incremental import BidsIncremental
from rtflow.bids.masked import Mask
from rtflow.nodes.confounds.confounds import Confounds
from rtflow.stream.interface import RunContext

SHAPE = (14, 16, 12)
AFFINE = np.diag([3.0, 3.0, 3.5, 1.0])
VOLUMES = 30
BRAIN = np.zeros(SHAPE, bool)
BRAIN[2:12, 2:14, 1:11] = True


@cache
def noisy_run() -> NDArray[np.float32]:
    """The run, shape (*SHAPE, VOLUMES); tSNR 60, one percent of drift."""
    rng = np.random.default_rng(5)
    base = rng.uniform(300, 900, SHAPE)[..., None]
    noise = rng.normal(0, 1, (*SHAPE, VOLUMES)) * base / 60
    data = (base * (1 + 0.01 * np.linspace(0, 1, VOLUMES)) + noise).astype(np.float32)
    data.flags.writeable = False
    return data


@cache
def wandering() -> NDArray[np.float64]:
    """Six parameters of each volume, mm and rad."""
    steps = np.random.default_rng(6).normal(0, [0.1] * 3 + [0.002] * 3, (VOLUMES, 6))
    return np.cumsum(steps, axis=0)


def mask(data: NDArray[np.bool_] = BRAIN) -> Mask:
    return Mask(data, Grid.of(SHAPE, AFFINE, "ref"))


def volume(number: int, data: NDArray[Any], tr: float = 2.0, **metadata: Any) -> BidsIncremental:
    metadata = {"RepetitionTime": tr, **metadata}
    return BidsIncremental(data, AFFINE, volume=number, metadata=metadata, reference="ref")


def started(context: RunContext, **inputs: Any) -> Confounds:
    node = Confounds(**{"mask": mask(), **inputs})
    node.start_run(context)
    return node


def through(
    call: Callable[..., dict[str, Any]],
    node: Confounds,
    data: NDArray[Any],
    *,
    motion: NDArray[Any] | None = None,
    fd: NDArray[Any] | None = None,
    tr: float = 2.0,
    start: int = 1,
) -> tuple[list[dict[str, Any]], list[list[str]]]:
    """Outputs and doubts of each volume from number `start` on."""
    outputs, doubts = [], []
    for number in range(start, data.shape[3] + 1):
        given: dict[str, Any] = {} if motion is None else {"motion": motion[number - 1]}
        if fd is not None:
            given["framewise_displacement"] = fd[number - 1]
        outputs.append(call(node, number, incremental=volume(number, data[..., number - 1], tr), **given))
        doubts.append(node.take_doubts())
    return outputs, doubts


def column(outputs: list[dict[str, Any]], name: str) -> NDArray[np.float64]:
    """One output of each volume; NaN where it was withheld."""
    return np.array([found.get(name, np.nan) for found in outputs], dtype=float)
