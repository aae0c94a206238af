"""How many of something that lasts there may be at a time, of each kind and of each visitor."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping
from weakref import WeakValueDictionary

from rtflow.server.answers import Refusal
from rtflow.server.incoming import Room

BOUNDS = {"scanner": (64, 16), "subject": (64, 16), "monitor": (100, 50)}
"""Of each kind: how many at all, and how many of one token or user."""

_ROOM = (1 << 28) + (16 << 20)
"""Bytes of messages of one token that are held until they have been worked on: the largest that a scanner's
host may send, and pieces of files and small things beside it."""


class Places:
    """Counts what is connected, and its memory; everything is called from the event loop's thread.

    Parameters
    ----------
    bounds
        Of each kind: how many at all, and how many of one visitor.
    """

    def __init__(self, bounds: Mapping[str, tuple[int, int]] = BOUNDS) -> None:
        self._bounds = bounds
        self._taken: Counter[tuple[str, str]] = Counter()
        self._rooms: WeakValueDictionary[str, Room] = WeakValueDictionary()

    @contextlib.contextmanager
    def taken(self, kind: str, who: str) -> Iterator[Room]:
        """A place for as long as the block lasts, and the memory that all of this visitor share.

        Raises
        ------
        Refusal
            503 if there is none left, for this visitor or for anybody.
        """
        at_all, of_one = self._bounds[kind]
        mine = self._taken[kind, who]
        if mine >= of_one:
            raise Refusal(503, f"there are {mine} {kind}s of {who} already", "connections", who=who)
        if sum(count for (one, _), count in self._taken.items() if one == kind) >= at_all:
            raise Refusal(503, f"there are {at_all} {kind}s already", "connections", who=who)
        self._taken[kind, who] += 1
        try:
            yield self._rooms.setdefault(who, Room(_ROOM))
        finally:
            self._taken[kind, who] -= 1
            self._taken += Counter()  # which forgets whoever has none
