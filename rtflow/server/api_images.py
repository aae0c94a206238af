"""Images of the volume that came last, for whoever looks on."""

from __future__ import annotations

import msgspec
from aiohttp import web

from rtflow.server.answers import Refusal, answer
from rtflow.server.handling import Handlers

ABOUT = "Rtflow-Image"
"""The header that says what the voxels are."""


class ImagesApi(Handlers):
    """The handlers."""

    def routes(self) -> list[web.RouteDef]:
        """Each path and its handler."""
        return [web.get("/api/images", self.images), web.get("/api/images/{name}", self.image)]

    async def images(self, request: web.Request) -> web.Response:
        """What there is."""
        await self._admit(request, "watch")
        return answer(await self._port.pools.reading.run(self._port.images.all))

    async def image(self, request: web.Request) -> web.Response:
        """One byte for each voxel, or with ``form=nifti`` the image itself."""
        await self._admit(request, "watch")
        name, form = request.match_info["name"], request.query.get("form", "voxels")
        images, reading = self._port.images, self._port.pools.reading
        if form == "nifti":
            if (file := await reading.run(images.nifti, name)) is not None:
                return web.Response(
                    body=file,
                    content_type="application/gzip",
                    headers={"Content-Disposition": f'attachment; filename="{name}.nii.gz"'},
                )
        elif form == "voxels":
            if (drawn := await reading.run(images.picture, name)) is not None:
                about, voxels = drawn
                headers = {ABOUT: msgspec.json.encode(about).decode()}
                return web.Response(body=voxels, content_type="application/octet-stream", headers=headers)
        else:
            raise Refusal(400, "form must be voxels or nifti")
        raise Refusal(404, "there is no such image; /api/images lists those that there are")
