"""Connections in memory that can be cut: what a `Link` uses where a test needs no network."""

import asyncio
import contextlib

from rtflow.server.link import Link


class Pipe:
    """One end of a connection.

    `sent` counts the frames that were sent, lost ones too, and `taken` those that were received here; where
    `room` is given, sending waits while more bytes than that are under way.
    """

    def __init__(self, room: int | None = None) -> None:
        self.other: Pipe = self
        self.sent = self.taken = 0
        self.cut_after: int | None = None
        self.lost = False
        self._room = room
        self._coming: asyncio.Queue[bytes | str | None] = asyncio.Queue()
        self._bytes = 0
        self._taken = asyncio.Event()

    async def send(self, frame: bytes, *, text: bool) -> None:
        self.sent += 1
        if self.cut_after is not None and self.sent > self.cut_after:
            self.cut()
        if self.lost:
            raise ConnectionResetError("cut")
        self.other._bytes += len(frame)
        self.other._coming.put_nowait(frame.decode() if text else frame)
        while self._room is not None and self.other._bytes > self._room and not self.lost:
            self.other._taken.clear()
            await self.other._taken.wait()

    async def receive(self) -> bytes | str | None:
        if self.lost and self._coming.empty():
            return None
        data = await self._coming.get()
        self._bytes -= len(data or b"")
        self._taken.set()
        self.taken += data is not None
        return data

    async def close(self, reason: str) -> None:
        self.cut(soft=True)

    def cut(self, *, soft: bool = False) -> None:
        """Lose the connection, and all that is under way (or, softly, after it)."""
        for end in (self, self.other):
            if not soft:
                while not end._coming.empty():
                    end._coming.get_nowait()
            end.lost = True
            end._coming.put_nowait(None)
            end._taken.set()


def pipe(room: int | None = None) -> tuple[Pipe, Pipe]:
    one, other = Pipe(room), Pipe(room)
    one.other, other.other = other, one
    return one, other


@contextlib.asynccontextmanager
async def joined(one: Link, other: Link, ends: tuple[Pipe, Pipe]):
    """Two links on a connection; cut at the end of the block, and seen to be so by both."""
    runs = [asyncio.ensure_future(link.run(end)) for link, end in zip((one, other), ends, strict=True)]
    try:
        yield runs
    finally:
        ends[0].cut()
        await asyncio.gather(*runs, return_exceptions=True)
