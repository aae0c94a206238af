"""Settings of a decoder that is trained in one run and used in the next."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from rtflow.design import read_events
from rtflow.errors import SettingsError
from rtflow.setting_types import LocalPath, NotNegative, Positive, Whole
from rtflow.trials import Design
from rtflow.whole_file import require_writable_file


class DecodingSettings(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """When what is shown, how the decoder is trained, and where it is kept; see `Decode`.

    Parameters
    ----------
    events
        A BIDS events.tsv of the run. May be missing where a decoder is loaded: then no rest is known, every
        volume is decoded, and compared with the rest of the training run.
    save
        File to put the trained decoder into, with the reference and the mask that belong to it; empty keeps
        them in the session only.
    load
        Such a file, or the session folder of the training run: nothing is trained, every trial is tested.
    conditions
        What to tell apart; empty takes all that the events have. The value speaks for the first.
    join
        Trials of one type that follow each other within so many seconds are one: a block logged image by
        image.
    scanner_dummies
        Seconds of dummy volumes that the scanner never saves, where onsets count from the first of them.
    lag
        Seconds by which the haemodynamic response trails the trials.
    settle
        Seconds of rest after each trial that do not count as rest, as the response dies away.
    transition
        Seconds after each start and end of a trial that are neither trained nor tested.
    estimator
        ``lda``, ``logistic`` or the dotted path of a classifier of scikit-learn.
    normalise
        ``running``: each volume as percent of the rest so far; ``rest``: of the rest block before it;
        ``opening``: of the run's opening rest; ``training``: as it is. Then z-scores by the training volumes.
    memory
        Seconds that ``running`` looks back.
    best
        How many voxels decide: those that any of the conditions drives most; 0 takes all.
    within
        Whether each volume is standardised over these voxels first; ``logistic`` does without.
    accumulate
        Whether a volume is decided by all volumes of its trial so far.
    max_fd
        Volumes that moved more (framewise displacement, mm) are not trained on; 0 takes all.
    """

    events: LocalPath = ""
    save: LocalPath = ""
    load: LocalPath = ""
    conditions: tuple[str, ...] = ()
    join: NotNegative = 1.0
    scanner_dummies: NotNegative = 0.0
    lag: NotNegative = 4.0
    settle: NotNegative = 2.0
    transition: NotNegative = 0.0
    estimator: str = "lda"
    normalise: str = "running"
    memory: Positive = 60.0
    best: Whole = 1000
    within: bool = True
    accumulate: bool = True
    max_fd: NotNegative = 0.0

    def require(self) -> None:
        """Refuse a file that the decoder could not be left in.

        Raises
        ------
        OutputError
            If it is a folder, or its folder cannot be written.
        """
        if self.save:
            require_writable_file(Path(self.save))

    def design(self, simulated: Design | None = None) -> Design | None:
        """The trials of the run; None if they are not known and need not be.

        Parameters
        ----------
        simulated
            Those of a simulated participant, for where there is no file of events.

        Raises
        ------
        UsageError
            If the file cannot be read or lacks a condition, or a decoder is to be trained and there is none.
        """
        if not self.events:
            if simulated is None and not self.load:
                raise SettingsError(
                    "decode.events is empty, expected the events.tsv of the run to train in; "
                    "set it, or set decode.load to a decoder that was trained before"
                )
            return simulated
        design = read_events(Path(self.events)).joined(self.join).later(-self.scanner_dummies)
        absent = [name for name in self.conditions if name not in design.conditions]
        if absent or not design.trials:
            raise SettingsError(
                f"events file {self.events} has no trial of {', '.join(absent) or 'anything but rest'}, "
                f"it has {', '.join(design.conditions) or 'none'}; set decode.conditions to names that it has"
            )
        return design

    def labels(self, design: Design | None) -> dict[str, Any]:
        """Inputs of `Labels`: all trials of a training run are for training, none of a later one."""
        given: dict[str, Any] = {name: getattr(self, name) for name in ("lag", "settle", "transition")}
        if design is not None:
            given |= {"design": design, "train_trials": 0 if self.load else len(design.trials)}
        return given

    def decoder(self, design: Design | None, fwhm: float) -> dict[str, Any]:
        """Inputs of `Decode` that do not come from volumes; the name of the item is ``decoder``.

        Parameters
        ----------
        design
            The trials, if they are known.
        fwhm
            Smoothing, mm: noted beside the decoder, as a later run that differs is told.
        """
        names = ("normalise", "memory", "within", "accumulate")
        given: dict[str, Any] = {name: getattr(self, name) for name in names}
        timing = ("lag", "settle", "transition", "join", "scanner_dummies")
        given["notes"] = {**{name: getattr(self, name) for name in timing}, "fwhm": fwhm}
        if self.load:
            return {**given, "conditions": list(self.conditions), "load": self.place("decoder")}
        given |= {name: getattr(self, name) for name in ("estimator", "best", "max_fd")}
        given["within"] = self.within and self.estimator != "logistic"
        shown = self.conditions or (design.conditions if design is not None else ())
        choose = "separation" if self.estimator == "logistic" else "activation"
        return {**given, "conditions": list(shown), "choose": choose, "save": "decoder"}

    def place(self, item: str) -> str:
        """Name of an item of the training run, for whatever loads one."""
        return f"{self.load}/{item}"


class TrainingSettings(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """How a decoder is trained on the first blocks of a session; see `Decode`.

    Parameters
    ----------
    train_blocks
        How many blocks of run 1 are for training; the others are tested.
    lag
        Seconds by which the haemodynamic response trails the trials.
    transition
        Seconds left out after each start and end of a block, in training and test.
    normalise
        ``rest``: each volume as percent of the rest block before it, ``opening``: of the run's opening rest;
        both then as z-scores by the training volumes;
        ``training``: z-scores by the training volumes alone.
    best
        How many voxels decide: those that tell the training volumes apart best; 0 takes all. Over a whole
        brain, drift and motion have more voxels than the response.
    strength
        Inverse of the L2 penalty (C of scikit-learn).
    max_fd
        Volumes that moved more (framewise displacement, mm) are not trained on; 0 takes all.
    """

    train_blocks: int = 4
    lag: float = 4.0
    transition: float = 0.0
    normalise: str = "rest"
    best: int = 200
    strength: float = 1.0
    max_fd: float = 0.0

    def require(self, design: Design, conditions: Sequence[str]) -> None:
        """Refuse to train on blocks that lack a condition: the run would end without a decoder.

        Parameters
        ----------
        design
            Of the run that is for training.
        conditions
            What to tell apart.

        Raises
        ------
        SettingsError
            If one of them is in none of the training blocks.
        """
        shown = [trial.trial_type for trial in design.trials]
        absent = [name for name in conditions if name not in shown[: self.train_blocks]]
        if absent and set(conditions) <= set(shown):
            least = 1 + max(shown.index(name) for name in conditions)
            raise SettingsError(
                f"decoding.train_blocks is {self.train_blocks}, and no block for training is of "
                f"{' or '.join(absent)}: the run would save no decoder; set it to {least} or more"
            )

    def labels(self, *, training: bool) -> dict[str, Any]:
        """What `Labels` takes of this."""
        trials = self.train_blocks if training else 0
        return {"lag": self.lag, "transition": self.transition, "train_trials": trials}

    def decoder(self, fwhm: float) -> dict[str, Any]:
        """What `Decode` takes of this; smoothing (mm) is noted with what a later run should share."""
        names = ("normalise", "best", "strength", "max_fd")
        notes = {"lag": self.lag, "transition": self.transition, "fwhm": fwhm}
        return {**{name: getattr(self, name) for name in names}, "notes": notes}
