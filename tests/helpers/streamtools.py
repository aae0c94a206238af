"""Nodes and frames for the tests of the engine."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from nipype import Function, Node, Workflow
from nipype.interfaces.base import BaseInterfaceInputSpec, TraitedSpec, traits

from rtflow.documents import Frame, Part, now
from rtflow.errors import CompileError
from rtflow.stream import RunContext, StreamInterface, StreamPlugin, StreamSource, inspect


def frames(count: int, missing: tuple[int, ...] = ()) -> list[Frame]:
    return [
        Frame(volume, now(), missing="lost on the way")
        if volume in missing
        else Frame(volume, now(), (Part(f"{volume}.txt", "text/plain", str(volume).encode()),))
        for volume in range(1, count + 1)
    ]


class CounterInput(BaseInterfaceInputSpec):
    count = traits.Int(5, usedefault=True)
    missing = traits.Any((), usedefault=True)


class CounterOutput(TraitedSpec):
    frame = traits.Any()


class Counter(StreamSource):
    """A source of small numbered frames."""

    input_spec = CounterInput
    output_spec = CounterOutput

    def frames(self, stopping: Event) -> Iterator[Frame]:
        yield from frames(self.inputs.count, tuple(self.inputs.missing))

    def _run_interface(self, runtime: Any) -> Any:
        raise AssertionError("the engine never runs the source")


class NumberInput(BaseInterfaceInputSpec):
    frame = traits.Any(mandatory=True)


class NumberOutput(TraitedSpec):
    number = traits.Int()


class Number(StreamInterface):
    """The number in a frame."""

    input_spec = NumberInput
    output_spec = NumberOutput

    def _run_interface(self, runtime: Any) -> Any:
        self._results["number"] = int(self.inputs.frame.parts[0].data)
        return runtime


class SumInput(BaseInterfaceInputSpec):
    number = traits.Float(mandatory=True)
    fail_at = traits.Any((), usedefault=True)
    sleep_at = traits.Any(factory=dict, usedefault=True)
    withhold_at = traits.Any((), usedefault=True)
    doubt_at = traits.Any((), usedefault=True)
    kill_at = traits.Any((), usedefault=True)


class SumOutput(TraitedSpec):
    total = traits.Float()
    gaps = traits.Str()
    pid = traits.Any()


class Sum(StreamInterface):
    """Running sum; remembers the gaps it was told of."""

    input_spec = SumInput
    output_spec = SumOutput
    stateful = True

    def start_run(self, context: RunContext) -> None:
        self._total, self._gaps = 0.0, []

    def gap(self, volume: int) -> None:
        self._gaps.append(volume)

    def snapshot(self) -> Any:
        return self._total, list(self._gaps)

    def restore(self, state: Any) -> None:
        self._total, self._gaps = state

    def _run_interface(self, runtime: Any) -> Any:
        inputs = self.inputs
        if self.volume in inputs.doubt_at:
            self.doubt("sum: doubted")
        if self.volume in inputs.fail_at:
            raise ValueError("told to fail")
        if self.volume in inputs.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(inputs.sleep_at.get(self.volume, 0.0))
        self._total += inputs.number
        if self.volume not in inputs.withhold_at:
            self._results["total"] = self._total
        self._results["gaps"] = " ".join(map(str, self._gaps))
        self._results["pid"] = (os.getpid(),)
        return runtime


def double(number: float) -> float:
    return 2 * number


def doubling(name: str = "double") -> Node:
    return Node(Function(function=double, input_names=["number"], output_names=["number"]), name=name)


def counting(tmp_path: Any, count: int = 5, missing: tuple[int, ...] = (), **sum_inputs: Any) -> Workflow:
    """scanner -> number -> sum -> double."""
    flow = Workflow(name="counting", base_dir=str(tmp_path))
    flow.connect(
        [
            (
                scanner := Node(Counter(count=count, missing=missing), name="scanner"),
                number := Node(Number(), name="number"),
                [("frame", "frame")],
            ),
            (number, total := Node(Sum(**sum_inputs), name="sum"), [("number", "number")]),
            (total, doubling(), [("total", "number")]),
        ]
    )
    del scanner
    return flow


def run(flow: Workflow, folder: Path, **options: Any) -> StreamPlugin:
    plugin = StreamPlugin(folder, **options)
    flow.run(plugin=plugin)
    return plugin


def values(plugin: StreamPlugin, name: str) -> list[Any]:
    return [result.values.get(name) for result in plugin.results]


def write_number(number: float) -> str:
    from pathlib import Path

    Path("number.txt").write_text(str(number))
    return str(Path("number.txt").absolute())


def read_text(path: str) -> str:
    from pathlib import Path

    return Path(path).read_text().strip()


class OneInput(BaseInterfaceInputSpec):
    number = traits.Float(mandatory=True)


class HalfOutput(TraitedSpec):
    half = traits.Float()


def refused(flow: Workflow) -> CompileError:
    with pytest.raises(CompileError) as caught:
        inspect(flow)
    message = str(caught.value)
    assert message == f"{caught.value.node}: {caught.value.cause}; {caught.value.remedy}"
    assert "\n" not in message
    return caught.value
