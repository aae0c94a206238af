"""What is passed on between the engine and a page, piece by piece: documents, logs, images and files."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from urllib.parse import quote

from aiohttp import web

from rtflow.access.store import Action
from rtflow.dash_app.engine import Engine
from rtflow.dash_app.fairness import Fairness
from rtflow.dash_app.hub import slim_lines
from rtflow.server.answers import STILL, Handler, Refusal, answer
from rtflow.server.guard import Visitor

_PIECE = 256 * 1024
_DOCUMENTS = 5000
_PATIENCE = 60.0
"""Seconds that one piece may take to be sent on."""
_LINES = "application/jsonl"
_ABOUT = ("Content-Type", "Content-Length", "Content-Disposition")

Admit = Callable[[web.Request, Action], Awaitable[Visitor]]
Answering = Callable[[web.Request, Visitor], Awaitable[web.StreamResponse]]


class Passing:
    """The handlers.

    Parameters
    ----------
    engine
        What they speak to.
    admit
        Who may: raises a refusal unless who asks may do that.
    fairness
        How much they may.
    """

    def __init__(self, engine: Engine, admit: Admit, fairness: Fairness) -> None:
        self._engine = engine
        self._admit = admit
        self._fairness = fairness

    def routes(self) -> list[web.RouteDef]:
        """Each path and its handler."""
        return [
            web.get("/documents/{uid}", self._short(self._documents)),
            web.get("/logs/{name}", self._short(self._log)),
            web.get("/items", self._short(self._items)),
            web.get("/images/{name}.nii.gz", self._short(self._image)),
            web.get("/runs/{path:.*}", self._long(self._run_file)),
            # For operators: names of files may tell of people.
            web.get("/scanner/{name}/file", self._long(self._from_scanner, "act"), allow_head=False),
            web.put("/scanner/{name}/file", self._long(self._to_scanner, "act")),
        ]

    def _short(self, handler: Answering) -> Handler:
        async def answered(request: web.Request) -> web.StreamResponse:
            visitor = await self._admit(request, "watch")
            async with self._fairness.turn(visitor.name):
                return await handler(request, visitor)

        return answered

    def _long(self, handler: Answering, action: Action = "watch") -> Handler:
        async def answered(request: web.Request) -> web.StreamResponse:
            visitor = await self._admit(request, action)
            with self._fairness.transfer(visitor.name):
                return await handler(request, visitor)

        return answered

    async def _documents(self, request: web.Request, visitor: Visitor) -> web.StreamResponse:
        """Documents of any run from a number on, as the page needs them; the first of many."""
        uid = quote(request.match_info["uid"], safe="")
        lines = await self._engine.documents(uid, _since(request), _DOCUMENTS)
        slimmed = await asyncio.to_thread(slim_lines, lines)
        response = web.Response(
            body="\n".join(slimmed).encode(), content_type="application/jsonl", charset="utf-8"
        )
        response.enable_compression()
        return response

    async def _log(self, request: web.Request, visitor: Visitor) -> web.StreamResponse:
        """Lines of a log of the engine from a byte on, or its last ones; the first of many."""
        name = quote(request.match_info["name"], safe="")
        since: dict[str, Any] = {"since": _since(request)} if "since" in request.query else {}
        response = answer(await self._engine.ask(f"/api/logs/{name}", **since))
        response.enable_compression()
        return response

    async def _items(self, request: web.Request, visitor: Visitor) -> web.StreamResponse:
        """What the session holds."""
        return answer(await self._engine.ask("/api/items"))

    async def _image(self, request: web.Request, visitor: Visitor) -> web.StreamResponse:
        """An image of the latest volume, as a file."""
        name = quote(request.match_info["name"], safe="")
        body, _ = await self._engine.fetch(f"/api/images/{name}", form="nifti")
        return web.Response(body=body, content_type="application/gzip")

    async def _run_file(self, request: web.Request, visitor: Visitor) -> web.StreamResponse:
        """What a run left on the engine's disk."""
        return await self._pass_on(request, request.method, f"/api/runs/{quote(request.match_info['path'])}")

    async def _from_scanner(self, request: web.Request, visitor: Visitor) -> web.StreamResponse:
        """A file of the scanner's host."""
        path = request.query.get("path", "")
        return await self._pass_on(request, "GET", self._scanner(request), who=visitor.name, path=path)

    async def _to_scanner(self, request: web.Request, visitor: Visitor) -> web.StreamResponse:
        """A file for the scanner's host; what is in memory is one piece of it."""
        path = request.query.get("path", "")
        if not path:
            raise Refusal(400, "expected ?path=FOLDER/NAME", "query", who=visitor.name)

        async def pieces() -> AsyncIterator[bytes]:
            async for piece in request.content.iter_chunked(_PIECE):
                yield piece

        # How much has left it, the page knows; how much is there, the lines of the answer say.
        return await self._pass_on(
            request, "PUT", self._scanner(request), who=visitor.name, data=pieces(), accept=_LINES, path=path
        )

    async def _pass_on(
        self, request: web.Request, method: str, place: str, **asked: Any
    ) -> web.StreamResponse:
        async with self._engine.stream(method, place, **asked) as found:
            response = web.StreamResponse()
            for name in _ABOUT:
                if name in found.headers:
                    response.headers[name] = found.headers[name]
            if response.content_type == "text/html":  # a report; no page of ours
                response.headers["Content-Security-Policy"] = STILL
            await response.prepare(request)
            async for piece in found.content.iter_any():
                async with asyncio.timeout(_PATIENCE):
                    await response.write(piece)
        await response.write_eof()
        return response

    @staticmethod
    def _scanner(request: web.Request) -> str:
        return f"/api/scanners/{quote(request.match_info['name'], safe='')}/file"


def _since(request: web.Request) -> int:
    text = request.query.get("since", "0")
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise Refusal(400, "since must be a number", "query")
    return int(text)
