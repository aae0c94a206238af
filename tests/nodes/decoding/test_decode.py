"""The decoder over whole runs of made-up features, and the mistakes that it must not make."""

from typing import Any

import numpy as np
import pytest
from decoding import (
    CONDITIONS,
    DESIGN,
    LAG,
    TR,
    VOLUMES,
    Labeller,
    Outputs,
    Participant,
    accuracy,
    check_accuracy,
    reported,
    right_labels,
)
from sklearn.linear_model import LogisticRegression

from rtflow.nodes.decoding.decode import Decode
from rtflow.nodes.labels import Label, label_volume
from rtflow.session import Session


def relative(features: np.ndarray, normalise: str) -> np.ndarray:
    """Percent of the rest that a volume is to be compared with, written down anew."""
    labels = [right_labels(volume).trial_type for volume in range(1, len(features) + 1)]
    blocks: list[list[int]] = []
    change = np.full(features.shape, np.nan)
    for index, label in enumerate(labels):
        begins = index == 0 or labels[index - 1] != "rest"
        if label == "rest" and begins:
            blocks.append([])
        ended = blocks[:-1] if label == "rest" else blocks
        against = (ended or blocks)[-1] if normalise == "rest" else blocks[0]
        if against:
            change[index] = 100 * (features[index] / features[against].astype(float).mean(0) - 1)
        if label == "rest":
            blocks[-1].append(index)
    return change


def check_frozen(features: np.ndarray, outputs: Outputs) -> None:
    """Values are those of scikit-learn on all voxels, z-scored by the training volumes alone."""
    labels = [right_labels(volume) for volume in range(1, len(features) + 1)]
    chosen = np.array([label.phase == "train" for label in labels])
    training = features[chosen].astype(float)
    z = (features.astype(float) - training.mean(0)) / training.std(0)
    shown = np.array([label.trial_type for label in labels])
    tested = np.array([label.phase == "test" for label in labels])
    p_a, p_b = (
        LogisticRegression(tol=1e-10, max_iter=20000)
        .fit(z[chosen], shown[chosen] == name)
        .predict_proba(z[tested])[:, 1]
        for name in CONDITIONS
    )
    found = np.array([output["value"] for output in outputs])
    np.testing.assert_allclose(found[tested], p_a - p_b, atol=1e-5)


class ForgetfulDecode(Decode):
    """Wrong: mean and deviation follow the test volumes too."""

    def _collect(self, values, time):
        self.__dict__.setdefault("_all", []).append(values)
        super()._collect(values, time)

    def _predict(self, values):
        self._all.append(values)
        seen = np.stack(self._all).astype(float)
        decoder = self._state.decoder
        moved = type(decoder)(decoder.conditions, seen.mean(0), seen.std(0), decoder.coef, decoder.intercept)
        self._state.decoder = moved
        super()._predict(values)


class HungryDecode(Decode):
    """Wrong: trains again with every test volume."""

    def _begin_training(self):
        self._kept = list(self._state.examples.samples)
        super()._begin_training()

    def _predict(self, values):
        self._collect(values, 0.0)
        self._state.examples.samples = [*self._kept, values]
        self._begin_training()
        self._finish_training()
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
    check_frozen(features if normalise == "training" else relative(features, normalise), outputs)


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
            assert set(output) == {"value", "kind", "predicted", "correct", "score_scene", "score_face"}
            assert output["value"] == output["score_scene"] - output["score_face"]
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
