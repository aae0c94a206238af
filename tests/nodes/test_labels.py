import os
import signal
from types import SimpleNamespace

import numpy as np
import pytest
from nipype import Node, Workflow

from rtflow.bids.incremental import BidsIncremental
from rtflow.design import block_design
from rtflow.documents import Event
from rtflow.errors import UsageError, VolumeError
from rtflow.nodes import DicomToBids, ScannerInput
from rtflow.nodes.labels import Labels, label_volume, unseen
from rtflow.nodes.record import RecordRun
from rtflow.stream import StreamPlugin, stream
from rtflow.trials import Design, ShownTrial, Trial

# 2 s a volume: opening 1-5, scene 6-10, rest 11-13, face 14-18, rest 19-21, scene 22-26, rest, face 30-34.
DESIGN = block_design(["scene", "face"], blocks=4, block=10.0, rest=6.0, opening=10.0)


def spans(phase: str, **options: float) -> list[int]:
    settings = {"lag": 0.0, "train_trials": 2, "transition": 0.0, **options}
    return [v for v in range(1, 41) if label_volume(DESIGN, v, 2.0, **settings).phase == phase]


def test_training_lasts_from_the_first_training_trial_to_the_last_with_the_rest_between() -> None:
    assert spans("train") == list(range(6, 19))
    assert spans("test") == [*range(22, 27), *range(30, 35)]
    assert label_volume(DESIGN, 12, 2.0, lag=0.0, train_trials=2).trial_type == "rest"
    assert label_volume(DESIGN, 12, 2.0, lag=0.0, train_trials=2).trial == -1


def test_the_lag_moves_every_phase_alike() -> None:
    for phase in ("train", "test"):
        assert spans(phase, lag=4.0) == [volume + 2 for volume in spans(phase)]


def test_without_training_trials_every_trial_is_a_test() -> None:
    assert spans("train", train_trials=0) == []
    assert len(spans("test", train_trials=0)) == 20


def test_a_transition_leaves_out_what_follows_a_start_and_an_end() -> None:
    assert spans("omit", transition=4.0) == sorted(
        start + offset for start in (6, 11, 14, 19, 22, 27, 30, 35) for offset in (0, 1)
    )
    assert spans("train", transition=4.0) == [8, 9, 10, 13, 16, 17, 18]
    # The opening is no transition: nothing came before it.
    assert spans("rest", transition=4.0)[:5] == [1, 2, 3, 4, 5]


def test_a_transition_longer_than_a_trial_still_ends() -> None:
    design = Design((Trial(2.0, 2.0, "scene"), Trial(20.0, 2.0, "face")))
    omitted = [
        v
        for v in range(1, 16)
        if label_volume(design, v, 2.0, lag=0, train_trials=0, transition=6).phase == "omit"
    ]
    assert omitted == [2, 3, 4, 5, 11, 12, 13, 14]


def test_the_node_takes_the_true_tr_from_the_volume(call) -> None:
    labels = Labels(design=DESIGN, lag=0.0, train_trials=2)
    data = np.zeros((2, 2, 2), np.int16)
    seen = {
        tr: call(
            labels, 6, incremental=BidsIncremental(data, np.eye(4), volume=6, metadata={"RepetitionTime": tr})
        )
        for tr in (1.0, 2.0)
    }
    assert seen[2.0] == {"trial_type": "scene", "trial": 0, "phase": "train", "time": 10.0}
    assert seen[1.0] == {"trial_type": "rest", "trial": -1, "phase": "rest", "time": 5.0}
    with pytest.raises(VolumeError, match="RepetitionTime"):
        call(labels, 6, incremental=BidsIncremental(data, np.eye(4), volume=6))


def test_rest_settles_after_each_trial_and_trials_are_whole() -> None:
    assert spans("omit", settle=4.0) == [11, 12, 19, 20, 27, 28, 35, 36]
    assert spans("train", settle=4.0) == [6, 7, 8, 9, 10, 13, 14, 15, 16, 17, 18]
    assert spans("test", settle=4.0) == spans("test")
    # What follows at once is a trial, not rest that settles.
    close = Design((Trial(0.0, 4.0, "scene"), Trial(4.0, 4.0, "face")))
    phases = [label_volume(close, v, 2.0, lag=0, train_trials=2, settle=2.0).phase for v in range(1, 7)]
    assert phases == ["train"] * 4 + ["omit", "rest"]


def volume_of(number: int, tr: float = 2.0) -> BidsIncremental:
    return BidsIncremental(
        np.zeros((2, 2, 2), np.int16), np.eye(4), volume=number, metadata={"RepetitionTime": tr}
    )


def test_without_a_design_every_volume_is_a_test_of_what_nobody_knows(call, make_context) -> None:
    labels = Labels(lag=4.0)
    labels.start_run(make_context())
    assert call(labels, 6, incremental=volume_of(6)) == {
        **{"trial_type": "n/a", "trial": -1, "phase": "test", "time": 10.0}
    }
    labels.end_run()


def test_time_counts_from_the_number_of_the_volume_and_what_is_outside_is_told_once(
    call, make_context
) -> None:
    events = []
    labels = Labels(design=DESIGN, lag=0.0)
    labels.start_run(make_context(emit=events.append))
    # A scan whose first volume has the number 20: the second scene, rest, and not the second face.
    shown = [call(labels, v, incremental=volume_of(v))["trial_type"] for v in range(20, 29)]
    assert shown == ["rest"] * 2 + ["scene"] * 5 + ["rest"] * 2
    assert events == []
    labels.end_run()
    (event,) = events
    assert event.name == "trials_left_out"
    assert event.data["says"] == (
        "3 of 4 trials are left out, as no volume of the run shows them: "
        "scene at 10 s, face at 26 s, face at 58 s"
    )


def test_trials_that_were_all_shown_are_not_told_of(call, make_context) -> None:
    events = []
    labels = Labels(design=DESIGN, lag=4.0)
    labels.start_run(make_context(emit=events.append))
    for volume in range(1, 41):
        call(labels, volume, incremental=volume_of(volume))
    labels.end_run()
    assert events == []
    many = Design(tuple(Trial(10.0 * n, 1.0, "face") for n in range(20)))
    assert unseen(many, []).endswith(
        "face at 0 s, face at 10 s, face at 20 s, ..., face at 180 s, face at 190 s"
    )


class LabelsOfALostWorker(Labels):
    """Its process is killed at volume 24, which is not of the last trial."""

    def _run_interface(self, runtime: object) -> object:
        if self.volume == 24:
            os.kill(os.getpid(), signal.SIGKILL)
        return super()._run_interface(runtime)


def test_trials_that_were_shown_to_a_worker_that_was_lost_are_not_told_of(tmp_path) -> None:
    events: list[object] = []
    scanner = Node(
        ScannerInput(uri="simulate:?volumes=32&speed=max&shape=[4,4,4]&voxel=24&motion=0"), name="scanner"
    )
    convert = Node(DicomToBids(), name="convert")
    labels = stream(Node(LabelsOfALostWorker(design=DESIGN), name="labels"), mode="process", on_error="skip")
    flow = Workflow(name="labelled", base_dir=str(tmp_path))
    flow.connect([(scanner, convert, [("frame",) * 2]), (convert, labels, [("incremental",) * 2])])
    plugin = StreamPlugin(tmp_path, observers=(events.append,))
    flow.run(plugin=plugin)
    assert [r.volume for r in plugin.results if "labels.trial" not in r.values] == [24]
    assert [event.name for event in events if isinstance(event, Event)] == ["worker_lost"]


def test_labels_are_those_of_what_was_really_shown() -> None:
    """A block that began two volumes late, as the display told."""
    late = [ShownTrial(DESIGN.trials[0].onset + 4.0, DESIGN.trials[0].duration, DESIGN.trials[0].trial_type)]
    first = round(DESIGN.trials[0].onset / 2.0) + 1
    found = []
    for shown in ([], late):
        node = Labels(design=DESIGN, shown=shown)
        for volume in (first, first + 2):
            node.inputs.incremental = SimpleNamespace(volume=volume, tr=2.0)
            node._results = {}
            node._run_interface(None)
            found.append(node._results["trial_type"])
    name = DESIGN.trials[0].trial_type
    assert found == [name, name, "rest", name]


@pytest.mark.parametrize("node", [Labels, RecordRun])
def test_a_design_in_milliseconds_is_refused(make_context, node) -> None:
    late = node(design=Design((Trial(93000.0, 2000.0, "scene"), Trial(8000.0, 2000.0, "face"))))
    with pytest.raises(UsageError, match=r"first begins at 8000 s, .* ends at 310 s; are its onsets in sec"):
        late.start_run(make_context(volumes=155, tr=2.0))
    late.start_run(make_context(volumes=155, tr=2.0, replaying=True))
    late.start_run(make_context(tr=2.0))  # how long the scan will be is not known
    node(design=block_design("ab", blocks=9, block=30, rest=15, opening=40)).start_run(
        make_context(volumes=2, tr=2.0)  # to try it out
    )
