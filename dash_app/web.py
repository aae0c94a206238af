"""The dashboard's port: who is let in, the live stream, and Dash for all else."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from aiohttp import hdrs, web

from rtflow.access.sessions import csrf_token
from rtflow.access.store import Action
from rtflow.dash_app.bridge import FIXED, Bridge
from rtflow.dash_app.desktop import Desktop
from rtflow.dash_app.engine import Engine, EngineError
from rtflow.dash_app.fairness import Fairness
from rtflow.dash_app.hub import Browser, Heading, Hub
from rtflow.dash_app.passing import Passing
from rtflow.dash_app.pictures import Pictures, View
from rtflow.errors import ProtocolError
from rtflow.server.answers import Handler, Refusal, add_headers, answer, begun, in_one_form
from rtflow.server.guard import Guard, Visitor
from rtflow.server.listening import Limits, Listener
from rtflow.server.login import Login
from rtflow.server.sockets import GuardedSocket, close_soon, tune
from rtflow.server.together import until_one_ends

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

_LOG = logging.getLogger("rtflow.dashboard")

_STATIC = Path(__file__).parent / "static"
_BODY_LIMIT = 1024 * 1024
_TOO_SLOW = 1013  # of RFC 6455's registry: try again later
_OVER = 1008
_SEND_SECONDS = 10.0
_OF_WHO_ASKS = (400, 404, 408, 409, 413, 422, 429, 503)
"""What the engine answers that is for whoever asks; by all else the dashboard has failed."""
_WISHES = 100.0
"""A page is listened to so often a second: each time it may be sent other slices."""
_TENDING = 1.0


def _policy(scripts: Collection[str]) -> str:
    """What a page may load and run: what is ours, and by their hashes the scripts that Dash writes in."""
    # Plotly and Mantine write styles.
    return (
        f"default-src 'self'; script-src 'self' {' '.join(scripts)}; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; "
        "frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
    )


class Web:
    """The port.

    Parameters
    ----------
    engine
        What is asked.
    guard
        Who is let in.
    make_page
        Makes the page for a port: a WSGI application, and hashes of the scripts that it writes into its HTML.
    desktop
        Socket of a VNC server; None for no desktop.
    tell
        Called with a line whenever the engine is lost, or is there again.
    """

    def __init__(
        self,
        engine: Engine,
        guard: Guard,
        make_page: Callable[[int], tuple[WSGIApplication, Collection[str]]],
        desktop: Path | None = None,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.engine = engine
        self.hub = Hub(engine, self._heard, tell)
        self.pictures = Pictures(engine)
        self._guard = guard
        self._make_page = make_page
        self._bridge: Bridge | None = None
        self._scripts: Collection[str] = ()
        self._listener: Listener | None = None
        self._fairness = Fairness()
        self._here: dict[web.WebSocketResponse, Visitor] = {}
        self._desktop = Desktop(desktop, self._admit, self._here)

    # Its life

    @contextlib.asynccontextmanager
    async def opened(self, host: str, port: int, tls: ssl.SSLContext | None) -> AsyncIterator[int]:
        """Listen while the block lasts; gives the port."""
        runner = web.AppRunner(self._make_app(), access_log=None)
        await runner.setup()
        assert runner.server is not None
        self._listener = Listener(
            runner.server,
            host,
            port,
            tls=tls,
            limits=Limits(),
            refused=lambda address, why: self._guard.log.refused("", "connection ended", address, reason=why),
        )
        page, self._scripts = self._make_page(self._listener.port)
        self._bridge = Bridge(page)
        await self.engine.open()  # from here on, it is closed again
        self._listener.start()
        lasting = (self.hub.follow, self.hub.look, self.pictures.follow, self._tend)
        tasks = [asyncio.ensure_future(_for_good(one)) for one in lasting]
        try:
            yield self._listener.port
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._listener.close()
            await asyncio.gather(*(close_soon(one, 1001, "the dashboard ends") for one in list(self._here)))
            await runner.shutdown()
            await self._listener.end_all()
            await runner.cleanup()
            await self.engine.close()
            self._bridge.close()

    def _make_app(self) -> web.Application:
        middlewares = [in_one_form(self._guard.log), _as_the_engine_says]
        app = web.Application(client_max_size=_BODY_LIMIT, middlewares=middlewares)
        app.on_response_prepare.append(self._add_policy)
        app.on_response_prepare.append(add_headers)
        login = Login(self._guard, self)
        app.router.add_routes(
            [
                web.get("/login", self._login_page),
                web.get("/login.js", self._static("login.js", "text/javascript")),
                web.get("/login.css", self._static("login.css", "text/css")),
                web.get("/api/health", self._health),
                web.post("/api/login", login.login),
                web.post("/api/logout", login.logout),
                web.get("/api/session", login.session),
                web.get("/live", self._live),
                *self._desktop.routes(),
                *Passing(self.engine, self._admit, self._fairness).routes(),
                web.route("*", "/{path:.*}", self._dash),
            ]
        )
        return app

    def welcome(self, request: web.Request, who: str = "") -> None:
        """Let the connection of a request stay: it is somebody's.

        Raises
        ------
        Refusal
            If too many stay already.
        """
        if self._listener is not None and not self._listener.admit(request.transport, who):
            raise Refusal(
                503, "too many connections; close some pages, or try again later", "connections", who=who
            )

    # Handlers

    async def _health(self, request: web.Request) -> web.Response:
        # Anybody may ask: what is in the way, and where the engine is, is for those who have logged in.
        return answer({"status": "ok", "engine": "away" if self.hub.trouble else "connected"})

    async def _login_page(self, request: web.Request) -> web.StreamResponse:
        return web.Response(
            body=(_STATIC / "login.html").read_bytes(), content_type="text/html", charset="utf-8"
        )

    def _static(self, name: str, media_type: str) -> Handler:
        content = (_STATIC / name).read_bytes()

        async def serve(request: web.Request) -> web.Response:
            return web.Response(body=content, content_type=media_type, charset="utf-8")

        return serve

    async def _dash(self, request: web.Request) -> web.StreamResponse:
        """The page, and what its callbacks ask."""
        try:
            visitor = await self._admit(request)
        except Refusal as refusal:
            if refusal.status == 401 and request.method == "GET" and _wants_page(request):
                raise web.HTTPSeeOther("/login") from None
            raise
        identity = await asyncio.to_thread(self._guard.sessions.find, visitor.session_id)
        assert self._bridge is not None
        async with self._fairness.turn(visitor.name) if _asks(request) else contextlib.nullcontext():
            response = await self._bridge.serve(request, identity)
        if request.path == "/":
            # Readable by the page's scripts: Dash sends it back with each callback.
            response.set_cookie(
                csrf_cookie(self._listener.port if self._listener else 0),
                csrf_token(visitor.session_id),
                samesite="Strict",
                secure=request.secure,
            )
        return response

    async def _live(self, request: web.Request) -> web.StreamResponse:
        """What happens, for one page."""
        visitor = await self._admit(request)
        since, run_uid = request.query.get("since", "0"), request.query.get("run", "")
        if not (since.isascii() and since.isdecimal() and len(since) < 10) or len(run_uid) > 64:
            raise Refusal(400, "since must be a number, and run that of a run", "query", who=visitor.name)
        with self._fairness.page(visitor.name):
            return await self._show(request, visitor, run_uid, int(since))

    async def _show(
        self, request: web.Request, visitor: Visitor, run_uid: str, since: int
    ) -> web.StreamResponse:
        socket = web.WebSocketResponse(
            max_msg_size=16 * 1024, compress=True, timeout=1.0, heartbeat=10.0, autoping=False
        )
        await socket.prepare(request)
        tune(request.transport)
        self._here[socket] = visitor
        try:
            with self.hub.attended(run_uid, since) as browser, self.pictures.viewed() as view:
                await until_one_ends(
                    self._send(socket, browser), self._send_pictures(socket, view), self._listen(socket, view)
                )
        finally:
            self._here.pop(socket, None)
        await close_soon(socket, _TOO_SLOW, "come back with since=N")
        if request.transport is not None:
            # What waits to be sent to one who does not read would keep the connection for ever.
            request.transport.abort()
        return socket

    async def _send(self, socket: web.WebSocketResponse, browser: Browser) -> None:
        with contextlib.suppress(TimeoutError, ConnectionError):
            async for text in self.hub.texts(browser):
                async with asyncio.timeout(_SEND_SECONDS):
                    await socket.send_str(text)

    async def _send_pictures(self, socket: web.WebSocketResponse, view: View) -> None:
        with contextlib.suppress(TimeoutError, ConnectionError):
            async for frame in view.frames():
                async with asyncio.timeout(_SEND_SECONDS):
                    await socket.send_bytes(frame)

    async def _listen(self, socket: web.WebSocketResponse, view: View) -> None:
        guarded = GuardedSocket(socket, _WISHES)
        with contextlib.suppress(ProtocolError, msgspec.MsgspecError):  # no page of ours says this
            while isinstance(text := await guarded.receive(), str):
                self.pictures.hear(view, text)

    def _heard(self, heading: Heading | None) -> None:
        if heading is None or heading.document == "RunStart":
            self.pictures.look_again()
        elif heading.document == "Result":
            self.pictures.look_again(heading.volume or 0)

    async def _admit(self, request: web.Request, action: Action = "watch") -> Visitor:
        visitor = await self._guard.authorise(request, action)
        if not visitor.session_id:
            raise Refusal(401, "the dashboard is for browsers that have logged in; programs ask the engine")
        self.welcome(request, visitor.name)
        return visitor

    async def _add_policy(self, request: web.Request, response: web.StreamResponse) -> None:
        del request
        if response.content_type == "text/html":
            response.headers.setdefault("Content-Security-Policy", _policy(self._scripts))

    async def _tend(self) -> None:
        """Turn out whoever may not look on any more."""
        while True:
            await asyncio.sleep(_TENDING)
            for socket, visitor in list(self._here.items()):
                if not await asyncio.to_thread(visitor.may_stay):
                    await close_soon(socket, _OVER, "the login is over")


@web.middleware
async def _as_the_engine_says(request: web.Request, handler: Handler) -> web.StreamResponse:
    """What the engine refuses is refused alike; where it is not there, or does not know us, it failed us."""
    try:
        return await handler(request)
    except EngineError as error:
        if begun(request):
            raise
        return answer({"error": str(error)}, error.status if error.status in _OF_WHO_ASKS else 502)


async def _for_good(work: Callable[[], Awaitable[None]]) -> None:
    """Do something until this is cancelled, and begin anew if it fails: pages depend on it."""
    while True:
        try:
            await work()
        except Exception:
            _LOG.exception("rtflow: the dashboard goes on after an unexpected error")
        await asyncio.sleep(_TENDING)


def csrf_cookie(port: int) -> str:
    """Name of the cookie with the token against forged requests; to browsers, all ports are one."""
    return f"rtflow-csrf-{port}"


def _asks(request: web.Request) -> bool:
    """Whether it is more than a file of the page."""
    return not request.path.startswith(FIXED)


def _wants_page(request: web.Request) -> bool:
    return "text/html" in request.headers.get(hdrs.ACCEPT, "")
