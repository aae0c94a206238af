"""Files on the scanners' hosts, as far as their agents allow it: an operator sees, fetches and sends them."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

import msgspec
from aiohttp import web

from rtflow.errors import RtflowError
from rtflow.server.answers import Refusal, answer
from rtflow.server.handling import Handlers
from rtflow.server.scanner_channel import ScannerChannel
from rtflow.server.transfer import PIECE

_LARGEST = 4 << 30
"""Bytes of a file that is sent there."""

_PATIENCE = 60.0
"""Seconds that one piece may take from, or to, who asks."""

_TIMEOUT = 3600.0
"""Seconds that a file may take from, or to, the scanner's host."""

_LINES = "application/jsonl"


class ScannersApi(Handlers):
    """The handlers."""

    def routes(self) -> list[web.RouteDef]:
        """Each path and its handler."""
        scanner = "/api/scanners/{name}"
        return [
            web.get("/api/scanners", self.scanners),
            web.get(f"{scanner}/folders", self.folders),
            web.get(f"{scanner}/files", self.files),
            web.get(f"{scanner}/file", self.fetch, allow_head=False),
            web.put(f"{scanner}/file", self.send),
        ]

    async def scanners(self, request: web.Request) -> web.Response:
        """The scanners' agents, and what they allow."""
        await self._admit(request, "watch")
        standings = [one.standing for one in self._port.channels if isinstance(one, ScannerChannel)]
        return answer(
            [
                {
                    "name": one.name,
                    "connected": one.connected,
                    "files": one.about.get("files", "") in ("read", "write"),
                    "write": one.about.get("files") == "write",
                }
                for one in standings
            ]
        )

    async def folders(self, request: web.Request) -> web.Response:
        """The folders that are allowed there."""
        await self._act(request, "list folders", scanner=request.match_info["name"])
        channel = self._channel(request)
        found = await self._port.pools.files.run(channel.files.folders)
        return answer([one.path for one in found])

    async def files(self, request: web.Request) -> web.Response:
        """Files and folders in a folder there, by name; an empty name is the first folder that is allowed."""
        folder, pattern = request.query.get("folder", ""), request.query.get("pattern", "*")
        await self._act(request, "list files", scanner=request.match_info["name"], folder=folder)
        channel = self._channel(request)
        return answer(await self._port.pools.files.run(channel.files.list, folder, pattern))

    async def fetch(self, request: web.Request) -> web.StreamResponse:
        """A file from there, piece by piece; of a DICOM object, de-identified on its host."""
        channel, path = await self._about_a_file(request, "fetch file")
        sending = _Sending(request, {"Content-Disposition": _named(path)}, "application/octet-stream")
        await self._port.pools.files.run(channel.files.fetch, path, sending.send, timeout=_TIMEOUT)
        return await sending.ended()

    async def send(self, request: web.Request) -> web.StreamResponse:
        """A file to there, which appears when it is whole.

        With ``Accept: application/jsonl``, lines of JSON say how far it is: ``{"sent", "size"}``, and last
        ``{"path", "size"}`` or ``{"error"}``.
        """
        channel, path = await self._about_a_file(request, "send file")
        told = _LINES in request.headers.get("Accept", "")
        sending = _Sending(request, {}, _LINES)

        def progress(name: str, sent: int, size: int) -> None:
            if told:
                sending.send(_line({"sent": sent, "size": size}))

        self._desk.out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=self._desk.out) as file:
            size = await self._gather(request, file)
            done = {"path": path, "size": size}
            try:
                await self._port.pools.files.run(
                    channel.files.send, path, file, timeout=_TIMEOUT, progress=progress
                )
            except RtflowError as error:
                if not sending.begun:
                    raise
                done = {"error": str(error)}
        if not told:
            return answer(done)
        await sending.write(_line(done))
        return await sending.ended()

    async def _gather(self, request: web.Request, file: BinaryIO) -> int:
        """Put the body of a request into a file, which is at its beginning then; how long it is."""
        size, files = 0, self._port.pools.files
        while True:
            try:
                async with asyncio.timeout(_PATIENCE):
                    data = await request.content.read(PIECE)
            except TimeoutError:
                raise Refusal(408, "the file took too long to come") from None
            if not data:
                break
            size += len(data)
            if size > _LARGEST:
                raise Refusal(413, f"expected a file of at most {_LARGEST} bytes")
            await files.run(file.write, data)
        await files.run(file.seek, 0)
        return size

    async def _about_a_file(self, request: web.Request, what: str) -> tuple[ScannerChannel, str]:
        path = request.query.get("path", "")
        await self._act(request, what, scanner=request.match_info["name"], path=path)
        if not path:
            raise Refusal(400, "path must say which file")
        return self._channel(request), path

    def _channel(self, request: web.Request) -> ScannerChannel:
        name = request.match_info["name"]
        for channel in self._port.channels:
            if isinstance(channel, ScannerChannel) and channel.name == name:
                if channel.link.connected:
                    return channel
                raise Refusal(409, f"scanner {name!r} is not connected; start its agent")
        raise Refusal(404, "there is no such scanner; /api/scanners lists those that there are")


class _Sending:
    """An answer that begins with the first of what a thread sends, and goes no faster than it is taken."""

    def __init__(self, request: web.Request, headers: dict[str, str], media_type: str) -> None:
        self._request, self._loop = request, asyncio.get_running_loop()
        self._response = web.StreamResponse(headers=headers)
        self._response.content_type = media_type

    @property
    def begun(self) -> bool:
        return self._response.prepared

    def send(self, data: bytes) -> None:
        """From another thread; raises OSError if nobody takes it."""
        asyncio.run_coroutine_threadsafe(self.write(data), self._loop).result()

    async def write(self, data: bytes) -> None:
        if not self.begun:
            await self._response.prepare(self._request)
        async with asyncio.timeout(_PATIENCE):
            await self._response.write(data)

    async def ended(self) -> web.StreamResponse:
        if not self.begun:  # there was nothing in it
            await self._response.prepare(self._request)
        await self._response.write_eof()
        return self._response


def _line(told: dict[str, object]) -> bytes:
    return msgspec.json.encode(told) + b"\n"


def _named(path: str) -> str:
    name = Path(path.replace("\\", "/")).name
    return f"attachment; filename*=UTF-8''{quote(name, safe='')}"
