"""The HTTP API: what is going on, what went on, and the operator's orders. All answers are JSON."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from dataclasses import asdict
from pathlib import Path

import msgspec
from aiohttp import web

from rtflow.documents import decode, now
from rtflow.errors import OutputError
from rtflow.server.answers import Refusal, answer
from rtflow.server.handling import Handlers, number
from rtflow.server.runs import bids_of
from rtflow.settings import settings_to_builtins

_MOST_DOCUMENTS = 5000
_LOGGING = 5.0
"""Seconds that the audit log may take before a run is ended without a line in it."""


class Api(Handlers):
    """The handlers.

    Parameters
    ----------
    port
        What they speak of.
    """

    def routes(self) -> list[web.RouteDef]:
        """Each path and its handler."""
        return [
            web.get("/api/health", self.health),
            web.get("/api/status", self.status),
            web.get("/api/runs", self.runs),
            web.get("/api/runs/{uid}/documents", self.documents),
            web.get("/api/items", self.items),
            web.post("/api/start", self.start),
            web.post("/api/stop", self.stop),
        ]

    async def health(self, request: web.Request) -> web.Response:
        """Whether the server is alive; anybody may ask."""
        return answer({"status": "ok"})

    async def status(self, request: web.Request) -> web.Response:
        """State, run, agents, and when the next volume begins."""
        await self._admit(request, "watch")
        port = self._port
        states, run, clock, at = port.states, port.run, port.clock, now()
        begins = clock.next_volume(at) if clock else None
        desk, progress, tr = port.desk, port.progress, clock.tr if clock else run.tr if run else None
        free = await port.pools.reading.run(_free, desk.out) if desk else None
        left = max(run.volumes - progress.received, 0) if run and run.volumes else None
        return answer(
            {
                "state": states.now,
                "since": states.since,
                "time": at,
                "run_uid": run.run_uid if run else None,
                "trouble": desk.trouble if desk else "",
                "workflow": desk.workflow if desk else (run.workflow if run else ""),
                "bids": bids_of(settings_to_builtins(desk.settings)) if desk else None,
                "volumes": run.volumes if run else None,
                "tr": tr,
                "received": progress.received,
                "results": progress.results,
                "began": progress.began,
                "deadline": desk.deadline(tr) if desk else None,
                "waits": bool(desk and desk.waits),
                "settings": desk.revision if desk else "",
                "out": str(desk.out) if desk else None,
                "disk": {"free": free, "needed": progress.bytes_for(left)},
                "next_volume": begins - at if begins is not None else None,
                "onlookers": len(port.monitor),
                "agents": [asdict(channel.standing) for channel in port.channels],
            }
        )

    async def runs(self, request: web.Request) -> web.Response:
        """Runs of the output folder, the newest first."""
        await self._admit(request, "watch")
        return answer(await self._port.pools.reading.run(self._desk.runs.all))

    async def documents(self, request: web.Request) -> web.Response:
        """Documents of a run from a number on: lines of JSON, or one MessagePack array."""
        await self._admit(request, "watch")
        since, most = number(request, "since", 0), number(request, "most", _MOST_DOCUMENTS)
        most = min(most, _MOST_DOCUMENTS)
        reading, uid = self._port.pools.reading, request.match_info["uid"]
        lines = await reading.run(self._desk.runs.lines, uid, since, most)
        if lines is None:
            raise Refusal(404, "there is no such run; /api/runs lists those that there are")
        if "msgpack" in request.headers.get("Accept", ""):
            body = await reading.run(_pack, lines)
            return web.Response(body=body, content_type="application/vnd.msgpack")
        return web.Response(body=b"".join(line + b"\n" for line in lines), content_type="application/jsonl")

    async def items(self, request: web.Request) -> web.Response:
        """What the session holds of the runs before."""
        await self._admit(request, "watch")
        return answer(await self._port.pools.reading.run(self._desk.session))

    async def start(self, request: web.Request) -> web.Response:
        """Run once with the settings as they are."""
        await self._act(request, "start")
        self._desk.start()
        return answer({"state": self._port.states.now}, 202)

    async def stop(self, request: web.Request) -> web.Response:
        """End the run; what was recorded is kept."""
        visitor = await self._admit(request, "act")
        with contextlib.suppress(OutputError, TimeoutError):  # a disk that is full keeps no run going
            async with asyncio.timeout(_LOGGING):
                await self._tell(request, visitor, "stop")
        self._desk.stop()
        return answer({"state": self._port.states.now, "stopping": True}, 202)


def _free(folder: Path) -> int | None:
    """Bytes that are free where a folder is, or will be."""
    there = next((one for one in (folder, *folder.parents) if one.is_dir()), None)
    try:
        return shutil.disk_usage(there).free if there else None
    except OSError:
        return None


def _pack(lines: list[bytes]) -> bytes:
    return msgspec.msgpack.encode([decode(line) for line in lines])
