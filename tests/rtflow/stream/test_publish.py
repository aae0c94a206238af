"""What a run leaves to the session of what it held until its end was known."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nipype import Node
from streamtools import Number, counting, frames, run

from rtflow.documents import Event, Result
from rtflow.session import Session
from rtflow.stream import RunContext
from rtflow.testing import FrameList


class Holding(Number):
    def start_run(self, context: RunContext) -> None:
        self._session = Session(context)

    def end_run(self) -> None:
        self._session.hold("decoder", {"data": np.zeros(2)}, None)


@pytest.mark.parametrize(
    ("planned", "stopped", "left"),
    [(None, False, True), (5, False, True), (9, False, False), (None, True, False)],
    ids=["length unknown", "whole", "shorter than planned", "stopped"],
)
def test_what_was_held_is_left_by_a_run_that_came_to_its_end_and_by_no_other(
    tmp_path, planned, stopped, left
) -> None:
    stopping = threading.Event()
    source = FrameList(frames(5))
    source.volumes = planned
    seen: list[Any] = []

    def watch(document: Any) -> None:
        seen.append(document)
        if stopped and isinstance(document, Result) and document.volume == 5:
            stopping.set()

    flow = counting(tmp_path)
    flow.connect(flow.get_node("scanner"), "frame", Node(Holding(), name="holding"), "frame")
    if stopped:
        source = Waiting(frames(5))
    plugin = run(flow, tmp_path, source=source, stopping=stopping, observers=(watch,))
    assert plugin.stop is not None
    assert (Path(plugin.stop.outputs["session"]) / "decoder.npz").exists() == left
    told = [document.data["says"] for document in seen if isinstance(document, Event)]
    assert [
        f"decoder of it stays in {Path(plugin.stop.outputs['run']) / 'held'}" in says for says in told
    ] == ([] if left else [True])


class Waiting(FrameList):
    """Frames, and then a scanner that sends no more; nobody knows how many there will be."""

    def __init__(self, given: Any) -> None:
        super().__init__(given)
        self.volumes = None

    def frames(self, stopping: threading.Event) -> Any:
        yield from super().frames(stopping)
        stopping.wait()
