"""Which condition a volume shows: trained on earlier trials or an earlier run, applied to the later ones."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from nipype.interfaces.base import isdefined
from numpy.typing import NDArray

from rtflow.bids.masked import Features, Mask
from rtflow.documents import Event
from rtflow.errors import GridError, SessionError, UsageError, VolumeError, in_words
from rtflow.items import Item
from rtflow.nodes.decoding.classifier import Values, train
from rtflow.nodes.decoding.estimator import fit, gives_probabilities, make
from rtflow.nodes.decoding.estimator_bytes import (
    AnyDecoder,
    differences,
    dump,
    pack,
    require_agreement,
    unpack,
)
from rtflow.nodes.decoding.normalisation import Normalisation
from rtflow.nodes.decoding.spec import LOGISTIC, DecodeInput, DecodeOutput
from rtflow.nodes.decoding.training import Examples, Training
from rtflow.session import Session
from rtflow.stream.interface import RunContext, StreamInterface

COVERAGE = 0.95


@dataclass
class _State:
    """What `Decode` knows in the middle of a run."""

    units: Normalisation
    decoder: AnyDecoder | None = None
    failure: str = ""
    mask: Mask | None = None
    examples: Examples = field(default_factory=Examples)
    last: int = 0
    tr: float | None = None
    trial: int = -1
    decisions: list[NDArray[np.float64]] = field(default_factory=list)


class Decode(StreamInterface):
    """Train a decoder on the training trials, and say in the test trials which condition they show.

    **Value.** ``evidence`` is the score of ``target`` minus the largest score of the other conditions: above
    0 where the target is the likeliest. Scores are probabilities where the estimator gives them (those of
    'logistic' are each against everything else; others add up to 1 over the conditions), else its decision
    function, without bounds. ``probability`` is the probability of the target. Outside test trials the value
    is 0, and ``neutral``. With ``accumulate`` what scores are made of (log-odds, logarithms of probabilities,
    decision functions) is averaged over the volumes of the trial so far.

    **Training.** Training volumes are those of phase ``train``; those of rest between the trials, and of any
    other trial type, are classes that are never predicted. With the first volume after the last training
    trial, mean and standard deviation of each voxel over the training volumes are frozen, and the estimator
    is fitted. Later volumes have no influence on either. With ``best`` the voxels are chosen by the training
    volumes as well: a whole brain has more voxels that drift and move than voxels that respond. It is
    fitted in a thread of its own, and volumes are answered meanwhile; the first test volume waits for it, so
    that no result depends on how fast a machine is. Its chance comes from the seed of the run.

    'logistic' is one L2 logistic regression a condition, against everything else (`classifier.train`); any
    other estimator goes the way of `estimator.fit`.

    **Across runs.** What ``normalise`` means: with ``training``, a later run is z-scored by mean and
    deviation of the training run, so a change of gain or of position between runs looks like signal. With
    ``opening`` every run is first expressed as percent of its own opening rest (volumes of phase ``rest``
    before anything else), which takes such changes out; within the training run both give the same. With
    ``rest`` every volume is expressed as percent of the rest block before it, as in `Region`, which takes out
    whatever drifts slower than the blocks come, too. With ``running`` it is percent of all rest of the run so
    far, fading over ``memory`` seconds; the training volumes are compared with the rest on both sides of
    them, and a later run with that of the training run as well, as far as the two are alike. The choice is
    kept with the saved decoder, and a run that loads it must make the same.

    A voxel outside the field of view of a volume has no say in it; one that was outside in a training volume
    has none at all. A volume is never an example of anything but its own label, whatever is missing: gaps
    leave fewer examples and change nothing else.

    Raises
    ------
    UsageError
        At the start of the run, if conditions or estimator are of no use, or no run could load the estimator
        from where it is to be saved.
    GridError
        For features on another mask or grid than the decoder's.
    VolumeError
        In a test trial without a decoder, saying why there is none, and where rest is needed and there was
        none.
    SessionError
        At the start of the run, if there is no decoder of the name ``load``, if it holds anything but parts
        of scikit-learn, or is one for other conditions or normalised otherwise.
    """

    input_spec = DecodeInput
    output_spec = DecodeOutput
    stateful = True

    def needed_inputs(self) -> dict[str, str]:
        """The time, if rest fades with it."""
        why = "normalise='running' needs to know the time, of Labels"
        return {"time": why} if self.inputs.normalise == "running" else {}

    def start_run(self, context: RunContext) -> None:
        """Begin without a decoder, or with the one of an earlier run."""
        inputs = self.inputs
        self._session = Session(context)
        self._emit = context.emit
        self._seed = context.seed
        self._planned = context.volumes
        self._state = _State(Normalisation(inputs.normalise, inputs.memory))
        self._loaded: Item | None = None
        self._training = Training[AnyDecoder]()
        self._conditions = tuple(inputs.conditions)
        self._notes = dict(inputs.notes) if isdefined(inputs.notes) else {}
        self._estimator: Any = None
        if inputs.load:
            self._load()
        elif isinstance(inputs.estimator, str) and inputs.estimator == LOGISTIC:
            unheard = [("within", inputs.within), ("choose='activation'", inputs.choose == "activation")]
            for name, wanted in unheard:
                if wanted:
                    raise UsageError(
                        f"Decode: {name} is not of estimator 'logistic'; leave it out, or take another "
                        "estimator, such as 'lda'"
                    )
            # A second of imports, which would else fall into the volume that training falls into.
            importlib.import_module("sklearn.linear_model")
        else:
            self._estimator = make(inputs.estimator, self._seed)
            if inputs.save:
                dump(self._estimator)  # what could not be loaded is said before the scan
        names = self._conditions
        if len(set(names)) < 2 or len(set(names)) < len(names):
            raise UsageError(f"Decode needs two different conditions or more, got {list(names)}; name them")
        if inputs.target and inputs.target not in names:
            raise UsageError(
                f"Decode: target {inputs.target!r} is none of {', '.join(names)}; name one of them"
            )
        able = self._estimator if self._loaded is None else self._state.decoder
        if inputs.output == "probability" and not gives_probabilities(able):
            raise UsageError(
                "Decode: the estimator gives no probabilities; take output='evidence', or calibrate it "
                "(sklearn.calibration.CalibratedClassifierCV)"
            )
        self._target = names.index(inputs.target or names[0])

    def end_run(self) -> None:
        """Train, if there is something to save.

        A run that was broken off in its training trials leaves no decoder: if it did not come to its planned
        end, or that is not known, the decoder is held until the run has ended well.
        """
        state = self._state
        if not self.inputs.save:
            return
        if state.examples.samples:
            self._begin_training()
        self._finish_training(whole=state.last == self._planned)
        if state.failure:
            self._emit(Event(name="not_trained", data={"says": f"no decoder was trained: {state.failure}"}))

    def gap(self, volume: int) -> None:
        """A volume that does not come is no example; nothing else changes."""
        self._state.last = volume

    def snapshot(self) -> _State:
        """Everything that the volumes so far have left; waits for a training that is under way."""
        self._finish_training()
        return self._state

    def restore(self, state: _State) -> None:
        """Go on from a snapshot."""
        self._state = state

    def _run_interface(self, runtime: Any) -> Any:
        inputs, state = self.inputs, self._state
        features: Features = inputs.features
        state.last = self.volume
        time = float(inputs.time) if isdefined(inputs.time) else None
        if time is not None and self.volume > 1:
            state.tr = time / (self.volume - 1)
        self._check_mask(features.mask)
        # Exactly 0 is what lies outside the field of view: no value of that voxel, rather than a low one.
        seen = np.where(features.values == 0, np.float32(np.nan), features.values)
        borrowed = state.units.borrowed
        values = state.units.relate(seen, inputs.trial_type, inputs.phase, time)
        if state.units.borrowed and not borrowed:
            says = "no rest of this run was seen yet: until then that of the training run takes its place"
            self._emit(Event(name="rest_of_training", volume=self.volume, data={"says": says}))
        self._results = {"value": 0.0, "kind": "neutral"}
        if inputs.phase == "train":
            if self._loaded is None and values is not None:
                self._collect(values, time or 0.0)
        elif inputs.phase != "omit" and state.examples.samples:
            self._begin_training()
        if inputs.phase == "test":
            if values is None:
                raise VolumeError(
                    f"no volume of rest came before this test trial, and normalise = {inputs.normalise!r} "
                    "compares with it; begin the design with rest, or take normalise = 'training'"
                )
            self._finish_training()
            self._predict(values)
        return runtime

    def _check_mask(self, mask: Mask) -> None:
        state = self._state
        if mask is state.mask:
            return
        if self._loaded is not None and state.mask is None:
            if self._loaded.grid is not None:
                self._loaded.grid.require(mask.grid, "the volume within the mask")
            expected = self._loaded.facts.get("mask")
        else:
            expected = state.mask.identity if state.mask is not None else mask.identity
            if state.mask is not None:
                state.mask.grid.require(mask.grid, "the volume within the mask")
        if mask.identity != expected:
            raise GridError(
                f"the volume comes from mask {mask.identity} ({mask.indices.size} voxels), the decoder "
                f"from mask {expected}; use the mask and the reference of the training run"
            )
        state.mask = mask

    def _collect(self, values: Values, time: float) -> None:
        inputs, state = self.inputs, self._state
        moved = inputs.framewise_displacement
        # Realign withholds what it cannot know (the first volume, after a gap, an estimate that it does not
        # trust): such a volume is not trained on either.
        if inputs.max_fd > 0 and not (isdefined(moved) and moved <= inputs.max_fd):
            state.examples.censored.append(self.volume)
        else:
            state.examples.add(values, inputs.trial_type, self.volume, time)

    def _begin_training(self) -> None:
        examples = self._state.examples
        relate = self._state.units.training()
        labels, times = list(examples.labels), list(examples.times)
        self._training.begin(partial(self._train, relate, examples.take(), labels, times))

    def _train(
        self,
        relate: Callable[[Values, list[float]], Values],
        samples: Values,
        labels: list[str],
        times: list[float],
    ) -> AnyDecoder:
        inputs, conditions = self.inputs, self._conditions
        related = relate(samples, times)
        if self._estimator is None:
            strength, best = inputs.strength, inputs.best
            return train(related, labels, conditions, strength=strength, seed=self._seed, best=best)
        options = {name: getattr(inputs, name) for name in ("best", "choose", "within", "rest_class")}
        return fit(related, labels, conditions, self._estimator, **options)

    def _finish_training(self, *, whole: bool = True) -> None:
        """Wait for the training that is under way, if one is, and save its decoder if that is wanted."""
        state, inputs = self._state, self.inputs
        try:
            trained = self._training.finish()
        except Exception as error:
            state.failure = in_words(error)
            return
        if trained is None:
            return
        state.decoder = trained
        if not inputs.save:
            return
        assert state.mask is not None
        arrays = {**pack(state.decoder), "mask": np.packbits(state.mask.data)}
        if state.units.rest is not None:
            arrays["rest"] = state.units.rest
        told = ("normalise", "memory", "strength", "best", "choose", "within", "max_fd")
        keep = self._session.save if whole else self._session.hold
        keep(
            inputs.save,
            arrays,
            state.mask.grid,
            mask=state.mask.identity,
            conditions=list(self._conditions),
            estimator=LOGISTIC if self._estimator is None else " ".join(repr(self._estimator).split()),
            **{name: getattr(inputs, name) for name in told},
            notes=self._notes,
            tr=state.tr,
            rest_noise=state.units.noise,
            **{name: getattr(state.examples, name) for name in ("volumes", "labels", "censored")},
            opening_volumes=state.units.opening_volumes,
        )

    def _load(self) -> None:
        inputs = self.inputs
        item = self._session.load(inputs.load)
        theirs = item.facts.get("conditions", [])
        asked = {"conditions": list(self._conditions or theirs), "normalise": inputs.normalise}
        if inputs.normalise == "running":  # nothing else looks back
            asked["memory"] = inputs.memory
        require_agreement(inputs.load, item.facts, asked)
        for says in differences(item.facts.get("notes", {}), self._notes):
            self._emit(Event(name="decoder_differs", data={"says": says}))
        self._loaded = item
        self._conditions = tuple(theirs)
        try:
            self._state.decoder = unpack(item.arrays, self._conditions)
        except SessionError as error:
            raise SessionError(f"session item {inputs.load!r}: {error}") from None
        if "rest" in item.arrays:
            self._state.units.borrow(item.arrays["rest"], item.facts.get("rest_noise") or 0.0)

    def _predict(self, values: Values) -> None:
        inputs, state = self.inputs, self._state
        decoder = state.decoder
        if decoder is None:
            raise VolumeError(
                f"there is no decoder in this test trial: {state.failure}"
                if state.failure
                else "there is no decoder in this test trial; give train_trials, or load a decoder"
            )
        coverage = np.isfinite(values[decoder.voxels]).mean()
        if coverage < COVERAGE:
            share = f"{100 * (1 - coverage):.0f} %"
            self.doubt(f"decode: {share} of the decoder's voxels are not seen, or were not at rest")
        decision = decoder.decide(values)
        if inputs.accumulate and inputs.trial >= 0:
            # A new list, as a snapshot stays what it was.
            state.decisions = [*(state.decisions if state.trial == inputs.trial else ()), decision]
            state.trial = inputs.trial
            decision = np.mean(state.decisions, axis=0)
        scores = decoder.grade(decision)
        target = self._target
        value = scores[target]
        if inputs.output == "evidence":
            value = value - np.delete(scores, target).max()
        # By the decision: far out, several probabilities round to 1.
        predicted = decoder.conditions[int(decision.argmax())]
        self._results = {"value": float(value), "kind": inputs.output, "predicted": predicted}
        self._results |= {
            f"score_{name}": float(score) for name, score in zip(decoder.conditions, scores, strict=True)
        }
        if inputs.trial_type in decoder.conditions:
            self._results["correct"] = float(predicted == inputs.trial_type)
