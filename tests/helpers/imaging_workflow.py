"""A workflow that gives images of a head whose left side is marked, one volume whenever the test says so."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nipype import Node, Workflow
from nipype.interfaces.base import BaseInterfaceInputSpec, TraitedSpec, traits
from numpy.typing import NDArray
from streamtools import CounterInput, CounterOutput, Number, frames

from rtflow.bids.grid import Grid
from rtflow.bids.incremental import BidsIncremental
from rtflow.bids.masked import Features, Mask
from rtflow.documents import Frame
from rtflow.nodes import Confounds
from rtflow.settings import RunSettings
from rtflow.stream import StreamInterface, StreamSource

SHAPE = (30, 36, 20)
COUNT = 8
#: Left-handed and turned, as scanners store oblique slices.
AFFINE = nib.affines.from_matvec(
    nib.eulerangles.euler2mat(0.12, -0.1, 0.15) @ np.diag([-4.0, 4.0, 5.0]), (0.0, 0.0, 0.0)
)
AFFINE[:3, 3] = -nib.affines.apply_affine(AFFINE, (np.array(SHAPE) - 1) / 2)
MARKED = 1000


def places() -> NDArray[np.float64]:
    """Where each voxel is, RAS+ millimetres, shape (i, j, k, 3)."""
    return np.asarray(nib.affines.apply_affine(AFFINE, np.moveaxis(np.indices(SHAPE), 0, -1)))


def inside() -> NDArray[np.bool_]:
    """The head: a ball of 45 mm."""
    return np.asarray(np.linalg.norm(places(), axis=-1) < 45)


def head(volume: int) -> NDArray[np.int16]:
    """Brighter with each volume, and as bright as can be on the left, in front of the middle."""
    data = np.where(inside(), 100 + 50 * volume, 0)
    x, y, _ = np.moveaxis(places(), -1, 0)
    return np.asarray(np.where(inside() & (x < -15) & (y > 10), MARKED, data), np.int16)


def statistic() -> NDArray[np.float32]:
    """From -8 to 8, from below to above."""
    return np.asarray(np.clip(places()[..., 2] / 5, -8, 8), np.float32)


class Settings(RunSettings):
    """Where the test says how many volumes have come, and from which one on there is a statistic."""

    allowed: str = ""
    statistic_from: int = 3


class AllowedInput(CounterInput):
    allowed = traits.Str(mandatory=True)


class Allowed(StreamSource):
    """A frame as soon as the number in the file ``allowed`` is as large as its own."""

    input_spec = AllowedInput
    output_spec = CounterOutput

    def frames(self, stopping: threading.Event) -> Iterator[Frame]:
        for frame in frames(COUNT):
            while self._allowed() < frame.volume:
                if stopping.wait(0.02):
                    return
            yield frame

    def _allowed(self) -> int:
        with contextlib.suppress(OSError, ValueError):
            return int(Path(self.inputs.allowed).read_text())
        return 0


class OfVolumeInput(BaseInterfaceInputSpec):
    number = traits.Int(mandatory=True)
    begins = traits.Int(1, usedefault=True)


class HeadOutput(TraitedSpec):
    incremental = traits.Any()
    framewise_displacement = traits.Float(desc="large at volume 4 alone, as of a start")


class Head(StreamInterface):
    input_spec = OfVolumeInput
    output_spec = HeadOutput

    def _run_interface(self, runtime: Any) -> Any:
        number = self.inputs.number
        about = {"RepetitionTime": 2.0}
        self._results["incremental"] = BidsIncremental(head(number), AFFINE, volume=number, metadata=about)
        self._results["framewise_displacement"] = 0.8 if number == 4 else 0.1
        return runtime


class MasksOutput(TraitedSpec):
    mask = traits.Any()
    other = traits.Any(desc="on another grid")
    t = traits.Any()


class Masks(StreamInterface):
    input_spec = OfVolumeInput
    output_spec = MasksOutput

    def _run_interface(self, runtime: Any) -> Any:
        mask = Mask(inside(), Grid.of(SHAPE, AFFINE))
        other = np.ones((4, 4, 4), bool)
        self._results = {"mask": mask, "other": Mask(other, Grid.of(other.shape, AFFINE))}
        if self.inputs.number >= self.inputs.begins:
            self._results["t"] = Features(statistic()[inside()], mask)
        return runtime


def build(settings: Settings) -> Workflow:
    """scanner -> number -> realign, glm -> confounds."""
    scanner = Node(Allowed(allowed=settings.allowed, count=COUNT), name="scanner")
    number = Node(Number(), name="number")
    realign, glm = Node(Head(), name="realign"), Node(Masks(begins=settings.statistic_from), name="glm")
    confounds = Node(Confounds(settle=3), name="confounds")
    flow = Workflow(name="imaging", base_dir=settings.work_dir)
    flow.connect(
        [
            (scanner, number, [("frame", "frame")]),
            *((number, node, [("number", "number")]) for node in (realign, glm)),
            (realign, confounds, [(name, name) for name in ("incremental", "framewise_displacement")]),
            (glm, confounds, [("mask", "mask")]),
        ]
    )
    return flow
