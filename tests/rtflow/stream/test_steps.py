"""Nodes at set-up and at the end tell that they begin, and how they end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from nipype import Function, JoinNode, Node, Workflow
from streamtools import counting, read_text, run, write_number

from rtflow.documents import Event, Result, VolumeReceived
from rtflow.errors import RunError


def fail(numbers: list[float]) -> float:
    raise ValueError(f"{len(numbers)} volumes are too few")


def total(numbers: list[float]) -> float:
    return sum(numbers)


def before_and_after(tmp_path: Path, last: Any = total) -> Workflow:
    flow = counting(tmp_path, 2)
    first = Node(Function(function=write_number, input_names=["number"], output_names=["path"]), name="first")
    first.inputs.number = 2.0
    read = Node(Function(function=read_text, input_names=["path"], output_names=["text"]), name="read")
    end = JoinNode(
        Function(function=last, input_names=["numbers"], output_names=["sum"]),
        joinsource="scanner",
        joinfield=["numbers"],
        name="end",
    )
    flow.connect([(first, read, [("path", "path")]), (flow.get_node("sum"), end, [("total", "numbers")])])
    return flow


def steps(documents: list[Any]) -> list[dict[str, Any]]:
    found = [one for one in documents if isinstance(one, Event) and one.name == "step"]
    assert all(one.node == one.data["node"] for one in found)
    return [one.data for one in found]


def test_each_node_at_set_up_and_at_the_end_tells_that_it_begins_and_that_it_is_done(tmp_path):
    seen: list[Any] = []
    run(before_and_after(tmp_path), tmp_path, observers=(seen.append,))
    assert [(one["when"], one["node"], one["state"]) for one in steps(seen)] == [
        ("set-up", "first", "begun"),
        ("set-up", "first", "done"),
        ("set-up", "read", "begun"),
        ("set-up", "read", "done"),
        ("end", "end", "begun"),
        ("end", "end", "done"),
    ]
    assert all((one["state"] == "begun") == ("milliseconds" not in one) for one in steps(seen))
    kinds = [type(one) if not isinstance(one, Event) else one.data["when"] for one in seen]
    assert kinds.index("set-up") < kinds.index(VolumeReceived)
    assert kinds.index("end") > len(kinds) - 1 - kinds[::-1].index(Result)


def test_a_failure_is_told_in_full(tmp_path):
    seen: list[Any] = []
    with pytest.raises(RunError):
        run(before_and_after(tmp_path, fail), tmp_path, observers=(seen.append,))
    last = steps(seen)[-1]
    assert (last["when"], last["node"], last["state"]) == ("end", "end", "failed")
    assert "2 volumes are too few" in last["error"]
    assert "Traceback" in last["error"]


def test_a_failure_at_set_up_is_told_before_the_run_stops(tmp_path):
    flow, seen = before_and_after(tmp_path), []
    flow.get_node("first").inputs.number = [1.0]
    flow.get_node("read").interface.inputs.function_str = "def read_text(path):\n    raise OSError('no')\n"
    with pytest.raises(RunError):
        run(flow, tmp_path, observers=(seen.append,))
    assert [one["state"] for one in steps(seen)] == ["begun", "done", "begun", "failed"]
    assert "OSError: no" in steps(seen)[-1]["error"]
