"""A workflow file with a node at set-up, and one at the end that fails, for the tests of the dashboard."""

from __future__ import annotations

from counting_workflow import Paced
from nipype import Function, JoinNode, Node, Workflow
from streamtools import Number, Sum

from rtflow.settings import RunSettings


class Settings(RunSettings):
    """What the tests vary."""

    count: int = 3


def prepare(start):
    return start + 1


def judge(totals, start):
    raise ValueError(f"{len(totals)} totals are too few,\nand begin at {start}")


def build(settings: Settings) -> Workflow:
    """prepare -> judge, scanner -> number -> sum -> judge."""
    scanner = Node(Paced(count=settings.count), name="scanner")
    first = Node(Function(["start"], ["prepared"], prepare), name="prepare")
    first.inputs.start = 1
    number, total = Node(Number(), name="number"), Node(Sum(), name="sum")
    last = JoinNode(
        Function(["totals", "start"], ["verdict"], judge),
        joinsource="scanner",
        joinfield=["totals"],
        name="judge",
    )
    flow = Workflow(name="steps", base_dir=settings.work_dir)
    flow.connect(
        [
            (scanner, number, [("frame", "frame")]),
            (number, total, [("number", "number")]),
            (total, last, [("total", "totals")]),
            (first, last, [("prepared", "start")]),
        ]
    )
    return flow
