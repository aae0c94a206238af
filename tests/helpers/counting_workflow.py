"""A workflow file for the tests of the engine: counts, sums, and shows."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nipype import Node, Workflow
from nipype.interfaces.base import BaseInterfaceInputSpec, TraitedSpec, traits
from streamtools import CounterInput, CounterOutput, Number, Sum, doubling
from streamtools import frames as numbered

from rtflow.documents import Event, Frame, Result
from rtflow.errors import SourceError
from rtflow.settings import RunSettings
from rtflow.stream import RunContext, StreamSink, StreamSource, stream


class Settings(RunSettings):
    """What the tests vary."""

    count: int = 8
    missing: tuple[int, ...] = ()
    mode: str = "thread"
    stages: int = 1
    sleep: float = 0.0
    interval: float = 0.0
    halt: int = 0
    refuses: str = ""
    fails: tuple[int, ...] = ()


class PacedInput(CounterInput):
    interval = traits.Float(0.0, usedefault=True)
    halt = traits.Int(0, usedefault=True)
    refuses = traits.Str("", usedefault=True)


class Paced(StreamSource):
    """Numbered frames, one every ``interval`` seconds; waits for ever after volume ``halt``.

    It cannot begin as long as there is a file ``refuses``.
    """

    input_spec = PacedInput
    output_spec = CounterOutput

    def start_run(self, context: RunContext) -> None:
        self._context = context
        if self.inputs.refuses and Path(self.inputs.refuses).exists():
            raise SourceError("the scanner is not there")

    def frames(self, stopping: threading.Event) -> Iterator[Frame]:
        assert self._context.run_uid, "frames are asked for within a run only"
        for frame in numbered(self.inputs.count, tuple(self.inputs.missing)):
            if stopping.wait(self.inputs.interval):
                return
            yield frame
            if frame.volume == self.inputs.halt:
                stopping.wait()


class ShowInput(BaseInterfaceInputSpec):
    value = traits.Float(mandatory=True)


class ShowOutput(TraitedSpec):
    message = traits.Any()


class Show(StreamSink):
    """Appends each value to a file."""

    input_spec = ShowInput
    output_spec = ShowOutput
    channel = "file"

    def start_run(self, context: RunContext) -> None:
        self._path: Path = context.run_dir / "shown.jsonl"
        self._emit = context.emit

    def _run_interface(self, runtime: Any) -> Any:
        self._emit(Event(name="offered", volume=self.volume))
        self._results["message"] = {"value": self.inputs.value}
        return runtime

    def deliver(self, result: Result, outputs: Mapping[str, Any]) -> bool:
        if not outputs:
            return False
        with self._path.open("a") as file:
            file.write(json.dumps([result.volume, outputs["message"]["value"]]) + "\n")
        return True


def build(settings: Settings) -> Workflow:
    """scanner -> number -> sum -> double -> show."""
    scanner = Node(
        Paced(
            count=settings.count,
            missing=settings.missing,
            interval=settings.interval,
            halt=settings.halt,
            refuses=settings.refuses,
        ),
        name="scanner",
    )
    number = Node(Number(), name="number")
    total = Node(Sum(sleep_at={4: settings.sleep}, doubt_at=(2,), fail_at=settings.fails), name="sum")
    stream(total, mode=settings.mode, deadline=0.3, on_error="fail" if settings.fails else "last")
    double, show = doubling(), Node(Show(), name="show")
    if settings.stages > 1:
        stream(double, stage=1)
    flow = Workflow(name="counting", base_dir=settings.work_dir)
    flow.connect(
        [
            (scanner, number, [("frame", "frame")]),
            (number, total, [("number", "number")]),
            (total, double, [("total", "number")]),
            (double, show, [("number", "value")]),
        ]
    )
    return flow
