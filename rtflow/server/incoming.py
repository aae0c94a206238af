"""Messages of which the bytes are still coming, one for each lane of a connection; and memory for them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rtflow.errors import ProtocolError
from rtflow.server.wire import BULK, URGENT, Post, open_chunk

_PATIENCE = 60.0
"""Seconds that a message may take, and more for its size:"""
_SLOWEST = 16 * 1024
"""Bytes per second; whoever is slower holds memory for nothing."""

BULK_LIMIT = 1 << 20
"""Bytes of a piece of a file, at most."""


class NoRoomError(ProtocolError):
    """Too much is being sent at the same time; it may be sent again."""


class Room:
    """Memory for messages until they have been worked on, of all connections that share it.

    Parameters
    ----------
    size
        Bytes.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._taken = 0

    def take(self, count: int) -> None:
        """Raise `NoRoomError` unless there are so many bytes; then they are taken."""
        if self._taken + count > self._size:
            raise NoRoomError(
                f"{count} bytes came while {self._taken} of other messages by the same token had not been "
                f"worked on; at most {self._size} are held at a time: send again when those are through"
            )
        self._taken += count

    def give_back(self, count: int) -> None:
        """These are not needed any more."""
        self._taken -= count


@dataclass(slots=True)
class _Begun:
    post: Post
    total: int
    gathered: bytearray
    until: float


class Incoming:
    """Puts messages together from what comes on one connection.

    Parameters
    ----------
    limit
        Bytes of all parts of one message, at most; pieces of files have no more than `BULK_LIMIT`.
    room
        Memory that messages take from when they begin until they have been worked on.
    clock
        Seconds of a clock that does not jump.
    """

    def __init__(
        self, limit: int, room: Room | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limits = {URGENT: limit, BULK: min(limit, BULK_LIMIT)}
        self._room = room if room is not None else Room(sum(self._limits.values()))
        self._held: dict[int, int] = {}
        self._clock = clock
        self._begun: dict[int, _Begun] = {}

    def begin(self, post: Post) -> tuple[Post, list[bytes]] | None:
        """A message begins; it and its parts if there is nothing more to come.

        Raises
        ------
        ProtocolError
            If it is too large, or another one of its lane is not whole yet.
        NoRoomError
            If others take the memory that it needs.
        """
        total = sum(post.sizes)
        if post.lane in self._begun:
            raise ProtocolError("a message came in the middle of another")
        if total > (limit := self._limits[post.lane]):
            raise ProtocolError(f"a message of {total} bytes came; at most {limit} are taken")
        if not total:
            return post, [b"" for _ in post.sizes]
        self._room.take(total)
        self._held[post.lane] = total
        until = self._clock() + _PATIENCE + total / _SLOWEST
        self._begun[post.lane] = _Begun(post, total, bytearray(), until)
        return None

    def add(self, data: bytes) -> tuple[Post, list[bytes]] | None:
        """A chunk came; its message and the parts if they are whole by it.

        Raises
        ------
        ProtocolError
            If it belongs to no message, or there is more than was told.
        """
        lane, piece = open_chunk(data)
        begun = self._begun.get(lane)
        if begun is None:
            raise ProtocolError("a chunk came, and no message that it belongs to")
        begun.gathered += piece
        if len(begun.gathered) < begun.total:
            return None
        if len(begun.gathered) > begun.total:
            raise ProtocolError(f"{len(begun.gathered)} bytes came for a message of {begun.total}")
        del self._begun[lane]
        return begun.post, _split(begun.gathered, begun.post.sizes)

    def worked_on(self, lane: int) -> None:
        """The last whole message of a lane is not needed any more."""
        self._room.give_back(self._held.pop(lane, 0))

    def close(self) -> None:
        """Nothing more will come."""
        for lane in list(self._held):
            self.worked_on(lane)

    def require_progress(self) -> None:
        """Raise `ProtocolError` if a message has been coming for too long."""
        for begun in self._begun.values():
            if self._clock() > begun.until:
                raise ProtocolError(
                    f"a message of {begun.total} bytes is not whole after more than {_PATIENCE:.0f} s"
                )


def _split(gathered: bytearray, sizes: Sequence[int]) -> list[bytes]:
    if len(sizes) == 1:
        return [bytes(gathered)]
    parts, at = [], 0
    for size in sizes:
        parts.append(bytes(memoryview(gathered)[at : at + size]))
        at += size
    return parts
