"""Logs, for whoever looks for what went wrong."""

from __future__ import annotations

from aiohttp import web

from rtflow.server.answers import answer
from rtflow.server.handling import Handlers, number
from rtflow.server.session_log import read_log


class LogsApi(Handlers):
    """The handler."""

    def routes(self) -> list[web.RouteDef]:
        """Its path."""
        return [web.get("/api/logs/{log:session|debug}", self.log)]

    async def log(self, request: web.Request) -> web.Response:
        """Lines of the server's own log, or of what Python logged in the run that there is, or was last."""
        await self._admit(request, "watch")
        since = number(request, "since", 0) if "since" in request.query else None
        path = self._desk.session_log
        if request.match_info["log"] == "debug":
            run = self._port.run
            path = self._desk.out / "runs" / (run.run_uid if run else "") / "logs" / "debug.log"
        lines, next_ = await self._port.pools.reading.run(read_log, path, since)
        return answer({"lines": lines, "next": next_})
