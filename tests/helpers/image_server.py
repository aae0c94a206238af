"""The two paths of the engine that images come by, with nothing else of an engine behind them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from aiohttp import web

from rtflow.bids.picture import pictures
from rtflow.dash_app.engine import Engine, EnginePlace
from rtflow.server.images import Images


class ImageServer:
    """What a run would show, as the test says.

    Attributes
    ----------
    asked
        Names of the images that were fetched, in order; the list of images is ``""``.
    refuses
        Words that every request is refused with, if any.
    """

    def __init__(self) -> None:
        self.images = Images()
        self.asked: list[str] = []
        self.refuses = ""
        self.begin("run-1")

    def begin(self, run_uid: str) -> None:
        self.run_uid = run_uid
        self.images.begin(run_uid, pictures)

    def show(self, volume: int, **outputs: Any) -> None:
        """A volume went through the graph; outputs are named ``NODE__FIELD``."""
        nodes = [name.partition("__")[0] for name in outputs]
        given = [{name.partition("__")[2]: value} for name, value in outputs.items()]
        self.images.hold(self.run_uid, volume, nodes, given)

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[Engine]:
        """While the block lasts; gives the client."""
        app = web.Application()
        app.router.add_get("/api/images", self._list)
        app.router.add_get("/api/images/{name}", self._image)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        engine = Engine(EnginePlace(f"http://127.0.0.1:{port}", "token"))
        await engine.open()
        try:
            yield engine
        finally:
            await engine.close()
            await runner.cleanup()

    async def _list(self, request: web.Request) -> web.Response:
        self.asked.append("")
        if self.refuses:
            return web.json_response({"error": self.refuses}, status=503)
        return web.Response(body=msgspec.json.encode(self.images.all()), content_type="application/json")

    async def _image(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        self.asked.append(name)
        drawn = self.images.picture(name)
        if drawn is None:
            return web.json_response({"error": "there is no such image"}, status=404)
        about, voxels = drawn
        return web.Response(body=voxels, headers={"Rtflow-Image": json.dumps(about)})
