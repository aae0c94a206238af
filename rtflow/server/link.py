"""A link between two hosts that outlives its connections: nothing is lost, nothing is heard twice.

Both sides use the same code. What is posted stays in the outbox until the other side has worked on it; when a
connection is lost, the next one goes on where it stood. Small things go first: pieces of files are sent a
chunk at a time, and only while nothing else waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from rtflow.documents import now
from rtflow.errors import ProtocolError, in_words
from rtflow.server.clock import Clock
from rtflow.server.incoming import Incoming, NoRoomError, Room
from rtflow.server.messages import SCHEMA_VERSION, Body
from rtflow.server.outbox import Inbox, Outbox, Part
from rtflow.server.outgoing import Outgoing
from rtflow.server.signatures import Signature
from rtflow.server.together import until_one_ends
from rtflow.server.wire import (
    URGENT,
    Ack,
    Bye,
    Frame,
    Hello,
    Ping,
    Pong,
    Post,
    decode,
    encode,
    is_chunk,
)

HEARTBEAT = 1.0
"""Seconds between questions whether the other side is there."""

SILENCE = 5.0
"""Seconds without anything from the other side after which a connection counts as lost."""

_FIRST_QUESTIONS, _FIRST_EVERY = 8, 0.05
"""So many questions come at short intervals at first: the clocks are to agree by the first volume."""

_SIZE_LIMIT = 1 << 30

Worked = Callable[[Body, list[bytes]], Awaitable[None]]
Met = Callable[[Hello, bool], None]


class Socket(Protocol):
    """One connection: frames in their order, or its end."""

    async def send(self, frame: bytes, *, text: bool) -> None:
        """Send one frame; waits while the network is slower."""

    async def receive(self) -> bytes | str | None:
        """The next frame; None when the connection has ended."""

    async def close(self, reason: str) -> None:
        """End it."""


class Link:
    """One side of a link.

    Everything is called from the event loop's thread.

    Parameters
    ----------
    work
        Called with each message and its parts, in the order of their lane, each once; a message is
        acknowledged when that has returned. What it raises, other than `ProtocolError`, goes to ``failed``
        and the message counts as worked on. A part that could not be read any more is left out.
    met
        Called when a connection begins, with the other side's `Hello` and whether it began anew.
    failed
        Called with what ``work`` raises.
    repeated
        Called with a message that came once more; it is acknowledged, and passed over.
    about, methods
        What the other side is told of this one.
    size_limit
        Bytes of all parts of one message, at most.

    Attributes
    ----------
    room
        Memory that its messages share with those of other links, from the next connection on.
    """

    def __init__(
        self,
        work: Worked,
        *,
        met: Met = lambda hello, anew: None,
        failed: Callable[[Exception], None] = lambda error: None,
        repeated: Callable[[Post], None] = lambda post: None,
        about: dict[str, str] | None = None,
        methods: dict[str, Signature] | None = None,
        size_limit: int = _SIZE_LIMIT,
        clock: Callable[[], float] = now,
    ) -> None:
        self.clock = Clock()
        self.room: Room | None = None
        self._about, self._methods = about or {}, methods or {}
        self.connected = self.was_connected = False
        self.sent_bytes = self.received_bytes = 0
        self._work, self._met, self._failed, self._repeated = work, met, failed, repeated
        self._limit = size_limit
        self._now = clock
        self._outbox, self._inbox = Outbox(), Inbox()
        self._outgoing = Outgoing(self._outbox)
        self._something = asyncio.Event()
        self._emptied = asyncio.Event()
        self._heard_at = 0.0
        self._working: asyncio.Future[None] | None = None

    def speak(self, *, text: bool) -> None:
        """Speak JSON, or MessagePack, from the next connection on."""
        self._outgoing.text = text

    def post(self, body: Body, parts: Sequence[Part] = (), lane: int = URGENT) -> int:
        """Send a message as soon as there is a connection; its number in the lane."""
        seq = self._outbox.add(lane, body, parts)
        self._emptied.clear()
        self._something.set()
        return seq

    def waiting(self, lane: int = URGENT) -> int:
        """How many messages of a lane the other side has not worked on yet."""
        return self._outbox.waiting(lane)

    def is_waiting(self, body: Body) -> bool:
        """Whether this very message was posted, and the other side has not worked on it yet."""
        return any(post.body is body for post in self._outbox)

    async def emptied(self) -> None:
        """Wait until the other side has worked on all that was posted."""
        while len(self._outbox):
            self._emptied.clear()
            await self._emptied.wait()

    def forget(self) -> None:
        """Drop all that was posted and not acknowledged: whom it was for has gone for good."""
        self._outbox.clear()
        self._tell_emptied()

    def _tell_emptied(self) -> None:
        if not len(self._outbox):
            self._emptied.set()

    async def run(self, socket: Socket) -> Bye:
        """Use a connection until it ends; why it did.

        Raises
        ------
        ProtocolError
            If the other side says what it may not; it has been told, and the connection is closed.
        """
        if self._working is not None:
            await asyncio.wait([self._working])
        try:
            bye = await self._run(socket)
        except ProtocolError as error:
            with contextlib.suppress(Exception):
                final = not isinstance(error, NoRoomError)  # who has to wait may come back
                farewell = Bye(reason=str(error)[:2000], final=final)
                async with asyncio.timeout(1.0):
                    await self._send(socket, encode(farewell, text=self._outgoing.text))
            await socket.close(str(error)[:100])
            raise
        finally:
            self.connected = False
            self._outgoing.clear()  # now: a goodbye that is said before the next one begins is for that
        await socket.close(bye.reason[:100])
        return bye

    def hang_up(self, reason: str, *, final: bool = False) -> None:
        """Say goodbye on this connection; ``final`` tells the other side not to come back."""
        self._outgoing.say(Bye(reason=reason, final=final))
        self._something.set()

    async def _run(self, socket: Socket) -> Bye:
        hello = Hello(
            epoch=self._outbox.epoch,
            first=self._outbox.first,
            heard_epoch=self._inbox.epoch,
            heard=(self._inbox.heard[0], self._inbox.heard[1]),
            about=self._about,
            methods=self._methods,
        )
        try:
            # (`wait_for` of Python 3.11 may swallow that this is cancelled.)
            async with asyncio.timeout(SILENCE):
                await self._send(socket, encode(hello, text=self._outgoing.text))
                theirs = await self._next(socket)
        except TimeoutError:
            return Bye(reason="nothing was said on the new connection")
        except OSError as error:
            return _lost(error)
        if theirs is None or isinstance(theirs, Bye):
            return theirs or Bye(reason="the connection was lost")
        theirs = _require_hello(theirs)
        self._outbox.resume(theirs)
        self._tell_emptied()
        self.connected = self.was_connected = True
        anew = self._inbox.resume(theirs)
        if anew:
            self.clock.forget()  # it may be another host by now
        self._met(theirs, anew)
        self._heard_at = time.monotonic()
        # The reader first: who reads knows best why it ended.
        ended = await until_one_ends(self._read(socket), self._write(socket), self._ask())
        raised = ended.exception()
        if isinstance(raised, ProtocolError):
            raise raised
        return ended.result() if raised is None else _lost(raised)

    # Listening

    async def _next(self, socket: Socket) -> Frame | None:
        data = await socket.receive()
        if data is None:
            return None
        self.received_bytes += len(data)
        return decode(data)

    async def _read(self, socket: Socket) -> Bye:
        with contextlib.closing(Incoming(self._limit, self.room)) as incoming:
            return await self._read_all(socket, incoming)

    async def _read_all(self, socket: Socket, incoming: Incoming) -> Bye:
        while True:
            data = await socket.receive()
            if data is None:
                return Bye(reason="the connection was lost")
            self._heard_at = time.monotonic()
            self.received_bytes += len(data)
            if isinstance(data, bytes) and is_chunk(data):
                whole = incoming.add(data)
            else:
                frame = decode(data)
                if isinstance(frame, Bye):
                    return frame
                whole = None
                if isinstance(frame, Post):
                    whole = incoming.begin(frame)
                else:
                    incoming.require_progress()
                    self._answer(frame)
            if whole is not None:
                await self._hear(*whole)
                incoming.worked_on(whole[0].lane)

    def _answer(self, frame: Frame) -> None:
        at = self._now()
        if isinstance(frame, Ping):
            self._outgoing.say(Pong(sent=frame.sent, received=at, answered=self._now()))
            self._outgoing.may_post = True
            self._something.set()
        elif isinstance(frame, Pong):
            self.clock.add(frame.sent, frame.received, frame.answered, at)
        elif isinstance(frame, Ack):
            self._outbox.acknowledge(frame.lane, frame.seq)
            self._tell_emptied()
            self._something.set()
        else:
            raise ProtocolError(f"{type(frame).__name__} came in the middle of a connection")

    async def _hear(self, post: Post, parts: list[bytes]) -> None:
        if self._inbox.is_new(post.lane, post.seq):
            # A connection may be given up meanwhile; what was begun is worked on to its end, once.
            self._working = asyncio.ensure_future(self._work_on(post, parts))
            await asyncio.shield(self._working)
        else:
            self._repeated(post)
        self._outgoing.say(Ack(lane=post.lane, seq=self._inbox.heard[post.lane]))
        self._something.set()

    async def _work_on(self, post: Post, parts: list[bytes]) -> None:
        try:
            await self._work(post.body, parts)
        except ProtocolError:
            raise
        except Exception as error:
            self._failed(error)
        self._inbox.heard[post.lane] = post.seq

    # Speaking

    async def _ask(self) -> Bye:
        asked = 0
        while True:
            self._outgoing.say(Ping(sent=self._now()))
            self._something.set()
            asked += 1
            await asyncio.sleep(_FIRST_EVERY if asked < _FIRST_QUESTIONS else HEARTBEAT)
            if asked >= _FIRST_QUESTIONS:  # the other side asks nothing, and is posted to all the same
                self._outgoing.may_post = True
            silent = time.monotonic() - self._heard_at
            if silent > SILENCE:
                return Bye(reason=f"nothing was heard for {silent:.0f} s")

    async def _write(self, socket: Socket) -> Bye:
        while True:
            self._something.clear()
            frame = self._outgoing.next()
            if frame is None:
                await self._something.wait()
                continue
            data = frame if isinstance(frame, bytes) else encode(frame, text=self._outgoing.text)
            await self._send(socket, data)
            if isinstance(frame, Bye):
                return frame

    async def _send(self, socket: Socket, data: bytes) -> None:
        self.sent_bytes += len(data)
        await socket.send(data, text=self._outgoing.text)


def _require_hello(frame: Frame) -> Hello:
    if not isinstance(frame, Hello):
        raise ProtocolError(f"a connection begins with Hello, and {type(frame).__name__} came")
    if frame.schema != SCHEMA_VERSION:
        raise ProtocolError(
            f"the other host speaks version {frame.schema} of the protocol, and this one {SCHEMA_VERSION}; "
            "install the same rtflow on both"
        )
    return frame


def _lost(error: BaseException) -> Bye:
    return Bye(reason=f"the connection was lost ({in_words(error)})"[:2000])
