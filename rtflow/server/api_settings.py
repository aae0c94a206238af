"""Settings of the next run: seen, tried, changed, and kept in a file."""

from __future__ import annotations

from functools import partial
from typing import Any

import msgspec
from aiohttp import web

from rtflow.server.answers import answer
from rtflow.server.handling import Handlers, read_json
from rtflow.server.settings_file import save_settings


class SaveRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Name of a file of settings, without ``.toml``."""

    name: str


class SettingsApi(Handlers):
    """The handlers."""

    def routes(self) -> list[web.RouteDef]:
        """Each path and its handler."""
        return [
            web.get("/api/settings", self.settings),
            web.put("/api/settings", self.change),
            web.post("/api/settings/save", self.save),
        ]

    async def settings(self, request: web.Request) -> web.Response:
        """Schema and values of the settings, and what differs from those that the server began with."""
        await self._admit(request, "watch")
        return answer(self._desk.describe_settings())

    async def change(self, request: web.Request) -> web.Response:
        """Take other settings for the next run; what is not named stays. With ``check=1`` only try them.

        With ``base=REVISION`` they are refused if they were changed since.
        """
        visitor = await self._admit(request, "act")
        values = await read_json(request, dict[str, Any])
        short = self._port.pools.short
        if request.query.get("check") == "1":
            await short.run(self._desk.checked_settings, values)
        else:
            changed = msgspec.json.encode(values).decode()
            who = await self._tell(request, visitor, "settings", changed=changed)
            base = request.query.get("base", "")
            await short.run(partial(self._desk.change_settings, values, who=who, base=base))
        return answer(self._desk.describe_settings())

    async def save(self, request: web.Request) -> web.Response:
        """Write the settings as they are into a new file of the output folder."""
        visitor = await self._admit(request, "act")
        name = (await read_json(request, SaveRequest)).name
        await self._tell(request, visitor, "settings saved", name=name)
        folder = self._desk.out / "settings"
        path = await self._port.pools.short.run(save_settings, self._desk.settings, folder, name)
        return answer({"path": str(path)}, 201)
