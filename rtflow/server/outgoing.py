"""What goes out on a connection, frame by frame: answers first, then what is small, then pieces of files."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from rtflow.errors import ProtocolError
from rtflow.server.outbox import Outbox, Posted
from rtflow.server.wire import BULK, CHUNK, URGENT, Frame, Post, chunk, encode

_BULK_WINDOW = 2
"""So many pieces of files may be on their way: more would stand in the way of a volume, in buffers."""


class Outgoing:
    """Chooses the next frame.

    Parameters
    ----------
    outbox
        Posts that are to be sent.

    Attributes
    ----------
    text
        Whether the other side speaks JSON.
    may_post
        Whether posts may be sent yet: they go behind the first answer to the other side, which so knows how
        far our clock is from its own before it hears of any time.
    """

    def __init__(self, outbox: Outbox) -> None:
        self.text = self.may_post = False
        self._outbox = outbox
        self._control: deque[Frame] = deque()
        self._left: dict[int, deque[bytes]] = {URGENT: deque(), BULK: deque()}

    def clear(self) -> None:
        """The connection has ended: nothing of it is left."""
        self.may_post = False
        self._control.clear()
        for left in self._left.values():
            left.clear()

    def say(self, frame: Frame) -> None:
        """Send a frame that is no post, before all posts."""
        self._control.append(frame)

    def next(self) -> Frame | bytes | None:
        """The next frame, or the bytes of one; None if nothing may be sent.

        Raises
        ------
        ProtocolError
            If bytes would go to a side that speaks JSON.
        """
        if self._control:
            return self._control.popleft()
        for lane, left in self._left.items():
            if not left and self.may_post and (lane == URGENT or self._outbox.under_way(BULK) < _BULK_WINDOW):
                post = self._outbox.take(lane)
                if post is not None:
                    left.extend(self._frames(lane, post))
            if left:
                return left.popleft()
        return None

    def _frames(self, lane: int, post: Posted) -> list[bytes]:
        parts = list(_read_parts(post))
        head = Post(seq=post.seq, lane=lane, body=post.body, sizes=tuple(map(len, parts)))
        frames = [encode(head, text=self.text)]
        whole = memoryview(parts[0] if len(parts) == 1 else b"".join(parts))
        if len(whole) and self.text:
            raise ProtocolError("bytes cannot go to a client that speaks JSON")
        frames += [chunk(lane, whole[at : at + CHUNK]) for at in range(0, len(whole), CHUNK)]
        return frames


def _read_parts(post: Posted) -> Iterator[bytes]:
    for part in post.parts:
        try:
            yield part if isinstance(part, bytes) else part()
        except OSError:  # the file is gone: the other side learns it from the part that is lacking
            return
