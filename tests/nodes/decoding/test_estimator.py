"""Decoding with any estimator: against scikit-learn used by hand."""

import numpy as np
import pytest
from decoding import NAMES, make_samples
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_selection import SelectKBest, f_classif
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC

from rtflow.errors import UsageError, VolumeError
from rtflow.nodes.decoding.estimator import activation, fit, make, standardise_within

ESTIMATORS = [
    "lda",
    "sklearn.svm.LinearSVC",
    "sklearn.naive_bayes.GaussianNB",
    LogisticRegression(C=0.1),
    make_pipeline(StandardScaler(), SelectKBest(f_classif, k=40), LinearSVC()),
    RandomForestClassifier(n_estimators=40),
    SVC(kernel="linear", break_ties=True),
]


@pytest.mark.parametrize("names", [NAMES, NAMES[:2]], ids=["three", "two"])
@pytest.mark.parametrize("rest_class", [True, False])
@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda e: e if isinstance(e, str) else type(e).__name__)
def test_it_decides_as_the_estimator_itself(estimator, rest_class: bool, names) -> None:
    samples, labels = make_samples(names)
    fitted = fit(samples, labels, names, make(estimator, 3), rest_class=rest_class)
    truth = np.array(labels)
    kept = np.ones(len(truth), bool) if rest_class else truth != "rest"
    z = (samples - samples[kept].mean(0, dtype=float)) / samples[kept].std(0, dtype=float)
    by_hand = make(estimator, 3).fit(z[kept], truth[kept])
    new, answers = make_samples(names, seed=1)
    new_z = (new - samples[kept].mean(0, dtype=float)) / samples[kept].std(0, dtype=float)
    right = []
    for row, z_row, answer in zip(new, new_z, answers, strict=True):
        decision = fitted.decide(row)
        scores = fitted.grade(decision)
        predicted = by_hand.predict(z_row[None])[0]
        if hasattr(by_hand, "predict_proba"):
            shares = by_hand.predict_proba(z_row[None])[0][[list(by_hand.classes_).index(n) for n in names]]
            np.testing.assert_allclose(scores, shares / shares.sum(), atol=1e-6)
        elif len(by_hand.classes_) > 2:
            expected = by_hand.decision_function(z_row[None])[0]
            np.testing.assert_allclose(scores, [expected[list(by_hand.classes_).index(n)] for n in names])
        else:
            second = by_hand.decision_function(z_row[None])[0] / 2
            sign = np.where(np.array(names) == by_hand.classes_[1], 1.0, -1.0)
            np.testing.assert_allclose(scores, sign * second)
        if predicted != "rest":
            assert names[int(decision.argmax())] == predicted
        if answer != "rest":
            right.append(names[int(decision.argmax())] == answer)
    assert np.mean(right) > 0.8


def test_probabilities_that_vanish_beside_that_of_rest_still_tell() -> None:
    samples, labels = make_samples()
    fitted = fit(samples, labels, NAMES, make("lda", 0))
    weights = dict(zip(fitted.estimator.classes_, fitted.estimator.coef_, strict=True))
    rest = weights["rest"] - np.mean([weights[name] for name in NAMES], axis=0)
    # So far on the side of rest that the probability of every condition is 0 to the last bit.
    z = 3000.0 * rest / (rest @ rest)
    others = np.array([weights[name] for name in NAMES])
    # ... and of the conditions, on that of shoe.
    z += np.linalg.pinv(np.vstack([others - others.mean(0), rest])) @ [
        *(np.array([-10.0, -10.0, 20.0]) - (others - others.mean(0)) @ z),
        0.0,
    ]
    assert fitted.estimator.predict_proba(z[None])[0].tolist().count(0.0) == 3
    far = z * fitted.deviation + fitted.mean
    scores = fitted.grade(fitted.decide(far.astype(np.float32)))
    assert scores.sum() == pytest.approx(1.0)
    assert NAMES[int(scores.argmax())] == "shoe"


@pytest.mark.parametrize("choose", ["activation", "separation"])
def test_the_best_voxels_are_chosen_and_fitted_as_if_there_were_no_others(choose: str) -> None:
    samples, labels = make_samples()
    fitted = fit(samples, labels, NAMES, make("lda", 0), best=30, choose=choose)
    chosen = np.flatnonzero(fitted.voxels)
    assert len(chosen) == 30
    assert np.mean(chosen < 30) > 0.6
    alone = fit(samples[:, chosen], labels, NAMES, make("lda", 0))
    np.testing.assert_allclose(fitted.decide(samples[3]), alone.decide(samples[3, chosen]), atol=1e-9)


def test_activation_is_welchs_t_of_all_conditions_against_rest() -> None:
    from scipy.stats import ttest_ind

    samples, labels = make_samples()
    shown = np.array(labels) != "rest"
    # scipy's deviation divides by n - 1.
    on, off = samples[shown].astype(float), samples[~shown].astype(float)
    error = np.sqrt(on.var(0) / len(on) + off.var(0) / len(off))
    np.testing.assert_allclose(
        activation(samples, labels, NAMES), (on.mean(0) - off.mean(0)) / error, rtol=1e-5
    )
    reference = ttest_ind(on, off, equal_var=False).statistic
    np.testing.assert_allclose(activation(samples, labels, NAMES), reference, rtol=0.02)


def test_which_condition_is_which_does_not_matter_to_activation() -> None:
    samples, labels = make_samples()
    other = [{"face": "house", "house": "shoe", "shoe": "face"}.get(label, label) for label in labels]
    np.testing.assert_array_equal(activation(samples, labels, NAMES), activation(samples, other, NAMES))


def test_without_rest_the_active_voxels_cannot_be_known() -> None:
    samples, labels = make_samples()
    shown = np.array(labels) != "rest"
    with pytest.raises(VolumeError, match="0 volumes of rest"):
        fit(samples[shown], list(np.array(labels)[shown]), NAMES, make("lda", 0), best=5, choose="activation")


def test_within_takes_out_what_all_voxels_share() -> None:
    samples, labels = make_samples()
    fitted = fit(samples, labels, NAMES, make("lda", 0), within=True)
    row = samples[5]
    np.testing.assert_allclose(fitted.decide(3.0 * row + 7.0), fitted.decide(row), atol=1e-3)
    z = standardise_within(np.array([[1.0, 2.0, np.nan, 3.0], [5.0, 5.0, 5.0, 5.0]]))
    np.testing.assert_allclose(z[0], [-1.2247449, 0.0, np.nan, 1.2247449], atol=1e-6)
    np.testing.assert_array_equal(z[1], 0.0)


def test_a_voxel_that_was_not_seen_has_no_say() -> None:
    samples, labels = make_samples()
    samples[4, 7] = np.nan
    fitted = fit(samples, labels, NAMES, make("lda", 0), within=True)
    assert not fitted.voxels[7]
    row, wild = samples[9].copy(), samples[9].copy()
    wild[7] = 1e9
    np.testing.assert_array_equal(fitted.decide(row), fitted.decide(wild))
    row[3] = np.nan
    assert np.isfinite(fitted.decide(row)).all()


def test_chance_comes_from_the_seed_and_from_nowhere_else() -> None:
    samples, labels = make_samples()
    forest = make_pipeline(StandardScaler(), RandomForestClassifier(n_estimators=5))
    first, same, other = (fit(samples, labels, NAMES, make(forest, seed)) for seed in (3, 3, 4))
    rows = make_samples(seed=2)[0]
    found = [np.array([one.decide(row) for row in rows]) for one in (first, same, other)]
    np.testing.assert_array_equal(found[0], found[1])
    assert not np.array_equal(found[0], found[2])
    assert forest[-1].random_state is None


class Silent(ClassifierMixin, BaseEstimator):
    """Has no scores."""

    def fit(self, samples, labels):
        return self

    def predict(self, samples):
        return samples


@pytest.mark.parametrize(
    "estimator", ["svm", "sklearn.svm.Nothing", "nowhere.Class", 3, Silent(), StandardScaler]
)
def test_what_is_no_classifier_is_refused(estimator) -> None:
    with pytest.raises(UsageError, match="estimator"):
        make(estimator, 0)


def test_what_cannot_be_trained_says_why() -> None:
    samples, labels = make_samples()
    with pytest.raises(VolumeError, match=r"'hat': 0"):
        fit(samples, labels, (*NAMES, "hat"), make("lda", 0))
    with pytest.raises(VolumeError, match="none of 120 voxels varies"):
        fit(np.ones_like(samples), labels, NAMES, make("lda", 0))
    with pytest.raises(VolumeError, match="cannot be trained on 72 volumes of 120 voxels"):
        fit(samples, labels, NAMES, LinearDiscriminantAnalysis(n_components=9))
    wide = np.random.default_rng(0).normal(size=(72, 6000)).astype(np.float32)
    with pytest.raises(VolumeError, match="best = 5000"):
        fit(wide, labels, NAMES, make("lda", 0))


@pytest.mark.parametrize("rest_class", [True, False])  # of four classes there are six pairs, of three three
def test_decisions_between_pairs_of_classes_are_refused(rest_class: bool) -> None:
    samples, labels = make_samples()
    pairs = SVC(kernel="linear", decision_function_shape="ovo")
    with pytest.raises(VolumeError, match="decision_function_shape='ovr'"):
        fit(samples, labels, NAMES, pairs, rest_class=rest_class)
    for able in (SVC(kernel="linear"), SVC(kernel="linear", decision_function_shape="ovr", break_ties=True)):
        fit(samples, labels, NAMES, able, rest_class=rest_class)


def test_an_object_is_left_as_it_was() -> None:
    model = GaussianNB()
    samples, labels = make_samples()
    fit(samples, labels, NAMES, make(model, 0))
    assert not hasattr(model, "classes_")


@pytest.mark.parametrize("rest_class", [True, False])
def test_another_trial_type_is_neither_rest_nor_ever_predicted(rest_class: bool) -> None:
    samples, labels = make_samples()
    two = NAMES[:2]
    fitted = fit(samples, labels, two, make("lda", 0), rest_class=rest_class)
    assert set(fitted.estimator.classes_) == ({*NAMES, "rest"} if rest_class else set(two))
    assert fitted.decide(samples[0]).shape == (2,)
    # Shoes do not make their own voxels active, and are no rest either.
    apart = [label for label in labels if label != "shoe"]
    without = samples[[label != "shoe" for label in labels]]
    np.testing.assert_array_equal(activation(samples, labels, two), activation(without, apart, two))
