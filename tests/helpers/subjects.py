"""A server for subjects' displays that keeps what they say."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from aiohttp import web

from rtflow.documents import now
from rtflow.server.messages import BeginRun, Body, Value
from rtflow.server.subject_channel import SubjectChannel
from rtflow.server.thread import Server

RUN = BeginRun(run_uid="run-1", workflow="test", volumes=100, tr=1.0)


async def anybody(request: web.Request, kind: str) -> None:
    """Authorise everybody."""


class Subject:
    """One subject's channel of a server.

    Attributes
    ----------
    said
        Messages that came, in their order.
    """

    def __init__(self, server: Server, name: str = "subject") -> None:
        self.server = server
        self.channel: SubjectChannel = server.subject(name)
        self.said: queue.Queue[Body] = queue.Queue()
        work = self.channel.link._work

        async def keep(body: Body, parts: list[bytes]) -> None:
            self.said.put(body)

        assert work is not keep
        self.channel.link._work = keep

    def offer(self, volume: int, value: float | None = 0.5, **more: object) -> None:
        """Send the value of a volume."""
        more = {"run_uid": RUN.run_uid, "kind": "evidence", "time": now()} | more
        self.channel.post(Value(volume=volume, value=value, **more))  # type: ignore[arg-type]

    def wait_for(self, wanted: Callable[[Body], bool], limit: float = 30.0) -> list[Body]:
        """What was said, up to the first message that is wanted."""
        said = []
        while True:
            said.append(self.said.get(timeout=limit))
            if wanted(said[-1]):
                return said


@contextmanager
def serving(port: int = 0, **options: object) -> Iterator[Server]:
    """A server on this machine that lets anybody in, unless it is told otherwise."""
    options = {"authorise": anybody} | options
    with Server("127.0.0.1", port, **options) as server:  # type: ignore[arg-type]
        yield server


async def let_go(subject: Subject) -> None:
    """Close the connection of a subject from the server's side."""
    subject.channel.link.hang_up("the connection is closed by the test")
    await asyncio.sleep(0)
