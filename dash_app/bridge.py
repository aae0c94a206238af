"""Dash within aiohttp: a WSGI application behind a handler.

Dash answers what the user does, in a small pool of threads; whatever is live goes another way.
"""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from aiohttp import web

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

VISITOR = "rtflow.visitor"
"""Under this name a callback finds who asks, in the WSGI environment."""

_THREADS = 8
_WORTH = 1024
"""Bytes from which on compression pays."""
_KEPT = 64
_HOP_BY_HOP = {"connection", "content-length", "keep-alive", "transfer-encoding", "upgrade", "date", "server"}
FIXED = ("/_dash-component-suites/", "/assets/", "/plotly.js")
"""What such a path begins with never changes while the dashboard runs."""

Answer = tuple[int, list[tuple[str, str]], bytes]


class Bridge:
    """Serves a WSGI application.

    Parameters
    ----------
    application
        The application.
    """

    def __init__(self, application: WSGIApplication) -> None:
        self._application = application
        self._pool = ThreadPoolExecutor(_THREADS, "dash")
        self._compressed: dict[str, bytes] = {}

    async def serve(self, request: web.Request, visitor: object) -> web.StreamResponse:
        """Answer a request of somebody who was let in."""
        from werkzeug.test import EnvironBuilder

        builder = EnvironBuilder(
            path=request.path,
            query_string=request.query_string,
            method=request.method,
            headers=[
                (name, value) for name, value in request.headers.items() if name.lower() != "accept-encoding"
            ],
            data=await request.read(),
            base_url=f"{request.scheme}://{request.host}/",
        )
        environ = builder.get_environ() | {VISITOR: visitor, "REMOTE_ADDR": request.remote or ""}
        loop = asyncio.get_running_loop()
        status, headers, body = await loop.run_in_executor(self._pool, self._call, environ)
        response = web.Response(status=status, body=body)
        for name, value in headers:
            if name.lower() not in _HOP_BY_HOP:
                if name.lower() == "content-type":
                    response.headers.popall(name, None)
                response.headers.add(name, value)
        await self._compress(request, response, body)
        return response

    def close(self) -> None:
        """Answer no more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _call(self, environ: dict[str, Any]) -> Answer:
        from werkzeug.test import run_wsgi_app

        chunks: Iterable[bytes]
        chunks, status, headers = run_wsgi_app(self._application, environ, buffered=True)  # and closed
        return int(status.split()[0]), list(headers), b"".join(chunks)

    async def _compress(self, request: web.Request, response: web.Response, body: bytes) -> None:
        if len(body) < _WORTH or "gzip" not in request.headers.get("Accept-Encoding", ""):
            return
        if "Content-Encoding" in response.headers or response.status != 200:
            return
        fixed = request.path.startswith(FIXED)
        key = f"{request.path}#{len(body)}"
        packed = self._compressed.get(key) if fixed else None
        if packed is None:
            # What never changes is worth more work: it is done once.
            packed = await asyncio.to_thread(gzip.compress, body, 9 if fixed else 1, mtime=0)
            if fixed:
                self._compressed[key] = packed
                while len(self._compressed) > _KEPT:
                    del self._compressed[next(iter(self._compressed))]
        response.body = packed
        response.headers["Content-Encoding"] = "gzip"
        response.headers["Vary"] = "Accept-Encoding"
