"""The routes of the server's port: agents at ``/ws/scanner`` and ``/ws/subject``, a page at ``/subject``."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable, Collection

from aiohttp import web

from rtflow.errors import ProtocolError
from rtflow.server.channel import Channel, Emit
from rtflow.server.messages import BeginRun
from rtflow.server.scanner_channel import ScannerChannel
from rtflow.server.sockets import JSON, MSGPACK, AiohttpSocket, tune
from rtflow.server.subject_channel import SubjectChannel
from rtflow.server.subject_page import page_routes
from rtflow.server.wire import FRAME_LIMIT

Authorise = Callable[[web.Request, str], Awaitable[None]]
"""Raises `aiohttp.web.HTTPUnauthorized` or `HTTPForbidden` unless who asks may use a channel."""

_KINDS: dict[str, type[Channel]] = {"scanner": ScannerChannel, "subject": SubjectChannel}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


class Channels:
    """The agents that a server knows: each there from when it is first spoken of.

    Parameters
    ----------
    loop
        The server's event loop.
    changed
        Called, in the loop's thread, when a connection begins or ends.

    Attributes
    ----------
    run
        The run that is under way: subjects that come later hear of it.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, changed: Callable[[Channel, str], None]) -> None:
        self._loop = loop
        self._changed = changed
        self._known: dict[tuple[str, str], Channel] = {}
        self._emit: Emit | None = None
        self.run: BeginRun | None = None

    def find(self, kind: str, name: str) -> Channel:
        """The channel of an agent; may be called from any thread."""
        known = self._known.get((kind, name))
        if known is None:
            known = self._known.setdefault((kind, name), _KINDS[kind](name, self._loop, self._changed))
            known.emit = self._emit
            if kind == "subject" and self.run is not None:
                known.begin_run(self.run)
        return known

    def attend(self, emit: Emit | None) -> None:
        """Tell all that subjects say to a run that begins, or to nobody; from any thread."""
        self._emit = emit
        for channel in list(self._known.values()):
            channel.emit = emit

    def __iter__(self):  # type: ignore[no-untyped-def]
        return iter(list(self._known.values()))


def make_app(channels: Channels, authorise: Authorise, names: Collection[str] = ()) -> web.Application:
    """The application behind the port; `names` are those that the server goes by, for pages."""

    def find(request: web.Request, kind: str) -> tuple[Channel, str]:
        name, instance = request.query.get("name", kind), request.query.get("instance", "")
        if not _NAME.fullmatch(name) or not _NAME.fullmatch(instance):
            raise web.HTTPBadRequest(text="name and instance must be words of up to 64 letters and digits")
        channel = channels.find(kind, name)
        if not channel.may_connect(instance):
            raise web.HTTPConflict(text=f"a {kind} of the name {name} is connected already; use another name")
        return channel, instance

    async def admit(request: web.Request, kind: str) -> None:
        find(request, kind)

    async def connect(request: web.Request, kind: str) -> web.StreamResponse:
        channel, instance = find(request, kind)
        socket = web.WebSocketResponse(
            protocols=(MSGPACK, JSON), max_msg_size=FRAME_LIMIT, compress=False, timeout=1.0
        )
        await socket.prepare(request)
        tune(request.transport)
        with contextlib.suppress(ProtocolError):  # who said it has been told
            await channel.connect(AiohttpSocket(socket), instance, text=socket.ws_protocol == JSON)
        return socket

    async def agent(request: web.Request) -> web.StreamResponse:
        kind = request.match_info["kind"]
        await authorise(request, kind)
        return await connect(request, kind)

    app = web.Application(client_max_size=FRAME_LIMIT)
    app.router.add_get("/ws/{kind:scanner|subject}", agent)
    app.router.add_routes(page_routes(authorise, admit, connect, names))
    return app
