"""The design of an experiment, as it is given: blocks in turn, a BIDS events.tsv, or settings for either."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

import msgspec

from rtflow.errors import SettingsError, UsageError
from rtflow.setting_types import Count, LocalPath, NotNegative, Positive
from rtflow.trials import LATE, REST, Design, ShownTrial, Trial

NO_TRIAL = (REST, "n/a")

# So many times the length of the run lies its last onset at least, if it is in milliseconds.
_LENGTHS = 300


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

    ``design = "events.tsv"`` is short for a table with ``events`` alone.

    Parameters
    ----------
    conditions
        What the trials are of; the blocks go through them in turn. With a file of events their order still
        counts where a workflow tells first from second, and each must occur in the file.
    blocks
        Number of blocks.
    block
        Seconds of a block.
    rest
        Seconds of rest after each block.
    opening
        Seconds from the start of the first volume that the scanner saves to the first block.
    events
        A BIDS events.tsv; it takes the place of the blocks.
    scanner_dummies
        Seconds of dummy volumes that the scanner never saves, where onsets in the file count from the first
        of them (it gave the stimulus its trigger); 0 where they count from the first saved volume.
    """

    text_is: ClassVar[str] = "events"

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
            "late": f"The display, which told of it late (more than {LATE:g} s after its end, unless "
            "late_after of SubjectInput says otherwise): labels of volumes before are those of the plan, "
            "and so are the others where Labels ignores what is late",
        },
    }
}
"""Sidecar of the column that `events_text` adds."""


def _told(trial: Trial) -> str:
    if not isinstance(trial, ShownTrial):
        return "planned"
    return "late" if trial.late else "shown"
