"""The page of the subject's display, for a browser on its host: ``/subject``.

The page is opened by a link that carries a token of the subject's channel behind the ``#``, which no browser
sends anywhere. The page's script sends it once, as a header, and takes it out of the address; the server puts
it into a cookie that no script reads and that goes nowhere but to the page's own routes. A token that is
revoked is refused from then on; a server that is started again knows the page by the same cookie.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path

from aiohttp import hdrs, web

from rtflow.access.sessions import same_origin
from rtflow.server.answers import Refusal
from rtflow.server.guard import Authorise, Visitor

Check = Callable[[web.Request, str, Visitor | None], None]
Connect = Callable[[web.Request, str, Visitor | None], Awaitable[web.StreamResponse]]

COOKIE = "rtflow-subject"

_FOLDER = Path(__file__).parent / "page"
_FILES = {
    "": ("subject.html", "text/html"),
    "/subject.css": ("subject.css", "text/css"),
    "/subject.js": ("subject.js", "text/javascript"),
    "/link.js": ("link.js", "text/javascript"),
    "/feedback-plugin.js": ("feedback-plugin.js", "text/javascript"),
    "/jspsych.js": ("jspsych/index.browser.min.js", "text/javascript"),
}
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}
_BEARER = re.compile(r"Bearer ([A-Za-z0-9._~+/=-]{1,200})")


def page_routes(
    authorise: Authorise, check: Check, connect: Connect, names: Collection[str] = ()
) -> list[web.RouteDef]:
    """Routes of the page.

    Parameters
    ----------
    authorise
        Says who may use the subject's channel, by the header ``Authorization``.
    check
        Refuses a second display of one name.
    connect
        Serves a WebSocket of the subject's channel, once it is authorised.
    names
        Names that the server goes by, other than its addresses and ``localhost``.
    """

    async def enter(request: web.Request) -> web.Response:
        request = with_token(request)
        check(request, "subject", await authorise(request, "subject"))
        token = _BEARER.fullmatch(request.headers.get(hdrs.AUTHORIZATION, ""))
        if token is None:
            raise Refusal(401, "open the page by the link that has the token", "no token")
        answer = web.Response(status=204, headers=_HEADERS)
        answer.force_close()  # the agent's connection is the WebSocket that comes next
        answer.set_cookie(
            COOKIE,
            token.group(1),
            path="/subject",
            httponly=True,
            samesite="Strict",
            secure=request.secure,
        )
        return answer

    async def socket(request: web.Request) -> web.StreamResponse:
        visitor = await authorise(with_token(request), "subject")
        return await connect(request, "subject", visitor)

    def with_token(request: web.Request) -> web.Request:
        origin = request.headers.get(hdrs.ORIGIN)
        if not same_origin(origin, request.headers.get(hdrs.HOST), names):
            says = "this is for the page at /subject of this server only"
            raise Refusal(403, says, "origin", origin=origin)
        return _with_token(request)

    served = [web.get(f"/subject{path}", _file(*of)) for path, of in _FILES.items()]
    return [*served, web.post("/subject/enter", enter), web.get("/subject/socket", socket)]


def _file(name: str, media_type: str) -> Callable[[web.Request], Awaitable[web.Response]]:
    content = (_FOLDER / name).read_bytes()

    async def serve(request: web.Request) -> web.Response:
        return web.Response(body=content, content_type=media_type, charset="utf-8", headers=_HEADERS)

    return serve


def _with_token(request: web.Request) -> web.Request:
    """The request as it would be had its cookie been sent as a header."""
    if hdrs.AUTHORIZATION in request.headers or COOKIE not in request.cookies:
        return request
    headers = request.headers.copy()
    headers[hdrs.AUTHORIZATION] = f"Bearer {request.cookies[COOKIE]}"
    return request.clone(headers=headers)
