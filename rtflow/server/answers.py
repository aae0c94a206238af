"""How the server says no: always a JSON object ``{"error": ...}``, and what a browser needs to be careful."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from aiohttp import web

from rtflow.errors import AccessError, OutputError, RtflowError, SettingsError, UsageError
from rtflow.server.desk import BusyError

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_LOG = logging.getLogger("rtflow.server")

_CAREFUL = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'self'; connect-src 'self'; frame-ancestors 'none'; "
    "base-uri 'none'; form-action 'self'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

_STATUS: tuple[tuple[type[RtflowError], int], ...] = (
    (AccessError, 403),
    (BusyError, 409),
    (SettingsError, 422),
    (OutputError, 503),
    (UsageError, 409),
    (RtflowError, 500),
)


def answer(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """A JSON answer."""
    return web.Response(
        body=msgspec.json.encode(value), status=status, content_type="application/json", headers=headers
    )


class Refusal(Exception):
    """What a handler raises to say no.

    Parameters
    ----------
    status
        Of HTTP.
    says
        What who asks may know.
    retry_after
        Seconds after which it may be tried again; 0 where waiting does not help.
    """

    def __init__(self, status: int, says: str, *, retry_after: float = 0.0) -> None:
        super().__init__(says)
        self.status = status
        self.headers: dict[str, str] = {}
        if retry_after:
            self.headers["Retry-After"] = f"{max(1, round(retry_after))}"
        if status == 401:
            self.headers["WWW-Authenticate"] = 'Bearer realm="rtflow"'


@web.middleware
async def in_one_form(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give every error the same form, and tell nobody outside what went wrong within."""
    try:
        return await handler(request)
    except Refusal as refusal:
        return answer({"error": str(refusal)}, refusal.status, refusal.headers)
    except web.HTTPException as error:
        if error.status < 400 or error.content_type == "application/json":
            raise
        return answer({"error": error.reason.lower()}, error.status, _allowed(error))
    except RtflowError as error:
        status = next(status for kind, status in _STATUS if isinstance(error, kind))
        return answer({"error": str(error)}, status)
    except Exception:
        _LOG.exception("rtflow: a request failed")
        return answer({"error": "unexpected; the server's log says more"}, 500)


def _allowed(error: web.HTTPException) -> dict[str, str] | None:
    return {"Allow": error.headers["Allow"]} if "Allow" in error.headers else None


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Tell browsers to be careful; a page that needs something else has said so already."""
    if response.status == 101:
        return
    for name, value in _CAREFUL.items():
        response.headers.setdefault(name, value)
    if request.secure:
        response.headers.setdefault("Strict-Transport-Security", "max-age=31536000")
