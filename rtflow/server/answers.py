"""How the server says no: always a JSON object ``{"error": ...}``, and what a browser needs to be careful."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any
from weakref import WeakSet

import msgspec
from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from rtflow.access.throttle import Throttle, network_of
from rtflow.errors import AccessError, OutputError, RemoteError, RtflowError, SettingsError, UsageError
from rtflow.server.desk import BusyError, FieldError
from rtflow.server.log import Log

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_LOG = logging.getLogger("rtflow.server")

_BURST, _PER_SECOND = 1000, 250
"""Requests of one address to the HTTP API: so many at once, and so many a second."""

_begun: WeakSet[AbstractStreamWriter] = WeakSet()
"""Of the requests whose answer is on its way, what writes it: a request itself cannot be in a set."""

_CAREFUL = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'self'; connect-src 'self'; frame-ancestors 'none'; "
    "base-uri 'none'; form-action 'self'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

STILL = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox; frame-ancestors 'none'; "
    "base-uri 'none'; form-action 'none'"
)
"""Content-Security-Policy of a page that is only read: it loads nothing and runs nothing."""

_STATUS: tuple[tuple[type[RtflowError], int], ...] = (
    (AccessError, 403),
    (BusyError, 409),
    (SettingsError, 422),
    (OutputError, 503),
    (UsageError, 409),
    (RemoteError, 502),
    (RtflowError, 500),
)


def answer(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """A JSON answer."""
    return web.Response(
        body=msgspec.json.encode(value), status=status, content_type="application/json", headers=headers
    )


class Refusal(Exception):
    """What a handler raises to say no; it is told in the audit log.

    Parameters
    ----------
    status
        Of HTTP.
    says
        What who asks may know.
    reason
        Why, in a word, for the log; default the status.
    who
        Who asked, where that is known.
    retry_after
        Seconds after which it may be tried again; 0 where waiting does not help.
    details
        What else is for the log.
    """

    def __init__(
        self,
        status: int,
        says: str,
        reason: str = "",
        *,
        who: str = "",
        retry_after: float = 0.0,
        **details: object,
    ) -> None:
        super().__init__(says)
        self.status = status
        self.reason = reason or str(status)
        self.who = who
        self.details = details
        self.headers: dict[str, str] = {}
        if retry_after:
            self.headers["Retry-After"] = f"{max(1, round(retry_after))}"
        if status == 401:
            self.headers["WWW-Authenticate"] = 'Bearer realm="rtflow"'


def begun(request: web.Request) -> bool:
    """Whether the answer to a request is on its way: then there can be no other one."""
    return request.writer in _begun


def in_one_form(log: Log) -> Any:
    """Give every refusal the same form and a line in the log, and tell nobody what went wrong within.

    An address that asks too often is told to wait.
    """

    throttle = Throttle(_BURST, 1 / _PER_SECOND)

    @web.middleware
    async def answered(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            # Agents are not counted: one who floods from their address must not keep them out.
            if request.path.startswith("/api/") and (
                wait := throttle.take(network_of(request.remote or "?"))
            ):
                raise Refusal(429, "too many requests; wait a little", "too many requests", retry_after=wait)
            return await handler(request)
        except (ConnectionError, asyncio.CancelledError):
            raise
        except Exception as error:
            if begun(request):
                # A second answer would be taken for the rest of the first, and a part for the whole.
                if isinstance(request.transport, asyncio.WriteTransport):
                    request.transport.abort()
                raise ConnectionAbortedError("what was begun cannot be finished") from error
            return refused(request, error)

    def refused(request: web.Request, error: Exception) -> web.StreamResponse:
        try:
            raise error
        except Refusal as refusal:
            _tell(log, request, refusal)
            return _last(answer({"error": str(refusal)}, refusal.status, refusal.headers))
        except web.HTTPException as error:
            if error.status < 400:
                raise
            _tell(log, request, Refusal(error.status, "", error.reason.lower()))
            allow = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else None
            return _last(answer({"error": error.reason.lower()}, error.status, allow))
        except RtflowError as error:
            status = next(status for kind, status in _STATUS if isinstance(error, kind))
            field = {"field": error.field} if isinstance(error, FieldError) and error.field else {}
            return answer({"error": str(error)} | field, status)
        except Exception:
            _LOG.exception("rtflow: a request failed")
            return answer({"error": "unexpected; the server's log says more"}, 500)

    return answered


def _last(refusal: web.Response) -> web.Response:
    """Whoever was refused keeps no connection open: they are counted, and others need them."""
    refusal.force_close()
    return refusal


def _tell(log: Log, request: web.Request, refusal: Refusal) -> None:
    told = {"reason": refusal.reason, "path": request.path} | refusal.details
    log.refused(refusal.who, "refused", request.remote or "?", **told)


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Tell browsers to be careful; a page that needs something else has said so already.

    (No Strict-Transport-Security: it would hold for every port of the host, and so for others' programs.)
    """
    _begun.add(request.writer)
    if response.status == 101:
        return
    for name, value in _CAREFUL.items():
        response.headers.setdefault(name, value)
