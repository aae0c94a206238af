"""What an agent can be asked: its answers, with what they carry, each within a time of its own."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

import msgspec

from rtflow.errors import ProtocolError, RemoteError
from rtflow.server.link import Link
from rtflow.server.messages import Piece, Reply, Request
from rtflow.server.signatures import Signature
from rtflow.server.wire import BULK, URGENT

PIECE = 256 * 1024
"""Bytes of a file in one message: what comes of a volume waits for no more than this to be written."""

WINDOW = 4
"""So many pieces may be on their way."""

STOP = "agent.stop"
"""The request that no answer to an earlier one is waited for any more."""

_ROOM = 0.002

Take = Callable[[bytes], object]


@dataclass
class _Asked:
    answer: asyncio.Future[Any]
    take: Take | None
    taken: int = 0


class Asking:
    """Asks one agent; `ask` may be called from any thread but the loop's.

    Parameters
    ----------
    loop
        The server's event loop.
    link
        To the agent.
    name
        Of the agent, for messages.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, link: Link, name: str) -> None:
        self._loop, self._link, self._name = loop, link, name
        self._asked: dict[int, _Asked] = {}
        self._declared: dict[str, Signature] = {}
        self._met = False

    # In the loop's thread

    async def hear(self, body: Reply | Piece, parts: list[bytes]) -> None:
        """An answer, or a piece of what it carries; one that nobody waits for any more is dropped.

        Raises
        ------
        ProtocolError
            If a piece does not fit to the one before it.
        """
        asked = self._asked.get(body.id)
        if asked is None or asked.answer.done():
            return
        if isinstance(body, Reply):
            if body.error:
                asked.answer.set_exception(RemoteError(f"agent {self._name!r}: {body.error}"))
            else:
                asked.answer.set_result(body.value)
            return
        if len(parts) != 1 or asked.take is None or body.offset != asked.taken:
            raise ProtocolError("a piece of a file came that nobody asked for, or not in its turn")
        asked.taken += len(parts[0])
        try:
            await asyncio.to_thread(asked.take, parts[0])
        except Exception as error:
            if not asked.answer.done():
                asked.answer.set_exception(RemoteError(f"what came could not be kept ({error})"))

    def began_anew(self, about: dict[str, str]) -> None:
        """Another process is at the other end: it knows nothing of what the last one was asked.

        Raises
        ------
        ProtocolError
            If it declares its methods in another way than expected.
        """
        for asked in self._asked.values():
            if not asked.answer.done():
                asked.answer.set_exception(
                    RemoteError(f"agent {self._name!r} began anew meanwhile; ask again")
                )
        try:
            declared = msgspec.json.decode(about.get("methods", "{}"), type=dict[str, Signature])
        except msgspec.DecodeError as error:
            raise ProtocolError(f"agent {self._name!r} declares its methods wrongly ({error})") from None
        self._declared = declared

    # From any other thread

    @property
    def methods(self) -> dict[str, Signature]:
        """What the agent's own services offer."""
        return dict(self._declared)

    def call(self, method: str, arguments: dict[str, Any], timeout: float) -> Any:
        """Call a method of an agent's own service.

        Raises
        ------
        UsageError
            If an argument is not what the method takes.
        RemoteError
            If the agent has no such method, the method raises, or there is no answer in time.
        """
        signature = self._declared.get(method)
        if signature is None:
            there = ", ".join(sorted(self._declared)) or "none"
            if not self._link.connected:
                there = "not known: it is not connected"
            raise RemoteError(f"agent {self._name!r} has no method {method!r}; its methods: {there}")
        value = self.ask(method, signature.check(method, arguments), timeout, lane=URGENT)
        return signature.check_result(method, value)

    def ask(
        self,
        method: str,
        arguments: dict[str, Any],
        timeout: float,
        *,
        take: Take | None = None,
        give: BinaryIO | None = None,
        lane: int = BULK,
        progress: Callable[[int], None] = lambda sent: None,
    ) -> Any:
        """Ask for something, and wait for the answer.

        Parameters
        ----------
        method, arguments
            What is asked.
        timeout
            Seconds for all of it.
        take
            Called with each piece that comes, in another thread.
        give
            What is sent along.
        progress
            Called with the bytes that were sent so far.

        Raises
        ------
        RemoteError
            If the agent cannot do it, or not in time.
        """
        asking = self._ask(method, arguments, timeout, take, give, lane, progress)
        return asyncio.run_coroutine_threadsafe(asking, self._loop).result()

    async def _ask(
        self,
        method: str,
        arguments: dict[str, Any],
        timeout: float,
        take: Take | None,
        give: BinaryIO | None,
        lane: int,
        progress: Callable[[int], None],
    ) -> Any:
        number = secrets.randbits(48)  # never that of a question which an earlier server asked
        asked = self._asked[number] = _Asked(self._loop.create_future(), take)
        try:
            self._link.post(Request(id=number, method=method, arguments=arguments), (), lane)
            async with asyncio.timeout(timeout):
                if give is not None:
                    await send_pieces(self._link, number, give, progress, asked.answer)
                return await asked.answer
        except TimeoutError:
            self._link.post(Request(id=number, method=STOP), (), lane)
            there = "" if self._link.connected else ": it is not connected"
            raise RemoteError(
                f"agent {self._name!r} did not answer {method!r} within {timeout:g} s{there}"
            ) from None
        finally:
            del self._asked[number]


async def send_pieces(
    link: Link,
    number: int,
    source: BinaryIO,
    progress: Callable[[int], None] = lambda sent: None,
    stop: asyncio.Future[Any] | None = None,
) -> None:
    """Send a file along with a request or its answer, no faster than it is taken."""
    offset = 0
    while stop is None or not stop.done():
        data = await asyncio.to_thread(source.read, PIECE)
        if not data:
            return
        while link.waiting(BULK) >= WINDOW:
            await asyncio.sleep(_ROOM)
        link.post(Piece(id=number, offset=offset), (data,), BULK)
        offset += len(data)
        progress(offset)
