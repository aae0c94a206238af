"""Turns: however much one visitor asks for, others get through to the page and to the engine.

To the engine all of them are one, the dashboard: what is too much there would keep an operator's Stop out.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from weakref import WeakValueDictionary

from rtflow.access.throttle import Throttle
from rtflow.server.answers import Refusal
from rtflow.server.places import Places

_BURST, _PER_SECOND = 1000, 50
"""Requests of one visitor: so many at once, as pages have that are loaded, and so many a second."""

_AT_ONCE = 4
"""Of these, so many are worked on at a time; others wait for their turn."""

_BOUNDS = {"page": (100, 40), "transfer": (40, 8)}
"""Open pages, and files that are on their way: at all, and of one visitor."""


class Fairness:
    """Who may have how much; everything is called from the event loop's thread."""

    def __init__(self) -> None:
        self._throttle = Throttle(_BURST, 1 / _PER_SECOND)
        self._turns: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        self._places = Places(_BOUNDS)

    @contextlib.asynccontextmanager
    async def turn(self, who: str) -> AsyncIterator[None]:
        """A request that takes a moment; the block begins when it is its turn.

        Raises
        ------
        Refusal
            429 if there were too many lately.
        """
        self._count(who)
        async with self._turns.setdefault(who, asyncio.Semaphore(_AT_ONCE)):
            yield

    @contextlib.contextmanager
    def transfer(self, who: str) -> Iterator[None]:
        """A file that is sent or fetched; raises as `turn`, and 503 if too many are under way."""
        self._count(who)
        with self._places.taken("transfer", who):
            yield

    @contextlib.contextmanager
    def page(self, who: str) -> Iterator[None]:
        """A page while it is open; raises a `Refusal`, 503, if too many are."""
        with self._places.taken("page", who):
            yield

    def _count(self, who: str) -> None:
        if wait := self._throttle.take(who):
            says = "your pages ask too often; wait a little, and close some"
            raise Refusal(429, says, "too many requests", who=who, retry_after=wait)
