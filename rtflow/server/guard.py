"""Who stands at the door: every request is somebody's, or is refused and told in the audit log."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass

from aiohttp import web

from rtflow.access.audit import AuditLog
from rtflow.access.certificates import owner
from rtflow.access.sessions import Sessions, csrf_matches, same_origin
from rtflow.access.store import Access, Action, Identity, may
from rtflow.errors import AccessError, RtflowError, UsageError
from rtflow.server.answers import Refusal
from rtflow.server.log import Log
from rtflow.server.pools import Pools

CSRF_HEADER = "X-CSRF-Token"
_SAFE = ("GET", "HEAD")


@dataclass(frozen=True)
class Visitor:
    """Somebody who was let in.

    Parameters
    ----------
    name, role
        Who it is.
    still_valid
        Whether they may still be here: asked twice a second.
    session_id
        Of the login, for one who came with a cookie.
    """

    name: str
    role: str
    still_valid: Callable[[], bool] = lambda: True
    session_id: str = ""

    def may_stay(self) -> bool:
        """Whether they may still be here; who cannot be looked up may not."""
        try:
            return self.still_valid()
        except RtflowError:
            return False


Authorise = Callable[[web.Request, Action], Awaitable[Visitor | None]]
"""Raises a refusal unless who asks may do that; gives who it is, None where nobody needs to say."""


def cookie_name(request: web.Request) -> str:
    """Name of the cookie of a login.

    Browsers do not keep the cookies of two ports apart, and several servers may stand on one machine.
    """
    here = request.transport.get_extra_info("sockname") if request.transport is not None else None
    return f"{'__Host-' if request.secure else ''}rtflow-{here[1] if here else 0}"


class Guard:
    """Lets in whom the accounts know.

    Agents and programs come with a token in ``Authorization: Bearer``, browsers with the cookie of a login.
    A browser says by ``Origin`` which page a request is from, and only pages of this server may ask; what
    changes something needs the token against forged requests besides.

    Parameters
    ----------
    access
        The accounts.
    audit
        Where it is told whom it turned away.
    names
        Host names that this server goes by, and origins that it is reached by.
    """

    def __init__(self, access: Access, audit: AuditLog, *, names: Collection[str] = ()) -> None:
        self.access = access
        self.log = Log(audit)
        self.pools = Pools()
        self.sessions = Sessions(access)
        self._names = tuple(names)

    async def authorise(self, request: web.Request, action: Action) -> Visitor:
        """Who asks, if they may do that.

        Raises
        ------
        Refusal
            401 if it is nobody who is known, 403 if they may not.
        """
        self.require_own_page(request)
        if "Authorization" in request.headers:
            visitor, identity = self._by_token(request)
        else:
            visitor, identity = await self._by_cookie(request)
        if not may(identity, action):
            raise Refusal(403, f"a {identity.role} may not do that", "role", who=identity.name)
        self._require_own_certificate(request, identity)
        return visitor

    def require_own_page(self, request: web.Request) -> None:
        """Refuse what a page of another server sends by a browser."""
        origin = request.headers.get("Origin")
        if origin is not None and not same_origin(origin, request.headers.get("Host"), self._names):
            says = "this page is not one of the server's; open the server's own, by its own name"
            raise Refusal(403, says, "origin", origin=origin)

    def _by_token(self, request: web.Request) -> tuple[Visitor, Identity]:
        scheme, _, token = request.headers["Authorization"].partition(" ")
        if scheme.lower() != "bearer":
            raise Refusal(401, "expected Authorization: Bearer TOKEN", "scheme")
        try:
            identity = self.access.check_token(token.strip())
        except AccessError as error:
            raise Refusal(401, str(error), error.reason) from None
        except UsageError as error:
            raise Refusal(503, "accounts cannot be read; ask the operator", str(error)) from None
        valid = self.access.still_valid
        return Visitor(identity.name, identity.role, lambda: valid(identity)), identity

    async def _by_cookie(self, request: web.Request) -> tuple[Visitor, Identity]:
        session_id = request.cookies.get(cookie_name(request), "")
        origin = request.headers.get("Origin")
        if not session_id:
            raise Refusal(401, "expected a token, or a login", "no token")
        try:
            identity = await self.pools.short.run(self.sessions.find, session_id, origin=origin)
        except UsageError as error:
            raise Refusal(503, "sessions cannot be read; ask the operator", str(error)) from None
        if identity is None:
            raise Refusal(401, "the login is over; log in again", "session")
        upgrades = request.headers.get("Upgrade", "").lower() == "websocket"
        if origin is None and (upgrades or request.method not in _SAFE):
            raise Refusal(403, "a browser must say which page this is from", "origin", who=identity.name)
        if request.method not in _SAFE and not csrf_matches(session_id, request.headers.get(CSRF_HEADER, "")):
            says = f"the header {CSRF_HEADER} must have what the login gave"
            raise Refusal(403, says, "csrf", who=identity.name)
        found = self.sessions.find
        visitor = Visitor(identity.name, identity.role, lambda: found(session_id) is not None, session_id)
        return visitor, identity

    def _require_own_certificate(self, request: web.Request, identity: Identity) -> None:
        """A certificate must be of the same name as the token that comes with it."""
        tls = request.transport.get_extra_info("ssl_object") if request.transport is not None else None
        shown = tls.getpeercert(True) if isinstance(tls, ssl.SSLObject) else None
        if not shown or identity.kind != "token":
            return
        try:
            named = owner(shown)
        except AccessError as error:
            raise Refusal(403, str(error), "certificate", who=identity.name) from None
        if named != (identity.name, identity.role):
            says = f"the certificate is that of {named[0]}, and the token that of another"
            raise Refusal(403, says, "certificate", who=identity.name, certificate=named[0])
