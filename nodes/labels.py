"""What the participant was doing in each volume, by the design and the lag of the response."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from nipype.interfaces.base import BaseInterfaceInputSpec, TraitedSpec, traits

from rtflow.design import REST, Design, Trial
from rtflow.stream.interface import StreamInterface

Phase = Literal["rest", "train", "test", "omit"]


@dataclass(frozen=True)
class Label:
    """What a volume is for.

    Parameters
    ----------
    trial_type
        ``rest``, or the condition of the trial.
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
    design: Design, volume: int, tr: float, *, lag: float, train_trials: int, transition: float = 0.0
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
    if transition > 0 and _transitions(design, transition).trial(volume, tr, lag) is not None:
        phase = "omit"
    elif number is not None:
        phase = "train" if number < train_trials else "test"
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
def _transitions(design: Design, transition: float) -> Design:
    """What follows each start and each end of a trial."""
    changes = {at for trial in design.trials for at in (trial.onset, trial.onset + trial.duration)}
    return Design(tuple(Trial(at, transition, REST) for at in sorted(changes)))


class LabelsInput(BaseInterfaceInputSpec):  # type: ignore[misc]
    """Inputs of `Labels`."""

    incremental = traits.Any(mandatory=True, desc="the volume, a BidsIncremental")
    design = traits.Any(mandatory=True, desc="rtflow.design.Design: the trials, in seconds")
    lag = traits.Float(
        0.0, usedefault=True, desc="seconds by which the haemodynamic response trails the trials"
    )
    train_trials = traits.Int(0, usedefault=True, desc="how many of the first trials are for training")
    transition = traits.Float(
        0.0,
        usedefault=True,
        desc="seconds after each start and end of a trial that are neither trained nor tested",
    )


class LabelsOutput(TraitedSpec):  # type: ignore[misc]
    """Outputs of `Labels`."""

    trial_type = traits.Str(desc="rest, or the condition of the trial")
    trial = traits.Int(desc="number of the trial, from 0; -1 at rest")
    phase = traits.Enum("rest", "train", "test", "omit", desc="what the volume is for")


class Labels(StreamInterface):
    """Say of each volume what the participant was doing, and what it is for; see `label_volume`.

    The lag of the response is applied here, once for the whole graph. The repetition time is that of the
    volume's own metadata.

    Raises
    ------
    VolumeError
        If a volume has no repetition time.
    """

    input_spec = LabelsInput
    output_spec = LabelsOutput

    def _run_interface(self, runtime: Any) -> Any:
        inputs = self.inputs
        incremental = inputs.incremental
        label = label_volume(
            inputs.design,
            incremental.volume,
            incremental.tr,
            lag=inputs.lag,
            train_trials=inputs.train_trials,
            transition=inputs.transition,
        )
        self._results = {"trial_type": label.trial_type, "trial": label.trial, "phase": label.phase}
        return runtime
