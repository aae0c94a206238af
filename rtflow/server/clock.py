"""How far another host's clock is from ours, from questions and answers over the network.

An exchange that went faster says more: of the round trip only half, at most, can be wrong (Cristian, 1989).
The estimate is that of the fastest of the last exchanges.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

_WINDOW = 64
"""So many exchanges count, the last minute or so: clocks drift by some parts in a million."""

_DRIFT = 0.005
"""Seconds that two clocks may come apart while the exchanges count: 70 parts in a million for a minute."""


@dataclass(frozen=True)
class Offset:
    """The clock of another host.

    Parameters
    ----------
    seconds
        What its clock shows more than ours.
    round_trip
        Of the exchange that this is from, in seconds; the offset is right to within half of it.
    """

    seconds: float
    round_trip: float

    def agrees_with(self, other: Offset) -> bool:
        """Whether both may be right: each is so within half of its round trip, and clocks drift a little."""
        return abs(self.seconds - other.seconds) <= (self.round_trip + other.round_trip) / 2 + _DRIFT

    def to_ours(self, theirs: float) -> float:
        """A time on its clock, on ours.

        >>> Offset(seconds=2.0, round_trip=0.001).to_ours(10.0)
        8.0
        """
        return theirs - self.seconds

    def to_theirs(self, ours: float) -> float:
        """A time on our clock, on its."""
        return ours + self.seconds


class Clock:
    """Gathers exchanges, and gives the best estimate."""

    def __init__(self) -> None:
        self._exchanges: deque[Offset] = deque(maxlen=_WINDOW)

    def add(self, sent: float, received: float, answered: float, returned: float) -> None:
        """An exchange: asked and returned on our clock, received and answered on the other.

        What is impossible (an answer before its question) is passed over: a clock was set meanwhile. Where an
        earlier exchange and this one cannot both be right, a clock was set between them, or it is another
        host's by now: the earlier one counts no more.
        """
        round_trip = (returned - sent) - (answered - received)
        if round_trip >= 0 and answered >= received:
            new = Offset((received - sent + answered - returned) / 2, round_trip)
            agreeing = [old for old in self._exchanges if old.agrees_with(new)]
            self._exchanges = deque([*agreeing, new], maxlen=_WINDOW)

    def forget(self) -> None:
        """What was exchanged counts no more: another process answers, perhaps of another host."""
        self._exchanges.clear()

    @property
    def offset(self) -> Offset | None:
        """The best estimate; None before the first exchange."""
        return min(self._exchanges, key=lambda exchange: exchange.round_trip, default=None)

    def to_ours(self, theirs: float) -> float:
        """A time on its clock on ours; unchanged before the first exchange."""
        return self.offset.to_ours(theirs) if self.offset else theirs

    def to_theirs(self, ours: float) -> float:
        """A time on our clock on its; unchanged before the first exchange."""
        return self.offset.to_theirs(ours) if self.offset else ours


def next_acquisition(acquired: float, tr: float, at: float) -> float:
    """When the next volume's acquisition begins, if one began at ``acquired`` and it is ``at`` now.

    Parameters
    ----------
    acquired, at
        Seconds, in one scale.
    tr
        Repetition time in seconds.

    Examples
    --------
    >>> next_acquisition(acquired=10.0, tr=2.0, at=13.0)
    14.0
    """
    return acquired + tr * max(1, int((at - acquired) // tr) + 1)
