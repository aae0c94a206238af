"""What the compiler reads off a graph, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from nipype import Function, IdentityInterface, JoinNode, MapNode, Node, Workflow
from nipype.interfaces.base import BaseInterfaceInputSpec, TraitedSpec, traits
from streamtools import Counter, Number, Sum, counting, double, doubling, refused

from rtflow.errors import CompileError
from rtflow.nodes import Accuracy, DicomToBids, KeepItems, Realign, ScannerInput, SelectVoxels
from rtflow.stream import StreamInterface, StreamPlugin, StreamSink, inspect


def listing(numbers: list[float]) -> int:
    return len(numbers)


def join(name: str, joinsource: str = "scanner") -> JoinNode:
    return JoinNode(
        Function(function=listing, input_names=["numbers"], output_names=["count"]),
        joinsource=joinsource,
        joinfield=["numbers"],
        name=name,
    )


def test_when_each_node_runs_is_read_off_the_graph(tmp_path):
    flow = counting(tmp_path)
    before = doubling("before")
    before.inputs.number = 1.0
    flow.connect(before, "number", offset := doubling("offset"), "number")
    flow.connect(flow.get_node("sum"), "total", last := join("last"), "numbers")
    flow.connect(last, "count", doubling("after"), "number")
    del offset
    when = {node.name: node.when for node in inspect(flow).nodes}
    assert when == {
        "before": "set-up",
        "offset": "set-up",
        "scanner": "volume",
        "number": "volume",
        "sum": "volume",
        "double": "volume",
        "last": "end",
        "after": "end",
    }


def test_names_tell_nested_and_multiplied_nodes_apart(tmp_path):
    inner = Workflow(name="inner")
    scale = Node(Function(function=scale_by, input_names=["number", "factor"]), name="scale")
    scale.iterables = ("factor", [2, 3])
    inner.add_nodes([scale])
    flow = counting(tmp_path)
    flow.connect(flow.get_node("sum"), "total", inner, "scale.number")
    names = {node.name for node in inspect(flow).nodes}
    assert {"inner.scale[factor_2]", "inner.scale[factor_3]"} < names


def scale_by(number: float, factor: float) -> float:
    return number * factor


def test_no_source(tmp_path):
    flow = Workflow(name="flow", base_dir=str(tmp_path))
    flow.add_nodes([doubling()])
    error = refused(flow)
    assert error.node == "flow"
    assert "no source" in error.cause
    assert "ScannerInput" in error.remedy


def test_two_sources(tmp_path):
    flow = counting(tmp_path)
    flow.connect(Node(Counter(), name="other"), "frame", Node(Number(), name="number2"), "frame")
    error = refused(flow)
    assert "second source" in error.cause
    assert {error.node, error.cause.split()[-1]} == {"scanner", "other"}


def test_iterables_on_the_source_are_two_sources(tmp_path):
    flow = counting(tmp_path)
    flow.get_node("scanner").iterables = ("count", [3, 4])
    assert "iterables" in refused(flow).remedy


def test_map_node_in_the_stream(tmp_path):
    flow = counting(tmp_path)
    many = MapNode(
        Function(function=double, input_names=["number"], output_names=["number"]),
        iterfield=["number"],
        name="many",
    )
    flow.connect(flow.get_node("sum"), "total", many, "number")
    error = refused(flow)
    assert error.node == "many"
    assert "MapNode" in error.cause


def test_late_node_takes_a_value_of_every_volume(tmp_path):
    flow = counting(tmp_path)
    total = flow.get_node("sum")
    late = Node(
        Function(function=scale_by, input_names=["number", "factor"], output_names=["x"]), name="late"
    )
    flow.connect(total, "total", last := join("last"), "numbers")
    flow.connect([(last, late, [("count", "factor")]), (total, late, [("total", "number")])])
    error = refused(flow)
    assert error.node == "late"
    assert "'number'" in error.cause
    assert "joinfield" in error.remedy


def test_join_over_something_unknown(tmp_path):
    flow = counting(tmp_path)
    flow.connect(flow.get_node("sum"), "total", join("last", joinsource="number"), "numbers")
    error = refused(flow)
    assert error.node == "last"
    assert "joinsource='scanner'" in error.remedy


def test_another_node_with_the_bare_name_of_the_source(tmp_path):
    inner = Workflow(name="inner")
    inner.add_nodes([doubling("scanner")])
    flow = counting(tmp_path)
    flow.connect(flow.get_node("sum"), "total", inner, "scanner.number")
    error = refused(flow)
    assert error.node == "inner.scanner"
    assert "rename" in error.remedy


def test_unset_mandatory_input(tmp_path):
    flow = counting(tmp_path)

    class InputSpec(BaseInterfaceInputSpec):
        number = traits.Float(mandatory=True)
        mask = traits.Any(mandatory=True)

    class OutputSpec(TraitedSpec):
        value = traits.Float()

    class Picky(StreamInterface):
        input_spec = InputSpec
        output_spec = OutputSpec

    flow.connect(flow.get_node("sum"), "total", Node(Picky(), name="picky"), "number")
    error = refused(flow)
    assert error.node == "picky"
    assert "'mask'" in error.cause


def test_one_of_several_exclusive_inputs_is_enough(tmp_path):
    flow = counting(tmp_path)

    class InputSpec(BaseInterfaceInputSpec):
        number = traits.Float(mandatory=True, xor=["text"])
        text = traits.Str(mandatory=True, xor=["number"])

    class OutputSpec(TraitedSpec):
        value = traits.Float()

    class Either(StreamInterface):
        input_spec = InputSpec
        output_spec = OutputSpec

    flow.connect(flow.get_node("sum"), "total", Node(Either(), name="either"), "number")
    assert "either" in {node.name for node in inspect(flow).nodes}


def test_array_as_an_input_at_set_up(tmp_path):
    flow = counting(tmp_path)
    node = Node(Function(function=listing, input_names=["numbers"], output_names=["count"]), name="cached")
    node.inputs.numbers = [np.zeros(3)]
    flow.add_nodes([node])
    error = refused(flow)
    assert error.node == "cached"
    assert "array ('numbers')" in error.cause


def make_array() -> object:
    import numpy

    return numpy.zeros(3)


def test_array_between_two_nodes_at_set_up(tmp_path):
    flow = counting(tmp_path)
    make = Node(Function(function=make_array, input_names=[], output_names=["array"]), name="make")
    use = Node(Function(function=listing, input_names=["numbers"], output_names=["count"]), name="use")
    flow.connect(make, "array", use, "numbers")
    with pytest.raises(CompileError, match=r"use: takes an array \('numbers'\)"):
        flow.run(plugin=StreamPlugin(tmp_path))


def as_array(number: float) -> object:
    import numpy

    return numpy.full(3, number)


def test_array_made_by_the_function_on_an_edge_at_set_up(tmp_path):
    flow = counting(tmp_path)
    make = doubling("make")
    make.inputs.number = 2.0
    use = Node(Function(function=listing, input_names=["numbers"], output_names=["count"]), name="use")
    flow.connect(make, ("number", as_array), use, "numbers")
    with pytest.raises(CompileError, match=r"use: takes an array \('numbers'\)"):
        flow.run(plugin=StreamPlugin(tmp_path))


class _PickyInput(BaseInterfaceInputSpec):
    number = traits.Any(mandatory=True)
    mask = traits.Any(mandatory=True)


class _PickyOutput(TraitedSpec):
    value = traits.Float()


class Picky(StreamInterface):
    input_spec = _PickyInput
    output_spec = _PickyOutput


@pytest.mark.parametrize("when", ["set-up", "end"])
def test_unset_mandatory_input_of_a_node_that_runs_once(tmp_path, when):
    flow = counting(tmp_path)
    picky = JoinNode(Picky(), joinsource="scanner", joinfield=["number"], name="picky")
    if when == "end":
        flow.connect(flow.get_node("sum"), "total", picky, "number")
    else:
        flow.add_nodes([Node(Picky(number=1), name="picky")])
    error = refused(flow)
    assert error.node == "picky"
    assert "'mask'" in error.cause


@pytest.mark.parametrize("when", ["set-up", "end"])
def test_a_stateful_node_that_would_run_once(tmp_path, when):
    flow = counting(tmp_path)
    node = Node(Sum(number=1.0), name="once")
    if when == "end":
        flow.connect(flow.get_node("sum"), "total", last := join("last"), "numbers")
        flow.connect(last, "count", node, "number")
    else:
        flow.add_nodes([node])
    error = refused(flow)
    assert error.node == "once"
    assert "keeps state" in error.cause
    assert ("set-up" if when == "set-up" else "end of the run") in error.cause


class Shows(StreamSink):
    input_spec = _PickyInput
    output_spec = _PickyOutput
    channel = "screen"


def test_a_sink_that_would_run_once(tmp_path):
    flow = counting(tmp_path)
    flow.add_nodes([Node(Shows(number=1, mask=1), name="shows")])
    assert "delivers a value for each volume" in refused(flow).cause


def test_two_sinks_on_one_channel(tmp_path):
    flow = counting(tmp_path)
    for name in ("one", "two"):
        flow.connect(flow.get_node("sum"), "total", Node(Shows(mask=1), name=name), "number")
    error = refused(flow)
    assert error.node == "two"
    assert "'screen' as one does" in error.cause


def test_two_nodes_with_one_interface(tmp_path):
    flow = counting(tmp_path)
    shared = Sum()
    for name in ("one", "two"):
        flow.connect(flow.get_node("number"), "number", Node(shared, name=name), "number")
    error = refused(flow)
    assert error.node == "two"
    assert "same interface object as one" in error.cause


def test_identity_nodes_vanish(tmp_path):
    flow = counting(tmp_path)
    flow.connect(
        flow.get_node("sum"), "total", fields := Node(IdentityInterface(["number"]), name="fields"), "number"
    )
    flow.connect(fields, "number", doubling("again"), "number")
    plan = inspect(flow)
    assert "fields" not in {node.name for node in plan.nodes}
    assert next(node for node in plan.nodes if node.name == "again").after == ("sum",)


@pytest.mark.parametrize(
    ("node", "field"),
    [
        (SelectVoxels(maps="glm", save="best"), "volumes"),
        (KeepItems(names=["glm"]), "volumes"),
        (Accuracy(), "correct"),
    ],
)
def test_what_is_for_the_end_of_the_run_is_refused_with_every_volume(tmp_path, node, field):
    flow = counting(tmp_path)
    flow.connect(flow.get_node("sum"), "total", Node(node, name="last"), field)
    error = refused(flow)
    assert (error.node, "end of the run" in error.cause) == ("last", True)
    assert f"JoinNode(..., joinsource=<source>, joinfield=['{field}'])" in error.remedy


@pytest.mark.parametrize(
    "node", [SelectVoxels(maps="gml", save="best"), KeepItems(names=["reference", "gml"])]
)
def test_an_item_that_the_run_does_not_save_is_refused(node):
    flow = Workflow(name="saving")
    scanner = Node(ScannerInput(uri="simulate:"), name="scanner")
    convert, realign = Node(DicomToBids(), name="convert"), Node(Realign(save="reference"), name="realign")
    last = JoinNode(node, joinsource="scanner", joinfield=["volumes"], name="last")
    flow.connect([(scanner, convert, [("frame",) * 2]), (convert, realign, [("incremental",) * 2])])
    flow.connect(realign, "framewise_displacement", last, "volumes")
    error = refused(flow)
    assert error.node == "last"
    assert "takes 'gml' of this run, and the run saves " in error.cause
    assert "reference" in error.cause
