"""What runs have left on disk, to be taken away."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from aiohttp import web
from msgspec.structs import replace

from rtflow.documents import decode
from rtflow.errors import JournalError, OutputError
from rtflow.server.answers import STILL, Refusal, answer
from rtflow.server.handling import Handlers
from rtflow.server.run_files import archive, in_text, list_files, open_file, pieces, results_table

_PATIENCE = 60.0
"""Seconds that one piece of a file may take to be sent."""

_AT_ONCE = 5000


class RunsApi(Handlers):
    """The handlers."""

    def routes(self) -> list[web.RouteDef]:
        """Each path and its handler."""
        run = "/api/runs/{uid}"
        return [
            web.get(f"{run}/files", self.files),
            web.get(f"{run}/files/{{path:.+}}", self.file),
            web.get(f"{run}/results.tsv", self.results),
            web.get(f"{run}/report.html", self.report),
            web.get(f"{run}/archive.zip", self.archive),
        ]

    async def files(self, request: web.Request) -> web.Response:
        """Path, size and time of each file of a run."""
        run_dir = await self._run_dir(request)
        found = await self._port.pools.reading.run(list_files, run_dir)
        return answer([replace(one, path=in_text(one.path)) for one in found])

    async def file(self, request: web.Request) -> web.StreamResponse:
        """One file."""
        run_dir, path = await self._run_dir(request), request.match_info["path"]
        file = await self._port.pools.reading.run(open_file, run_dir, path)
        if file is None:
            raise Refusal(404, "the run has no such file; /api/runs/RUN_UID/files lists those that there are")
        with file:
            size = os.fstat(file.fileno()).st_size
            return await self._stream(request, pieces(file, size), Path(path).name, size)

    async def results(self, request: web.Request) -> web.Response:
        """Results of a run as a table."""
        run_dir = await self._run_dir(request)
        body = await self._port.pools.reading.run(lambda: results_table(self._lines(run_dir.name)))
        return web.Response(
            body=body,
            content_type="text/tab-separated-values",
            charset="utf-8",
            headers=_named(f"{run_dir.name}_results.tsv"),
        )

    async def report(self, request: web.Request) -> web.Response:
        """What there is to say of a run, as one page."""
        run_dir, make = await self._run_dir(request), self._desk.report
        if make is None:
            raise Refusal(404, "this server makes no reports; 'rtflow report RUN_DIR' does")
        goes_on = self._port.states.now != "idle" and self._port.progress.run_uid == run_dir.name
        lines = map(decode, self._lines(run_dir.name))
        try:
            body = await self._port.pools.reading.run(make, lines, goes_on)
        except JournalError as error:
            raise Refusal(409, str(error)) from None
        name = {"Content-Disposition": f"inline; {_file_name(f'{run_dir.name}_report.html')}"}
        headers = name | {"Content-Security-Policy": STILL}
        return web.Response(body=body, content_type="text/html", charset="utf-8", headers=headers)

    async def archive(self, request: web.Request) -> web.StreamResponse:
        """All files of a run in one."""
        run_dir = await self._run_dir(request)
        return await self._stream(request, archive(run_dir), f"{run_dir.name}.zip")

    async def _run_dir(self, request: web.Request) -> Path:
        await self._admit(request, "watch")
        run_dir = await self._port.pools.reading.run(self._desk.runs.folder, request.match_info["uid"])
        if run_dir is None:
            raise Refusal(404, "there is no such run; /api/runs lists those that there are")
        return run_dir

    def _lines(self, run_uid: str) -> Iterator[bytes]:
        since = 0
        while lines := self._desk.runs.lines(run_uid, since, _AT_ONCE):
            yield from lines
            since += len(lines)

    async def _stream(
        self, request: web.Request, coming: Iterator[bytes], name: str, size: int | None = None
    ) -> web.StreamResponse:
        """Send what comes, no faster than it is taken; who takes nothing for long is let go."""
        response = web.StreamResponse(headers=_named(name))
        response.content_type, response.content_length = "application/octet-stream", size
        await response.prepare(request)
        left = size or 0
        while request.method != "HEAD":
            piece = await self._port.pools.reading.run(next, coming, None)
            if piece is None:
                if left:
                    raise OutputError(f"{name} became shorter while it was sent")
                break
            left -= len(piece) if size else 0
            async with asyncio.timeout(_PATIENCE):
                await response.write(piece)
        await response.write_eof()
        return response


def _named(name: str) -> dict[str, str]:
    return {"Content-Disposition": f"attachment; {_file_name(name)}"}


def _file_name(name: str) -> str:
    return f"filename*=UTF-8''{quote(name, safe='')}"
