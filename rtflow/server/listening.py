"""The server's port, and who may keep it busy: nobody for long who has not shown who they are.

aiohttp alone would keep a connection for as long as its other end likes that never finishes its handshake or
its request. Here each has some seconds to be admitted; and where too many wait, the oldest of the address
that has most of them makes room, so that one who is quick always gets in.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from aiohttp import web

from rtflow.access.throttle import network_of
from rtflow.errors import UsageError
from rtflow.server.answers import answer


@dataclass(frozen=True)
class Limits:
    """What the port takes.

    Parameters
    ----------
    waiting
        Connections that nobody has shown yet who is on.
    open
        Connections at all.
    of_one
        Connections that stay, other than of agents, of one address or of one visitor.
    agents
        Connections that are kept for agents: others do not take them.
    seconds
        Time from a connection's beginning until somebody has shown who they are.
    """

    waiting: int = 64
    open: int = 500
    of_one: int = 150
    agents: int = 128
    seconds: float = 10.0

    @property
    def others(self) -> int:
        """Connections that may stay and are no agents'."""
        return self.open - self.waiting - self.agents


@dataclass(eq=False)
class _Connection:
    address: str
    connection: socket.socket
    task: asyncio.Task[None] | None = None
    transport: asyncio.BaseTransport | None = None
    begun: bool = False
    admitted: bool = False
    agent: bool = False
    who: str = ""
    late: asyncio.TimerHandle | None = None
    gone: asyncio.Event = field(default_factory=asyncio.Event)

    def drop(self) -> None:
        """End it, without a word."""
        if isinstance(self.transport, asyncio.WriteTransport):
            self.transport.abort()
        elif self.task is not None:
            self.task.cancel()


class _Protocol(web.RequestHandler):
    """A connection that says when it was made and lost."""

    __slots__ = ("_entry", "_refused")

    def __init__(
        self,
        server: web.Server,
        entry: _Connection,
        loop: asyncio.AbstractEventLoop,
        refused: Callable[[str, str], None],
    ) -> None:
        super().__init__(
            server,
            loop=loop,
            access_log=None,  # type: ignore[arg-type]
            keepalive_timeout=15.0,
            lingering_time=1.0,
            max_headers=64,
        )
        self._entry, self._refused = entry, refused

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._entry.transport = transport
        super().connection_made(transport)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        self._refused(self._entry.address, "no request" if status == 400 else f"error {status}")
        answered = answer({"error": "that is no request that can be answered"}, status)
        answered.force_close()
        return answered

    def connection_lost(self, exc: BaseException | None) -> None:
        self._entry.gone.set()
        super().connection_lost(exc)


class Listener:
    """Takes connections for an aiohttp server.

    Parameters
    ----------
    server
        What answers.
    host, port
        Where; port 0 takes any that is free.
    tls
        None for plain connections.
    limits
        How many, and how long.
    refused
        Called with an address and why when a connection is ended that nobody was admitted on.
    """

    def __init__(
        self,
        server: web.Server,
        host: str,
        port: int,
        *,
        tls: ssl.SSLContext | None,
        limits: Limits,
        refused: Callable[[str, str], None],
    ) -> None:
        self._server, self._tls, self._limits, self._refused = server, tls, limits, refused
        self._open: dict[_Connection, None] = {}
        self._accepting: asyncio.Task[None] | None = None
        self._listening = _listen(host, port)
        self.port: int = self._listening.getsockname()[1]

    def start(self) -> None:
        """Begin to take connections."""
        self._accepting = asyncio.ensure_future(self._accept())

    def admit(self, transport: asyncio.BaseTransport | None, who: str = "") -> bool:
        """Somebody has shown who they are, who is no agent: whether the connection may stay."""
        entry = self._entry(transport)
        if entry is None:
            return True  # it has ended
        others = [one for one in self._open if one.admitted and not one.agent and one is not entry]
        if (
            len(others) >= self._limits.others
            or sum(one.address == entry.address for one in others) >= self._limits.of_one
            or (who and sum(one.who == who for one in others) >= self._limits.of_one)
        ):
            return False
        entry.admitted, entry.who = True, who
        return True

    def admit_agent(self, transport: asyncio.BaseTransport | None) -> None:
        """An agent has shown who it is: the connection stays."""
        if (entry := self._entry(transport)) is not None:
            entry.admitted = entry.agent = True

    def _entry(self, transport: asyncio.BaseTransport | None) -> _Connection | None:
        return next((entry for entry in self._open if entry.transport is transport), None)

    async def close(self) -> None:
        """Take no more."""
        if self._accepting is not None:
            self._accepting.cancel()
            await asyncio.wait([self._accepting])
        self._listening.close()

    async def end_all(self) -> None:
        """End what is still there."""
        left = list(self._open)
        for entry in left:
            entry.drop()
        if tasks := [entry.task for entry in left if entry.task is not None]:
            await asyncio.wait(tasks, timeout=1.0)

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, address = await loop.sock_accept(self._listening)
            except OSError:  # no more files may be open, say: those that there are go on
                await asyncio.sleep(0.1)
                continue
            entry = _Connection(network_of(str(address[0])), connection)
            if not self._make_room(entry):
                connection.close()
                self._refused(entry.address, "too many connections")
                continue
            self._open[entry] = None
            entry.late = loop.call_later(self._limits.seconds, self._expire, entry)
            entry.task = asyncio.ensure_future(self._serve(entry))
            entry.task.add_done_callback(lambda task, entry=entry: self._gone(entry))  # type: ignore[misc]

    async def _serve(self, entry: _Connection) -> None:
        loop = asyncio.get_running_loop()
        entry.begun = True
        try:
            await loop.connect_accepted_socket(
                lambda: _Protocol(self._server, entry, loop, self._refused),
                entry.connection,
                ssl=self._tls,
                ssl_handshake_timeout=self._limits.seconds if self._tls else None,
                ssl_shutdown_timeout=1.0 if self._tls else None,
            )
            await entry.gone.wait()
        except (OSError, ssl.SSLError):
            if not entry.admitted:
                self._refused(entry.address, "no handshake")

    def _gone(self, entry: _Connection) -> None:
        self._open.pop(entry, None)
        if entry.late is not None:
            entry.late.cancel()
        if not entry.begun:  # dropped at once: no transport has the socket, which would close it
            entry.connection.close()

    def _expire(self, entry: _Connection) -> None:
        if not entry.admitted and entry in self._open:
            self._refused(entry.address, "too slow")
            entry.drop()

    def _make_room(self, new: _Connection) -> bool:
        waiting = [entry for entry in self._open if not entry.admitted]
        if len(waiting) >= self._limits.waiting or (waiting and len(self._open) >= self._limits.open):
            most = Counter(entry.address for entry in (*waiting, new)).most_common(1)[0][0]
            oldest = next((entry for entry in waiting if entry.address == most), waiting[0])
            self._open.pop(oldest)
            self._refused(oldest.address, "too many connections")
            oldest.drop()
        return len(self._open) < self._limits.open


def _listen(host: str, port: int) -> socket.socket:
    """A socket that listens; at ``::``, for IPv4 as well on every system.

    Raises
    ------
    UsageError
        If the address cannot be had.
    """
    try:
        family, *_, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        both = address[0] == "::" and socket.has_dualstack_ipv6()
        listening = socket.create_server(address[:2], family=family, backlog=1024, dualstack_ipv6=both)
    except (OSError, OverflowError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise UsageError(f"cannot listen at {host}:{port} ({why}); choose another port") from None
    listening.setblocking(False)
    return listening
