"""Values as lines of JSON on a TCP port, and what comes back on it.

A client begins with a line that is a JSON object, ``{}`` say; a web page that is open on this machine cannot
do that, and is given nothing. A value waits until such a client is there to take it; each one that is there
gets each line. A client may send lines of its own: ``{"type": "Shown", "volume": 13}``,
``{"type": "Response", "button": "left"}``, ``Trigger`` (``n``) and ``StimulusEvent`` (``name``, ``onset``,
``duration``). Where ``at`` is left out, it is now.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from collections.abc import Callable

import msgspec

from rtflow.agents.kept_values import Arrival
from rtflow.documents import now
from rtflow.errors import UsageError
from rtflow.server.messages import Body, Said

_LINE = 16 * 1024
"""Bytes of a line from a client, at most."""

_CLIENTS = 16
_PATIENCE = 1.0
"""Seconds that a client may leave its lines unread, once the system's buffer is full."""


class Lines:
    """The TCP port.

    Parameters
    ----------
    host, port
        Where to listen; port 0 takes any that is free.
    hear
        Called with what a client says.
    current
        Gives the run that came last, which `Shown` belongs to; empty before the first.
    run_on
        Gives the run that what else is said belongs to: empty once it is over.
    """

    name = "tcp"

    def __init__(
        self,
        host: str,
        port: int,
        hear: Callable[[Said], None],
        current: Callable[[], str],
        run_on: Callable[[], str],
    ) -> None:
        self.host, self.port = host, port
        self._hear, self._current, self._run_on = hear, current, run_on
        self._clients: set[asyncio.StreamWriter] = set()
        self._silent: set[asyncio.StreamWriter] = set()
        self._open = 0
        self._there = asyncio.Event()
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Listen.

        Raises
        ------
        UsageError
            If the address cannot be had.
        """
        try:
            self._server = await asyncio.start_server(self._serve, self.host, self.port, limit=_LINE)
        except OSError as error:
            raise UsageError(
                f"cannot listen at {self.host}:{self.port} ({error.strerror or error}); give another --tcp"
            ) from None
        self.port = self._server.sockets[0].getsockname()[1]

    async def give(self, value: Arrival) -> None:
        """Send a line to all clients; waits for the first, unless another run begins meanwhile."""
        line = msgspec.json.encode(value) + b"\n"
        while True:
            await self._there.wait()
            if value.run_uid != self._current() or await self._send(line):
                return

    def tell(self, body: Body) -> None:
        """Send what is no value to whoever is there."""
        line = msgspec.json.encode(body) + b"\n"
        for client in self._clients:
            client.write(line)

    async def close(self) -> None:
        """Listen no more, and let clients go when they have got all that was sent."""
        if self._server is not None:
            self._server.close()
        for client in [*self._clients, *self._silent]:
            self._drop(client)
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(_PATIENCE):
                    await client.wait_closed()

    async def _send(self, line: bytes) -> bool:
        """Whether a client has got it."""
        for client in self._clients:
            client.write(line)
        drained = await asyncio.gather(*(self._drain(client) for client in list(self._clients)))
        return any(drained)

    async def _drain(self, client: asyncio.StreamWriter) -> bool:
        try:
            async with asyncio.timeout(_PATIENCE):
                await client.drain()
        except (OSError, TimeoutError):
            self._drop(client)
        return client in self._clients

    def _drop(self, client: asyncio.StreamWriter) -> None:
        self._clients.discard(client)
        if not self._clients:
            self._there.clear()
        client.close()

    async def _serve(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        if self._open >= _CLIENTS:
            client.close()
            return
        self._open += 1
        self._silent.add(client)
        try:
            while line := await reader.readline():
                if not self._take(line, client):
                    return
        except (OSError, ValueError):  # gone, or a line that has no end
            pass
        finally:
            self._open -= 1
            self._silent.discard(client)
            self._drop(client)

    def _take(self, line: bytes, client: asyncio.StreamWriter) -> bool:
        """Whether the client may go on: what is no JSON object is of another protocol, a browser's say."""
        if not line.strip():
            return True
        try:
            fields = _object(line)
        except (msgspec.DecodeError, UnicodeError):
            return False
        self._silent.discard(client)
        self._clients.add(client)
        self._there.set()
        if fields:
            try:
                shown = fields.get("type") == "Shown"
                self._hear(said(line, self._current() if shown else self._run_on()))
            except (msgspec.DecodeError, UnicodeError) as error:
                client.write(
                    msgspec.json.encode({"type": "Error", "says": f"not understood: {error}"}) + b"\n"
                )
        return True


def _object(line: bytes) -> dict[str, object]:
    return msgspec.json.decode(line, type=dict[str, object])


def said(line: bytes, run_uid: str) -> Said:
    """What a client says in a line.

    Parameters
    ----------
    line
        A JSON object; see the module.
    run_uid
        The run that is under way, which need not be said.

    Raises
    ------
    msgspec.DecodeError
        If it is none of what may be said.

    Examples
    --------
    >>> said(b'{"type": "Response", "button": "left", "at": 5}', "run-1")
    Response(button='left', at=5.0, run_uid='run-1')
    """
    fields = _object(line)
    if fields.get("type") != "StimulusEvent":
        fields.setdefault("at", now())
    fields.setdefault("run_uid", run_uid)
    found: Said = msgspec.convert(fields, Said)
    return found


def address(text: str) -> tuple[str, int]:
    """Host and port of ``PORT`` or ``HOST:PORT``, on this machine: nothing is encrypted.

    Raises
    ------
    UsageError
        If it is neither, or of another machine.

    Examples
    --------
    >>> address("5555"), address("[::1]:5555")
    (('127.0.0.1', 5555), ('::1', 5555))
    """
    host, _, port = text.rpartition(":")
    host = host.strip("[]") or "127.0.0.1"
    with contextlib.suppress(ValueError):
        here = host == "localhost" or ipaddress.ip_address(host).is_loopback
        if here and port.isascii() and 0 <= int(port) <= 65535:
            return host, int(port)
    raise UsageError(
        f"expected PORT, or an address of this machine and a port, 127.0.0.1:5555 say; got '{text[:100]}'"
    )
