"""The routes of the port.

Agents connect at ``/ws/scanner`` and ``/ws/subject``, onlookers at ``/ws/monitor``; a page for the subject's
display is at ``/subject``, and the HTTP API at ``/api``.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Callable, Collection, Iterator

import msgspec
from aiohttp import web

from rtflow.access.store import Action
from rtflow.documents import AnyDocument, decode
from rtflow.errors import ProtocolError
from rtflow.server.answers import Refusal, add_headers, in_one_form
from rtflow.server.api import Api
from rtflow.server.api_images import ImagesApi
from rtflow.server.api_logs import LogsApi
from rtflow.server.api_notes import NotesApi
from rtflow.server.api_runs import RunsApi
from rtflow.server.api_scanners import ScannersApi
from rtflow.server.api_settings import SettingsApi
from rtflow.server.channel import Channel, Emit
from rtflow.server.channels import Channels
from rtflow.server.desk import Desk
from rtflow.server.guard import Authorise, Guard, Visitor
from rtflow.server.images import Images
from rtflow.server.incoming import Room
from rtflow.server.listening import Listener
from rtflow.server.log import Log
from rtflow.server.login import Login
from rtflow.server.messages import BeginRun
from rtflow.server.monitor import Monitor
from rtflow.server.places import Places
from rtflow.server.pools import Pools
from rtflow.server.progress import Progress
from rtflow.server.run_clock import RunClock
from rtflow.server.session_log import SessionLog
from rtflow.server.sockets import JSON, MSGPACK, GuardedSocket, close_soon, tune
from rtflow.server.states import States
from rtflow.server.subject_page import page_routes
from rtflow.server.wire import FRAME_LIMIT, Bye

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_ONLOOKER_FRAMES = 20.0
_BODY_LIMIT = 256 * 1024
_TOO_SLOW = 1013  # of RFC 6455's registry: try again later


class Port:
    """All that the routes speak of.

    Parameters
    ----------
    channels
        The agents.
    loop
        The server's event loop.
    authorise
        Who may do what.
    guard
        Logins and enrolment, where there are accounts.
    desk
        The operator's orders, where they are taken.
    names
        Names that others reach the server by; pages are served to no other ones.
    """

    def __init__(
        self,
        channels: Channels,
        loop: asyncio.AbstractEventLoop,
        authorise: Authorise,
        guard: Guard | None = None,
        desk: Desk | None = None,
        names: Collection[str] = (),
    ) -> None:
        self.channels = channels
        self.guard = guard
        self.desk = desk
        self.names = names
        self.log = guard.log if guard is not None else Log()
        self.log.session = SessionLog(desk.session_log) if desk is not None else None
        self.states = desk.states if desk is not None else States()
        self.pools = guard.pools if guard is not None else Pools()
        self.monitor = Monitor(loop, desk.runs if desk is not None else None, self.pools.reading)
        self.progress = Progress()
        self.images = Images()
        self.run: BeginRun | None = None
        self.clock: RunClock | None = None
        self.emit: Emit | None = None
        self.listener: Listener | None = None
        self._authorise = authorise
        self.places = Places()
        self._here: dict[Callable[[], object], Visitor] = {}

    def begin(self, run: BeginRun) -> None:
        """A run begins, or goes on: then its documents so far have been told."""
        self.run = run
        self.say(f"run {run.run_uid} of {run.workflow or 'a workflow'} begins")
        if run.run_uid != self.progress.run_uid:
            self.progress = Progress(run.run_uid)

    def say(self, says: str) -> None:
        """Tell whoever reads the server's own log."""
        if self.log.session is not None:
            self.log.session.tell(says)

    def tell(self, document: AnyDocument, line: bytes) -> None:
        """A document of the run stands in the journal."""
        if document.run_uid != self.progress.run_uid:
            self.progress = Progress(document.run_uid)
        self.progress.add(document)
        self.monitor.add(document.run_uid, document.seq, line)

    async def admit(self, request: web.Request, action: Action) -> Visitor | None:
        """Who asks, if they may; their connection may stay."""
        visitor = await self._authorise(request, action)
        if action in ("watch", "act"):  # an agent's may when it has become a WebSocket
            self.welcome(request, visitor.name if visitor else "")
        return visitor

    def welcome(self, request: web.Request, who: str = "") -> None:
        """Let the connection of a request stay: it is somebody's.

        Raises
        ------
        Refusal
            If too many stay already: places are kept for agents.
        """
        if self.listener is not None and not self.listener.admit(request.transport, who):
            raise Refusal(503, "too many connections; end some, or try again later", "connections", who=who)

    def welcome_agent(self, request: web.Request) -> None:
        """Let the connection of an agent stay, whoever else is here."""
        if self.listener is not None:
            self.listener.admit_agent(request.transport)

    @contextlib.contextmanager
    def staying(self, visitor: Visitor | None, leave: Callable[[], object]) -> Iterator[None]:
        """While in here, ``leave`` is called if the visitor may not be here any more."""
        if visitor is None:
            yield
            return
        self._here[leave] = visitor
        try:
            yield
        finally:
            self._here.pop(leave, None)

    async def turn_out(self) -> None:
        """Let go whoever may not be here any more."""
        here = list(self._here.items())
        valid = await asyncio.to_thread(lambda: [visitor.may_stay() for _, visitor in here])
        for (leave, visitor), may_stay in zip(here, valid, strict=True):
            if not may_stay and self._here.pop(leave, None) is not None:
                self.log.note(visitor.name, "turned out", role=visitor.role, reason="revoked")
                leave()


def make_app(port: Port) -> web.Application:
    """The application behind the port."""
    app = web.Application(client_max_size=_BODY_LIMIT, middlewares=[in_one_form(port.log)])
    app.on_response_prepare.append(add_headers)
    sockets = _Sockets(port)
    app.router.add_get("/ws/{kind:scanner|subject}", sockets.agent)
    app.router.add_get("/ws/monitor", sockets.monitor)
    app.router.add_routes(page_routes(port.admit, sockets.check, sockets.connect, port.names))
    for part in (Api, ImagesApi, LogsApi, NotesApi, RunsApi, ScannersApi, SettingsApi):
        app.router.add_routes(part(port).routes())
    if port.guard is not None:
        app.router.add_routes(Login(port.guard, port).routes())
    return app


class _Sockets:
    """The WebSockets."""

    def __init__(self, port: Port) -> None:
        self._port = port

    async def agent(self, request: web.Request) -> web.StreamResponse:
        """The connection of an agent, from its beginning to its end."""
        kind: Action = "scanner" if request.match_info["kind"] == "scanner" else "subject"
        visitor = await self._port.admit(request, kind)
        return await self.connect(request, kind, visitor)

    def check(self, request: web.Request, kind: str, visitor: Visitor | None) -> None:
        """Refuse a second agent of one name."""
        who = visitor.name if visitor else "?"
        self._require_free(kind, *_named(request, kind, who), who)

    async def connect(self, request: web.Request, kind: str, visitor: Visitor | None) -> web.StreamResponse:
        """The connection of an agent that was let in."""
        port, who = self._port, visitor.name if visitor else "?"
        if not web.WebSocketResponse(protocols=(MSGPACK, JSON)).can_prepare(request):
            raise Refusal(400, "this is the address of a WebSocket", "no WebSocket", who=who)
        name, instance = _named(request, kind, who)
        self._require_free(kind, name, instance, who)
        with port.places.taken(kind, who) as room, port.channels.coming(kind, name) as channel:
            socket = web.WebSocketResponse(
                protocols=(MSGPACK, JSON),
                max_msg_size=FRAME_LIMIT,
                compress=False,
                timeout=1.0,
                autoping=False,
            )
            await socket.prepare(request)
            port.welcome_agent(request)
            tune(request.transport)
            if channel.may_connect(instance):
                await self._serve(request, socket, channel, instance, visitor, room)
            else:  # another one was quicker
                await socket.close(code=1008, message=b"an agent of this name is connected already")
        return socket

    async def _serve(
        self,
        request: web.Request,
        socket: web.WebSocketResponse,
        channel: Channel,
        instance: str,
        visitor: Visitor | None,
        room: Room,
    ) -> None:
        port, who = self._port, visitor.name if visitor else "?"
        about = {"address": request.remote or "?", "channel": channel.kind, "agent": channel.name}
        port.log.note(who, "connected", **about)
        bye, guarded = Bye(), GuardedSocket(socket)
        with port.staying(visitor, lambda: channel.hang_up(guarded, "the access of this agent was revoked")):
            try:
                text = socket.ws_protocol == JSON
                bye = await channel.connect(guarded, instance, text=text, room=room)
            except ProtocolError as error:  # who said it has been told
                bye = Bye(reason=str(error))
                port.log.refused(who, "protocol error", about["address"], says=str(error), agent=channel.name)
        port.log.note(who, "disconnected", reason=bye.reason, **about)

    def _require_free(self, kind: str, name: str, instance: str, who: str) -> None:
        if not self._port.channels.may_connect(kind, name, instance):
            says = f"a {kind} of the name {name} is connected already; use another name"
            raise Refusal(409, says, "name in use", who=who, name=name)

    async def monitor(self, request: web.Request) -> web.StreamResponse:
        """The connection of an onlooker."""
        port = self._port
        visitor = await port.admit(request, "watch")
        who = visitor.name if visitor else "?"
        since, run_uid = request.query.get("since", "0"), request.query.get("run", "")
        if not (since.isascii() and since.isdecimal() and len(since) < 10) or len(run_uid) > 64:
            raise Refusal(400, "since must be a number, and run that of a run", "query", who=who)
        with port.places.taken("monitor", who):
            return await self._follow(request, visitor, run_uid, int(since))

    async def _follow(
        self, request: web.Request, visitor: Visitor | None, run_uid: str, since: int
    ) -> web.StreamResponse:
        port, who = self._port, visitor.name if visitor else "?"
        socket = web.WebSocketResponse(
            protocols=(MSGPACK, JSON),
            max_msg_size=4096,
            compress=False,
            timeout=1.0,
            heartbeat=10.0,
            autoping=False,
        )
        await socket.prepare(request)
        tune(request.transport)
        address = request.remote or "?"
        port.log.note(who, "looks on", address=address)

        async def send(line: bytes) -> None:
            if socket.ws_protocol == MSGPACK:
                await socket.send_bytes(msgspec.msgpack.encode(decode(line)))
            else:
                await socket.send_str(line.decode())

        following = asyncio.ensure_future(port.monitor.follow(send, run_uid=run_uid, since=since))
        listening = asyncio.ensure_future(GuardedSocket(socket, _ONLOOKER_FRAMES).receive())
        try:
            with port.staying(visitor, following.cancel):
                await asyncio.wait({following, listening}, return_when=asyncio.FIRST_COMPLETED)
            reason = _why(following, listening)
            if reason == "said something":
                port.log.refused(who, "protocol error", address, says="an onlooker said something")
        finally:
            following.cancel()
            listening.cancel()
            await asyncio.gather(following, listening, return_exceptions=True)
        await _let_go(request, socket, reason)
        port.log.note(who, "looks on no more", address=address, reason=reason)
        return socket


def _named(request: web.Request, kind: str, who: str) -> tuple[str, str]:
    """Name and instance that an agent gives itself."""
    name, instance = request.query.get("name", kind), request.query.get("instance", "")
    if not _NAME.fullmatch(name) or not _NAME.fullmatch(instance):
        says = "name and instance must be words of up to 64 letters and digits"
        raise Refusal(400, says, "name", who=who, name=name)
    return name, instance


def _why(following: asyncio.Task[None], listening: asyncio.Task[bytes | str | None]) -> str:
    """Why an onlooker's connection ends."""
    if following.done():
        gone = not following.cancelled() and isinstance(following.exception(), ConnectionError)
        return "left" if gone else "too slow, or not allowed any more"
    ended = listening.cancelled() or listening.exception() is not None
    return "left" if ended or listening.result() is None else "said something"


async def _let_go(request: web.Request, socket: web.WebSocketResponse, reason: str) -> None:
    """Close a connection, at once where its buffers are full."""
    await close_soon(socket, _TOO_SLOW, f"{reason}; come back with since=N")
    if reason != "left" and isinstance(request.transport, asyncio.WriteTransport):
        request.transport.abort()
