"""The audit log as the server writes it: in a thread, because each line waits for the disk."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import Future, ThreadPoolExecutor

from rtflow.access.audit import AuditLog

_LOG = logging.getLogger("rtflow.server")
_MOST_WAITING = 1000


class Log:
    """Writes lines in their order.

    Parameters
    ----------
    audit
        Where to; without one nothing is written.
    """

    def __init__(self, audit: AuditLog | None = None) -> None:
        self._audit = audit
        self._writer = ThreadPoolExecutor(1, "audit") if audit is not None else None
        self._waiting = 0

    async def act(self, who: str, what: str, **details: object) -> None:
        """Write what somebody is about to do; it is on the disk when this returns.

        Raises
        ------
        OutputError
            If it cannot be written: then it must not be done.
        """
        if self._audit is not None and self._writer is not None:
            job = self._writer.submit(lambda: self._audit.write(who, what, **details))  # type: ignore[union-attr]
            await asyncio.wrap_future(job)

    def note(self, who: str, what: str, **details: object) -> None:
        """Write what has happened; a run does not wait for it."""
        if self._audit is not None:
            audit = self._audit
            self._soon(lambda: audit.write(who, what, **details))

    def refused(self, who: str, what: str, address: str, **details: object) -> None:
        """Write that somebody was turned away; many from one address are counted instead."""
        if self._audit is not None:
            audit = self._audit
            self._soon(lambda: audit.refused(who, what, address, **details))

    def close(self) -> None:
        """Wait until all is written."""
        if self._writer is not None:
            self._writer.shutdown()

    def _soon(self, job) -> None:  # type: ignore[no-untyped-def]
        if self._writer is None or self._waiting >= _MOST_WAITING:
            return
        self._waiting += 1
        self._writer.submit(job).add_done_callback(self._done)

    def _done(self, job: Future[None]) -> None:
        self._waiting -= 1
        if (error := job.exception()) is not None:
            _LOG.warning("rtflow: %s", error)
