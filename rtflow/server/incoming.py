"""Messages of which the bytes are still coming, one for each lane of a connection."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rtflow.errors import ProtocolError
from rtflow.server.wire import Post, open_chunk

_PATIENCE = 60.0
"""Seconds that a message may take, and more for its size:"""
_SLOWEST = 16 * 1024
"""Bytes per second; whoever is slower holds memory for nothing."""


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
        Bytes of all parts of one message, at most.
    clock
        Seconds of a clock that does not jump.
    """

    def __init__(self, limit: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._clock = clock
        self._begun: dict[int, _Begun] = {}

    def begin(self, post: Post) -> tuple[Post, list[bytes]] | None:
        """A message begins; it and its parts if there is nothing more to come.

        Raises
        ------
        ProtocolError
            If it is too large, or another one of its lane is not whole yet.
        """
        total = sum(post.sizes)
        if post.lane in self._begun:
            raise ProtocolError("a message came in the middle of another")
        if total > self._limit:
            raise ProtocolError(f"a message of {total} bytes came; at most {self._limit} are taken")
        if not total:
            return post, [b"" for _ in post.sizes]
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
