"""WebSockets of aiohttp, of the server's side or the client's, as a `Link` uses them."""

from __future__ import annotations

import asyncio
import contextlib
import socket as system
import time
from typing import TYPE_CHECKING

from aiohttp import WebSocketError

from rtflow.errors import ProtocolError

if TYPE_CHECKING:
    from aiohttp import ClientWebSocketResponse, WSMessage, web

MSGPACK, JSON = "rtflow.msgpack", "rtflow.json"
"""Subprotocols: how the frames of a connection are written."""

_UNSENT = 128 * 1024
"""Bytes that may wait in the operating system's buffer: what stands in there goes before any volume."""

_FRAMES_PER_SECOND, _BURST = 5000, 1.0
"""An agent is listened to so fast, on average over so many seconds: 300 MB/s of a file."""


_CLOSING = 2.0
"""Seconds in which a connection is closed."""


class AiohttpSocket:
    """One WebSocket.

    Parameters
    ----------
    socket
        A WebSocket that is open.
    """

    def __init__(self, socket: web.WebSocketResponse | ClientWebSocketResponse) -> None:
        self._socket = socket

    async def send(self, frame: bytes, *, text: bool) -> None:
        """Send one frame.

        Raises
        ------
        ConnectionError
            If the connection has ended.
        """
        if self._socket.closed:
            raise ConnectionResetError("it was closed")
        if text:
            await self._socket.send_str(frame.decode())
        else:
            await self._socket.send_bytes(frame)

    async def receive(self) -> bytes | str | None:
        """The next frame; None when the connection has ended."""
        return _content(await self._socket.receive())

    async def aclose(self) -> None:
        """End it, whatever became of it."""
        await self.close("")

    async def close(self, reason: str) -> None:
        """End it; the other side is told why, if it listens."""
        with contextlib.suppress(Exception):
            await self._socket.close(message=reason.encode()[:120])


class GuardedSocket(AiohttpSocket):
    """The server's end, to which anything may come.

    It is not listened to faster than an honest agent speaks: the rest waits where it came from. That holds
    for pings, too, so these are answered here (``autoping=False``).

    Parameters
    ----------
    socket
        A WebSocket that is open.
    per_second
        Frames that are taken.
    """

    def __init__(self, socket: web.WebSocketResponse, per_second: float = _FRAMES_PER_SECOND) -> None:
        super().__init__(socket)
        self._every = 1 / per_second
        self._due = 0.0
        self._ended = asyncio.Event()

    async def send(self, frame: bytes, *, text: bool) -> None:
        """Send one frame; raises `ConnectionError` if the connection has ended."""
        try:
            await super().send(frame, text=text)
        except ConnectionError:
            with contextlib.suppress(TimeoutError):  # whoever listens knows better why
                async with asyncio.timeout(_CLOSING):
                    await self._ended.wait()
            raise

    async def receive(self) -> bytes | str | None:
        """The next frame; None when the connection has ended.

        Raises
        ------
        ProtocolError
            If what came is no frame of a WebSocket, or a larger one than is taken.
        """
        while True:
            message = await self._socket.receive()
            at = time.monotonic()
            self._due = max(self._due, at - _BURST) + self._every
            if self._due > at:
                await asyncio.sleep(self._due - at)
            if message.type.name == "PING":
                await self._socket.pong(message.data)
            elif message.type.name != "PONG":
                break
        if isinstance(message.data, WebSocketError):
            self._ended.set()
            raise ProtocolError(f"what came cannot be taken: {message.data}")
        data = _content(message)
        if data is None:
            self._ended.set()
        return data


def _content(message: WSMessage) -> bytes | str | None:
    data = message.data
    return data if isinstance(data, bytes | str) and message.type.name in ("BINARY", "TEXT") else None


async def close_soon(socket: web.WebSocketResponse, code: int, says: str) -> None:
    """Close a connection; one whose other end does not read holds up nobody."""
    with contextlib.suppress(TimeoutError, ConnectionError):
        async with asyncio.timeout(1.0):
            await socket.close(code=code, message=says.encode())


def tune(transport: asyncio.BaseTransport | None) -> None:
    """Send small things at once, and keep little in buffers."""
    connection = transport.get_extra_info("socket") if transport is not None else None
    if connection is None:
        return
    with contextlib.suppress(OSError):
        connection.setsockopt(system.IPPROTO_TCP, system.TCP_NODELAY, 1)
    lowat = getattr(system, "TCP_NOTSENT_LOWAT", None)
    if lowat is not None:
        with contextlib.suppress(OSError):
            connection.setsockopt(system.IPPROTO_TCP, lowat, _UNSENT)
