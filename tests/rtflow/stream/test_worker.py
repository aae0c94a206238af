"""Worker processes: what is lost with one, what is not, and that nothing of it stays behind."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from nipype import Node, Workflow
from nipype.interfaces.base import CommandLine
from streamtools import Counter, Number, Sum, counting

from rtflow.documents import Event
from rtflow.errors import RunError
from rtflow.stream import StreamPlugin, stream
from rtflow.stream.executor import Decisions, Step


def summing(tmp_path: Path, node: Any, count: int = 5, **options: Any) -> Workflow:
    """scanner -> number -> sum, in a process."""
    number = Node(Number(), name="number")
    flow = Workflow(name="summing", base_dir=str(tmp_path))
    total = stream(Node(node, name="sum"), mode="process", **{"on_error": "skip", **options})
    flow.connect(
        [
            (Node(Counter(count=count), name="scanner"), number, [("frame", "frame")]),
            (number, total, [("number", "number")]),
        ]
    )
    return flow


def run(flow: Workflow, folder: Path, **options: Any) -> tuple[StreamPlugin, list[Event]]:
    seen: list[Any] = []
    plugin = StreamPlugin(folder, observers=(seen.append,), **options)
    flow.run(plugin=plugin)
    return plugin, [document for document in seen if isinstance(document, Event)]


def named(mark: str) -> list[psutil.Process]:
    return [
        process
        for process in psutil.process_iter(["cmdline", "status"])
        if mark in (process.info["cmdline"] or []) and process.info["status"] != psutil.STATUS_ZOMBIE
    ]


class ChangesThenFails(Sum):
    """Volume 2 fails when it has changed the state already, and has said a doubt."""

    def _run_interface(self, runtime: Any) -> Any:
        if self.volume == 2:
            self._total += 100
            self.doubt("of volume 2")
            raise ValueError("half done")
        return super()._run_interface(runtime)


def test_a_call_that_fails_leaves_the_same_state_live_killed_and_replayed(tmp_path):
    live, events = run(summing(tmp_path, ChangesThenFails(kill_at=(3,))), tmp_path)
    assert [event.name for event in events] == ["worker_lost"]
    replayed, again = run(summing(tmp_path, ChangesThenFails()), tmp_path, decisions=Decisions(events))
    assert [r.values.get("sum.total") for r in live.results] == [1.0, None, None, 105.0, 110.0]
    assert [r.values_sha256 for r in replayed.results] == [r.values_sha256 for r in live.results]
    assert again == []


def test_a_doubt_of_a_failed_call_in_a_process_is_not_handed_on(tmp_path):
    plugin, _ = run(summing(tmp_path, ChangesThenFails(), 3), tmp_path)
    assert plugin.results[2].reasons == ()


class RefusesGaps(Sum):
    def gap(self, volume: int) -> None:
        super().gap(volume)
        raise ValueError("no gaps")


def test_a_gap_that_raises_after_a_kill_is_told_and_the_worker_goes_on(tmp_path):
    live, events = run(summing(tmp_path, RefusesGaps(kill_at=(2,)), 4), tmp_path)
    replayed, _ = run(summing(tmp_path, RefusesGaps(), 4), tmp_path, decisions=Decisions(events))
    for plugin in (live, replayed):
        assert [r.values.get("sum.total") for r in plugin.results] == [1.0, None, 4.0, 8.0]
        assert plugin.results[2].reasons == ("gap of volume 2: ValueError: no gaps (test_worker.py line 81)",)
        assert [r.status for r in plugin.results] == ["ok"] * 4
        assert [r.quality for r in plugin.results] == ["good", "suspect", "suspect", "good"]


class SlowGap(Sum):
    def gap(self, volume: int) -> None:
        if not Path(self.inputs.sleep_at["mark"]).exists():
            Path(self.inputs.sleep_at["mark"]).touch()
            time.sleep(60)
        super().gap(volume)


def test_a_gap_that_is_killed_is_told_to_the_next_process(tmp_path):
    flow = summing(tmp_path, SlowGap(sleep_at={"mark": str(tmp_path / "mark")}), deadline=1.0)
    flow.get_node("scanner").inputs.missing = (2,)
    plugin, events = run(flow, tmp_path)
    assert [r.values.get("sum.gaps") for r in plugin.results] == ["", None, "2", "2", "2"]
    assert [r.errors for r in plugin.results] == [{}] * 5
    assert events == []


class Tells(Sum):
    def start_run(self, context: Any) -> None:
        super().start_run(context)
        self.emit = context.emit
        self.emit(Event(name="began"))

    def _run_interface(self, runtime: Any) -> Any:
        self.emit(Event(name="saw", volume=self.volume))
        return super()._run_interface(runtime)

    def end_run(self) -> None:
        self.emit(Event(name="ended"))


def test_events_of_a_worker_reach_the_journal(tmp_path):
    _, events = run(summing(tmp_path, Tells(), 2), tmp_path)
    assert [(event.name, event.volume) for event in events] == [
        ("began", None),
        ("saw", 1),
        ("saw", 2),
        ("ended", None),
    ]


def test_the_end_of_a_run_reaches_a_node_whose_worker_was_killed_last(tmp_path):
    _, events = run(summing(tmp_path, Tells(kill_at=(2,)), 2), tmp_path)
    assert events[-1].name == "ended"


class CannotBegin(Sum):
    def start_run(self, context: Any) -> None:
        raise OSError("no such model")


class CannotEnd(Sum):
    def end_run(self) -> None:
        raise OSError("no room for the model")


@pytest.mark.parametrize(
    ("node", "says"),
    [
        (CannotBegin(), r"sum: its worker process did not start: OSError: no such model"),
        (CannotEnd(), None),
    ],
)
def test_what_a_node_raises_at_its_beginning_or_end_is_told_and_no_traceback(tmp_path, capfd, node, says):
    plugin = StreamPlugin(tmp_path)
    if says:
        with pytest.raises(RunError, match=says):
            summing(tmp_path, node, 2).run(plugin=plugin)
    else:
        summing(tmp_path, node, 2).run(plugin=plugin)
    assert plugin.stop is not None
    assert plugin.stop.status == "failed"
    assert "no such model" in plugin.stop.reason or "no room for the model" in plugin.stop.reason
    assert "Traceback" not in capfd.readouterr().err


class DiesBesideAChild(Sum):
    """The worker ends by itself, while a program that it started holds on to all that it inherits."""

    def _run_interface(self, runtime: Any) -> Any:
        if self.volume == 2:
            subprocess.Popen(["sleep", "986.25"], close_fds=False)
            os._exit(3)
        return super()._run_interface(runtime)


def test_a_worker_that_dies_is_noticed_at_once_and_takes_its_children_with_it(tmp_path):
    plugin, events = run(summing(tmp_path, DiesBesideAChild(), 3, deadline=50.0), tmp_path)
    assert [event.name for event in events] == ["worker_lost"]
    assert "status 3" in plugin.results[1].reasons[0]
    assert named("986.25") == []


def breeding(number: int) -> str:
    return "-c 'while :; do setsid sleep 985.25 & done'" if number == 2 else "-c true"


def test_a_command_that_starts_programs_faster_than_they_are_found(tmp_path):
    flow = counting(tmp_path, 2)
    shell = stream(Node(CommandLine("sh"), name="shell"), deadline=0.3)
    flow.connect(flow.get_node("number"), ("number", breeding), shell, "args")
    run(flow, tmp_path)
    assert named("985.25") == []


def test_a_kill_does_not_wait_for_what_is_dead(tmp_path, monkeypatch):
    waits: list[float] = []
    monkeypatch.setattr(
        "rtflow.stream.descendants.time.sleep",
        lambda seconds: (waits.append(seconds), threading.Event().wait(seconds)),
    )
    flow = counting(tmp_path, 2)
    shell = stream(Node(CommandLine("sh"), name="shell"), deadline=0.3)
    flow.connect(flow.get_node("number"), ("number", sleeping), shell, "args")
    run(flow, tmp_path)
    # A killed child of a stopped process stays a zombie: it must not be waited for up to the limit.
    assert sum(waits) < 1


def sleeping(number: int) -> str:
    return "-c 'sleep 984.25'" if number == 2 else "-c true"


def leaving(number: int) -> str:
    return "-c 'setsid true &'"


class Zombies(Number):
    """How many of our descendants are dead, and waited for by nobody."""

    def _run_interface(self, runtime: Any) -> Any:
        descendants = psutil.Process().children(recursive=True)
        dead = [process for process in descendants if process.status() == psutil.STATUS_ZOMBIE]
        self._results["number"] = len(dead)
        return runtime


def test_orphans_that_have_ended_do_not_pile_up(tmp_path):
    flow = counting(tmp_path, 30)
    number = flow.get_node("number")
    flow.connect(number, ("number", leaving), Node(CommandLine("sh"), name="shell"), "args")
    flow.connect(flow.get_node("scanner"), "frame", Node(Zombies(), name="zombies"), "frame")
    plugin = StreamPlugin(tmp_path)
    flow.run(plugin=plugin)
    assert plugin.results[-1].values["zombies.number"] < 10


def wait_for_stages() -> None:
    for thread in threading.enumerate():
        if thread.name.startswith("stage-"):
            thread.join(10)


def test_a_run_that_is_given_up_leaves_no_worker_behind(tmp_path, monkeypatch):
    monkeypatch.setattr("rtflow.stream.run._GRACE", 0.2)
    abandon = Step.abandon

    def abandon_and_wait(step: Step) -> None:
        abandon(step)
        if step.name == "sum":
            wait_for_stages()  # the stage hears that its worker is gone before the run has ended

    monkeypatch.setattr(Step, "abandon", abandon_and_wait)
    stopping = threading.Event()
    flow = summing(tmp_path, Sum(sleep_at={2: 600.0}), deadline=500.0)
    seen: list[Any] = []
    plugin = StreamPlugin(tmp_path, stopping=stopping, observers=(seen.append,))
    before = set(psutil.Process().children())

    def stop_in_volume_two() -> None:
        while not any(type(d).__name__ == "VolumeReceived" and d.volume == 2 for d in list(seen)):
            threading.Event().wait(0.01)
        threading.Event().wait(0.3)
        stopping.set()

    stopper = threading.Thread(target=stop_in_volume_two)
    stopper.start()
    flow.run(plugin=plugin)
    stopper.join()
    wait_for_stages()
    assert set(psutil.Process().children()) <= before
    assert plugin.stop is not None
    assert plugin.stop.status == "aborted"
    assert [r.status for r in plugin.results[:2]] == ["ok", "failed"]
    received = {d.volume for d in seen if type(d).__name__ == "VolumeReceived"}
    assert sorted(r.volume for r in plugin.results) == sorted(received)
