"""A whole run as one node of a stock workflow."""

from pathlib import Path

import counting_workflow
from nipype import Node, Workflow

from rtflow.journal import Recording
from rtflow.workflows.whole_run import WholeRun


def test_stock_nipype_iterates_over_runs(tmp_path) -> None:
    node = Node(WholeRun(workflow_file=counting_workflow.__file__), name="run")
    node.iterables = ("settings", [["count=3"], ["count=5"]])
    flow = Workflow(name="many", base_dir=str(tmp_path))
    flow.add_nodes([node])
    graph = flow.run(plugin="Linear")
    counts = sorted(node.result.outputs.counts["ok"] for node in graph.nodes())
    assert counts == [3, 5]
    for node in graph.nodes():
        assert Recording(Path(node.result.outputs.run_dir)).stop is not None
