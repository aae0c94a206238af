"""Whatever breaks around a volume, it ends in one Result, and the run in one RunStop."""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from nipype import Function, JoinNode, Node
from streamtools import Number, Sum, counting, doubling, frames
from threadpoolctl import threadpool_info

from rtflow.documents import Event, Frame, Result, RunStop, VolumeReceived
from rtflow.errors import RunError
from rtflow.journal import Journal, Recording
from rtflow.stream import RunContext, StreamPlugin, stream
from rtflow.testing import FrameList


class Leaves(Sum):
    """Calls sys.exit(0) for volume 2, as scripts do."""

    def _run_interface(self, runtime: Any) -> Any:
        if self.volume == 2:
            sys.exit(0)
        return super()._run_interface(runtime)


def test_a_node_that_calls_exit_fails_its_volume(tmp_path):
    flow = counting(tmp_path, 3)
    flow.connect(flow.get_node("number"), "number", Node(Leaves(), name="leaves"), "number")
    plugin = StreamPlugin(tmp_path)
    flow.run(plugin=plugin)
    assert [result.status for result in plugin.results] == ["ok", "failed", "ok"]
    assert plugin.results[1].errors["leaves"].startswith("SystemExit: 0 (test_faults.py line ")


def exits() -> int:
    import sys

    sys.exit(0)


def test_a_node_at_set_up_that_calls_exit_fails_the_run(tmp_path):
    flow = counting(tmp_path, 2)
    early = Node(Function(function=exits, output_names=["number"]), name="early")
    flow.connect(early, "number", doubling("after"), "number")
    plugin = StreamPlugin(tmp_path)
    with pytest.raises(RunError, match="SystemExit"):
        flow.run(plugin=plugin)
    assert plugin.stop is not None
    assert plugin.stop.status == "failed"


class Odd(Sum):
    """Publishes what does not fit into a document, and says what is no text."""

    def _run_interface(self, runtime: Any) -> Any:
        super()._run_interface(runtime)
        if self.volume == 2:
            self._results["huge"] = 2**70
            self._results["broken"] = "caf\udce9"
            self.doubt("a file called caf\udce9")
        if self.volume == 3:
            raise OSError("no file called caf\udce9")
        return runtime


def test_values_and_messages_that_no_document_can_hold_do_not_end_the_run(tmp_path):
    flow = counting(tmp_path, 4)
    flow.connect(flow.get_node("number"), "number", Node(Odd(), name="odd"), "number")
    journal = Journal(tmp_path / "run")
    plugin = StreamPlugin(tmp_path, keeper=journal)
    flow.run(plugin=plugin)
    journal.close()
    assert [result.status for result in plugin.results] == ["ok", "ok", "failed", "ok"]
    second = Recording(tmp_path / "run").results[1]
    assert second.values["odd.huge"] == float(2**70)
    assert second.values["odd.broken"] == "caf\\udce9"
    assert second.reasons == ("a file called caf\\udce9",)
    assert second.values_sha256 == plugin.results[1].values_sha256


class BreaksBehind(FrameList):
    """Raises when the graph has two volumes to work on still."""

    def frames(self, stopping: threading.Event) -> Iterator[Frame]:
        yield from frames(3)
        raise OSError("the share is gone")


def test_what_came_before_the_source_broke_is_finished(tmp_path):
    plugin = StreamPlugin(tmp_path, source=BreaksBehind([]), backlog=3)
    with pytest.raises(RunError, match="the share is gone"):
        counting(tmp_path, sleep_at={1: 0.2}).run(plugin=plugin)
    assert [result.status for result in plugin.results] == ["ok"] * 3
    assert plugin.stop is not None
    assert plugin.stop.status == "failed"


class Given(FrameList):
    def __init__(self, numbers: list[int]) -> None:
        super().__init__([frames(number)[-1] for number in numbers])


@pytest.mark.parametrize(
    ("numbers", "good"), [([1, 2, 2, 3], 2), ([1, 3], 1), ([2, 3], 0), ([1, 2, 1], 2)], ids=str
)
def test_a_source_that_cannot_count_fails_the_run(tmp_path, numbers, good):
    plugin = StreamPlugin(tmp_path, source=Given(numbers))
    with pytest.raises(RunError, match=r"the source gave volume \d after volume \d"):
        counting(tmp_path).run(plugin=plugin)
    assert [result.volume for result in plugin.results] == list(range(1, good + 1))


def test_what_a_source_holds_is_closed_before_the_run_is_over(tmp_path):
    told: list[str] = []

    class Holds(FrameList):
        def frames(self, stopping: threading.Event) -> Iterator[Frame]:
            try:
                yield from frames(9)
            finally:
                told.append("closed")

    stopping = threading.Event()

    class Full:
        def keep_frame(self, frame: Frame) -> tuple[()]:
            if frame.volume == 3:
                raise OSError(28, "No space left on device")
            return ()

        def keep(self, document: Any) -> None:
            if isinstance(document, RunStop):
                told.append("stopped")

    plugin = StreamPlugin(tmp_path, source=Holds([]), keeper=Full(), stopping=stopping)
    with pytest.raises(RunError, match="No space left"):
        counting(tmp_path).run(plugin=plugin)
    assert told == ["closed", "stopped"]


def fails_on_two(number: float) -> float:
    if number == 2:
        raise ValueError("two")
    return number


def average(numbers: list[float]) -> float:
    return sum(numbers) / len(numbers)


def test_a_function_on_an_edge_into_a_join_fails_the_end_and_no_volume(tmp_path):
    flow = counting(tmp_path, 4)
    mean = JoinNode(
        Function(function=average, input_names=["numbers"], output_names=["mean"]),
        joinsource="scanner",
        joinfield=["numbers"],
        name="mean",
    )
    flow.connect(flow.get_node("number"), ("number", fails_on_two), mean, "numbers")
    plugin = StreamPlugin(tmp_path)
    with pytest.raises(RunError, match="mean: failed at the end of the run: ValueError: two"):
        flow.run(plugin=plugin)
    assert [result.status for result in plugin.results] == ["ok"] * 4


def test_an_observer_that_blocks_holds_up_nobody(tmp_path, monkeypatch):
    monkeypatch.setattr("rtflow.stream.run._ONLOOKERS_LIMIT", 0.1)
    release = threading.Event()
    seen: list[Any] = []

    def blocks(document: Any) -> None:
        release.wait()

    plugin = StreamPlugin(tmp_path, observers=(blocks, seen.append))
    counting(tmp_path, 5).run(plugin=plugin)
    release.set()
    assert plugin.stop is not None
    assert plugin.stop.status == "completed"
    assert [document.volume for document in seen if isinstance(document, Result)] == [1, 2, 3, 4, 5]
    assert isinstance(seen[-1], RunStop)


class Cores(Number):
    """On how many threads the libraries of linear algebra would compute here."""

    def _run_interface(self, runtime: Any) -> Any:
        importlib.import_module("sklearn.linear_model")  # late, as nodes do, and with it BLAS and OpenMP
        self._results["number"] = max(library["num_threads"] for library in threadpool_info())
        return runtime


def test_linear_algebra_runs_on_one_thread_in_every_stage(tmp_path):
    before = [(library["filepath"], library["num_threads"]) for library in threadpool_info()]
    flow = counting(tmp_path, 2)
    flow.connect(flow.get_node("scanner"), "frame", Node(Cores(), name="cores"), "frame")
    plugin = StreamPlugin(tmp_path)
    flow.run(plugin=plugin)
    assert [result.errors for result in plugin.results] == [{}, {}]
    assert [result.values["cores.number"] for result in plugin.results] == [1, 1]
    after = {library["filepath"]: library["num_threads"] for library in threadpool_info()}
    assert [(path, after[path]) for path, _ in before] == before


class Hangs(Number):
    release = threading.Event()

    def _run_interface(self, runtime: Any) -> Any:
        if self.volume == 2:
            self.release.wait(60)
        return super()._run_interface(runtime)


def test_what_comes_back_after_the_end_calls_no_more_nodes(tmp_path, monkeypatch):
    monkeypatch.setattr("rtflow.stream.run._GRACE", 0.2)
    Hangs.release.clear()
    ended: list[str] = []

    class After(Sum):
        def _run_interface(self, runtime: Any) -> Any:
            ended.append(f"call {self.volume}")
            return super()._run_interface(runtime)

        def end_run(self) -> None:
            ended.append("end")

    flow = counting(tmp_path, 5)
    hangs = Node(Hangs(), name="hangs")
    flow.connect(flow.get_node("scanner"), "frame", hangs, "frame")
    flow.connect(hangs, "number", Node(After(), name="zz_after"), "number")
    stopping = threading.Event()
    seen: list[Any] = []

    def watch(document: Any) -> None:
        seen.append(document)
        if isinstance(document, VolumeReceived) and document.volume == 2:
            stopping.set()

    plugin = StreamPlugin(tmp_path, stopping=stopping, observers=(watch,))
    flow.run(plugin=plugin)
    Hangs.release.set()
    for thread in threading.enumerate():
        if thread.name.startswith("stage-"):
            thread.join(10)
    assert ended == ["call 1", "end"]
    assert not [document for document in seen if isinstance(document, Event)]
    received = [document.volume for document in seen if isinstance(document, VolumeReceived)]
    assert [result.volume for result in plugin.results] == received


def throw_dice(number: int) -> float:
    import random

    import numpy

    return random.random() + float(numpy.random.normal())


@pytest.mark.parametrize("mode", ["thread", "process"])
def test_chance_in_a_plain_function_comes_from_the_seed_of_the_run(tmp_path, mode):
    thrown = []
    for seed in (1, 1, 2):
        flow = counting(tmp_path, 3)
        dice = Function(function=throw_dice, input_names=["number"], output_names=["dice"])
        flow.connect(flow.get_node("number"), "number", stream(Node(dice, name="dice"), mode=mode), "number")
        run_dir = tmp_path / f"run-{len(thrown)}"
        context = RunContext("run", run_dir, tmp_path / "bids", tmp_path / "session", seed=seed)
        plugin = StreamPlugin(context=context)
        flow.run(plugin=plugin)
        thrown.append([result.values["dice.dice"] for result in plugin.results])
    assert thrown[0] == thrown[1]
    assert thrown[0] != thrown[2]
    assert len(set(thrown[0])) == 3
