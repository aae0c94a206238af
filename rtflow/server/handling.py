"""What all handlers of the HTTP API share: who asks, for whom, and what their request says."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import web

from rtflow.errors import UsageError
from rtflow.server.answers import Refusal
from rtflow.server.desk import Desk

if TYPE_CHECKING:
    from rtflow.access.store import Action
    from rtflow.server.app import Port
    from rtflow.server.guard import Visitor

USER_HEADER = "Rtflow-User"
"""For whom a program acts that has people of its own (the dashboard); an operator's token is believed."""

_BODY_SECONDS = 10.0
_USER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}")


class Handlers:
    """A part of the API.

    Parameters
    ----------
    port
        What it speaks of.
    """

    def __init__(self, port: Port) -> None:
        self._port = port

    async def _admit(self, request: web.Request, action: Action) -> Visitor | None:
        return await self._port.admit(request, action)

    async def _act(self, request: web.Request, what: str, **details: object) -> str:
        """Admit an operator, and tell the audit log what is about to be done; the name of who does it."""
        visitor = await self._admit(request, "act")
        return await self._tell(request, visitor, what, **details)

    async def _tell(self, request: web.Request, visitor: Visitor | None, what: str, **details: object) -> str:
        who, user = visitor.name if visitor else "?", acting_for(request, visitor)
        acted = {"for": user} if user else {}
        await self._port.log.act(who, what, address=request.remote or "?", **acted, **details)
        return user or who

    @property
    def _desk(self) -> Desk:
        if self._port.desk is None:
            raise UsageError("this server has no runs of its own to speak of")
        return self._port.desk


def acting_for(request: web.Request, visitor: Visitor | None) -> str:
    """The user on whose behalf a program asks; empty where there is none, or it may not say so.

    Raises
    ------
    Refusal
        If that is no name.
    """
    user = request.headers.get(USER_HEADER, "")
    if not user or visitor is None or visitor.role != "operator" or visitor.session_id:
        return ""
    if not _USER.fullmatch(user):
        raise Refusal(400, f"{USER_HEADER} must be the name of a user", "user", who=visitor.name)
    return user


async def read_json(request: web.Request, kind: Any) -> Any:
    """The body of a request, which must be JSON of some type.

    Raises
    ------
    Refusal
        If it is none, too large, or takes too long to come.
    """
    if request.content_type != "application/json":
        raise Refusal(415, "expected Content-Type: application/json")
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            body = await request.read()
    except TimeoutError:
        raise Refusal(408, "the body of the request took too long") from None
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refusal(400, f"the body is not what was expected: {error}"[:500]) from None


def number(request: web.Request, name: str, default: int) -> int:
    """A whole number of the query, up to ten digits; a `Refusal` if it is none."""
    text = request.query.get(name, str(default))
    if not (text.isascii() and text.isdecimal() and len(text) < 11):
        raise Refusal(400, f"{name} must be a whole number from 0 on")
    return int(text)
