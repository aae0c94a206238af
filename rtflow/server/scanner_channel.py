"""The scanner's host, as the server knows it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from rtflow.server.channel import Channel
from rtflow.server.messages import (
    Arrived,
    Body,
    Listening,
    SourceEnded,
    SourceOpened,
    Trouble,
    VolumeSent,
)

FromSource = Arrived | VolumeSent | Listening | Trouble | SourceOpened | SourceEnded
Hear = Callable[[FromSource, list[bytes]], Awaitable[None]]


class ScannerChannel(Channel):
    """Objects, or volumes, of a scanner; and its host's files."""

    kind = "scanner"
    size_limit = 1 << 28  # a whole run may be one object
    _hear: tuple[str, Hear] | None = None

    async def work(self, body: Body, parts: list[bytes]) -> None:
        """Hand what comes to the run that it is of.

        What is of another run is passed over: its agent keeps it, and sends it again when that run goes on.
        """
        if isinstance(body, FromSource):
            if self._hear is not None and self._hear[0] == body.run_uid:
                await self._hear[1](body, parts)
            return
        await super().work(body, parts)

    # From any thread

    def listen(self, run_uid: str, hear: Hear) -> None:
        """Hand all that comes of a run to ``hear``, in the loop's thread; it is acknowledged after that."""
        self._hear = run_uid, hear

    def listen_no_more(self, run_uid: str) -> None:
        """Pass over what comes of a run from now on."""
        if self._hear is not None and self._hear[0] == run_uid:
            self._hear = None
