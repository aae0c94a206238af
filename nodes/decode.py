"""Which of two conditions a volume shows: trained on the first trials, applied to the later ones."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from nipype.interfaces.base import BaseInterfaceInputSpec, TraitedSpec, isdefined, traits
from numpy.typing import NDArray

from rtflow.bids.masked import Features, Mask
from rtflow.errors import GridError, SessionError, VolumeError
from rtflow.items import Item
from rtflow.nodes.baseline import RestBaseline
from rtflow.nodes.classifier import Decoder, Values, pack, percent, train, unpack
from rtflow.session import Session
from rtflow.stream.interface import RunContext, StreamInterface

COVERAGE = 0.95


@dataclass
class _State:
    """What `Decode` knows in the middle of a run."""

    decoder: Decoder | None = None
    mask: Mask | None = None
    opening: NDArray[np.float64] | None = None
    opening_volumes: int = 0
    opening_over: bool = False
    samples: list[Values] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    volumes: list[int] = field(default_factory=list)
    censored: list[int] = field(default_factory=list)
    rest: RestBaseline[NDArray[np.float64]] = field(default_factory=RestBaseline)
    last: int = 0


class DecodeInput(BaseInterfaceInputSpec):  # type: ignore[misc]
    """Inputs of `Decode`."""

    features = traits.Any(mandatory=True, desc="the volume within the mask: Features of ApplyMask")
    trial_type = traits.Str(mandatory=True, desc="rest or a condition, of Labels")
    trial = traits.Int(mandatory=True, desc="number of the trial, of Labels")
    phase = traits.Str(mandatory=True, desc="rest, train, test or omit, of Labels")
    framewise_displacement = traits.Float(desc="mm, of Realign; needed for max_fd only")
    conditions = traits.List(
        traits.Str(), minlen=2, maxlen=2, mandatory=True, desc="A and B: the value is P(A) - P(B)"
    )
    normalise = traits.Enum(
        "training",
        "opening",
        "rest",
        usedefault=True,
        desc="z-scores by the training volumes, of percent of this run's opening rest, or of the rest before",
    )
    strength = traits.Float(1.0, usedefault=True, desc="inverse of the L2 penalty, scikit-learn's C")
    best = traits.Int(
        0, usedefault=True, desc="so many voxels that tell the training volumes apart best; 0: all"
    )
    max_fd = traits.Float(
        0.0,
        usedefault=True,
        desc="no training on volumes that moved more, mm, or of unknown motion; 0 takes all",
    )
    save = traits.Str("", usedefault=True, desc="session item to keep the trained decoder under")
    load = traits.Str("", usedefault=True, desc="session item with a decoder of an earlier run: no training")


class DecodeOutput(TraitedSpec):  # type: ignore[misc]
    """Outputs of `Decode`."""

    value = traits.Float(desc="P(A) - P(B) in test trials, 0 elsewhere")
    kind = traits.Enum("neutral", "evidence", desc="what the value is")
    predicted = traits.Str(desc="the likelier condition; in test trials only")
    correct = traits.Float(desc="1 if it was, else 0; in test trials of A or B only")


class Decode(StreamInterface):
    """Train a decoder on the training trials, and give the evidence for A against B in the test trials.

    Training volumes are those of phase ``train``; those of rest between the trials, and of any other
    condition, count as neither A nor B. With the first volume after the last training trial, mean and
    standard deviation of each voxel over the training volumes are frozen, and two L2 logistic
    regressions are fitted: A against everything else, B against everything else. Later volumes have no
    influence on either. With ``best`` the voxels are chosen by the training volumes as well (the largest F
    over A, B and the rest): a whole brain has more voxels that drift and move than voxels that respond.
    In the same way the opening rest, if it is used, ends with the first volume
    that is not rest.

    What ``normalise`` means across runs: with ``training``, a later run is z-scored by mean and
    deviation of the training run, so a change of gain or of position between runs looks like signal.
    With ``opening`` every run is first expressed as percent of its own opening rest (volumes of phase
    ``rest`` before anything else), which takes such changes out; within the training run both give the
    same. With ``rest`` every volume is expressed as percent of the rest block before it, as in `Region`
    (mean first, then ratio), which takes out whatever drifts slower than the blocks come, too. The choice
    is kept with the saved decoder, and a run that loads it must make the same.

    A voxel outside the field of view of a volume has no say in it; one that was outside in a training volume
    has none at all.

    A volume is never an example of anything but its own label, whatever is missing: gaps leave fewer
    examples and change nothing else.

    Raises
    ------
    GridError
        For features on another mask or grid than the decoder's.
    VolumeError
        In a test trial without a decoder, and where the opening rest is needed and there was none.
    SessionError
        At the start of the run, if there is no decoder of the name ``load``, or one for other conditions
        or normalised otherwise.
    """

    input_spec = DecodeInput
    output_spec = DecodeOutput
    stateful = True

    def start_run(self, context: RunContext) -> None:
        """Begin without a decoder, or with the one of an earlier run."""
        self._session = Session(context)
        self._seed = context.seed
        self._planned = context.volumes
        self._state = _State()
        self._loaded: Item | None = None
        if self.inputs.load:
            self._load()
        else:
            # A second of imports, which would else fall into the volume that training falls into.
            importlib.import_module("sklearn.linear_model")

    def end_run(self) -> None:
        """Train, if there is something to save and the run came to its planned end while training.

        A run that was broken off in its training trials leaves no decoder.
        """
        if self.inputs.save and self._state.samples and self._state.last == self._planned:
            self._train()

    def gap(self, volume: int) -> None:
        """A volume that does not come is no example; nothing else changes."""
        self._state.last = volume

    def snapshot(self) -> _State:
        """Everything that the volumes so far have left."""
        return self._state

    def restore(self, state: _State) -> None:
        """Go on from a snapshot."""
        self._state = state

    def _run_interface(self, runtime: Any) -> Any:
        inputs = self.inputs
        features: Features = inputs.features
        self._state.last = self.volume
        self._check_mask(features.mask)
        # Exactly 0 is what lies outside the field of view: no value of that voxel, rather than a low one.
        seen = np.where(features.values == 0, np.float32(np.nan), features.values)
        values = self._normalise(seen)
        self._results = {"value": 0.0, "kind": "neutral"}
        if inputs.phase == "train":
            if self._loaded is None and values is not None:
                self._collect(values)
        elif inputs.phase != "omit" and self._state.samples:
            self._train()
        if inputs.phase == "test":
            if values is None:
                raise VolumeError(
                    "no volume of rest came before this test trial, and normalise = 'rest' compares with it; "
                    "begin the design with rest, or take normalise = 'training'"
                )
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

    def _normalise(self, values: Values) -> Values | None:
        """The volume in the decoder's units, None as long as there are none; gathers rest on the way."""
        state = self._state
        if self.inputs.normalise == "training":
            return values
        if self.inputs.normalise == "rest":
            rest = state.rest.add(values.astype(np.float64), self.inputs.trial_type)
            return None if rest is None else percent(values, rest)
        if not state.opening_over and self.inputs.phase == "rest":
            total = 0.0 if state.opening is None else state.opening
            state.opening = total + values.astype(np.float64)
            state.opening_volumes += 1
            return values
        if not state.opening_over:
            if state.opening is None:
                raise VolumeError(
                    "no volume of rest before the first trial, and normalise = 'opening' needs some; "
                    "begin the design with rest, or take normalise = 'training'"
                )
            state.opening = state.opening / state.opening_volumes
            state.opening_over = True
        assert state.opening is not None
        return percent(values, state.opening)

    def _collect(self, values: Values) -> None:
        inputs, state = self.inputs, self._state
        moved = inputs.framewise_displacement
        # Realign withholds what it cannot know (the first volume, after a gap, an estimate that it does not
        # trust): such a volume is not trained on either.
        if inputs.max_fd > 0 and not (isdefined(moved) and moved <= inputs.max_fd):
            state.censored.append(self.volume)
            return
        state.samples.append(np.array(values, dtype=np.float32))
        state.labels.append(inputs.trial_type)
        state.volumes.append(self.volume)

    def _train(self) -> None:
        inputs, state = self.inputs, self._state
        samples, state.samples = np.stack(state.samples), []
        conditions = (inputs.conditions[0], inputs.conditions[1])
        state.decoder = train(
            samples,
            state.labels,
            conditions,
            strength=inputs.strength,
            seed=self._seed,
            best=inputs.best,
        )
        if inputs.save:
            assert state.mask is not None
            self._session.save(
                inputs.save,
                {**pack(state.decoder), "mask": np.packbits(state.mask.data)},
                state.mask.grid,
                mask=state.mask.identity,
                conditions=list(conditions),
                normalise=inputs.normalise,
                strength=inputs.strength,
                best=inputs.best,
                max_fd=inputs.max_fd,
                volumes=state.volumes,
                labels=state.labels,
                censored=state.censored,
                opening_volumes=state.opening_volumes,
            )

    def _load(self) -> None:
        inputs = self.inputs
        item = self._session.load(inputs.load)
        for fact in ("conditions", "normalise"):
            ours = getattr(inputs, fact)
            if item.facts.get(fact) != (list(ours) if fact == "conditions" else ours):
                raise SessionError(
                    f"session item {inputs.load!r} was trained with {fact} = {item.facts.get(fact)!r}, "
                    f"this run has {ours!r}; set the same"
                )
        self._loaded = item
        self._state.decoder = unpack(item.arrays, (inputs.conditions[0], inputs.conditions[1]))

    def _predict(self, values: Values) -> None:
        decoder = self._state.decoder
        if decoder is None:
            raise VolumeError("there is no decoder in this test trial; give train_trials, or load a decoder")
        usable = decoder.deviation > 0
        coverage = np.isfinite(values[usable]).mean()
        if coverage < COVERAGE:
            share = f"{100 * (1 - coverage):.0f} %"
            self.doubt(f"decode: {share} of the decoder's voxels are not seen, or were not at rest")
        value, predicted = decoder.evidence(values)
        self._results = {"value": value, "kind": "evidence", "predicted": predicted}
        if self.inputs.trial_type in decoder.conditions:
            self._results["correct"] = float(predicted == self.inputs.trial_type)
