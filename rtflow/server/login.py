"""How people, their browsers and new agents get in."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn, Protocol

import msgspec
from aiohttp import web

from rtflow.access.certificates import authority_pem
from rtflow.access.enrolment import Enrolling
from rtflow.access.one_time import OneTimeLogins
from rtflow.access.sessions import csrf_token
from rtflow.errors import AccessError, UsageError
from rtflow.server.answers import Refusal, answer
from rtflow.server.guard import Guard, cookie_name
from rtflow.server.handling import read_json

if TYPE_CHECKING:
    from rtflow.access.store import Identity


class Welcoming(Protocol):
    """A port whose connections stay when somebody has shown who they are."""

    def welcome(self, request: web.Request, who: str = "") -> None:
        """Let the connection of a request stay."""


class LoginRequest(msgspec.Struct, forbid_unknown_fields=True):
    """A name and its password, a token (a browser cannot send it along with a WebSocket), or a code, once."""

    name: str = ""
    password: str = ""
    token: str = ""
    code: str = ""


class EnrolRequest(msgspec.Struct, forbid_unknown_fields=True):
    """A one-time code, and a request for a certificate (PEM)."""

    code: str
    request: str


class Login:
    """The handlers.

    Parameters
    ----------
    guard
        Who knows whom.
    port
        What one is let into.
    """

    def __init__(self, guard: Guard, port: Welcoming) -> None:
        self._guard = guard
        self._port = port
        self._enrolling = Enrolling(guard.access)
        self._one_time = OneTimeLogins(guard.access)

    def routes(self) -> list[web.RouteDef]:
        """Each path and its handler."""
        return [
            web.post("/api/login", self.login),
            web.get("/api/session", self.session),
            web.post("/api/logout", self.logout),
            web.get("/api/authority", self.authority),
            web.post("/api/enrol", self.enrol),
        ]

    async def login(self, request: web.Request) -> web.Response:
        """Open a session; its id goes into a cookie that no script reads."""
        guard = self._guard
        guard.require_own_page(request)
        origin = request.headers.get("Origin")
        if origin is None:
            raise Refusal(403, "a login is for browsers; programs use a token", "origin")
        asked = await read_json(request, LoginRequest)
        try:
            if asked.token:
                identity = guard.access.check_token(asked.token)
            elif asked.code:
                identity = await guard.pools.short.run(self._one_time.take, asked.code)
            else:
                check, address = guard.access.check_password, request.remote or "?"
                identity = await guard.pools.logins.run(check, asked.name, asked.password, address)
        except AccessError as error:
            _refuse(error, asked.name)
        await guard.log.act(identity.name, "login", address=request.remote or "?", role=identity.role)
        session_id, csrf = await guard.pools.short.run(guard.sessions.open, identity, origin=origin)
        self._port.welcome(request)
        response = answer(_told(identity.name, identity.role, csrf))
        response.set_cookie(
            cookie_name(request),
            session_id,
            httponly=True,
            secure=request.secure,
            samesite="Strict",
            path="/",
        )
        return response

    async def session(self, request: web.Request) -> web.Response:
        """Who is logged in, and the token against forged requests."""
        session_id = request.cookies.get(cookie_name(request), "")
        origin = request.headers.get("Origin")
        self._guard.require_own_page(request)
        identity: Identity | None = None
        if session_id:
            identity = await self._guard.pools.short.run(self._guard.sessions.find, session_id, origin=origin)
        if identity is None:
            raise Refusal(401, "nobody is logged in here")
        self._port.welcome(request)
        return answer(_told(identity.name, identity.role, csrf_token(session_id)))

    async def logout(self, request: web.Request) -> web.Response:
        """End the session; whoever has no right left may do that too."""
        session_id = request.cookies.get(cookie_name(request), "")
        self._guard.require_own_page(request)
        if request.headers.get("Origin") is None:
            raise Refusal(403, "a logout is for browsers", "origin")
        identity = (
            await self._guard.pools.short.run(self._guard.sessions.find, session_id) if session_id else None
        )
        if identity is not None:
            await self._guard.log.act(identity.name, "logout", address=request.remote or "?")
            await self._guard.pools.short.run(self._guard.sessions.close, session_id)
        response = answer({"status": "ok"})
        response.del_cookie(cookie_name(request), path="/", secure=request.secure)
        return response

    async def authority(self, request: web.Request) -> web.Response:
        """The authority's certificate: whoever enrols sees by the code whether it is the right one."""
        try:
            pem = await self._guard.pools.short.run(authority_pem, self._guard.access.folder / "certificates")
        except UsageError:
            raise Refusal(404, "this server has no authority") from None
        return web.Response(text=pem, content_type="application/x-pem-file")

    async def enrol(self, request: web.Request) -> web.Response:
        """Take a one-time code, and give a token and a certificate."""
        self._guard.require_own_page(request)
        asked = await read_json(request, EnrolRequest)
        try:
            redeem, address = self._enrolling.redeem, request.remote or "?"
            enrolment = await self._guard.pools.logins.run(redeem, asked.code, asked.request, address)
        except AccessError as error:
            _refuse(error, "")
        except UsageError as error:
            raise Refusal(503, "nobody can enrol now; ask the operator", str(error)) from None
        await self._guard.log.act(enrolment.name, "enrol", address=request.remote or "?", role=enrolment.role)
        return answer(msgspec.to_builtins(enrolment))


def _refuse(error: AccessError, who: str) -> NoReturn:
    status = 429 if error.retry_after else 401
    raise Refusal(status, str(error), error.reason, who=who, retry_after=error.retry_after)


def _told(name: str, role: str, csrf: str) -> dict[str, str]:
    return {"name": name, "role": role, "csrf": csrf}
