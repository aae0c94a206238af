"""Threads for what blocks, apart for each kind of it: a flood of logins or of readers delays no volume.

What the run itself needs (the spool, files of an agent's host) has the event loop's own threads, which
nobody else uses.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from rtflow.server.answers import Refusal

_Given = ParamSpec("_Given")
_Result = TypeVar("_Result")


class Pool:
    """Threads for one kind of work.

    Parameters
    ----------
    name
        Of the work, for messages.
    threads
        How much is done at a time.
    waiting
        How much more may wait for its turn.
    """

    def __init__(self, name: str, threads: int, waiting: int) -> None:
        self._name = name
        self._threads = ThreadPoolExecutor(threads, name)
        self._most = threads + waiting
        self._taken = 0
        self._counting = threading.Lock()

    async def run(
        self, job: Callable[_Given, _Result], *arguments: _Given.args, **named: _Given.kwargs
    ) -> _Result:
        """Do something in a thread; what it gives.

        Raises
        ------
        Refusal
            503 if too much waits already.
        """
        with self._counting:
            if self._taken >= self._most:
                says = "the server is busy; try again soon"
                raise Refusal(503, says, f"busy: {self._name}", retry_after=1.0)
            self._taken += 1
        done = self._threads.submit(job, *arguments, **named)
        done.add_done_callback(self._give_back)
        return await asyncio.wrap_future(done)

    def _give_back(self, done: Future[_Result]) -> None:
        with self._counting:
            self._taken -= 1

    def close(self) -> None:
        """Wait for what is being done; what waits for its turn is not done any more."""
        self._threads.shutdown(cancel_futures=True)


class Pools:
    """One for each kind of work.

    Attributes
    ----------
    logins
        Passwords and codes, which take long; of these few are looked at at a time (`Passwords`), and fair to
        each address, so threads are many.
    reading
        Journals and lists of runs, for onlookers.
    short
        What takes a moment: sessions, settings.
    files
        Files of the scanners' hosts, which may take long.
    """

    def __init__(self) -> None:
        self.logins = Pool("logins", 40, 60)
        self.reading = Pool("reading", 4, 400)
        self.short = Pool("short", 2, 400)
        self.files = Pool("files", 8, 24)

    def close(self) -> None:
        """End all; as `Pool.close`."""
        for pool in (self.logins, self.reading, self.short, self.files):
            pool.close()
