"""A display of the analysis host, for tools that have a window: VNC behind the dashboard's login.

The VNC server listens at a socket in the file system, which only its owner can open; what goes between it and
an operator's browser is passed on as it is. The page's side is noVNC.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
from aiohttp import web

from rtflow.access.store import Action
from rtflow.server.answers import Refusal
from rtflow.server.guard import Visitor
from rtflow.server.sockets import close_soon
from rtflow.server.together import until_one_ends

Admit = Callable[[web.Request, Action], Awaitable[Visitor]]

_FOLDER = Path(__file__).parent / "novnc"
_PIECE = 64 * 1024
_MOST = 1024 * 1024
_SEND_SECONDS = 10.0


class Desktop:
    """Routes of the desktop.

    Parameters
    ----------
    socket
        Where the VNC server listens; None for no desktop.
    admit
        Says who asks, and whether they may.
    staying
        Whom to turn out when their access ends: connections are put in, and taken out.
    """

    def __init__(
        self, socket: Path | None, admit: Admit, staying: dict[web.WebSocketResponse, Visitor]
    ) -> None:
        self._socket = socket
        self._admit = admit
        self._staying = staying
        self._files = {
            path.relative_to(_FOLDER).as_posix(): path for path in _FOLDER.rglob("*.js") if path.is_file()
        }

    def routes(self) -> list[web.RouteDef]:
        """Each path and its handler."""
        return [web.get("/novnc/{path:.*}", self._file), web.get("/desktop", self._connect)]

    async def _file(self, request: web.Request) -> web.StreamResponse:
        await self._admit(request, "act")
        path = self._files.get(request.match_info["path"])
        if path is None:
            raise Refusal(404, "there is no such file")
        return web.FileResponse(path, headers={"Content-Type": "text/javascript; charset=utf-8"})

    async def _connect(self, request: web.Request) -> web.StreamResponse:
        visitor = await self._admit(request, "act")
        if self._socket is None:
            raise Refusal(404, "this dashboard has no desktop; start it with --desktop")
        browser = web.WebSocketResponse(
            protocols=("binary",), max_msg_size=_MOST, compress=False, timeout=1.0, heartbeat=10.0
        )
        if not browser.can_prepare(request):
            raise Refusal(400, "this is the address of a WebSocket", "no WebSocket", who=visitor.name)
        try:
            reader, writer = await asyncio.open_unix_connection(str(self._socket))
        except OSError as error:
            raise Refusal(503, f"the desktop does not answer ({error.strerror or error})") from None
        try:
            await self._pass_on(request, browser, visitor, reader, writer)
        finally:
            writer.close()
        await close_soon(browser, 1000, "")
        if request.transport is not None:
            # What waits to be sent to one who does not read would keep the connection for ever.
            request.transport.abort()
        return browser

    async def _pass_on(
        self,
        request: web.Request,
        browser: web.WebSocketResponse,
        visitor: Visitor,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        await browser.prepare(request)
        self._staying[browser] = visitor
        try:
            await until_one_ends(_to_browser(reader, browser), _to_display(browser, writer))
        finally:
            self._staying.pop(browser, None)


async def _to_browser(reader: asyncio.StreamReader, browser: web.WebSocketResponse) -> None:
    with contextlib.suppress(ConnectionError, TimeoutError):
        while data := await reader.read(_PIECE):
            async with asyncio.timeout(_SEND_SECONDS):
                await browser.send_bytes(data)


async def _to_display(browser: web.WebSocketResponse, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        async for message in browser:
            if message.type != aiohttp.WSMsgType.BINARY:
                return
            writer.write(message.data)
            await writer.drain()
