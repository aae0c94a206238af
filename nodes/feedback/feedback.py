"""What the participant is shown of a value, and when."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from nipype.interfaces.base import BaseInterfaceInputSpec, TraitedSpec, isdefined, traits

from rtflow.documents import Event
from rtflow.errors import SessionError, VolumeError
from rtflow.nodes.feedback.settings import check_choices
from rtflow.nodes.feedback.thermometer import LEAST_BLOCKS, LEAST_VALUES, Smoother, Span, level, reached
from rtflow.session import Session
from rtflow.stream.interface import RunContext, StreamInterface

NEUTRAL = "neutral"

#: The mean of a block counts if at least so much of it has values.
COVERAGE = 0.5


class FeedbackInput(BaseInterfaceInputSpec):  # type: ignore[misc]
    """Inputs of `Feedback`."""

    incremental = traits.Any(
        mandatory=True, desc="the volume, of SkipDummies: that there is one, and its repetition time"
    )
    value = traits.Float(desc="of Region, Connectivity or Decode; withheld where it is not known")
    kind = traits.Str(desc="what the value is; 'neutral' where it is none")
    phase = traits.Str(desc="of Labels; without it, every volume is one of feedback")
    trial = traits.Int(desc="of Labels; with phase needed for mode='intermittent'")
    mode = traits.Enum(
        "continuous", "intermittent", usedefault=True, desc="a value with every volume, or after each block"
    )
    show = traits.Range(
        low=0.0,
        value=0.0,
        usedefault=True,
        desc="seconds after which the value of a block gives way to neutral; 0: with the next block",
    )
    smoothing = traits.Enum(
        "none", "exponential", "mean", usedefault=True, desc="over the past of the same block; see Smoother"
    )
    seconds = traits.Range(
        low=0.0, value=4.0, exclude_low=True, usedefault=True, desc="time constant, or length of the mean"
    )
    scaling = traits.Enum(
        "none",
        "range",
        "training",
        "opening",
        usedefault=True,
        desc="to 0..1, from low..high, or from percentiles of the training, or of the rest before anything",
    )
    low = traits.Float(0.0, usedefault=True, desc="value that is shown as 0, of scaling='range'")
    high = traits.Float(1.0, usedefault=True, desc="value that is shown as 1, of scaling='range'")
    low_percentile = traits.Range(
        low=0.0, high=100.0, value=5.0, usedefault=True, desc="of training or opening"
    )
    high_percentile = traits.Range(
        low=0.0, high=100.0, value=95.0, usedefault=True, desc="of training or opening"
    )
    levels = traits.Range(low=0, value=0, usedefault=True, desc="steps of a thermometer; 0: none")
    thresholds = traits.List(
        traits.Float(), usedefault=True, desc="steps of one's own, ascending, in the units of the value"
    )
    missing = traits.Enum(
        "hold", "neutral", usedefault=True, desc="what a volume of feedback without a value gets"
    )
    neutral = traits.Float(0.0, usedefault=True, desc="what is shown where there is no feedback")
    save = traits.Str("", usedefault=True, desc="session item to keep the range under")
    load = traits.Str("", usedefault=True, desc="session item with the range of an earlier run")


class FeedbackOutput(TraitedSpec):  # type: ignore[misc]
    """Outputs of `Feedback`."""

    value = traits.Float(desc="what the participant is shown")
    kind = traits.Str(desc="neutral, or what the value is")


@dataclass
class _Block:
    """A block, or a rest of the training, so far: volumes that came, and the values they had."""

    phase: str
    volumes: int = 0
    values: list[float] = field(default_factory=list)

    @property
    def mean(self) -> float | None:
        """The mean over its volumes that have a value; None if too few have."""
        few = len(self.values) < COVERAGE * self.volumes
        return None if few else math.fsum(self.values) / len(self.values)


@dataclass
class _State:
    """What `Feedback` knows in the middle of a run.

    ``known``: whether there has been a value; ``gathered``: those that the range will be found from;
    ``ended``: when the last block was over, in seconds, or None before the first.
    """

    smoother: Smoother
    span: Span | None
    kind: str = ""
    known: bool = False
    trial: int | None = None
    gathered: list[float] = field(default_factory=list)
    settled: bool = False
    why_not: str = ""
    block: _Block | None = None
    ended: float | None = None


class Feedback(StreamInterface):
    """Turn a value into what the participant is shown.

    Volumes of feedback are those of phase ``test``; in all others, and where ``kind`` is neutral already (of
    `Decode`, in rest and training), ``neutral`` is shown, and ``kind`` says so.

    **When.** ``continuous``: with every volume of a block. ``intermittent``: the mean over the volumes of a
    block that have a value, once, with the first volume after the block. Blocks are those of `Labels`,
    which knows the lag of the response, so that the mean is over the volumes that show the block. During a
    block neutral is shown; after its value nothing is given until the next one (the display keeps it), or
    until neutral is shown after ``show`` seconds. The value of a block that the run ends with comes with the
    last planned volume; if the number of volumes is not known, or the run ends early, the block has none, and
    an event ``block_without_value`` says so.

    **What.** Smoothing, over the past of the same block or rest only; then scaling to 0..1, cut off at both
    ends; then ``levels`` (the nearest of so many equal steps) or ``thresholds`` (how many have been reached;
    in the units of the value, without scaling). A range from ``training`` is that of two percentiles over the
    volumes from the first to the last training block, one from ``opening`` over the rest before anything
    else, both of the smoothed values; it is frozen with the first volume after them. ``save`` and ``load``
    take a range from run to run. What is shown and what the range is of are alike: with ``intermittent`` the
    percentiles are over the means of the training blocks and of the rests between them, since single volumes
    vary more than a mean, and values of blocks would crowd in the middle of their range. For the same reason
    there is no range from ``opening`` then, and no smoothing.

    **Its kind** says all of that: ``percent_signal_change`` becomes ``percent_signal_change_scaled`` or
    ``percent_signal_change_level``, with ``_block_mean`` before that if it is one.

    **Without a value.** A volume of feedback whose value is withheld, not finite, or lost with a node that
    failed, is shown as neutral and doubted with ``missing="neutral"``. With ``missing="hold"`` the node
    fails for this volume: ``stream(node, on_error="last")`` repeats what was shown last, marked as stale. Up
    to the first value of the run neutral is shown. A block of which less than half has values is such a case,
    too. For a volume that never comes nothing is given.

    Raises
    ------
    UsageError
        At the start of the run, if options contradict each other.
    SessionError
        At the start of the run, if there is no range of the name ``load``, or one of another mode.
    VolumeError
        If a value is to be held, if there is no range to scale with, if the kind of the value changes
        during a run, or if labels are needed and missing.
    """

    input_spec = FeedbackInput
    output_spec = FeedbackOutput
    stateful = True

    def needed_inputs(self) -> dict[str, str]:
        """What says where blocks are."""
        why = "mode='intermittent' needs to know the blocks, of Labels; or use 'continuous'"
        return dict.fromkeys(("phase", "trial"), why) if self.inputs.mode == "intermittent" else {}

    def start_run(self, context: RunContext) -> None:
        """Begin without a past; take the range of an earlier run if there is one."""
        inputs = self.inputs
        check_choices(inputs)
        self._emit, self._planned = context.emit, context.volumes
        self._session = Session(context)
        span = Span(inputs.low, inputs.high) if inputs.scaling == "range" else None
        self._state = _State(Smoother(inputs.smoothing, inputs.seconds), span, settled=span is not None)
        if inputs.load:
            item = self._session.load(inputs.load)
            if "span" not in item.arrays or item.arrays["span"].shape != (2,):
                raise SessionError(
                    f"session item {inputs.load!r} is no range of feedback; name one that Feedback saved"
                )
            if (mode := item.facts.get("mode")) != inputs.mode:
                raise SessionError(
                    f"session item {inputs.load!r} is a range of mode={mode!r}, not {inputs.mode!r}: "
                    "single volumes vary more than means of blocks; find a range in a run of the same mode"
                )
            low, high = item.arrays["span"].tolist()
            self._state.span, self._state.settled = Span(low, high), True
            self._state.kind = str(item.facts.get("kind", ""))

    def end_run(self) -> None:
        """Say it if the last block has no value."""
        block = self._state.block
        if block is not None and block.phase == "test":
            says = (
                f"the run ended within a block of feedback, of which {block.volumes} volumes had come: it "
                "has no value; let the run go on for a volume after it, or say how many volumes there are"
            )
            self._emit(Event(name="block_without_value", node="feedback", data={"says": says}))

    def snapshot(self) -> _State:
        """Range, smoothing and block so far."""
        return self._state

    def restore(self, state: _State) -> None:
        """Go on from there."""
        self._state = state

    def _run_interface(self, runtime: Any) -> Any:
        inputs, state = self.inputs, self._state
        at = (self.volume - 1) * inputs.incremental.tr
        phase = inputs.phase if isdefined(inputs.phase) else "test"
        trial = inputs.trial if isdefined(inputs.trial) else None
        value = self._value()
        self._results: dict[str, Any] = {}
        ended = None
        if trial != state.trial:
            state.smoother.reset()
            state.trial = trial
            ended, state.block = state.block, None
        smoothed = None if value is None else state.smoother.step(value, at)
        showing = phase == "test" and inputs.kind != NEUTRAL
        if inputs.mode == "intermittent":
            if trial is None:
                raise VolumeError(
                    "Feedback: mode='intermittent' needs blocks; connect phase and trial of Labels"
                )
            self._gather(phase, ended.mean if ended is not None and ended.phase == "train" else None)
            if showing or phase == "train":
                state.block = state.block or _Block(phase)
                state.block.volumes += 1
                state.block.values += [] if value is None else [value]
            if ended is None and showing and self.volume == self._planned:
                ended, state.block = state.block, None  # there is no volume after it to come with
            self._after_block(ended if ended is not None and ended.phase == "test" else None, at, phase)
            return runtime
        training = inputs.scaling == "training"
        self._gather(phase, smoothed if phase == ("train" if training else "rest") else None)
        if not showing:
            self._neutral()
        elif smoothed is not None:
            self._show(smoothed)
        else:
            self._miss("there is no value for this volume")
        return runtime

    def _value(self) -> float | None:
        """The value, None if there is none; sees to it that it is of one kind throughout the run."""
        inputs, state = self.inputs, self._state
        value, kind = inputs.value, inputs.kind if isdefined(inputs.kind) else "value"
        if not isdefined(value) or not math.isfinite(value) or kind == NEUTRAL:
            return None
        if state.kind and kind != state.kind:
            raise VolumeError(
                f"the value is of kind {kind}, so far (or in the run of its range) it was {state.kind}; "
                "show one kind of value only"
            )
        state.kind, state.known = kind, True
        return float(value)

    def _gather(self, phase: str, found: float | None) -> None:
        """Take a value for the range, if there is one, or settle it with the first volume after those."""
        inputs, state = self.inputs, self._state
        if state.settled or inputs.scaling == "none":
            return
        training = inputs.scaling == "training"
        state.gathered += [] if found is None else [found]
        if phase == ("train" if training else "rest"):
            return
        if training and (phase == "omit" or not state.gathered):
            return
        state.settled = True
        try:
            least = LEAST_BLOCKS if inputs.mode == "intermittent" else LEAST_VALUES
            state.span = Span.of(state.gathered, inputs.low_percentile, inputs.high_percentile, least)
        except VolumeError as error:
            state.why_not = str(error)
            return
        if inputs.save:
            span = np.array([state.span.low, state.span.high])
            facts = {"kind": state.kind, "scaling": inputs.scaling, "mode": inputs.mode}
            self._session.save(inputs.save, {"span": span}, values=state.gathered, **facts)

    def _after_block(self, ended: _Block | None, at: float, phase: str) -> None:
        inputs, state = self.inputs, self._state
        if ended is not None:
            state.ended = at
            if ended.mean is not None:
                self._show(ended.mean)
            else:
                self._miss(f"only {len(ended.values)} of the block's {ended.volumes} volumes have a value")
            return
        # A microsecond's grace: n * TR is not exact.
        over = state.ended is None or 0 < inputs.show <= at - state.ended + 1e-6
        if over or phase in ("test", "train"):
            self._neutral()

    def _neutral(self) -> None:
        self._results = {"value": self.inputs.neutral, "kind": NEUTRAL}

    def _miss(self, why: str) -> None:
        if not self._state.known:
            self._neutral()  # nothing has been known in this run so far
        elif self.inputs.missing == "neutral":
            self.doubt(f"feedback: neutral is shown: {why}")
            self._neutral()
        else:
            raise VolumeError(f"{why}, and missing='hold' keeps what was shown last, with on_error='last'")

    def _show(self, quantity: float) -> None:
        inputs, state = self.inputs, self._state
        kind = state.kind + ("_block_mean" if inputs.mode == "intermittent" else "")
        shown = quantity
        if inputs.scaling != "none":
            if state.span is None:
                raise VolumeError(
                    state.why_not
                    or f"there is no range to scale with: no volume of {inputs.scaling} came before; "
                    "give low and high, or load a range"
                )
            shown = state.span.scaled(quantity)
        if inputs.thresholds:
            shown = float(reached(quantity, inputs.thresholds))
        elif inputs.levels:
            shown = float(level(shown, inputs.levels))
        ending = "_scaled" if inputs.scaling != "none" else ""
        kind += "_level" if inputs.thresholds or inputs.levels else ending
        self._results = {"value": shown, "kind": kind}
