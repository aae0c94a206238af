"""The scanner's host, as the server knows it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from rtflow.server.asking import Asking
from rtflow.server.channel import Channel
from rtflow.server.files import RemoteFiles
from rtflow.server.messages import (
    Arrived,
    Body,
    Kept,
    Listening,
    Piece,
    Reply,
    SourceEnded,
    SourceOpened,
    Trouble,
    VolumeSent,
)
from rtflow.server.wire import Hello

FromSource = Arrived | VolumeSent | Listening | Trouble | SourceOpened | SourceEnded
Hear = Callable[[FromSource, list[bytes]], Awaitable[None]]


class ScannerChannel(Channel):
    """Objects, or volumes, of a scanner; and its host's files."""

    kind = "scanner"
    kept = 60.0  # volumes wait for it as long
    size_limit = 1 << 28  # a whole run may be one object
    _hear: tuple[str, Hear] | None = None

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.asking = Asking(self._loop, self.link, self.name)
        self.files = RemoteFiles(self.asking)

    async def work(self, body: Body, parts: list[bytes]) -> None:
        """Hand what comes to the run that it is of.

        What is of another run is passed over: its agent keeps it, and sends it again when that run goes on.
        """
        if isinstance(body, FromSource):
            if self._hear is not None and self._hear[0] == body.run_uid:
                await self._hear[1](body, parts)
            return
        if isinstance(body, Reply | Piece | Kept):
            self.asking.hear(body, parts)
            return
        await super().work(body, parts)

    def began_anew(self, hello: Hello) -> None:
        """Another process than before is at the other end."""
        self.asking.began_anew(hello.methods)
        super().began_anew(hello)

    # From any thread

    def call(self, method: str, /, *, timeout: float = 5.0, **arguments: Any) -> Any:
        """Call a method of a service that the agent was started with: ``call("lights.dim", level=0.5)``.

        Parameters
        ----------
        method
            Name of the service's module, a dot, name of the method.
        timeout
            Seconds to wait for what it gives.
        arguments
            By their names.

        Raises
        ------
        UsageError
            If an argument is not what the method takes.
        RemoteError
            If there is no such method, it raises, or gives nothing in time.
        """
        return self.asking.call(method, arguments, timeout)

    def listen(self, run_uid: str, hear: Hear) -> None:
        """Hand all that comes of a run to ``hear``, in the loop's thread; it is acknowledged after that."""
        self._hear = run_uid, hear

    def listen_no_more(self, run_uid: str) -> None:
        """Pass over what comes of a run from now on."""
        if self._hear is not None and self._hear[0] == run_uid:
            self._hear = None
