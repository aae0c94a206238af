"""How many WebSockets there may be, of each kind and of each visitor."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping

from rtflow.server.answers import Refusal

BOUNDS = {"scanner": (64, 16), "subject": (64, 16), "monitor": (100, 50)}
"""Of each kind: how many at all, and how many of one token or user."""


class Places:
    """Counts what is connected; everything is called from the event loop's thread.

    Parameters
    ----------
    bounds
        Of each kind: how many at all, and how many of one visitor.
    """

    def __init__(self, bounds: Mapping[str, tuple[int, int]] = BOUNDS) -> None:
        self._bounds = bounds
        self._taken: Counter[tuple[str, str]] = Counter()

    @contextlib.contextmanager
    def taken(self, kind: str, who: str) -> Iterator[None]:
        """A place for as long as the block lasts.

        Raises
        ------
        Refusal
            503 if there is none left, for this visitor or for anybody.
        """
        at_all, of_one = self._bounds[kind]
        mine = self._taken[kind, who]
        if mine >= of_one:
            raise Refusal(503, f"{mine} {kind}s are connected by this token already", "connections", who=who)
        if sum(count for (one, _), count in self._taken.items() if one == kind) >= at_all:
            raise Refusal(503, f"{at_all} {kind}s are connected already", "connections", who=who)
        self._taken[kind, who] += 1
        try:
            yield
        finally:
            self._taken[kind, who] -= 1
            self._taken += Counter()  # which forgets whoever has none
