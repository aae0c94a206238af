"""The audit log as the server writes it: in a thread, because each line waits for the disk.

What is not written, because one comes and goes all the time, because too much waits for the disk or because
the disk is full, is counted, and a line says how much it was.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from rtflow.access.audit import AuditLog
from rtflow.access.throttle import Throttle
from rtflow.errors import in_words
from rtflow.server.session_log import SessionLog

LOST = "audit_lost"
"""What a line is called that says how many others there are not."""

_LOG = logging.getLogger("rtflow.server")
_MOST_WAITING = 1000
_AT_FIRST, _EACH = 30, 60.0
"""Lines of one kind of one person: so many in full, then one in so many seconds."""


class Log:
    """Writes lines in their order.

    Parameters
    ----------
    audit
        Where to; without one nothing is written.
    waiting
        How many lines may wait for the disk; those beyond are lost, and counted.
    """

    def __init__(self, audit: AuditLog | None = None, *, waiting: int = _MOST_WAITING) -> None:
        self._audit = audit
        self._writer = ThreadPoolExecutor(1, "audit") if audit is not None else None
        self._most = waiting
        self._often = Throttle(_AT_FIRST, _EACH)
        self._untold: Counter[tuple[str, str]] = Counter()
        self._counts = threading.Lock()
        self._waiting = self._lost = 0
        self.session: SessionLog | None = None

    async def act(self, who: str, what: str, **details: object) -> None:
        """Write what somebody is about to do; it is on the disk when this returns.

        Raises
        ------
        OutputError
            If it cannot be written: then it must not be done.
        """
        if self.session is not None:
            self.session.act(who, what, details)
        if self._audit is not None and self._writer is not None:
            job = self._writer.submit(lambda: self._audit.write(who, what, **details))  # type: ignore[union-attr]
            await asyncio.wrap_future(job)

    def note(self, who: str, what: str, **details: object) -> None:
        """Write what has happened; a run does not wait for it.

        What somebody does all the time is counted instead, until `tell_untold`.
        """
        too_often = self._often.take((who, what)) > 0
        if self.session is not None and not too_often:
            self.session.act(who, what, details)
        if self._audit is None:
            return
        audit = self._audit
        if too_often:
            self._untold[who, what] += 1
        else:
            self._soon(lambda: audit.write(who, what, **details))

    def refused(self, who: str, what: str, address: str, **details: object) -> None:
        """Write that somebody was turned away; many from one address are counted instead."""
        if self.session is not None and not self._often.take((f"refused {address}", "")):
            self.session.act(who, what, {**details, "address": address})
        if self._audit is not None:
            audit = self._audit
            self._soon(lambda: audit.refused(who, what, address, **details))

    def tell_untold(self) -> None:
        """Write how often what was not told has happened, one line for each person and kind."""
        for job in self._reports():
            self._soon(job)

    def close(self) -> None:
        """Wait until all is written."""
        if self.session is not None:
            self.session.close()
            self.session = None
        if self._writer is not None:
            self._writer.shutdown()
            for job in self._reports():
                self._write(job)

    def _reports(self) -> list[Callable[[], None]]:
        if self._audit is None:
            return []
        audit, counted = self._audit, list(self._untold.items())
        self._untold.clear()
        jobs: list[Callable[[], None]] = [
            partial(audit.write, who, what, untold=times) for (who, what), times in counted
        ]
        return jobs or [lambda: None] * bool(self._lost)  # with any job it is written what was lost before

    def _soon(self, job: Callable[[], None]) -> None:
        with self._counts:
            if self._writer is None or self._waiting >= self._most:
                self._lost += 1
                return
            self._waiting += 1
        self._writer.submit(self._write_waiting, job)

    def _write_waiting(self, job: Callable[[], None]) -> None:
        try:
            self._write(job)
        finally:
            with self._counts:
                self._waiting -= 1

    def _write(self, job: Callable[[], None]) -> None:
        with self._counts:
            lost, self._lost = self._lost, 0
        try:
            if lost and self._audit is not None:
                self._audit.write("rtflow", LOST, lines=lost)
                lost = 0
            job()
        except Exception as error:
            with self._counts:
                self._lost += lost + 1
            _LOG.warning("rtflow: %s", in_words(error))
