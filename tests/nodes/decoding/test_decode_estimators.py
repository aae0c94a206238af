"""Decode with estimators of scikit-learn: in the run, from run to run, and what it says of the value."""

import pickle
import threading
from functools import partial

import numpy as np
import pytest
from decoding import (
    CONDITIONS,
    LAG,
    MASK,
    TR,
    VOLUMES,
    Participant,
    accuracy,
    all_tests,
    check_accuracy,
    right_labels,
)
from sklearn.feature_selection import SelectKBest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from rtflow.bids.masked import Features
from rtflow.design import block_design
from rtflow.errors import SessionError, UsageError, VolumeError
from rtflow.items import bundle
from rtflow.nodes.decoding import decode as decode_module
from rtflow.nodes.decoding.decode import Decode
from rtflow.nodes.labels import Label, label_volume
from rtflow.session import Session

PIPELINE = make_pipeline(StandardScaler(), SelectKBest(k=60), LinearSVC())
LDA = {"estimator": "lda", "best": 80, "choose": "activation", "within": True, "normalise": "running"}
FOUR = ["scene", "face", "body", "tool"]
FOUR_DESIGN = block_design(FOUR, blocks=12, block=10.0, rest=6.0, opening=20.0)


@pytest.mark.parametrize("options", [LDA, {"estimator": PIPELINE}, {**LDA, "estimator": PIPELINE, "best": 0}])
def test_a_run_is_decoded(play, options) -> None:
    outputs = play(Participant(drift=0.1).features(), **options)
    check_accuracy(outputs)
    for volume, output in enumerate(outputs, start=1):
        if right_labels(volume).phase == "test":
            assert output["kind"] == "evidence"
            assert output["value"] == output["score_scene"] - output["score_face"]
            assert (output["predicted"] == "scene") == (output["value"] > 0)
        else:
            assert output == {"value": 0.0, "kind": "neutral"}


@pytest.mark.parametrize(
    "options", [LDA, {"estimator": PIPELINE}, {"best": 100}], ids=["lda", "svc", "logistic"]
)
def test_any_number_of_conditions(play, options) -> None:
    def labels(volume: int) -> Label:
        return label_volume(FOUR_DESIGN, volume, TR, lag=LAG, train_trials=8)

    features = Participant(conditions=tuple(FOUR), effect=20.0).features(FOUR_DESIGN)
    outputs = play(features, labels, conditions=FOUR, target="body", **options)
    tested = [
        (labels(v).trial_type, outputs[v - 1]) for v in range(1, VOLUMES + 1) if labels(v).phase == "test"
    ]
    assert {kind for kind, _ in tested} == set(FOUR)
    assert np.mean([output["correct"] for _, output in tested]) > 0.9
    for _, output in tested:
        scores = {name: output[f"score_{name}"] for name in FOUR}
        assert output["predicted"] == max(scores, key=scores.__getitem__)
        others = max(score for name, score in scores.items() if name != "body")
        assert output["value"] == pytest.approx(scores["body"] - others)


def test_the_value_can_be_the_probability_of_the_target(play) -> None:
    outputs = play(Participant().features(), **LDA, output="probability", target="face")
    tested = [output for output in outputs if "predicted" in output]
    assert {output["kind"] for output in tested} == {"probability"}
    assert all(output["value"] == output["score_face"] for output in tested)
    assert all(output["score_face"] + output["score_scene"] == pytest.approx(1.0) for output in tested)


def test_all_volumes_of_a_trial_so_far_decide_together(play) -> None:
    features = Participant(effect=5.0).features()
    alone, together = (play(features, **LDA, accumulate=accumulate) for accumulate in (False, True))
    assert accuracy(together) > accuracy(alone)
    first = next(v for v in range(1, VOLUMES + 1) if right_labels(v).phase == "test")
    assert together[first - 1] == alone[first - 1]
    logs = [np.log([alone[v - 1][f"score_{name}"] for name in CONDITIONS]) for v in range(first, first + 3)]
    shares = np.exp(np.mean(logs, axis=0))
    assert together[first + 1]["score_scene"] == pytest.approx(shares[0] / shares.sum(), abs=1e-6)
    # Another trial begins anew.
    later = next(v for v in range(1, VOLUMES + 1) if right_labels(v).trial == 7)
    assert together[later - 1] == alone[later - 1]


@pytest.mark.parametrize("options", [LDA, {"estimator": PIPELINE}, {**LDA, "accumulate": True}])
def test_the_future_and_the_labels_of_test_trials_change_nothing(play, options) -> None:
    features = Participant().features()
    expected = play(features, **options)
    for first in (8, 62, 95):
        noise = features.copy()
        noise[first:] = np.random.default_rng(first).normal(1000, 300, noise[first:].shape)
        assert play(noise, **options)[:first] == expected[:first]

    def swapped(volume: int) -> Label:
        label = right_labels(volume)
        other = {"scene": "face", "face": "scene"}
        return Label(other[label.trial_type], label.trial, "test") if label.phase == "test" else label

    assert [output["value"] for output in play(features, swapped, **options)] == [
        o["value"] for o in expected
    ]


# Training beside the stream.


def test_volumes_are_answered_while_the_estimator_is_fitted(call, make_context, monkeypatch) -> None:
    may_end, started = threading.Event(), threading.Event()
    fit = decode_module.fit

    def slow(*args, **options):
        started.set()
        assert may_end.wait(60)
        return fit(*args, **options)

    monkeypatch.setattr(decode_module, "fit", slow)
    decode = Decode(conditions=CONDITIONS, **LDA)
    decode.start_run(make_context(volumes=VOLUMES))
    features = Participant().features()
    answered = []
    for volume, row in enumerate(features, start=1):
        label = right_labels(volume)
        if label.phase == "test" and not may_end.is_set():
            assert started.wait(60)
            # The rest before the first test trial went by.
            assert answered[-3:] == [{"value": 0.0, "kind": "neutral"}] * 3
            may_end.set()
        time = TR * (volume - 1)
        answered.append(call(decode, volume, features=Features(row, MASK), time=time, **vars(label)))
    check_accuracy(answered)


def test_a_training_that_fails_says_so_in_every_test_trial_and_leaves_no_decoder(call, make_context) -> None:
    events = []
    decode = Decode(conditions=["scene", "hat"], save="decoder", **LDA)
    decode.start_run(make_context(volumes=VOLUMES, emit=events.append))
    failed = []
    for volume, row in enumerate(Participant().features(), start=1):
        label, time = right_labels(volume), TR * (volume - 1)
        ask = partial(call, decode, volume, features=Features(row, MASK), time=time, **vars(label))
        if label.phase == "test":
            with pytest.raises(VolumeError, match=r"no decoder in this test trial: .*'hat': 0"):
                ask()
            failed.append(volume)
        else:
            ask()
    decode.end_run()
    assert failed
    assert [event.name for event in events] == ["not_trained"]
    assert "'hat': 0" in events[0].data["says"]
    assert Session(make_context()).saved() == {}


def test_a_snapshot_goes_on_elsewhere(call, make_context) -> None:
    features = Participant().features()

    def go(decode: Decode, volumes: range) -> list:
        return [
            call(
                decode,
                volume,
                features=Features(features[volume - 1], MASK),
                time=TR * (volume - 1),
                **vars(right_labels(volume)),
            )
            for volume in volumes
        ]

    options = {**LDA, "accumulate": True}
    whole = Decode(conditions=CONDITIONS, **options)
    whole.start_run(make_context(seed=7))
    expected = go(whole, range(1, VOLUMES + 1))
    # Before, in and right after training, and in the middle of a test trial.
    for cut in (5, 40, 57, 58, 68):
        first, second = (Decode(conditions=CONDITIONS, **options) for _ in range(2))
        first.start_run(make_context(seed=7))
        second.start_run(make_context(seed=7))
        found = go(first, range(1, cut + 1))
        second.restore(pickle.loads(pickle.dumps(first.snapshot())))
        assert found + go(second, range(cut + 1, VOLUMES + 1)) == expected


# From run to run.


@pytest.mark.parametrize(
    "options", [LDA, {"estimator": PIPELINE, "normalise": "opening"}], ids=["lda", "svc"]
)
def test_the_next_run_decodes_in_spite_of_gain_and_drift(play, options) -> None:
    play(Participant(seed=1).features(), save="decoder", notes={"lag": 4.0}, **options)
    units = {name: options[name] for name in ("normalise", "within") if name in options}
    later = Participant(seed=2, gain=1.1, drift=0.2).features()
    # Conditions are those that it was trained on.
    outputs = play(later, all_tests, run_uid="b", load="decoder", conditions=[], **units)
    check_accuracy(outputs, first=0)


def test_what_the_saved_decoder_says_of_itself(play, make_context) -> None:
    play(Participant(seed=1).features(), save="decoder", notes={"lag": 4.0}, **LDA)
    item = Session(make_context("later")).load("decoder", MASK.grid)
    told = {"conditions": CONDITIONS, "normalise": "running", "mask": MASK.identity, "notes": {"lag": 4.0}}
    assert told.items() <= item.facts.items()
    assert item.facts["tr"] == pytest.approx(TR)
    assert "LinearDiscriminantAnalysis" in item.facts["estimator"]
    assert item.grid == MASK.grid
    assert all(not array.dtype.hasobject for array in item.arrays.values())


def test_another_lag_than_that_of_the_training_is_told(play, make_context) -> None:
    play(Participant(seed=1).features(), save="decoder", notes={"lag": 4.0, "join": 1.0}, **LDA)
    events = []
    decode = Decode(load="decoder", normalise="running", notes={"lag": 6.0, "join": 1.0})
    decode.start_run(make_context("b", emit=events.append))
    assert [event.data["says"] for event in events] == [
        "the decoder was trained with lag = 4.0, this run has 6.0"
    ]


def test_another_memory_than_that_of_the_training_is_refused_where_it_counts(play, make_context) -> None:
    play(Participant(seed=1).features(), save="decoder", **LDA)
    with pytest.raises(SessionError, match=r"memory = 60\.0, this run has 20\.0"):
        Decode(load="decoder", normalise="running", memory=20.0).start_run(make_context("b"))
    play(Participant(seed=1).features(), run_uid="c", save="other", **{**LDA, "normalise": "training"})
    Decode(load="other", memory=20.0).start_run(make_context("d"))


def test_a_run_without_rest_begins_with_that_of_the_training_and_says_so_once(
    play, call, make_context
) -> None:
    play(Participant(seed=1).features(), save="decoder", **LDA)
    events = []
    decode = Decode(load="decoder", normalise="running", within=True)
    decode.start_run(make_context("b", emit=events.append))
    outputs = []
    for volume, row in enumerate(Participant(seed=1, gain=1.1).features(), start=1):
        # Nobody knows when what was shown.
        ask = {"trial_type": "n/a", "trial": -1, "phase": "test", "time": TR * (volume - 1)}
        outputs.append(call(decode, volume, features=Features(row, MASK), **ask))
    assert [event.name for event in events] == ["rest_of_training"]
    assert accuracy(outputs, first=0) >= 0.9
    assert not any("correct" in output for output in outputs)


def test_a_decoder_comes_from_a_file_too(play, make_context, tmp_path) -> None:
    features = Participant().features()
    before = play(features, save="decoder", **LDA)
    file = tmp_path / "elsewhere" / "day1.decoder"
    bundle([make_context().run_dir / "saved" / "decoder.npz"], file)
    after = play(
        features, right_labels, run_uid="b", load=f"{file}/decoder", normalise="running", within=True
    )
    tested = [number for number, output in enumerate(before) if "predicted" in output]
    assert all(after[number]["predicted"] == before[number]["predicted"] for number in tested)
    # The run has a copy, for its replay.
    assert (make_context("b").run_dir / "session" / "decoder.npz").exists()
    with pytest.raises(SessionError, match=r"item 'mask' of .*day1.decoder: has no such item"):
        Session(make_context("c")).load(f"{file}/mask")
    with pytest.raises(SessionError, match="No such file"):
        Session(make_context("c")).load(f"{tmp_path}/nothing/decoder")


# What is refused before the first volume.


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"conditions": ["scene"]}, "two different conditions"),
        ({"conditions": ["scene", "scene"]}, "two different conditions"),
        ({"target": "hat"}, "target 'hat' is none of scene, face"),
        ({"estimator": "no.such.thing"}, "is not there"),
        ({"within": True}, "within is not of estimator 'logistic'"),
        ({"choose": "activation"}, "choose='activation' is not of estimator 'logistic'"),
        ({"estimator": PIPELINE, "output": "probability"}, "gives no probabilities"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_the_scan(make_context, options, says) -> None:
    with pytest.raises(UsageError, match=says):
        Decode(**{"conditions": CONDITIONS, **options}).start_run(make_context())
