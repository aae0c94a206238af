"""Notes that an operator takes during a run."""

from __future__ import annotations

from typing import Annotated

import msgspec
from aiohttp import web

from rtflow.documents import Event
from rtflow.errors import RunError
from rtflow.server.answers import Refusal, answer
from rtflow.server.handling import Handlers, read_json

_NO_RUN = (
    "there is no run to take a note of; notes stand in the journal of a run, from its beginning to its end"
)


class NoteRequest(msgspec.Struct, forbid_unknown_fields=True):
    """What is noted."""

    text: Annotated[str, msgspec.Meta(min_length=1, max_length=2000)]


class NotesApi(Handlers):
    """The handler."""

    def routes(self) -> list[web.RouteDef]:
        """Its path."""
        return [web.post("/api/notes", self.note)]

    async def note(self, request: web.Request) -> web.Response:
        """Put a note into the journal, with the number of the latest volume."""
        who = await self._act(request, "note")
        text = (await read_json(request, NoteRequest)).text.strip()
        emit = self._port.emit
        if not text:
            raise Refusal(400, "the note is empty")
        if emit is None:
            raise Refusal(409, _NO_RUN)
        volume = self._port.progress.received or None
        event = Event(name="note", volume=volume, data={"says": text, "who": who})
        try:
            await self._port.pools.short.run(emit, event)
        except RunError:  # it ended in this moment
            raise Refusal(409, _NO_RUN) from None
        return answer({"volume": volume, "who": who, "says": text})
