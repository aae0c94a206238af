"""When the volumes of a run are acquired, on the server's clock: by the scanner's triggers, or by arrivals.

Onset 0 is the start of the first volume that the scanner saves. With triggers it is the first of them, and
the dummy volumes that are never saved later. Without, the last byte of volume v cannot be there before v TR
have gone by: the volume that came fastest says most, and onset 0 is late by the scanner's reconstruction.
"""

from __future__ import annotations

from rtflow.server.clock import next_acquisition

_EXTRA = 0.5
"""Of a TR: a trigger that comes sooner after the last one is no new volume's."""

_DOUBTFUL = 3.0
"""TRs that volume 1 may be there after its start, before the first trigger is doubted."""


class RunClock:
    """The time of one run; every method may be called from any thread.

    Parameters
    ----------
    tr
        Repetition time in seconds, if it is known yet.

    Attributes
    ----------
    dummies
        Seconds from the first trigger to onset 0: volumes that the scanner never saves.

    Examples
    --------
    >>> clock = RunClock(tr=2.0)
    >>> clock.volume(1, received=102.5), clock.volume(2, received=104.3)
    (None, None)
    >>> round(clock.onset, 1), clock.by
    (100.3, 'arrival')
    >>> clock.trigger(1, 100.0), clock.trigger(2, 104.0)
    ('', '1 trigger is missing before trigger 2')
    >>> clock.onset, clock.by, clock.next_volume(105.5)
    (100.0, 'trigger', 106.0)
    """

    def __init__(self, tr: float | None = None) -> None:
        self.tr = tr
        self.dummies = 0.0
        self.triggers = 0
        self._first: tuple[int, float] | None = None
        self._last = (0, 0.0)
        self._came: dict[int, float] = {}
        self._doubted = False

    def volume(self, volume: int, received: float) -> None:
        """The last byte of a volume was there."""
        if len(self._came) < 1000:  # of a long run, the first ones say enough
            self._came[volume] = received

    def trigger(self, n: int, at: float) -> str:
        """The scanner's n-th trigger came; what is wrong with it, in words, if something is."""
        number, before = self._last
        if self._first is None:
            self._first, self._last, self.triggers = (n, at), (n, at), 1
            return "" if n == 1 else f"the first trigger that was told is trigger {n}"
        gap = (at - before) / self.tr if self.tr else None
        if n <= number or (gap is not None and gap < _EXTRA):
            after = "" if gap is None else f" {at - before:.3f} s after the last one"
            self._last = max(number, n), before
            return f"trigger {n} came{after}: it is one too many"
        self._last = n, at
        self.triggers += 1
        missed = max(n - number, round(gap) if gap is not None else 0) - 1
        if missed <= 0:
            return ""
        return f"{missed} trigger{'s are' if missed > 1 else ' is'} missing before trigger {n}"

    def doubt(self) -> str:
        """Whether the first trigger can be that of volume 1, said once; empty as long as it can."""
        received = self._came.get(1)
        if self.by != "trigger" or received is None or self._doubted or not self.tr or self.onset is None:
            return ""
        after = received - self.onset
        if 0.5 * self.tr <= after <= (_DOUBTFUL + 1) * self.tr:
            return ""
        self._doubted = True
        return (
            f"volume 1 was there {after:.1f} s after the first trigger, at a TR of {self.tr:g} s: is that "
            "the trigger of the first volume that is saved? if not, set scanner_dummies to the seconds before"
        )

    @property
    def by(self) -> str:
        """What onset 0 is known by: ``trigger``, ``arrival``, or empty."""
        if self._first is not None and (self.tr or self._first[0] == 1):
            return "trigger"
        return "arrival" if self._came and self.tr else ""

    @property
    def onset(self) -> float | None:
        """Onset 0, seconds since 1970 on the server's clock; None if nothing says when it was."""
        if self._first is not None and (self.tr or self._first[0] == 1):
            n, at = self._first
            return at - (n - 1) * (self.tr or 0.0) + self.dummies
        if not self._came or not self.tr:
            return None
        tr = self.tr
        return min(received - volume * tr for volume, received in list(self._came.items()))

    def acquired(self, volume: int) -> float | None:
        """When a volume's acquisition began; None unless triggers say so."""
        if self.by != "trigger" or not self.tr or self.onset is None:
            return None
        return self.onset + (volume - 1) * self.tr

    def next_volume(self, at: float) -> float | None:
        """When the next acquisition begins after a moment, None if that cannot be told."""
        onset = self.onset
        if onset is None or not self.tr:
            return None
        return onset if at < onset else next_acquisition(onset, self.tr, at)
