"""What nodes know of a run whose source has learnt more since it began."""

from nipype import Node
from streamtools import Number, counting, frames

from rtflow.stream import Resumed, RunContext, StreamPlugin
from rtflow.testing import FrameList


def test_a_resumed_run_knows_what_it_knew_and_not_what_the_source_knows_now(tmp_path) -> None:
    told = []

    class Knowing(Number):
        def start_run(self, context: RunContext) -> None:
            told.append((context.tr, context.volumes))

    flow = counting(tmp_path)
    flow.connect(flow.get_node("scanner"), "frame", Node(Knowing(), name="knowing"), "frame")
    places = {"run_dir": tmp_path / "run", "bids_dir": tmp_path / "bids", "session_dir": tmp_path / "session"}
    recorded = RunContext(run_uid="a", tr=2.0, **places)
    for resumed in (None, Resumed()):
        source = FrameList(frames(5), tr=3.0)
        flow.run(plugin=StreamPlugin(context=recorded, source=source, resumed=resumed))
    assert told == [(2.0, 5), (2.0, None)]
