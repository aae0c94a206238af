"""The design of an experiment: what the participant is asked to do, and when.

Times are seconds from onset 0, the start of volume 1. The lag of the haemodynamic response is applied
here and nowhere else: `Design.label` takes the time of a volume, steps back by the lag, and says what
the participant was doing then.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable
from pathlib import Path

import msgspec

from rtflow.errors import SettingsError, UsageError
from rtflow.setting_types import Count, LocalPath, NotNegative, Positive

REST = "rest"
NO_TRIAL = (REST, "n/a")

# So many times the length of the run lies its last onset at least, if it is in milliseconds.
_LENGTHS = 300

# Seconds. Onsets are multiples of TR in most designs, and n * TR is not exact; those of a log lie a frame or
# two of the display behind the trigger that they belong to.
_GRACE = 0.05

# Seconds between what was planned and what was shown of it, at most.
_NEAR = 10.0

# Seconds. A trial of one TR is not shorter than a TR, however the TR is rounded.
_ROUNDING = 1e-6


class Trial(msgspec.Struct, frozen=True):
    """One row of an events.tsv: ``onset`` and ``duration`` in seconds, and what it was."""

    onset: float
    duration: float
    trial_type: str


class ShownTrial(Trial, frozen=True):
    """A trial that the display told of; ``late`` if it did so more than a second after its end."""

    late: bool = False


class Design(msgspec.Struct, frozen=True):
    """Trials in the order of their onsets; what lies between them is rest.

    >>> design = block_design(["scene", "face"], blocks=4, block=10.0, rest=4.0, opening=6.0)
    >>> [trial.onset for trial in design.trials]
    [6.0, 20.0, 34.0, 48.0]
    >>> design.label(volume=5, tr=2.0, lag=2.0), design.label(volume=4, tr=2.0, lag=2.0)
    ('scene', 'rest')
    """

    trials: tuple[Trial, ...]

    @property
    def conditions(self) -> tuple[str, ...]:
        """Trial types in the order of their first trial."""
        return tuple(dict.fromkeys(trial.trial_type for trial in self.trials))

    @property
    def duration(self) -> float:
        """Seconds from onset 0 to the end of the last trial."""
        return max((trial.onset + trial.duration for trial in self.trials), default=0.0)

    def later(self, seconds: float) -> Design:
        """The same trials so many seconds later; earlier if negative."""
        if not seconds:
            return self
        return Design(
            tuple(Trial(trial.onset + seconds, trial.duration, trial.trial_type) for trial in self.trials)
        )

    def until(self, seconds: float) -> Design:
        """The trials that begin before a moment; each keeps its duration."""
        return Design(tuple(trial for trial in self.trials if trial.onset < seconds))

    def as_shown(self, shown: Iterable[Trial]) -> Design:
        """The same with what was really shown.

        Each takes the place of the trial of its type that was planned nearest to it, at most 10 s away, and
        that nothing has taken before; what was not planned is added. What nobody told of stays as planned.

        Parameters
        ----------
        shown
            In the order told, in seconds from onset 0.

        Examples
        --------
        >>> plan = Design((Trial(4.0, 2.0, "face"), Trial(10.0, 2.0, "face")))
        >>> found = plan.as_shown([ShownTrial(10.3, 2.0, "face"), ShownTrial(30.0, 1.0, "house")])
        >>> [(trial.onset, trial.trial_type) for trial in found.trials]
        [(4.0, 'face'), (10.3, 'face'), (30.0, 'house')]
        """
        planned, taken = list(self.trials), []
        for trial in shown:
            near = [
                one
                for one in planned
                if one.trial_type == trial.trial_type and abs(one.onset - trial.onset) <= _NEAR
            ]
            if near:
                planned.remove(min(near, key=lambda one: abs(one.onset - trial.onset)))
            taken.append(trial)
        return Design(tuple(sorted([*planned, *taken], key=lambda one: one.onset)))

    def joined(self, gap: float) -> Design:
        """One trial in place of trials of one type that follow each other: a block logged image by image.

        Parameters
        ----------
        gap
            Seconds between the end of one and the start of the next, at most.

        Examples
        --------
        >>> images = Design((Trial(12.0, 0.5, "face"), Trial(13.0, 0.5, "face"), Trial(20.0, 0.5, "face")))
        >>> images.joined(1.0).trials[0]
        Trial(onset=12.0, duration=1.5, trial_type='face')
        """
        found: list[Trial] = []
        for trial in self.trials:
            end = trial.onset + trial.duration
            before = found[-1] if found else None
            if (
                before is not None
                and before.trial_type == trial.trial_type
                and trial.onset - (before.onset + before.duration) <= gap
            ):
                end = max(end, before.onset + before.duration)
                found[-1] = Trial(before.onset, end - before.onset, trial.trial_type)
            else:
                found.append(trial)
        return Design(tuple(found))

    def trial(self, volume: int, tr: float, lag: float = 0.0) -> int | None:
        """Which trial (from 0) shows in a volume, or None if rest does.

        A volume belongs to the trial at its start. A trial that is shorter than a TR may lie between two
        starts: it shows in every volume that it overlaps and no trial is at the start of, one at least if
        it is alone there; of several, the first.

        Parameters
        ----------
        volume
            Number of the volume, from 1.
        tr
            Repetition time in seconds.
        lag
            Seconds by which the haemodynamic response trails the trials.

        Examples
        --------
        >>> design = Design((Trial(4.0, 4.0, "long"), Trial(13.0, 0.5, "short"), Trial(18.0, 0.0, "press")))
        >>> [design.label(volume, tr=2.0) for volume in (3, 4, 5, 7, 8, 10)]
        ['long', 'long', 'rest', 'short', 'rest', 'press']
        """
        start, end = (volume - 1) * tr - lag, volume * tr - lag
        for number, trial in enumerate(self.trials):
            if _spans(trial, start):
                return number
        # Behind all others: a cue or a press takes no volume from the block that it begins.
        for number, trial in enumerate(self.trials):
            if trial.duration < tr - _ROUNDING and _overlaps(trial, start, end):
                return number
        return None

    def spans(self, volume: int, tr: float, lag: float = 0.0) -> bool:
        """Whether a volume starts within one of the trials, however short. Parameters as for `trial`."""
        return any(_spans(trial, (volume - 1) * tr - lag) for trial in self.trials)

    def label(self, volume: int, tr: float, lag: float = 0.0) -> str:
        """The trial type that shows in a volume; ``rest`` between trials. Parameters as for `trial`."""
        number = self.trial(volume, tr, lag)
        return REST if number is None else self.trials[number].trial_type


def _spans(trial: Trial, start: float) -> bool:
    """Whether a volume starts within a trial."""
    return trial.onset <= start + _GRACE < trial.onset + trial.duration


def _overlaps(trial: Trial, start: float, end: float) -> bool:
    """Whether a volume shows something of a trial, beyond the grace at both of its ends; see `_GRACE`."""
    first = trial.onset + _GRACE
    return first < end and start <= max(first, trial.onset + trial.duration - _GRACE)


def require_design(given: object, node: str) -> None:
    """Refuse what is no design, such as the path of an events.tsv, before the first volume.

    Raises
    ------
    UsageError
        If it is something else.
    """
    if not isinstance(given, Design):
        raise UsageError(
            f"{node}: design should be a Design, got {given!r}; make one by "
            "rtflow.design.read_events(Path(FILE)) or block_design(...)"
        )


def require_seconds(design: Design, volumes: int | None, tr: float | None) -> None:
    """Refuse a design that must be in milliseconds, as far as the run's length is known before it begins.

    Parameters
    ----------
    design
        Of the run.
    volumes, tr
        Their planned number, and the repetition time in seconds; None where it is not known.

    Raises
    ------
    UsageError
        If every trial begins after the end of the run, and the last one hundreds of runs later; a run that is
        only tried out may well be too short for its design.
    """
    if not (volumes and tr and design.trials):
        return
    onsets = [trial.onset for trial in design.trials]
    first = min(onsets)
    if first >= volumes * tr and max(onsets) >= _LENGTHS * volumes * tr:
        raise UsageError(
            f"no trial of the design lies in the run: the first begins at {first:g} s, and the run of "
            f"{volumes} volumes ends at {volumes * tr:g} s; are its onsets in seconds, as BIDS wants them?"
        )


def block_design(
    conditions: Iterable[str], *, blocks: int, block: float, rest: float, opening: float = 0.0
) -> Design:
    """Blocks of equal length that go through the conditions in turn, each followed by rest.

    Parameters
    ----------
    conditions
        Trial types, in turn.
    blocks
        Number of blocks.
    block, rest, opening
        Seconds of a block, of the rest after it, and before the first one.
    """
    names = list(conditions)
    return Design(
        tuple(
            Trial(opening + number * (block + rest), block, names[number % len(names)])
            for number in range(blocks)
        )
    )


class DesignSettings(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """What the participant is asked to do, and when: blocks in turn, or a file of events.

    Parameters
    ----------
    conditions
        What the trials are of; the blocks go through them in turn. With a file of events their order still
        counts where a workflow tells first from second, and each must occur in the file.
    blocks
        Number of blocks.
    block, rest, opening
        Seconds of a block, of the rest after it, and from the start of the first volume that the scanner
        saves to the first block.
    events
        A BIDS events.tsv; it takes the place of the blocks.
    scanner_dummies
        Seconds of dummy volumes that the scanner never saves, where onsets in the file count from the first
        of them (it gave the stimulus its trigger); 0 where they count from the first saved volume.
    """

    conditions: tuple[str, ...] = ("scene", "face")
    blocks: Count = 8
    block: Positive = 36.0
    rest: NotNegative = 18.0
    opening: NotNegative = 40.0
    events: LocalPath = ""
    scanner_dummies: NotNegative = 0.0

    def require(self) -> None:
        """Refuse rest as a condition.

        Raises
        ------
        SettingsError
            If it is among the conditions.
        """
        if idle := [name for name in self.conditions if name.strip().lower() in NO_TRIAL]:
            raise SettingsError(
                f"design.conditions has {', '.join(idle)}, expected what is done in blocks alone: what lies "
                "between them is rest anyway; leave it out, and say by design.rest how long that is"
            )

    def design(self) -> Design:
        """The trials that these settings mean.

        Raises
        ------
        UsageError
            If the file of events cannot be read or lacks a condition, or there is no condition.
        """
        if not self.conditions:
            raise SettingsError("design.conditions is empty, expected one name at least; name the conditions")
        if self.events:
            design = read_events(Path(self.events))
            if absent := sorted(set(self.conditions) - set(design.conditions)):
                raise SettingsError(
                    f"events file {self.events} has no trial of {', '.join(absent)}, it has "
                    f"{', '.join(design.conditions) or 'none'}; set design.conditions to names that it has"
                )
            return design.later(-self.scanner_dummies)
        return block_design(
            self.conditions, blocks=self.blocks, block=self.block, rest=self.rest, opening=self.opening
        )


def read_events(path: Path) -> Design:
    """The design in a BIDS events.tsv; trials of type ``rest`` (or ``Rest``) or ``n/a`` are left out.

    What stands in a row behind its last column, such as a tab too many, is passed over.

    Raises
    ------
    UsageError
        If the file is missing, or lacks a column or a finite number, or a duration is negative.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UsageError(f"events file {path}: {error.strerror or error}; give an events.tsv") from None
    trials = []
    for line, row in enumerate(csv.DictReader(text.splitlines(), delimiter="\t"), start=2):
        try:
            trial = Trial(float(row["onset"]), float(row["duration"]), row["trial_type"].strip())
            if not (math.isfinite(trial.onset) and 0.0 <= trial.duration < math.inf):
                raise ValueError
        except KeyError as error:
            raise UsageError(
                f"events file {path} has no column {error} but {', '.join(map(repr, row))}; BIDS wants "
                "onset, duration and trial_type, with tabs between them"
            ) from None
        except (TypeError, ValueError, AttributeError):
            raise UsageError(
                f"events file {path}, line {line}: onset and duration must be seconds, got {dict(row)}"
            ) from None
        if trial.trial_type.lower() not in NO_TRIAL:
            trials.append(trial)
    return Design(tuple(sorted(trials, key=lambda trial: trial.onset)))


def write_events(design: Design, path: Path) -> None:
    """Write a design as a BIDS events.tsv."""
    path.write_text(events_text(design), encoding="utf-8")


def events_text(design: Design) -> str:
    """The content of a BIDS events.tsv; where a display told what it showed, with a column that says so."""
    # Twelve digits: what is read back is the same, and 0.1 + 0.2 still looks like 0.3.
    rows = [f"{trial.onset:.12g}\t{trial.duration:.12g}\t{trial.trial_type}" for trial in design.trials]
    head = "onset\tduration\ttrial_type"
    if any(isinstance(trial, ShownTrial) for trial in design.trials):
        head += "\ttold"
        rows = [f"{row}\t{_told(trial)}" for row, trial in zip(rows, design.trials, strict=True)]
    return "\n".join([head, *rows]) + "\n"


TOLD = {
    "told": {
        "Description": "What onset and duration are from",
        "Levels": {
            "planned": "The design; the display did not tell of it",
            "shown": "The display, which told of it at once",
            "late": "The display, which told of it more than a second after its end: labels of volumes "
            "before that are those of the plan",
        },
    }
}
"""Sidecar of the column that `events_text` adds."""


def _told(trial: Trial) -> str:
    if not isinstance(trial, ShownTrial):
        return "planned"
    return "late" if trial.late else "shown"
