"""A workflow file for the tests of displays: numbers go out, presses come in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from counting_workflow import Paced
from nipype import Node, Workflow
from nipype.interfaces.base import BaseInterfaceInputSpec, TraitedSpec, traits
from streamtools import Number

from rtflow.nodes import SubjectInput, SubjectOutput
from rtflow.settings import RunSettings
from rtflow.stream import StreamInterface


class Settings(RunSettings):
    """What the tests vary."""

    count: int = 8
    interval: float = 0.0
    halt: int = 0
    tr: float = 1.0
    delay: float = 0.0
    displays: tuple[str, ...] = ("subject",)
    listens: bool = False


class NumbersOutput(TraitedSpec):
    value = traits.Float()
    values = traits.Any()
    note = traits.Str()
    incremental = traits.Any()


@dataclass
class Volume:
    """As much of a BidsIncremental as SubjectInput needs."""

    volume: int
    tr: float


class NumbersInput(BaseInterfaceInputSpec):
    number = traits.Int(mandatory=True)
    tr = traits.Float(1.0, usedefault=True)


class Numbers(StreamInterface):
    """What there is to show of a number."""

    input_spec = NumbersInput
    output_spec = NumbersOutput

    def _run_interface(self, runtime: Any) -> Any:
        number = self.inputs.number
        self._results["value"] = number / 4
        self._results["values"] = {"left": number / 4, "right": -number, "word": "go"}
        self._results["note"] = "rest" if number % 4 == 0 else "go"
        self._results["incremental"] = Volume(self.volume, self.inputs.tr)
        return runtime


def build(settings: Settings) -> Workflow:
    """scanner -> number -> numbers -> a display each; and perhaps what the first of them says."""
    scanner = Node(
        Paced(count=settings.count, interval=settings.interval, halt=settings.halt), name="scanner"
    )
    number, numbers = Node(Number(), name="number"), Node(Numbers(tr=settings.tr), name="numbers")
    flow = Workflow(name="feedback", base_dir=settings.work_dir)
    flow.connect(scanner, "frame", number, "frame")
    flow.connect(number, "number", numbers, "number")
    for place, name in enumerate(settings.displays):
        shown = SubjectOutput(display=name, delay=settings.delay, kind="evidence")
        node = Node(shown, name=f"show_{name}")
        flow.connect(numbers, "values" if place else "value", node, "values" if place else "value")
        flow.connect(numbers, "note", node, "note")
    if settings.listens:
        flow.connect(
            numbers,
            "incremental",
            Node(SubjectInput(display=settings.displays[0]), name="said"),
            "incremental",
        )
    return flow
