"""Stages, backlog, stopping, sources that break, delivery, and the end of a run."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest
from nipype import Function, Node
from streamtools import (
    HalfOutput,
    Number,
    OneInput,
    Sum,
    counting,
    frames,
    read_text,
    run,
    values,
    write_number,
)

from rtflow.documents import Delivered, Event, Result, RunStop, VolumeReceived
from rtflow.errors import RunError
from rtflow.stream import StreamInterface, StreamPlugin, StreamSink, stream
from rtflow.testing import FrameList


def test_stages_overlap_and_keep_the_order(tmp_path):
    flow = counting(tmp_path, 8)
    spans: dict[str, list[tuple[float, float]]] = {"one": [], "two": []}

    class Watch(StreamInterface):
        input_spec = OneInput
        output_spec = HalfOutput

        def _run_interface(self, runtime: Any) -> Any:
            began = time.perf_counter()
            time.sleep(0.03)
            spans[self.label].append((began, time.perf_counter()))
            self._results["half"] = self.inputs.number
            return runtime

    one, two = Watch(), Watch()
    one.label, two.label = "one", "two"
    nodes = Node(one, name="one"), stream(Node(two, name="two"), stage=1)
    flow.connect(
        [
            (flow.get_node("number"), nodes[0], [("number", "number")]),
            (nodes[0], nodes[1], [("half", "number")]),
        ]
    )
    plugin = run(flow, tmp_path)
    assert values(plugin, "two.half") == [float(n) for n in range(1, 9)]
    assert [result.volume for result in plugin.results] == list(range(1, 9))
    # Volume n + 1 was in the first stage while volume n was in the second.
    overlapping = [a for a in spans["one"] for b in spans["two"] if a[0] < b[1] and b[0] < a[1]]
    assert overlapping


def test_every_stage_has_a_working_directory_of_its_own(tmp_path):
    flow = counting(tmp_path, 6)
    before = Path.cwd()
    for stage in (0, 1):
        name = f"write{stage}"
        write = Node(
            Function(function=write_number, input_names=["number"], output_names=["path"]), name=name
        )
        read = Node(
            Function(function=read_text, input_names=["path"], output_names=["text"]), name=f"read{stage}"
        )
        flow.connect(
            [
                (flow.get_node("number"), stream(write, stage=stage), [("number", "number")]),
                (write, read, [("path", "path")]),
            ]
        )
    plugin = run(flow, tmp_path)
    assert values(plugin, "read0.text") == values(plugin, "read1.text") == [str(n) for n in range(1, 7)]
    assert Path.cwd() == before


def test_dropping_is_counted_and_bounded(tmp_path):
    plugin = run(
        counting(tmp_path, 30, sleep_at=dict.fromkeys(range(1, 31), 0.05)), tmp_path, drop=True, backlog=1
    )
    dropped = [result for result in plugin.results if result.status == "missing"]
    assert [result.volume for result in plugin.results] == list(range(1, 31))
    assert dropped
    assert all("dropped" in result.reasons[0] for result in dropped)
    assert plugin.stop is not None
    assert plugin.stop.counts["missing"] == len(dropped)


def test_blocking_loses_nothing(tmp_path):
    plugin = run(counting(tmp_path, 30, sleep_at={5: 0.3}), tmp_path, backlog=1)
    assert plugin.stop is not None
    assert plugin.stop.counts["ok"] == 30


class Endless(FrameList):
    def frames(self, stopping: threading.Event) -> Any:
        volume = 0
        while not stopping.wait(0.005):
            volume += 1
            yield from frames(volume)[-1:]


def test_stopping_ends_the_run_with_a_result_for_every_volume(tmp_path):
    stopping = threading.Event()
    seen: list[Any] = []

    def watch(document: Any) -> None:
        seen.append(document)
        if isinstance(document, Result) and document.volume == 5:
            stopping.set()

    plugin = run(counting(tmp_path), tmp_path, source=Endless([]), stopping=stopping, observers=(watch,))
    assert plugin.stop is not None
    assert plugin.stop.status == "aborted"
    received = [document.volume for document in seen if isinstance(document, VolumeReceived)]
    assert [result.volume for result in plugin.results] == received


class Broken(FrameList):
    def frames(self, stopping: threading.Event) -> Any:
        yield from frames(2)
        raise OSError("the share is gone")


def test_a_source_that_breaks_fails_the_run_after_its_volumes(tmp_path):
    plugin = StreamPlugin(tmp_path, source=Broken([]))
    with pytest.raises(RunError, match="the share is gone"):
        counting(tmp_path).run(plugin=plugin)
    assert [result.volume for result in plugin.results] == [1, 2]
    assert plugin.stop is not None
    assert plugin.stop.status == "failed"
    assert "the share is gone" in plugin.stop.reason


class FullDisk:
    def keep_frame(self, frame: Any) -> tuple[()]:
        if frame.volume == 3:
            raise OSError(28, "No space left on device")
        return ()

    def keep(self, document: Any) -> None:
        pass


def test_a_journal_that_cannot_be_written_fails_the_run(tmp_path):
    plugin = StreamPlugin(tmp_path, keeper=FullDisk())
    with pytest.raises(RunError, match="No space left"):
        counting(tmp_path, 9).run(plugin=plugin)
    assert [result.volume for result in plugin.results] == [1, 2]


class Display(StreamSink):
    channel = "display"
    input_spec = OneInput
    output_spec = HalfOutput

    def _run_interface(self, runtime: Any) -> Any:
        self._results["half"] = self.inputs.number
        return runtime

    def deliver(self, result: Result, outputs: Any) -> bool:
        if result.volume == 3:
            raise ConnectionError("nobody there")
        return bool(outputs)


def test_a_value_is_delivered_after_its_result_and_a_failed_delivery_is_told(tmp_path):
    flow = counting(tmp_path, 3, withhold_at=(1,))
    flow.connect(flow.get_node("sum"), "total", Node(Display(), name="display"), "number")
    seen: list[Any] = []
    run(flow, tmp_path, observers=(seen.append,))
    told = [
        msgspec.structs.asdict(d) | {"kind": type(d)} for d in seen if getattr(d, "volume", None) in (2, 3)
    ]
    order = [(d["kind"], d["volume"]) for d in told]
    assert order.index((Delivered, 2)) > order.index((Result, 2))
    assert (Delivered, 1) not in order
    (failed,) = [d for d in seen if isinstance(d, Event)]
    assert (failed.name, failed.volume, failed.node) == ("delivery_failed", 3, "display")
    assert "nobody there" in failed.data["error"]


class Leaves(Sum):
    ended: ClassVar[list[str]] = []

    def end_run(self) -> None:
        self.ended.append("ended")


@pytest.mark.parametrize("broken", [False, True])
def test_end_run_is_called_once_however_the_run_ends(tmp_path, broken):
    Leaves.ended.clear()
    flow = counting(tmp_path, 2)
    flow.connect(flow.get_node("number"), "number", Node(Leaves(), name="leaves"), "number")
    plugin = StreamPlugin(tmp_path, source=Broken([]) if broken else None)
    if broken:
        with pytest.raises(RunError):
            flow.run(plugin=plugin)
    else:
        flow.run(plugin=plugin)
    assert Leaves.ended == ["ended"]


def test_the_same_workflow_can_run_twice(tmp_path):
    flow = counting(tmp_path, 3)
    assert values(run(flow, tmp_path), "sum.total") == values(run(flow, tmp_path), "sum.total")


def test_an_empty_run_ends_well(tmp_path):
    plugin = run(counting(tmp_path, 0), tmp_path)
    assert plugin.results == []
    assert plugin.stop is not None
    assert plugin.stop.status == "completed"


class Hangs(Number):
    release = threading.Event()

    def _run_interface(self, runtime: Any) -> Any:
        if self.volume == 2:
            self.release.wait(60)
        return super()._run_interface(runtime)


def test_a_node_that_hangs_does_not_hold_the_end_of_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr("rtflow.stream.run._GRACE", 0.2)
    Hangs.release.clear()
    flow = counting(tmp_path, 5)
    flow.connect(flow.get_node("scanner"), "frame", Node(Hangs(), name="hangs"), "frame")
    stopping = threading.Event()
    seen: list[Any] = []

    def watch(document: Any) -> None:
        seen.append(document)
        if isinstance(document, VolumeReceived) and document.volume == 2:
            stopping.set()

    plugin = run(flow, tmp_path, stopping=stopping, observers=(watch,))
    Hangs.release.set()
    received = {document.volume for document in seen if isinstance(document, VolumeReceived)}
    assert {result.volume for result in plugin.results} == received
    assert plugin.results[-1].status == "failed"
    assert isinstance(seen[-1], RunStop)
    for thread in threading.enumerate():
        if thread.name.startswith("stage-"):
            thread.join(10)
    assert isinstance(seen[-1], RunStop)  # nothing was written behind it
