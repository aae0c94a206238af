"""One agent as the server knows it: its link, which outlives its connections, and what may be asked of it.

The link lives in the thread of the server's event loop; what stands under "from any thread" may be called by
nodes, sources and the engine.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rtflow.documents import Delivered, Event, now
from rtflow.errors import ProtocolError
from rtflow.server.clock import Offset
from rtflow.server.incoming import Room
from rtflow.server.link import Link, Socket
from rtflow.server.messages import BeginRun, Body, EndRun
from rtflow.server.outbox import Part
from rtflow.server.wire import URGENT, Bye, Hello, Post, require_sendable

_FAREWELL = 0.5
"""Seconds in which an agent is told that it must leave."""

Emit = Callable[[Event | Delivered], None]
"""Makes a document of the run."""


@dataclass(frozen=True)
class Standing:
    """How an agent is doing.

    Parameters
    ----------
    name, channel
        Which agent it is: ``scanner`` or ``subject``.
    connected
        Whether there is a connection.
    expected
        Whether there is to be one.
    since
        When that changed last, seconds since 1970; 0 if there never was one.
    waiting
        Messages that it has not worked on yet.
    offset
        Of its clock, if that is known.
    about
        What it says of itself.
    """

    name: str
    channel: str
    connected: bool
    expected: bool
    since: float
    waiting: int
    offset: Offset | None
    about: dict[str, str]


class Channel:
    """The server's side of one agent.

    Parameters
    ----------
    name
        Of the agent.
    loop
        The server's event loop.
    changed
        Called, in the loop's thread, when its connection begins or ends, with what to say of it.

    Attributes
    ----------
    emit
        Makes a document of the run that is under way; None without one.
    """

    kind = ""
    expected = True
    """Whether it is to be there; else nothing is said where it is not."""
    kept = 0.0
    """Seconds for which its name is kept in a run when its connection was lost."""
    size_limit = 1 << 20

    def __init__(
        self, name: str, loop: asyncio.AbstractEventLoop, changed: Callable[[Channel, str], None]
    ) -> None:
        self.name = name
        self.instance = ""
        self.since = 0.0
        self.emit: Emit | None = None
        self._loop = loop
        self._changed = changed
        self._about: dict[str, str] = {}
        self._run: BeginRun | None = None
        self._connection: asyncio.Task[Bye] | None = None
        self._unwanted: dict[Socket, str] = {}
        self._socket: Socket | None = None
        self._there = threading.Event()
        self._taking_over = asyncio.Lock()
        self.link = Link(
            self.work, met=self._met, failed=self.failed, repeated=self._repeated, size_limit=self.size_limit
        )

    # In the loop's thread

    async def work(self, body: Body, parts: list[bytes]) -> None:
        """Do what a message asks for; it is acknowledged then.

        Raises
        ------
        ProtocolError
            If it may not be said on this channel.
        """
        raise ProtocolError(f"a {self.kind} may not say {type(body).__name__}")

    def failed(self, error: Exception) -> None:
        """Something went wrong with a message, which was acknowledged all the same."""

    def began_anew(self, hello: Hello) -> None:
        """Another process than before is at the other end: it knows nothing of what the last one was told."""
        if self._run is not None and not self.link.is_waiting(self._run):
            self.link.post(self._run)

    def may_connect(self, instance: str) -> bool:
        """Whether this is the agent of the connection there is, coming back, or there is none.

        Nor may another one take the place of an agent that a run has lost lately: it may come back.
        """
        connection = self._connection
        if instance == self.instance or connection is None:
            return True
        kept = self._run is not None and now() - self.since < self.kept
        return connection.done() and not kept

    async def connect(
        self, socket: Socket, instance: str, *, text: bool = False, room: Room | None = None
    ) -> Bye:
        """Use a connection until it ends; one of the same agent that is still there ends before.

        Parameters
        ----------
        instance
            Which agent it is.
        text
            Whether it speaks JSON.
        room
            Memory that its messages may take.

        Raises
        ------
        ProtocolError
            If the agent says what it may not.
        """
        try:
            return await self._connect(socket, instance, text, room)
        finally:
            self._unwanted.pop(socket, None)

    async def _connect(self, socket: Socket, instance: str, text: bool, room: Room | None) -> Bye:
        async with self._taking_over:
            if self._connection is not None and not self._connection.done():
                self._connection.cancel()
                await asyncio.wait([self._connection])
            self.instance, self._socket = instance, socket
            self.link.speak(text=text)
            self.link.room = room
            connection = self._connection = asyncio.ensure_future(self.link.run(socket))
            if (unwanted := self._unwanted.pop(socket, None)) is not None:
                self.hang_up(socket, unwanted)
        try:
            return await asyncio.shield(connection)
        except asyncio.CancelledError:
            if connection.cancelled():
                return Bye(reason="the agent has come back on another connection, or was to leave")
            connection.cancel()
            raise
        finally:
            if connection is self._connection and self._there.is_set():
                self._there.clear()
                self.since = now()
                self._changed(self, "lost")

    def hang_up(self, socket: Socket, reason: str) -> None:
        """End a connection for good, also one whose turn is still to come: its token was revoked, say."""
        if socket is not self._socket or self._connection is None:
            self._unwanted[socket] = reason
        elif not self._connection.done():
            self.link.hang_up(reason, final=True)
            # A network that takes nothing more must not hold it.
            self._loop.call_later(_FAREWELL, self._connection.cancel)

    def _repeated(self, post: Post) -> None:
        self._changed(self, "repeated")

    def _met(self, hello: Hello, anew: bool) -> None:
        self._about = hello.about
        self.since = now()
        if anew:
            self.began_anew(hello)
        self._there.set()
        self._changed(self, "connected")

    # From any thread

    def post(self, body: Body, parts: Sequence[Part] = (), lane: int = URGENT) -> None:
        """Send a message as soon as there is a connection.

        Raises
        ------
        ProtocolError
            If the agent could not take it: its connection would end, again and again.
        """
        require_sendable(body)
        self._loop.call_soon_threadsafe(self.link.post, body, tuple(parts), lane)

    def begin_run(self, run: BeginRun) -> None:
        """Tell the agent, and one that takes its place, that there is a run."""
        self._loop.call_soon_threadsafe(self._begin, run)

    def end_run(self, end: EndRun) -> None:
        """The run is over."""
        self._loop.call_soon_threadsafe(self._end, end)

    def wait_for_connection(self, limit: float) -> bool:
        """Wait until the agent is there, at most ``limit`` seconds."""
        return self._there.wait(limit)

    @property
    def standing(self) -> Standing:
        """How the agent is doing."""
        return Standing(
            self.name,
            self.kind,
            self.link.connected,
            self.expected,
            self.since,
            self.link.waiting(),
            self.link.clock.offset,
            dict(self._about),
        )

    def _begin(self, run: BeginRun) -> None:
        self._run = run
        self.link.post(run)

    def _end(self, end: EndRun) -> None:
        self._run = None
        self.link.post(end)
