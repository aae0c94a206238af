"""A workflow file for the test of what was really shown: in labels, and recorded."""

from __future__ import annotations

from typing import Any

from imaging_workflow import COUNT, Allowed, OfVolumeInput
from incrementals import ENTITIES, incremental
from nipype import Node, Workflow
from nipype.interfaces.base import TraitedSpec, traits
from streamtools import Number

from rtflow.nodes import Labels, RecordRun, SubjectInput
from rtflow.settings import RunSettings
from rtflow.stream import StreamInterface
from rtflow.trials import Design, Trial

TR = 4.0
#: In the volumes 1 and 3.
DESIGN = Design((Trial(0.0, 2.0, "scene"), Trial(8.0, 4.0, "face")))


class Settings(RunSettings):
    """The file in which the test says how many volumes have come, and what is late."""

    allowed: str = ""
    late_after: float | None = None


class ScannedOutput(TraitedSpec):
    incremental = traits.Any()


class Scanned(StreamInterface):
    """A small volume."""

    input_spec = OfVolumeInput
    output_spec = ScannedOutput

    def _run_interface(self, runtime: Any) -> Any:
        about = {"RepetitionTime": TR, "EchoTime": 0.03}
        self._results["incremental"] = incremental(self.inputs.number, metadata=about, entities=ENTITIES)
        return runtime


def build(settings: Settings) -> Workflow:
    """scanner -> number -> scanned -> said -> use, ignore, record."""
    scanner = Node(Allowed(allowed=settings.allowed, count=COUNT), name="scanner")
    number, scanned = Node(Number(), name="number"), Node(Scanned(), name="scanned")
    options = {} if settings.late_after is None else {"late_after": settings.late_after}
    said = Node(SubjectInput(**options), name="said")
    flow = Workflow(name="shown", base_dir=settings.work_dir)
    flow.connect(scanner, "frame", number, "frame")
    flow.connect(number, "number", scanned, "number")
    flow.connect(scanned, "incremental", said, "incremental")
    for name, interface in (
        ("use", Labels(design=DESIGN)),
        ("ignore", Labels(design=DESIGN, late="ignore")),
        ("record", RecordRun(design=DESIGN)),
    ):
        node = Node(interface, name=name)
        flow.connect(scanned, "incremental", node, "incremental")
        flow.connect(said, "shown", node, "shown")
    return flow
