"""Trials in time: what the participant was asked to do, or shown, in which volume.

Times are seconds from onset 0, the start of volume 1. The lag of the haemodynamic response is applied
here and nowhere else: `Design.label` takes the time of a volume, steps back by the lag, and says what
the participant was doing then.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

REST = "rest"

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


LATE = 1.0
"""Seconds after the end of what was shown, unless a node says otherwise: what is told later came over a lost
connection."""


class ShownTrial(Trial, frozen=True):
    """A trial that the display told of; ``late`` if it did so long after its end (`LATE`)."""

    late: bool = False


class Design(msgspec.Struct, frozen=True):
    """Trials in the order of their onsets; what lies between them is rest.

    >>> design = Design((Trial(6.0, 10.0, "scene"), Trial(20.0, 10.0, "face")))
    >>> design.conditions, design.duration
    (('scene', 'face'), 30.0)
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

    @staticmethod
    def in_time(shown: Iterable[Trial]) -> list[Trial]:
        """What the display told of in time.

        >>> Design.in_time([ShownTrial(1.0, 2.0, "face"), ShownTrial(4.0, 2.0, "face", late=True)])
        [ShownTrial(onset=1.0, duration=2.0, trial_type='face', late=False)]
        """
        return [trial for trial in shown if not (isinstance(trial, ShownTrial) and trial.late)]

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
