"""Options of nodes: stages, threads and processes, and what an option cannot be."""

from __future__ import annotations

import pytest
from nipype import Node
from nipype.interfaces.base import CommandLine
from streamtools import Sum, counting, doubling, refused

from rtflow.errors import CompileError
from rtflow.stream import StreamInterface, inspect, stream


def as_text(number: int) -> str:
    return str(number)


def test_stage_that_decreases(tmp_path):
    flow = counting(tmp_path)
    stream(flow.get_node("sum"), stage=2)
    stream(flow.get_node("double"), stage=1)
    error = refused(flow)
    assert error.node == "double"
    assert "sum in stage 2" in error.cause


def test_stages_follow_the_edges(tmp_path):
    flow = counting(tmp_path)
    stream(flow.get_node("sum"), stage=1)
    assert {n.name: n.stage for n in inspect(flow).nodes if n.name != "scanner"} == {
        "number": 0,
        "sum": 1,
        "double": 1,
    }


def test_stateful_node_in_a_process_without_snapshot(tmp_path):
    class Forgetful(Sum):
        snapshot = StreamInterface.snapshot

    flow = counting(tmp_path)
    flow.connect(
        flow.get_node("number"), "number", stream(Node(Forgetful(), name="forgets"), mode="process"), "number"
    )
    error = refused(flow)
    assert error.node == "forgets"
    assert "snapshot()" in error.remedy


def test_source_in_a_process(tmp_path):
    flow = counting(tmp_path)
    stream(flow.get_node("scanner"), mode="process")
    assert refused(flow).node == "scanner"


def test_command_in_a_thread(tmp_path):
    flow = counting(tmp_path)
    command = stream(Node(CommandLine("true"), name="command"), mode="thread")
    flow.connect(flow.get_node("number"), ("number", as_text), command, "args")
    assert refused(flow).node == "command"


def test_commands_run_in_a_process_and_ours_in_a_thread(tmp_path):
    flow = counting(tmp_path)
    flow.connect(
        flow.get_node("number"), ("number", as_text), Node(CommandLine("true"), name="command"), "args"
    )
    modes = {node.name: node.mode for node in inspect(flow).nodes}
    assert modes["command"] == "process"
    assert modes["sum"] == "thread"


@pytest.mark.parametrize(
    "options", [{"deadline": 0}, {"deadline": -1.0}, {"stage": -1}, {"mode": "fork"}, {"on_error": "ignore"}]
)
def test_stream_refuses_what_an_option_cannot_be(options):
    with pytest.raises(CompileError, match="double"):
        stream(doubling(), **options)


def test_stream_keeps_what_others_put_on_the_node():
    node = doubling()
    node.plugin_args = {"qsub_args": "-l mem=1G"}
    stream(node, on_error="skip")
    assert node.plugin_args["qsub_args"] == "-l mem=1G"


def test_stock_nipype_refuses_a_stateful_node(tmp_path):
    node = Node(Sum(number=1.0), name="sum", base_dir=str(tmp_path))
    with pytest.raises(Exception, match=r"StreamPlugin\(\)"):
        node.run()
