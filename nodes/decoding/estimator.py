"""Decoding with any estimator of scikit-learn: choice of voxels, scaling, scores. Pure functions."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtflow.errors import UsageError, VolumeError
from rtflow.nodes.decoding.classifier import (
    Decoder,
    Values,
    moments,
    require_examples,
    separation,
    standardise,
)
from rtflow.trials import REST

# A covariance of more voxels would take gigabytes.
MOST_OF_LDA = 5000


@dataclass(frozen=True)
class FittedDecoder:
    """A fitted estimator, and what a volume goes through before it.

    Parameters
    ----------
    conditions
        Two or more.
    mean, deviation
        Of each voxel over the training volumes, shape (voxels,), float64, frozen. Where the deviation is 0
        the voxel has no say.
    within
        Whether each volume is first standardised over the voxels that have a say.
    estimator
        Of scikit-learn, fitted on ``(volumes, voxels that have a say)``.
    """

    conditions: tuple[str, ...]
    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]
    within: bool
    estimator: Any

    @property
    def voxels(self) -> NDArray[np.bool_]:
        """Which voxels have a say, shape (voxels,)."""
        return self.deviation > 0

    def decide(self, values: Values) -> NDArray[np.float64]:
        """A score of each condition, shape (conditions,).

        The logarithm of its probability (up to a constant) where the estimator has ``predict_proba``, else
        its ``decision_function``; of two classes, which share one, each has half of it.

        Parameters
        ----------
        values
            One volume within the mask, shape (voxels,), in the units of the training volumes. A voxel that
            is not a number has no say.
        """
        voxels = self.voxels
        chosen: NDArray[Any] = values[voxels][None, :]
        if self.within:
            chosen = standardise_within(chosen)
        z = standardise(chosen[0], self.mean[voxels], self.deviation[voxels])[None, :]
        classes = [str(name) for name in self.estimator.classes_]
        scores = self._scores(z)
        return scores[[classes.index(name) for name in self.conditions]]

    def _scores(self, z: NDArray[np.float64]) -> NDArray[np.float64]:
        """Scores of all classes, as `decide` says."""
        decision: NDArray[np.float64] | None = None
        if hasattr(self.estimator, "decision_function"):
            decision = np.ravel(self.estimator.decision_function(z)).astype(np.float64)
            if decision.size == 1:
                decision = np.concatenate([-decision, decision]) / 2
        if not self.gives_probabilities:
            assert decision is not None
            return decision
        shares = self.estimator.predict_proba(z)[0]
        # Where the decision is the logarithm of a probability (discriminant analysis, logistic regression) it
        # tells conditions apart whose probabilities are 0 beside that of rest.
        if decision is not None and decision.shape == shares.shape and np.allclose(softmax(decision), shares):
            return decision
        logarithm: NDArray[np.float64] = np.log(np.maximum(shares, 1e-30))
        return logarithm

    @property
    def gives_probabilities(self) -> bool:
        """Whether scores are logarithms of probabilities."""
        return gives_probabilities(self)

    def grade(self, decision: NDArray[np.float64]) -> NDArray[np.float64]:
        """Probabilities that add up to 1 over the conditions; the scores as they are if there are none."""
        if not self.gives_probabilities:
            return decision
        return softmax(decision)


def gives_probabilities(decoder: Any) -> bool:
    """Whether a decoder or an estimator knows probabilities; None stands for the logistic regressions."""
    if isinstance(decoder, FittedDecoder):
        return hasattr(decoder.estimator, "predict_proba")
    return decoder is None or hasattr(decoder, "predict_proba") or isinstance(decoder, Decoder)


def softmax(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """``exp(scores)``, divided by their sum."""
    shares = np.exp(scores - scores.max())
    found: NDArray[np.float64] = shares / shares.sum()
    return found


def make(estimator: Any, seed: int) -> Any:
    """An estimator that is not fitted and draws its chance from a seed.

    Parameters
    ----------
    estimator
        ``"lda"`` (linear discriminant analysis, its covariance shrunk as by Ledoit & Wolf 2004), the dotted
        path of a class, a function that makes one or an object, or the object itself.
    seed
        For every ``random_state`` that is None.

    Raises
    ------
    UsageError
        If there is no such thing, or it is no classifier with scores.
    """
    from sklearn.base import clone

    found = _find(estimator) if isinstance(estimator, str) else estimator
    if isinstance(found, type) or not hasattr(found, "get_params"):
        found = found() if callable(found) else found
    lacks = [name for name in ("fit", "predict", "get_params") if not hasattr(found, name)]
    if lacks or not (hasattr(found, "predict_proba") or hasattr(found, "decision_function")):
        raise UsageError(
            f"estimator {estimator!r} is no classifier of scikit-learn with predict_proba or "
            "decision_function; give one, such as sklearn.svm.LinearSVC or make_pipeline(...)"
        )
    made = clone(found)
    open_seeds = {
        name: seed
        for name, value in made.get_params(deep=True).items()
        if name.rpartition("__")[2] == "random_state" and value is None
    }
    return made.set_params(**open_seeds)


def _find(name: str) -> Any:
    if name == "lda":
        from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

        return LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
    module, _, attribute = name.rpartition(".")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(
            f"estimator {name!r} is not there ({error}); give 'logistic', 'lda' or the dotted path of a "
            "classifier, such as sklearn.svm.LinearSVC"
        ) from None


def standardise_within(samples: NDArray[Any]) -> NDArray[np.float64]:
    """Each volume minus its mean over the voxels, divided by its deviation over them.

    What all voxels share (a gain, a breath, a drift of the whole brain) is taken out.

    Parameters
    ----------
    samples
        Shape (volumes, voxels). What is not a number stays so, and counts for nothing.
    """
    seen = np.isfinite(samples)
    count = np.maximum(seen.sum(axis=1, keepdims=True), 1)
    mean = np.where(seen, samples, 0.0).sum(axis=1, keepdims=True, dtype=np.float64) / count
    apart = np.where(seen, samples - mean, np.nan)
    deviation = np.sqrt(np.where(seen, apart**2, 0.0).sum(axis=1, keepdims=True) / count)
    found: NDArray[np.float64] = apart / np.where(deviation > 0, deviation, 1.0)
    return found


def activation(samples: Values, labels: Sequence[str], conditions: tuple[str, ...]) -> NDArray[np.float64]:
    """Welch's t of all conditions together against rest, for each voxel.

    It says nothing of which condition is which, so drifts that go along with the conditions do not help a
    voxel to be chosen.

    Parameters
    ----------
    samples
        Shape (volumes, voxels).
    labels
        One per volume: a condition, ``rest``, or anything else, which counts for nothing.

    Raises
    ------
    VolumeError
        If fewer than two volumes are rest.
    """
    truth = np.array(labels)
    shown, rest = np.isin(truth, conditions), truth == REST
    if rest.sum() < 2:
        raise VolumeError(
            f"training saw {rest.sum()} volumes of rest, and the choice of active voxels needs two at "
            "least; put rest between the trials, or choose by 'separation'"
        )
    groups = [samples[shown], samples[rest]]
    on, off = (group.mean(axis=0, dtype=np.float64) for group in groups)
    errors = [group.var(axis=0, dtype=np.float64) / len(group) for group in groups]
    error = np.sqrt(errors[0] + errors[1])
    known = np.isfinite(error) & (error > 0)
    found: NDArray[np.float64] = np.where(known, on - off, -np.inf) / np.where(known, error, 1.0)
    return found


def fit(
    samples: Values,
    labels: Sequence[str],
    conditions: tuple[str, ...],
    estimator: Any,
    *,
    best: int = 0,
    choose: str = "separation",
    within: bool = False,
    rest_class: bool = True,
) -> FittedDecoder:
    """Choose voxels, scale, and fit an estimator.

    Parameters
    ----------
    samples
        Training volumes within the mask, shape (volumes, voxels), float32. A voxel that is not a number in
        one of them has no say.
    labels
        One per volume: a condition, ``rest``, or another trial type.
    conditions
        Two or more.
    estimator
        Not fitted, as of `make`; it is not changed.
    best
        How many voxels; 0 takes all that vary.
    choose
        ``separation``: those with the largest F over the labels (`classifier.separation`);
        ``activation``: those that any of the conditions drives most (`activation`).
    within
        Whether each volume is standardised over the chosen voxels before each voxel is over the volumes.
    rest_class
        Whether rest and other trial types are classes of their own, which are never predicted; else they are
        left out once the voxels are chosen.

    Raises
    ------
    VolumeError
        If there are fewer than two volumes of a condition, or no voxel varies, or so many for ``lda`` that
        their covariance has no place, or the estimator cannot be fitted, or decides between pairs of classes.
    """
    from sklearn.base import clone

    require_examples(labels, conditions)
    usable = moments(samples)[1] > 0
    if not usable.any():
        raise VolumeError(
            f"none of {samples.shape[1]} voxels varies over the training volumes; check the mask"
        )
    if 0 < best < usable.sum():
        merit = (
            activation(samples, labels, conditions) if choose == "activation" else separation(samples, labels)
        )
        order = np.argsort(-np.where(usable, merit, -np.inf), kind="stable")
        usable[order[best:]] = False
    truth = np.array(labels)
    taken = np.ones(len(truth), bool) if rest_class else np.isin(truth, conditions)
    chosen: NDArray[Any] = samples[:, usable][taken]
    if within:
        chosen = standardise_within(chosen)
    mean, deviation = np.zeros(usable.size), np.zeros(usable.size)
    mean[usable], deviation[usable] = moments(chosen)
    varies = deviation[usable] > 0
    z = standardise(chosen[:, varies], mean[usable][varies], deviation[usable][varies])
    if type(estimator).__name__ == "LinearDiscriminantAnalysis" and z.shape[1] > MOST_OF_LDA:
        raise VolumeError(
            f"linear discriminant analysis of {z.shape[1]} voxels needs a covariance of all their pairs; "
            f"take best = {MOST_OF_LDA} or fewer, or another estimator"
        )
    try:
        fitted = clone(estimator).fit(z, truth[taken])
    except ValueError as error:
        raise VolumeError(
            f"the estimator cannot be trained on {len(z)} volumes of {z.shape[1]} voxels: {error}"
        ) from None
    decoder = FittedDecoder(conditions, mean, deviation, within, fitted)
    if not decoder.gives_probabilities:
        _require_one_decision_a_class(fitted, z)
    return decoder


def _require_one_decision_a_class(fitted: Any, z: NDArray[np.float64]) -> None:
    """Refuse decisions that do not say which class it is, such as those of pairs of classes."""
    decisions = np.asarray(fitted.decision_function(z))
    classes = np.asarray(fitted.classes_)
    if decisions.ndim == 1 and len(classes) == 2:
        return
    agree = 0.0
    if decisions.shape == (len(z), len(classes)):
        agree = float(np.mean(classes[decisions.argmax(axis=1)] == fitted.predict(z)))
    # Not all need to agree: where votes are equal, SVC predicts the first of them, whatever it decides.
    if agree < 0.9:
        raise VolumeError(
            f"the estimator's decision_function is not one of each of {len(classes)} classes, of which the "
            f"largest is what it predicts (shape {decisions.shape}, the same in {100 * agree:.0f} % of the "
            "training volumes); set decision_function_shape='ovr', or take another estimator"
        )
