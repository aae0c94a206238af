"""Running a workflow once per volume: stock interfaces, policies, joins, and one Result for each volume."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import numpy as np
import psutil
import pytest
from nipype import Function, JoinNode, MapNode, Node, Workflow
from nipype.interfaces.base import (
    BaseInterface,
    BaseInterfaceInputSpec,
    CommandLine,
    CommandLineInputSpec,
    File,
    SimpleInterface,
    TraitedSpec,
    traits,
)
from streamtools import Number, Sum, counting, doubling, frames

from rtflow.documents import Delivered, Event, Result, RunStart, RunStop, VolumeMissing, VolumeReceived
from rtflow.errors import RunError
from rtflow.stream import StreamInterface, StreamPlugin, StreamSink, stream
from rtflow.testing import FrameList


def run(flow: Workflow, folder: Path, **options: Any) -> StreamPlugin:
    plugin = StreamPlugin(folder, **options)
    flow.run(plugin=plugin)
    return plugin


def values(plugin: StreamPlugin, name: str) -> list[Any]:
    return [result.values.get(name) for result in plugin.results]


def test_every_volume_runs_through_the_graph(tmp_path):
    plugin = run(counting(tmp_path, 4), tmp_path)
    assert values(plugin, "double.number") == [2.0, 6.0, 12.0, 20.0]
    assert [result.status for result in plugin.results] == ["ok"] * 4
    assert plugin.results[0].timings.keys() == {"number", "sum", "double"}
    assert plugin.stop is not None
    assert plugin.stop.status == "completed"
    assert plugin.stop.counts == {"ok": 4, "late": 0, "missing": 0, "failed": 0}


def test_documents_are_numbered_without_a_gap_and_in_order(tmp_path):
    seen: list[Any] = []
    run(counting(tmp_path, 3, (2,)), tmp_path, observers=(seen.append,))
    assert [document.seq for document in seen] == list(range(len(seen)))
    assert isinstance(seen[0], RunStart)
    assert isinstance(seen[-1], RunStop)
    for volume in (1, 2, 3):
        places = [
            (type(document), document.seq) for document in seen if getattr(document, "volume", None) == volume
        ]
        came, result = places
        assert came[0] is (VolumeMissing if volume == 2 else VolumeReceived)
        assert result[0] is Result
    assert len({document.run_uid for document in seen}) == 1


def test_an_observer_that_raises_is_dropped_and_nothing_else(tmp_path):
    calls = []

    def broken(document: Any) -> None:
        calls.append(document)
        raise OSError("the pipe is gone")

    plugin = run(counting(tmp_path, 3), tmp_path, observers=(broken,))
    assert len(calls) == 1
    assert len(plugin.results) == 3


def test_a_missing_volume_is_a_gap_for_stateful_nodes(tmp_path):
    plugin = run(counting(tmp_path, 4, missing=(2,)), tmp_path)
    assert [result.status for result in plugin.results] == ["ok", "missing", "ok", "ok"]
    assert plugin.results[1].values == {}
    assert plugin.results[1].reasons == ("lost on the way",)
    assert values(plugin, "sum.gaps") == ["", None, "2", "2"]
    assert values(plugin, "sum.total") == [1.0, None, 4.0, 8.0]


def test_a_failing_node_fails_its_volume_and_not_the_run(tmp_path):
    plugin = run(counting(tmp_path, 4, fail_at=(2,)), tmp_path)
    assert [result.status for result in plugin.results] == ["ok", "failed", "ok", "ok"]
    assert plugin.results[1].errors == {"sum": "ValueError: told to fail"}
    assert plugin.results[1].values == {"number.number": 2}
    assert plugin.stop is not None
    assert plugin.stop.counts["failed"] == 1


def test_skip_leaves_the_node_and_what_follows_out_and_counts_them(tmp_path):
    flow = counting(tmp_path, 3, fail_at=(2,))
    stream(flow.get_node("sum"), on_error="skip")
    plugin = run(flow, tmp_path)
    result = plugin.results[1]
    assert result.status == "ok"
    assert result.skipped == ("sum", "double")
    assert result.quality == "suspect"
    assert any("told to fail" in reason for reason in result.reasons)
    assert "sum.total" not in result.values


def test_last_repeats_the_last_values_and_marks_all_that_follows_as_stale(tmp_path):
    flow = counting(tmp_path, 3, fail_at=(2,))
    stream(flow.get_node("sum"), on_error="last")
    plugin = run(flow, tmp_path)
    assert values(plugin, "double.number") == [2.0, 2.0, 8.0]
    assert plugin.results[1].stale == ("sum.total", "sum.gaps", "double.number")
    assert plugin.results[1].quality == "suspect"
    assert plugin.results[2].stale == ()
    assert plugin.results[2].quality == "good"


def test_last_without_anything_to_repeat_is_a_skip(tmp_path):
    flow = counting(tmp_path, 2, fail_at=(1,))
    stream(flow.get_node("sum"), on_error="last")
    assert run(flow, tmp_path).results[0].skipped == ("sum", "double")


def test_a_withheld_output_is_no_error(tmp_path):
    plugin = run(counting(tmp_path, 3, withhold_at=(1, 2)), tmp_path)
    assert [(r.status, r.quality, r.skipped) for r in plugin.results] == [("ok", "good", ())] * 3
    assert values(plugin, "double.number") == [None, None, 12.0]


def test_a_doubt_makes_the_result_suspect_once(tmp_path):
    plugin = run(counting(tmp_path, 3, doubt_at=(2,)), tmp_path)
    assert [result.quality for result in plugin.results] == ["good", "suspect", "good"]
    assert plugin.results[1].reasons == ("sum: doubted",)


def test_a_doubt_of_a_failed_call_is_not_handed_on(tmp_path):
    flow = counting(tmp_path, 3, doubt_at=(2,), fail_at=(2,))
    plugin = run(flow, tmp_path)
    assert plugin.results[2].reasons == ()


def test_a_missed_deadline_in_a_thread_discards_what_came_too_late(tmp_path):
    flow = counting(tmp_path, 3, sleep_at={2: 0.3})
    stream(flow.get_node("sum"), deadline=0.15, on_error="last")
    events: list[Any] = []
    plugin = run(flow, tmp_path, observers=(events.append,))
    assert plugin.results[1].stale
    assert values(plugin, "sum.total")[2] == 6.0  # it ran, and its state went on
    (missed,) = [event for event in events if isinstance(event, Event)]
    assert (missed.name, missed.volume, missed.node) == ("deadline_missed", 2, "sum")
    assert missed.data == {"killed": False}


def test_a_late_result_says_so(tmp_path):
    events: list[Any] = []
    plugin = run(
        counting(tmp_path, 3, sleep_at={2: 0.3}),
        tmp_path,
        deadline=0.15,
        backlog=1,
        observers=(events.append,),
    )
    late = [result.volume for result in plugin.results if result.status == "late"]
    assert 2 in late
    assert plugin.results[1].margin is not None
    assert plugin.results[1].margin < 0
    assert [event.volume for event in events if isinstance(event, Event)] == late
    assert plugin.stop is not None
    assert plugin.stop.counts["late"] == len(late)


def square(number: float) -> float:
    return number**2


def test_function_on_an_edge_and_nested_workflow(tmp_path):
    inner = Workflow(name="inner")
    inner.connect(doubling("a"), "number", doubling("b"), "number")
    flow = counting(tmp_path, 3)
    flow.connect(flow.get_node("number"), ("number", square), inner, "a.number")
    assert values(run(flow, tmp_path), "inner.b.number") == [4.0, 16.0, 36.0]


def fails_on_two(number: float) -> float:
    if number == 2:
        raise ValueError("two")
    return number


def test_a_function_on_an_edge_that_raises_follows_the_policy_of_its_node(tmp_path):
    flow = counting(tmp_path, 3)
    flow.connect(
        flow.get_node("number"),
        ("number", fails_on_two),
        stream(doubling("edge"), on_error="last"),
        "number",
    )
    plugin = run(flow, tmp_path)
    assert values(plugin, "edge.number") == [2.0, 2.0, 6.0]
    assert plugin.results[1].stale == ("edge.number",)
    assert "function on the edge to 'number'" in plugin.results[1].reasons[0]


def scale_by(number: float, factor: float) -> float:
    return number * factor


def collect(numbers: list[float]) -> float:
    return float(sum(numbers))


def test_iterables_after_the_source_are_parallel_branches_that_may_join(tmp_path):
    flow = counting(tmp_path, 3)
    scale = Node(
        Function(function=scale_by, input_names=["number", "factor"], output_names=["scaled"]), name="scale"
    )
    scale.iterables = ("factor", [2, 3])
    both = JoinNode(
        Function(function=collect, input_names=["numbers"], output_names=["sum"]),
        joinsource="scale",
        joinfield=["numbers"],
        name="both",
    )
    flow.connect(
        [(flow.get_node("sum"), scale, [("total", "number")]), (scale, both, [("scaled", "numbers")])]
    )
    plugin = run(flow, tmp_path)
    assert values(plugin, "scale[factor_2].scaled") == [2.0, 6.0, 12.0]
    assert values(plugin, "scale[factor_3].scaled") == [3.0, 9.0, 18.0]
    assert values(plugin, "both.sum") == [5.0, 15.0, 30.0]


def average(numbers: list[float]) -> float:
    return sum(numbers) / len(numbers)


def test_a_join_runs_once_at_the_end_on_what_came(tmp_path):
    flow = counting(tmp_path, 4, missing=(3,), withhold_at=(1,))
    mean = JoinNode(
        Function(function=average, input_names=["numbers"], output_names=["mean"]),
        joinsource="scanner",
        joinfield=["numbers"],
        name="mean",
    )
    flow.connect(flow.get_node("sum"), "total", mean, "numbers")
    flow.connect(mean, "mean", doubling("late"), "number")
    plugin = run(flow, tmp_path)
    assert plugin.stop is not None
    assert plugin.stop.values == {"mean.mean": (3 + 7) / 2, "late.number": 10.0}
    assert "mean.mean" not in plugin.results[-1].values


def write_number(number: float) -> str:
    from pathlib import Path

    Path("number.txt").write_text(str(number))
    return str(Path("number.txt").absolute())


def read_numbers(paths: list[str]) -> str:
    from pathlib import Path

    return " ".join(Path(path).read_text() for path in paths)


def test_a_function_writes_into_a_folder_of_its_volume_and_late_nodes_get_the_paths(tmp_path):
    flow = counting(tmp_path, 3)
    write = Node(Function(function=write_number, input_names=["number"], output_names=["path"]), name="write")
    late = JoinNode(
        Function(function=read_numbers, input_names=["paths"], output_names=["text"]),
        joinsource="scanner",
        joinfield=["paths"],
        name="late",
    )
    flow.connect(
        [(flow.get_node("number"), write, [("number", "number")]), (write, late, [("path", "paths")])]
    )
    plugin = run(flow, tmp_path)
    assert plugin.stop is not None
    assert plugin.stop.values["late.text"] == "1 2 3"
    assert "write.path" not in plugin.results[0].values  # a path says where, not what


def test_map_node_at_the_end(tmp_path):
    flow = counting(tmp_path, 3)
    late = JoinNode(
        Function(function=same_list, input_names=["numbers"], output_names=["numbers"]),
        joinsource="scanner",
        joinfield=["numbers"],
        name="all",
    )
    each = MapNode(
        Function(function=square, input_names=["number"], output_names=["square"]),
        iterfield=["number"],
        name="each",
    )
    total = Node(Function(function=collect, input_names=["numbers"], output_names=["sum"]), name="total")
    flow.connect(
        [
            (flow.get_node("number"), late, [("number", "numbers")]),
            (late, each, [("numbers", "number")]),
            (each, total, [("square", "numbers")]),
        ]
    )
    plugin = run(flow, tmp_path)
    assert plugin.stop is not None
    assert plugin.stop.values["total.sum"] == 14.0


def same_list(numbers: list[float]) -> list[float]:
    return numbers


def slow_once(folder: str) -> int:
    from pathlib import Path

    (Path(folder) / f"ran-{len(list(Path(folder).iterdir()))}").touch()
    return 10


def test_nodes_at_set_up_run_once_and_are_cached_by_stock_nipype(tmp_path):
    marks = tmp_path / "marks"
    marks.mkdir()
    for _ in range(2):
        flow = counting(tmp_path, 2)
        constant = Node(
            Function(function=slow_once, input_names=["folder"], output_names=["factor"]), name="constant"
        )
        constant.inputs.folder = str(marks)
        scale = Node(
            Function(function=scale_by, input_names=["number", "factor"], output_names=["scaled"]),
            name="scale",
        )
        flow.connect(
            [
                (constant, scale, [("factor", "factor")]),
                (flow.get_node("number"), scale, [("number", "number")]),
            ]
        )
        assert values(run(flow, tmp_path), "scale.scaled") == [10, 20]
    assert len(list(marks.iterdir())) == 1


def raising() -> None:
    raise ValueError("no such atlas")


def test_a_node_that_fails_at_set_up_ends_the_run_with_a_run_stop(tmp_path):
    flow = counting(tmp_path, 2)
    flow.add_nodes([Node(Function(function=raising, input_names=[], output_names=["x"]), name="atlas")])
    plugin = StreamPlugin(tmp_path)
    with pytest.raises(RunError, match=r"atlas: failed at set-up: .*no such atlas"):
        flow.run(plugin=plugin)
    assert plugin.stop is not None
    assert plugin.stop.status == "failed"


class _BaseInput(BaseInterfaceInputSpec):
    number = traits.Float(mandatory=True)


class _BaseOutput(TraitedSpec):
    half = traits.Float()


class Half(BaseInterface):
    input_spec = _BaseInput
    output_spec = _BaseOutput

    def _run_interface(self, runtime: Any) -> Any:
        self._half = self.inputs.number / 2
        return runtime

    def _list_outputs(self) -> dict[str, Any]:
        return {"half": self._half}


class _ThreeOutput(TraitedSpec):
    third = traits.Float()
    odd = traits.Float()


class Third(SimpleInterface):
    input_spec = _BaseInput
    output_spec = _ThreeOutput

    def _run_interface(self, runtime: Any) -> Any:
        self._results["third"] = self.inputs.number / 3
        if self.inputs.number % 2:
            self._results["odd"] = self.inputs.number
        return runtime


def test_stock_base_and_simple_interfaces(tmp_path):
    flow = counting(tmp_path, 3)
    number = flow.get_node("number")
    flow.connect(number, "number", Node(Half(), name="half"), "number")
    flow.connect(number, "number", Node(Third(), name="third"), "number")
    plugin = run(flow, tmp_path)
    assert values(plugin, "half.half") == [0.5, 1.0, 1.5]
    assert values(plugin, "third.odd") == [1.0, None, 3.0]  # no value of an earlier volume leaks


class _CopyInput(CommandLineInputSpec):
    text = traits.Str(argstr="%s", position=0, mandatory=True)
    out_file = File("out.txt", usedefault=True, argstr="> %s", position=1)


class _CopyOutput(TraitedSpec):
    out_file = File(exists=True)


class Echo(CommandLine):
    _cmd = "echo"
    input_spec = _CopyInput
    output_spec = _CopyOutput

    def _list_outputs(self) -> dict[str, Any]:
        return {"out_file": str(Path.cwd() / self.inputs.out_file)}


def read_text(path: str) -> str:
    from pathlib import Path

    return Path(path).read_text().strip()


def as_text(number: int) -> str:
    return f"volume {number}"


def test_a_command_line_has_a_folder_for_each_volume(tmp_path):
    flow = counting(tmp_path, 3)
    echo = Node(Echo(), name="echo")
    read = Node(Function(function=read_text, input_names=["path"], output_names=["text"]), name="read")
    flow.connect(
        [
            (flow.get_node("number"), echo, [(("number", as_text), "text")]),
            (echo, read, [("out_file", "path")]),
        ]
    )
    plugin = run(flow, tmp_path)
    assert values(plugin, "read.text") == ["volume 1", "volume 2", "volume 3"]
    assert len(list((plugin.context.run_dir / "work" / "echo").glob("volume-*/out.txt"))) == 3


def exit_status(number: int) -> str:
    return f"-c 'echo trouble >&2; exit {number - 1}'"


def test_a_command_that_ends_with_a_non_zero_status_fails_its_volume(tmp_path):
    flow = counting(tmp_path, 2)
    flow.connect(
        flow.get_node("number"), ("number", exit_status), Node(CommandLine("sh"), name="shell"), "args"
    )
    plugin = run(flow, tmp_path)
    assert [result.status for result in plugin.results] == ["ok", "failed"]
    assert "status 1: trouble" in plugin.results[1].errors["shell"]


def hang_on_two(number: int) -> str:
    # A child that leaves its group, and a grandchild: both must be gone afterwards.
    return "-c 'setsid sleep 987.5 & sleep 987.5'" if number == 2 else "-c true"


def sleepers() -> list[psutil.Process]:
    return [p for p in psutil.process_iter(["cmdline"]) if "987.5" in (p.info["cmdline"] or [])]


def test_a_command_that_hangs_is_killed_with_all_that_it_started(tmp_path):
    flow = counting(tmp_path, 3)
    shell = stream(Node(CommandLine("sh"), name="shell"), deadline=1.0)
    flow.connect(flow.get_node("number"), ("number", hang_on_two), shell, "args")
    plugin = run(flow, tmp_path)
    assert [result.status for result in plugin.results] == ["ok", "failed", "ok"]
    assert "killed" in plugin.results[1].errors["shell"]
    assert sleepers() == []


def test_a_worker_keeps_state_over_its_death_and_over_a_kill(tmp_path):
    flow = counting(tmp_path, 7, kill_at=(3,), sleep_at={5: 60.0})
    stream(flow.get_node("sum"), mode="process", deadline=1.0, on_error="skip")
    events: list[Any] = []
    plugin = run(flow, tmp_path, observers=(events.append,))
    assert values(plugin, "sum.total") == [1.0, 3.0, None, 7.0, None, 13.0, 20.0]
    assert values(plugin, "sum.gaps")[-1] == "3 5"
    told = [(event.name, event.volume) for event in events if isinstance(event, Event)]
    assert told == [("worker_lost", 3), ("deadline_missed", 5)]


class _ArrayInput(BaseInterfaceInputSpec):
    number = traits.Float(mandatory=True)


class _ArrayOutput(TraitedSpec):
    data = traits.Any()
    rest = traits.Any()


class MakeArray(SimpleInterface):
    input_spec = _ArrayInput
    output_spec = _ArrayOutput

    def _run_interface(self, runtime: Any) -> Any:
        number = self.inputs.number
        # Larger with every volume: the shared memory must grow.
        self._results["data"] = np.full((int(number) * 100, 100), number, order="F")
        self._results["rest"] = {"small": np.arange(3), "empty": np.zeros((0, 4))}
        return runtime


class _CheckInput(BaseInterfaceInputSpec):
    data = traits.Any(mandatory=True)
    rest = traits.Any(mandatory=True)


class _CheckOutput(TraitedSpec):
    sum = traits.Float()
    writeable = traits.Bool()


class CheckArray(SimpleInterface):
    input_spec = _CheckInput
    output_spec = _CheckOutput

    def _run_interface(self, runtime: Any) -> Any:
        assert self.inputs.rest["empty"].shape == (0, 4)
        self._results["sum"] = float(self.inputs.data.sum())
        self._results["writeable"] = bool(self.inputs.data.flags.writeable)
        return runtime


@pytest.mark.parametrize("mode", ["thread", "process"])
def test_arrays_between_nodes_are_whole_and_read_only(tmp_path, mode):
    flow = counting(tmp_path, 4)
    make = stream(Node(MakeArray(), name="make"), mode=mode)
    check = Node(CheckArray(), name="check")
    flow.connect(
        [
            (flow.get_node("number"), make, [("number", "number")]),
            (make, check, [("data", "data"), ("rest", "rest")]),
        ]
    )
    plugin = run(flow, tmp_path)
    assert values(plugin, "check.sum") == [1e4, 4e4, 9e4, 16e4]
    assert values(plugin, "check.writeable") == [False] * 4


class Slow(Number):
    """Takes its time, and says when it ran, and where."""

    def _run_interface(self, runtime: Any) -> Any:
        began = time.perf_counter()
        time.sleep(0.05)
        super()._run_interface(runtime)
        self._results["span"] = (began, time.perf_counter())
        return runtime


def test_stages_overlap_and_keep_the_order(tmp_path):
    flow = counting(tmp_path, 8)
    spans: dict[str, list[tuple[float, float]]] = {"one": [], "two": []}

    class Watch(StreamInterface):
        input_spec = _BaseInput
        output_spec = _BaseOutput

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
    input_spec = _BaseInput
    output_spec = _BaseOutput

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
