"""The decoder over whole runs of made-up features, and the mistakes that it must not make."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from rtflow.bids.grid import Grid
from rtflow.bids.masked import Features, Mask
from rtflow.design import Design, block_design
from rtflow.errors import GridError, SessionError, VolumeError
from rtflow.nodes.decode import Decode
from rtflow.nodes.labels import Label, label_volume
from rtflow.session import Session

TR, LAG, VOLUMES, VOXELS = 2.0, 4.0, 110, 400
CONDITIONS = ["scene", "face"]
# Blocks of five volumes: a lag that is wrong by two spoils much of each.
DESIGN = block_design(CONDITIONS, blocks=12, block=10.0, rest=6.0, opening=20.0)


def make_mask(reference: str = "abc", shift: float = 0.0) -> Mask:
    affine = np.diag([3.0, 3.0, 3.0, 1.0])
    affine[0, 3] = shift
    return Mask(np.ones((10, 8, 5), bool), Grid.of((10, 8, 5), affine, reference))


MASK = make_mask()


@dataclass
class Participant:
    """Features of a head that answers the design exactly `LAG` seconds later, with noise."""

    seed: int = 0
    effect: float = 12.0
    gain: float = 1.0
    drift: float = 0.0

    def features(self, design: Design = DESIGN) -> np.ndarray:
        rng = np.random.default_rng(self.seed)
        base = np.random.default_rng(99).uniform(600.0, 1400.0, VOXELS)
        labels = [design.label(volume, TR, LAG) for volume in range(1, VOLUMES + 1)]
        run = base + rng.normal(0.0, 12.0, (VOLUMES, VOXELS))
        run += self.drift * np.arange(VOLUMES)[:, None]
        for start, condition in enumerate(CONDITIONS):
            shown = np.array([label == condition for label in labels])
            run[np.ix_(shown, np.arange(40 * start, 40 * start + 40))] += self.effect
        return (self.gain * run).astype(np.float32)


Labeller = Callable[[int], Label]


def right_labels(volume: int) -> Label:
    return label_volume(DESIGN, volume, TR, lag=LAG, train_trials=6)


def all_tests(volume: int) -> Label:
    return label_volume(DESIGN, volume, TR, lag=LAG, train_trials=0)


@pytest.fixture
def play(call, make_context) -> Callable[..., list[dict[str, Any]]]:
    """Callable that takes a run of features through a decoder, and returns the outputs of each volume."""

    def run(
        features: np.ndarray,
        labels: Labeller = right_labels,
        *,
        kind: type[Decode] = Decode,
        run_uid: str = "run-a",
        mask: Mask = MASK,
        displacements: np.ndarray | None = None,
        **options: Any,
    ) -> list[dict[str, Any]]:
        decode = kind(conditions=CONDITIONS, **options)
        decode.start_run(make_context(run_uid, seed=7, volumes=len(features)))
        outputs = []
        for volume, row in enumerate(features, start=1):
            label = labels(volume)
            if displacements is not None:
                decode.inputs.framewise_displacement = float(displacements[volume - 1])
            outputs.append(
                call(
                    decode,
                    volume,
                    features=Features(row, mask),
                    trial_type=label.trial_type,
                    trial=label.trial,
                    phase=label.phase,
                )
            )
        decode.end_run()
        return outputs

    return run


def accuracy(outputs: list[dict[str, Any]], first: int = 6) -> float:
    """Share of right decisions over the volumes that truly show trial ``first`` or a later one.

    By the truth of the design, not by what the node says of itself; a volume without a decision is wrong.
    """
    truth = {volume: DESIGN.trial(volume, TR, LAG) for volume in range(1, len(outputs) + 1)}
    tested = {volume: trial for volume, trial in truth.items() if trial is not None and trial >= first}
    right = [
        outputs[volume - 1].get("predicted") == DESIGN.trials[trial].trial_type
        for volume, trial in tested.items()
    ]
    return float(np.mean(right))


def reported(outputs: list[dict[str, Any]]) -> float:
    """Share of right decisions by the labels that the decoder was given."""
    return float(np.mean([output["correct"] for output in outputs if "correct" in output]))


# What must hold of a decoder in a run; the wrong ones below must break one of these.


def check_accuracy(outputs: list[dict[str, Any]], first: int = 6) -> None:
    assert accuracy(outputs, first) >= 0.9
    assert reported(outputs) == accuracy(outputs, first)


def check_frozen(features: np.ndarray, outputs: list[dict[str, Any]]) -> None:
    """Values are those of scikit-learn on all voxels, z-scored by the training volumes alone."""
    labels = [right_labels(volume) for volume in range(1, len(features) + 1)]
    chosen = np.array([label.phase == "train" for label in labels])
    training = features[chosen].astype(float)
    z = (features.astype(float) - training.mean(0)) / training.std(0)
    shown = np.array([label.trial_type for label in labels])
    p_a, p_b = (
        LogisticRegression(tol=1e-10, max_iter=20000)
        .fit(z[chosen], shown[chosen] == name)
        .predict_proba(z)[:, 1]
        for name in CONDITIONS
    )
    tested = np.array([label.phase == "test" for label in labels])
    found = np.array([output["value"] for output in outputs])
    np.testing.assert_allclose(found[tested], (p_a - p_b)[tested], atol=1e-5)


class ForgetfulDecode(Decode):
    """Wrong: mean and deviation follow the test volumes too."""

    def _collect(self, values):
        self.__dict__.setdefault("_all", []).append(values)
        super()._collect(values)

    def _predict(self, values):
        self._all.append(values)
        seen = np.stack(self._all).astype(float)
        decoder = self._state.decoder
        moved = type(decoder)(decoder.conditions, seen.mean(0), seen.std(0), decoder.coef, decoder.intercept)
        self._state.decoder = moved
        super()._predict(values)


class HungryDecode(Decode):
    """Wrong: trains again with every test volume."""

    def _train(self):
        self._kept = list(self._state.samples)
        super()._train()

    def _predict(self, values):
        self._collect(values)
        self._state.samples = [*self._kept, values]
        self._train()
        super()._predict(values)


def shuffled_labels(volume: int) -> Label:
    """Wrong: the conditions of the training volumes come in any order."""
    label = right_labels(volume)
    if label.phase != "train":
        return label
    kinds = [right_labels(v).trial_type for v in range(1, VOLUMES + 1) if right_labels(v).phase == "train"]
    first = next(v for v in range(1, VOLUMES + 1) if right_labels(v).phase == "train")
    shuffled = np.random.default_rng(2).permutation(kinds)
    return Label(str(shuffled[volume - first]), label.trial, "train")


def late_labels(volume: int) -> Label:
    """Wrong: the lag is two volumes too long."""
    return label_volume(DESIGN, volume, TR, lag=LAG + 2 * TR, train_trials=6)


def early_labels(volume: int) -> Label:
    """Wrong: the lag is two volumes too short."""
    return label_volume(DESIGN, volume, TR, lag=LAG - 2 * TR, train_trials=6)


@pytest.mark.parametrize("normalise", ["training", "opening", "rest"])
def test_a_run_is_decoded(play, normalise: str) -> None:
    features = Participant(drift=0.1).features()
    outputs = play(features, normalise=normalise)
    check_accuracy(outputs)
    if normalise == "training":
        check_frozen(features, outputs)


def test_the_rest_before_each_trial_takes_out_a_drift_that_the_opening_rest_leaves_in(play) -> None:
    features = Participant(drift=3.0).features()
    check_accuracy(play(features, normalise="rest"))
    with pytest.raises(AssertionError):
        check_accuracy(play(features, normalise="opening"))


@pytest.mark.parametrize("labels", [shuffled_labels, late_labels, early_labels])
def test_wrong_labels_do_not_go_unnoticed(play, labels: Labeller) -> None:
    outputs = play(Participant().features(), labels)
    with pytest.raises(AssertionError):
        check_accuracy(outputs)


@pytest.mark.parametrize("kind", [ForgetfulDecode, HungryDecode])
def test_a_normalisation_or_a_decoder_that_learns_from_test_volumes_does_not_go_unnoticed(play, kind) -> None:
    features = Participant(drift=0.1).features()
    outputs = play(features, kind=kind)
    with pytest.raises(AssertionError):
        check_frozen(features, outputs)


def test_accuracy_peaks_where_the_design_is_not_slid(play) -> None:
    features = Participant(effect=8.0).features()
    found = {
        shift: accuracy(
            play(
                features,
                lambda volume, shift=shift: label_volume(
                    DESIGN, volume, TR, lag=LAG + shift * TR, train_trials=6
                ),
            )
        )
        for shift in range(-5, 6)
    }
    assert max(found, key=lambda shift: found[shift]) == 0
    assert found[0] > max(found[shift] for shift in (-2, -1, 1, 2))


@pytest.mark.parametrize("best", [0, 40])
def test_without_an_effect_it_decodes_at_chance(play, best: int) -> None:
    runs = [Participant(seed=seed, effect=0.0).features() for seed in range(20)]
    found = np.array([accuracy(play(features, best=best)) for features in runs])
    # Standard error over runs: volumes of a block are not independent.
    assert abs(found.mean() - 0.5) < 3 * found.std(ddof=1) / np.sqrt(len(found))


@pytest.mark.parametrize("options", [{}, {"normalise": "opening"}, {"normalise": "rest"}, {"best": 40}])
def test_the_future_changes_nothing(play, options: dict[str, Any]) -> None:
    features = Participant().features()
    for first in (8, 30, 70, 95):
        noise = features.copy()
        noise[first:] = np.random.default_rng(first).normal(0, 1e5, noise[first:].shape)
        assert play(noise, **options)[:first] == play(features, **options)[:first]


def test_the_labels_of_test_trials_change_no_value(play) -> None:
    def swapped(volume: int) -> Label:
        label = right_labels(volume)
        other = {"scene": "face", "face": "scene"}
        return Label(other[label.trial_type], label.trial, "test") if label.phase == "test" else label

    features = Participant().features()
    right, wrong = play(features), play(features, swapped)
    assert [output["value"] for output in right] == [output["value"] for output in wrong]
    tested = [(a["correct"], b["correct"]) for a, b in zip(right, wrong, strict=True) if "correct" in a]
    assert tested
    assert all(a + b == 1.0 for a, b in tested)


def test_what_each_phase_is_shown(play) -> None:
    for volume, output in enumerate(play(Participant().features()), start=1):
        if right_labels(volume).phase == "test":
            assert output["kind"] == "evidence"
            assert set(output) == {"value", "kind", "predicted", "correct"}
            assert -1.0 <= output["value"] <= 1.0
        else:
            assert output == {"value": 0.0, "kind": "neutral"}


def test_a_transition_is_neither_trained_nor_tested(play, make_context) -> None:
    def careful(volume: int) -> Label:
        return label_volume(DESIGN, volume, TR, lag=LAG, train_trials=6, transition=4.0)

    features = Participant().features()
    for volume in range(1, VOLUMES + 1):
        if careful(volume).phase == "omit":
            features[volume - 1] = 1e6
    outputs = play(features, careful, save="decoder")
    assert reported(outputs) >= 0.9
    omitted = [volume for volume in range(1, VOLUMES + 1) if careful(volume).phase == "omit"]
    assert all(outputs[volume - 1] == {"value": 0.0, "kind": "neutral"} for volume in omitted)
    facts = Session(make_context("later")).load("decoder").facts
    assert not set(facts["volumes"]) & set(omitted)


def test_volumes_that_moved_are_not_trained_on(play, make_context) -> None:
    features = Participant().features()
    displacements = np.full(VOLUMES, 0.1)
    training = [volume for volume in range(1, VOLUMES + 1) if right_labels(volume).phase == "train"]
    displacements[np.array(training[3:9]) - 1] = [0.6, 0.7, 5.0, 0.6, np.nan, 0.51]
    features[np.array(training[3:9]) - 1] += 500.0
    outputs = play(features, displacements=displacements, max_fd=0.5, save="decoder")
    check_accuracy(outputs)
    facts = Session(make_context("later")).load("decoder").facts
    assert facts["censored"] == training[3:9]
    assert facts["volumes"] == training[:3] + training[9:]


# From one run to the next.


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
    assert Session(make_context("later")).names() == []


def test_gaps_leave_fewer_examples_and_change_nothing_else(call, make_context) -> None:
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
    assert not gone & set(Session(make_context("later")).load("decoder").facts["volumes"])


def test_a_snapshot_goes_on_elsewhere(call, make_context) -> None:
    import pickle

    features = Participant().features()

    def go(decode: Decode, volumes: range) -> list[dict[str, Any]]:
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
            ["15 % of the decoder's voxels have no baseline in this run"]
            if all_tests(volume).phase == "test"
            else []
        )
