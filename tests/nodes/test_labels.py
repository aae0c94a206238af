import numpy as np
import pytest

from rtflow.bids.incremental import BidsIncremental
from rtflow.design import Design, Trial, block_design
from rtflow.errors import VolumeError
from rtflow.nodes.labels import Labels, label_volume

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
