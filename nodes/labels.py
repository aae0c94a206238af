"""What the participant was doing in each volume, by the design and the lag of the response."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from nipype.interfaces.base import BaseInterfaceInputSpec, TraitedSpec, isdefined, traits

from rtflow.documents import Event
from rtflow.nodes.given_design import DESIGN, given_design
from rtflow.stream.interface import RunContext, StreamInterface
from rtflow.trials import REST, Design, Trial

Phase = Literal["rest", "train", "test", "omit"]
UNKNOWN = "n/a"


@dataclass(frozen=True)
class Label:
    """What a volume is for.

    Parameters
    ----------
    trial_type
        ``rest``, or the condition of the trial; ``n/a`` where the design is not known.
    trial
        Number of the trial, from 0; -1 at rest.
    phase
        ``train`` from the first training trial to the last one, with the rest between them; ``test`` in
        the trials after those; ``omit`` in a transition; ``rest`` elsewhere.
    """

    trial_type: str
    trial: int
    phase: Phase


def label_volume(
    design: Design,
    volume: int,
    tr: float,
    *,
    lag: float,
    train_trials: int,
    transition: float = 0.0,
    settle: float = 0.0,
) -> Label:
    """The label of one volume.

    Parameters
    ----------
    design
        Trials, in seconds from the start of volume 1.
    volume
        Number of the volume, from 1.
    tr
        Repetition time, seconds.
    lag
        Seconds by which the haemodynamic response trails the trials.
    train_trials
        How many of the first trials are for training.
    transition
        Seconds after the start of a trial, and after its end, whose volumes are neither trained on nor
        tested: the response is still on its way there.
    settle
        Seconds of rest after the end of a trial that are left out likewise: the response still dies away
        there, and what is compared with rest should not be compared with the trial before.

    Examples
    --------
    >>> from rtflow.design import block_design
    >>> design = block_design(["scene", "face"], blocks=4, block=10.0, rest=10.0, opening=10.0)
    >>> label_volume(design, 8, 2.0, lag=4.0, train_trials=2)
    Label(trial_type='scene', trial=0, phase='train')
    >>> label_volume(design, 8, 2.0, lag=4.0, train_trials=2, transition=4.0).phase
    'omit'
    >>> [label_volume(design, n, 2.0, lag=4.0, train_trials=2).phase for n in (7, 13, 23, 28)]
    ['rest', 'train', 'rest', 'test']
    """
    number = design.trial(volume, tr, lag)
    trial = -1 if number is None else number
    trial_type = design.label(volume, tr, lag)
    phase: Phase
    if _within(_changes(design), transition, volume, tr, lag):
        phase = "omit"
    elif number is not None:
        phase = "train" if number < train_trials else "test"
    elif _within(_ends(design), settle, volume, tr, lag):
        phase = "omit"
    else:
        phase = "rest" if _training(design, train_trials).trial(volume, tr, lag) is None else "train"
    return Label(trial_type, trial, phase)


# `Design.trial` alone knows the lag, so spans of time that are not trials are asked for as if they were.


@lru_cache(maxsize=8)
def _training(design: Design, train_trials: int) -> Design:
    """From the first training trial to the last one, as one long trial."""
    trials = design.trials[:train_trials]
    if not trials:
        return Design(())
    onset = trials[0].onset
    return Design((Trial(onset, trials[-1].onset + trials[-1].duration - onset, REST),))


@lru_cache(maxsize=8)
def _ends(design: Design) -> tuple[float, ...]:
    return tuple(sorted({trial.onset + trial.duration for trial in design.trials}))


@lru_cache(maxsize=8)
def _changes(design: Design) -> tuple[float, ...]:
    return tuple(sorted({*_ends(design), *(trial.onset for trial in design.trials)}))


def _within(times: tuple[float, ...], seconds: float, volume: int, tr: float, lag: float) -> bool:
    """Whether a volume shows what came less than so many seconds after one of some times."""
    return seconds > 0 and _spans(times, seconds).spans(volume, tr, lag)


@lru_cache(maxsize=16)
def _spans(times: tuple[float, ...], seconds: float) -> Design:
    return Design(tuple(Trial(at, seconds, REST) for at in times))


def unseen(design: Design, seen: Iterable[int]) -> str:
    """Which trials no volume of a run has shown, in words; empty if each was.

    Parameters
    ----------
    design
        The trials.
    seen
        Numbers of those that were shown.

    Examples
    --------
    >>> from rtflow.design import block_design
    >>> unseen(block_design(["scene", "face"], blocks=4, block=10.0, rest=10.0), [0, 1])
    '2 of 4 trials are left out, as no volume of the run shows them: scene at 40 s, face at 60 s'
    """
    shown = set(seen)
    absent = [trial for number, trial in enumerate(design.trials) if number not in shown]
    if not absent:
        return ""
    named = [f"{trial.trial_type} at {trial.onset:g} s" for trial in absent]
    if len(named) > 6:
        named = [*named[:3], "...", *named[-2:]]
    says = "are left out, as no volume of the run shows them"
    return f"{len(absent)} of {len(design.trials)} trials {says}: {', '.join(named)}"


class LabelsInput(BaseInterfaceInputSpec):  # type: ignore[misc]
    """Inputs of `Labels`."""

    incremental = traits.Any(mandatory=True, desc="the volume, a BidsIncremental")
    design = traits.Any(desc=f"{DESIGN}; without, every volume is a test of unknown type")
    shown = traits.List(
        desc="Trials that the display told of (SubjectInput): each takes the place of what was planned"
    )
    late = traits.Enum(
        "use",
        "ignore",
        usedefault=True,
        desc="what the display told late: it counts for the volumes after it, or for none",
    )
    lag = traits.Float(
        0.0, usedefault=True, desc="seconds by which the haemodynamic response trails the trials"
    )
    train_trials = traits.Int(0, usedefault=True, desc="how many of the first trials are for training")
    transition = traits.Float(
        0.0,
        usedefault=True,
        desc="seconds after each start and end of a trial that are neither trained nor tested",
    )
    settle = traits.Float(
        0.0,
        usedefault=True,
        desc="seconds of rest after each trial that are left out: the response dies away",
    )


class LabelsOutput(TraitedSpec):  # type: ignore[misc]
    """Outputs of `Labels`."""

    trial_type = traits.Str(desc="rest, or the condition of the trial; n/a without a design")
    trial = traits.Int(desc="number of the trial, from 0; -1 at rest")
    phase = traits.Enum("rest", "train", "test", "omit", desc="what the volume is for")
    time = traits.Float(desc="start of the volume, seconds from the start of volume 1")


class Labels(StreamInterface):
    """Say of each volume what the participant was doing, and what it is for; see `label_volume`.

    The lag of the response is applied here, once for the whole graph. The repetition time is that of the
    volume's own metadata, and time counts from its own number: of a scan that begins with number 79, that
    volume is of second 78 TR.

    Trials that no volume has shown (events before the first volume or after the last) are left out, and
    said once, at the end of the run, in an event ``trials_left_out``.

    Raises
    ------
    VolumeError
        If a volume has no repetition time.
    """

    input_spec = LabelsInput
    output_spec = LabelsOutput

    def start_run(self, context: RunContext) -> None:
        """Begin with no trial seen."""
        self._design = given_design(self, context)
        self._emit = context.emit
        self._seen: set[int] = set()

    def snapshot(self) -> set[int]:
        """Numbers of the trials that volumes have shown."""
        return self._seen

    def restore(self, state: set[int]) -> None:
        """Go on from there."""
        self._seen = state

    def end_run(self) -> None:
        """Say which trials no volume has shown."""
        says = unseen(self._design, self._seen) if self._design is not None else ""
        if says and self._seen:
            self._emit(Event(name="trials_left_out", data={"says": says}))

    def _run_interface(self, runtime: Any) -> Any:
        inputs = self.inputs
        incremental = inputs.incremental
        label = Label(UNKNOWN, -1, "test")
        if "_design" not in self.__dict__:  # stock Nipype calls without start_run
            self._design = given_design(self)
        design = self._design
        told = inputs.shown if isdefined(inputs.shown) else []
        if inputs.late == "ignore":
            told = Design.in_time(told)
        if told:
            design = (design or Design(())).as_shown(told)
        if design is not None:
            label = label_volume(
                design,
                incremental.volume,
                incremental.tr,
                lag=inputs.lag,
                train_trials=inputs.train_trials,
                transition=inputs.transition,
                settle=inputs.settle,
            )
        # Not stateful, as no output depends on it.
        self.__dict__.setdefault("_seen", set()).add(label.trial)
        self._results = {**vars(label), "time": (incremental.volume - 1) * incremental.tr}
        return runtime
