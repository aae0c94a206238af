"""Whoever looks on: documents of the run that there is, each as soon as it stands in the journal.

An onlooker reads at its own pace what stands on disk, and then what comes. What came last is kept once, for
all; one that was up to date and falls behind by more than that is let go, and may come back with the number
of the last document that it had. So a slow one costs neither memory nor time of anybody else.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from rtflow.server.pools import Pool
from rtflow.server.runs import Runs

WINDOW = 512
"""So many documents are kept for those who look on."""

_AT_ONCE = 200
_PATIENCE = 10.0
"""Seconds that one document may take to be sent."""

Send = Callable[[bytes], Awaitable[None]]


@dataclass(eq=False)
class _Onlooker:
    task: asyncio.Task[None]
    cursor: int
    live: bool = False


class Monitor:
    """Gives the documents of the present run to onlookers.

    Everything is called from the event loop's thread.

    Parameters
    ----------
    loop
        The event loop.
    runs
        Where earlier documents are read from; None if they are nowhere.
    pool
        Threads that read them.
    window
        How many documents are kept.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, runs: Runs | None, pool: Pool, *, window: int = WINDOW
    ) -> None:
        self.run_uid = ""
        self._runs, self._pool = runs, pool
        self._recent: deque[bytes] = deque(maxlen=window)
        self._next = 0
        self._onlookers: set[_Onlooker] = set()
        self._loop = loop
        self._changed: asyncio.Future[None] = loop.create_future()

    def __len__(self) -> int:
        return len(self._onlookers)

    def add(self, run_uid: str, seq: int, line: bytes) -> None:
        """A document stands in the journal: its run, its number, and its line of JSON."""
        if run_uid != self.run_uid or seq != self._next:
            self.run_uid = run_uid
            self._recent.clear()
        self._recent.append(line)
        self._next = seq + 1
        for onlooker in self._onlookers:
            if onlooker.live and onlooker.cursor < self._first:
                onlooker.task.cancel()
        self._changed.set_result(None)
        self._changed = self._loop.create_future()

    async def follow(self, send: Send, *, run_uid: str = "", since: int = 0) -> None:
        """Send the documents of the present run, and of those after it, until this is cancelled.

        Parameters
        ----------
        send
            Sends one document, a line of JSON; waits while the network is slower.
        run_uid, since
            Number of the first document that is wanted of a run; of other runs all are.

        Raises
        ------
        TimeoutError
            If a document cannot be sent for a long time.
        Refusal
            If too many read what is old.
        asyncio.CancelledError
            Also if this onlooker fell behind.
        """
        task = asyncio.current_task()
        assert task is not None
        run = run_uid or self.run_uid
        onlooker = _Onlooker(task, since)
        self._onlookers.add(onlooker)
        try:
            while True:
                changed = self._changed
                lines = await self._lines(run, onlooker.cursor)
                for line in lines:
                    async with asyncio.timeout(_PATIENCE):
                        await send(line)
                    onlooker.cursor += 1
                if lines:
                    continue
                if run != self.run_uid:
                    onlooker.live = False
                    run, onlooker.cursor = self.run_uid, 0
                else:
                    onlooker.live = bool(run)
                    await asyncio.shield(changed)
        finally:
            self._onlookers.discard(onlooker)

    @property
    def _first(self) -> int:
        return self._next - len(self._recent)

    async def _lines(self, run: str, cursor: int) -> list[bytes]:
        if not run:
            return []
        if run == self.run_uid and self._first <= cursor:
            return list(self._recent)[cursor - self._first :]
        if self._runs is None:
            return []
        return await self._pool.run(self._runs.lines, run, cursor, _AT_ONCE) or []
