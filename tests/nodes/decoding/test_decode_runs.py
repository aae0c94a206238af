"""The decoder from one run to the next, and where something is missing."""

import pickle

import numpy as np
import pytest
from decoding import (
    CONDITIONS,
    MASK,
    VOLUMES,
    VOXELS,
    Outputs,
    Participant,
    all_tests,
    check_accuracy,
    make_mask,
    right_labels,
)

from rtflow.bids.masked import Features, Mask
from rtflow.errors import GridError, SessionError, VolumeError
from rtflow.nodes.decoding.decode import Decode
from rtflow.nodes.labels import Label
from rtflow.session import Session


@pytest.fixture
def trained(play) -> None:
    play(Participant(seed=1).features(), save="decoder", normalise="opening")


def test_the_next_run_decodes_without_training_in_spite_of_gain(play, trained) -> None:
    del trained
    same = play(Participant(seed=2).features(), all_tests, load="decoder", normalise="opening", run_uid="b")
    louder = play(
        Participant(seed=2, gain=1.1).features(), all_tests, load="decoder", normalise="opening", run_uid="b"
    )
    check_accuracy(same, first=0)
    check_accuracy(louder, first=0)
    assert [output["predicted"] for output in same if "predicted" in output] == [
        output["predicted"] for output in louder if "predicted" in output
    ]


def test_a_loaded_decoder_gives_what_it_gave_before(play) -> None:
    features = Participant().features()
    before = play(features, save="decoder")
    after = play(features, all_tests, load="decoder", run_uid="run-b")
    tested = [number for number, output in enumerate(before) if "predicted" in output]
    assert [before[number] for number in tested] == [after[number] for number in tested]


def test_a_loaded_decoder_is_not_trained_again(play, trained) -> None:
    del trained
    noise = Participant(seed=3, effect=0.0).features()
    noise[60:] = Participant(seed=4).features()[60:]
    check_accuracy(play(noise, right_labels, load="decoder", normalise="opening", run_uid="run-b"))


def test_what_the_saved_decoder_says_of_itself(play, make_context) -> None:
    play(Participant().features(), save="decoder", strength=0.5)
    item = Session(make_context("later")).load("decoder", MASK.grid)
    assert item.grid == MASK.grid
    assert item.facts["normalise"] == "training"
    assert item.facts["mask"] == MASK.identity
    assert item.facts["conditions"] == CONDITIONS
    assert item.facts["strength"] == 0.5
    assert item.run_uid == "run-a"
    training = [volume for volume in range(1, VOLUMES + 1) if right_labels(volume).phase == "train"]
    assert item.facts["volumes"] == training
    features = Participant().features()[np.array(training) - 1].astype(float)
    np.testing.assert_allclose(item.arrays["mean"], features.mean(0))
    np.testing.assert_allclose(item.arrays["deviation"], features.std(0))


@pytest.mark.parametrize(
    ("option", "value", "named"),
    [("normalise", "training", "normalise"), ("conditions", ["face", "scene"], "conditions")],
)
def test_a_decoder_that_was_trained_otherwise_is_refused(trained, make_context, option, value, named) -> None:
    del trained
    options = {"conditions": CONDITIONS, "normalise": "opening", "load": "decoder", option: value}
    with pytest.raises(SessionError, match=named):
        Decode(**options).start_run(make_context("run-b"))


def test_a_decoder_that_is_not_there_stops_the_run_before_its_first_volume(make_context) -> None:
    with pytest.raises(SessionError, match="decoder"):
        Decode(conditions=CONDITIONS, load="decoder").start_run(make_context())


@pytest.mark.parametrize("mask", [make_mask(reference="other"), make_mask(shift=1.0)])
def test_features_on_another_grid_are_refused(play, trained, mask: Mask) -> None:
    del trained
    with pytest.raises(GridError):
        play(Participant().features(), all_tests, load="decoder", normalise="opening", mask=mask)


def test_features_of_another_mask_are_refused(play, trained) -> None:
    del trained
    data = MASK.data.copy()
    data[0, 0, 0] = False
    smaller = Mask(data, MASK.grid)
    with pytest.raises(GridError, match=r"399 voxels"):
        play(Participant().features()[:, 1:], all_tests, load="decoder", normalise="opening", mask=smaller)


def test_a_mask_that_changes_within_the_run_is_refused(call, make_context) -> None:
    decode = Decode(conditions=CONDITIONS)
    decode.start_run(make_context())
    rest = {"trial_type": "rest", "trial": -1, "phase": "rest"}
    call(decode, 1, features=Features(np.ones(VOXELS, np.float32), MASK), **rest)
    # An equal mask that is another object is the same mask.
    call(decode, 2, features=Features(np.ones(VOXELS, np.float32), make_mask()), **rest)
    with pytest.raises(GridError):
        call(decode, 3, features=Features(np.ones(VOXELS, np.float32), make_mask("other")), **rest)


# Where something is missing.


def test_a_test_trial_without_a_decoder_fails(play) -> None:
    with pytest.raises(VolumeError, match="no decoder"):
        play(Participant().features(), all_tests)


def test_a_test_trial_without_rest_before_it_is_named(play) -> None:
    def no_rest(volume: int) -> Label:
        label = right_labels(volume)
        return label if label.trial >= 0 else Label("scene", 0, "test")

    with pytest.raises(VolumeError, match="no volume of rest came before this test trial"):
        play(Participant().features(), no_rest, normalise="rest")


def test_an_opening_rest_that_never_was_is_named(play) -> None:
    def no_opening(volume: int) -> Label:
        return right_labels(volume + 12)

    with pytest.raises(VolumeError, match="no volume of rest before the first trial"):
        play(Participant().features()[12:], no_opening, normalise="opening")


def test_a_run_that_ends_with_its_training_leaves_a_decoder_if_it_was_whole(play, make_context) -> None:
    last = max(volume for volume in range(1, VOLUMES + 1) if right_labels(volume).phase == "train")
    play(Participant().features()[:last], save="whole")
    assert len(Session(make_context("later")).load("whole").facts["volumes"]) > 40


def test_a_run_broken_off_in_its_training_leaves_no_decoder(call, make_context) -> None:
    decode = Decode(conditions=CONDITIONS, save="broken")
    decode.start_run(make_context(volumes=VOLUMES))
    for volume, row in enumerate(Participant().features()[:40], start=1):
        label = right_labels(volume)
        call(decode, volume, features=Features(row, MASK), **vars(label))
    decode.end_run()
    assert not (make_context().run_dir / "saved").exists()


def test_gaps_leave_fewer_examples_and_change_nothing_else(call, make_context, leave) -> None:
    decode = Decode(conditions=CONDITIONS, save="decoder")
    decode.start_run(make_context(volumes=VOLUMES))
    outputs = []
    # Among them the last training volume and the first one after it.
    last = max(volume for volume in range(1, VOLUMES + 1) if right_labels(volume).phase == "train")
    gone = {15, 16, last, last + 1}
    for volume, row in enumerate(Participant().features(), start=1):
        if volume in gone:
            decode.gap(volume)
            outputs.append({})
        else:
            outputs.append(call(decode, volume, features=Features(row, MASK), **vars(right_labels(volume))))
    check_accuracy(outputs)
    leave()
    assert not gone & set(Session(make_context("later")).load("decoder").facts["volumes"])


def test_a_snapshot_goes_on_elsewhere(call, make_context) -> None:
    features = Participant().features()

    def go(decode: Decode, volumes: range) -> Outputs:
        return [
            call(decode, volume, features=Features(features[volume - 1], MASK), **vars(right_labels(volume)))
            for volume in volumes
        ]

    whole = Decode(conditions=CONDITIONS, normalise="opening")
    whole.start_run(make_context(seed=7))
    expected = go(whole, range(1, VOLUMES + 1))
    for cut in (5, 40, 90):
        first, second = (Decode(conditions=CONDITIONS, normalise="opening") for _ in range(2))
        first.start_run(make_context(seed=7))
        second.start_run(make_context(seed=7))
        found = go(first, range(1, cut + 1))
        second.restore(pickle.loads(pickle.dumps(first.snapshot())))
        assert found + go(second, range(cut + 1, VOLUMES + 1)) == expected


def test_a_run_that_covers_less_of_the_head_is_doubted(play, call, trained, make_context) -> None:
    del trained
    features = Participant(seed=2).features()
    features[:, 200:260] = 0.0
    decode = Decode(conditions=CONDITIONS, load="decoder", normalise="opening")
    decode.start_run(make_context("run-b"))
    doubts = {}
    for volume, row in enumerate(features, start=1):
        label = all_tests(volume)
        call(decode, volume, features=Features(row, MASK), **vars(label))
        doubts[volume] = decode.take_doubts()
    for volume, said in doubts.items():
        assert said == (
            ["decode: 15 % of the decoder's voxels are not seen, or were not at rest"]
            if all_tests(volume).phase == "test"
            else []
        )


@pytest.mark.parametrize("normalise", ["training", "opening", "rest"])
def test_what_leaves_the_field_of_view_has_no_say(play, make_context, normalise) -> None:
    features = Participant().features()
    whole = play(features, normalise=normalise, best=300, save="whole")
    weights = Session(make_context("later")).load("whole").arrays
    idle = np.argsort(np.abs(weights["coef"]).sum(0) * (weights["deviation"] > 0))[100:110]
    # Voxels that hardly count go out of view in every other test volume, 0 as Realign leaves them.
    for volume in range(1, VOLUMES + 1, 2):
        if right_labels(volume).phase == "test":
            features[volume - 1, idle] = 0.0
    outputs = play(features, normalise=normalise, best=300)
    for before, after in zip(whole, outputs, strict=True):
        assert after["value"] == pytest.approx(before["value"], abs=0.2)
    check_accuracy(outputs)


def test_what_was_out_of_view_while_training_is_left_out_for_good(play, make_context) -> None:
    features = Participant().features()
    training = [volume for volume in range(1, VOLUMES + 1) if right_labels(volume).phase == "train"]
    features[training[7] - 1, 200:260] = 0.0
    check_accuracy(play(features, save="decoder"))
    deviation = Session(make_context("later")).load("decoder").arrays["deviation"]
    assert (np.flatnonzero(deviation == 0) == np.arange(200, 260)).all()
