"""Edges, nested workflows, iterables, joins, nodes at set-up and at the end, as stock Nipype means them."""

from __future__ import annotations

import pytest
from nipype import Function, JoinNode, MapNode, Node, Workflow
from streamtools import (
    counting,
    doubling,
    run,
    values,
    write_number,
)

from rtflow.errors import RunError
from rtflow.stream import StreamPlugin, stream


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
