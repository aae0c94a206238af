"""How far another host's clock is from ours, from questions and answers over the network.

An exchange that went faster says more: of the round trip only half, at most, can be wrong (Cristian, 1989).
The estimate is that of the fastest of the last exchanges.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

_WINDOW = 64
"""So many exchanges count, the last minute or so: clocks drift by some parts in a million."""


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

        What is impossible (an answer before its question) is passed over: a clock was set meanwhile.
        """
        round_trip = (returned - sent) - (answered - received)
        if round_trip >= 0 and answered >= received:
            self._exchanges.append(Offset((received - sent + answered - returned) / 2, round_trip))

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
