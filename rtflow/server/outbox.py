"""What was posted and not yet acknowledged, and what was heard already: one of each for a side of a link."""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from rtflow.errors import ProtocolError
from rtflow.server.messages import Body
from rtflow.server.wire import LANES, Hello

Part = bytes | Callable[[], bytes]
"""Bytes to be sent, or what reads them (again): a post that waits for its connection need not hold them."""


@dataclass(slots=True)
class Posted:
    """A message on its way."""

    seq: int
    body: Body
    parts: tuple[Part, ...]


class Outbox:
    """Posts of each lane, from when they are posted until they are acknowledged.

    Attributes
    ----------
    epoch
        Of this numbering: it begins anew with each outbox.
    """

    def __init__(self) -> None:
        self.epoch = secrets.token_hex(8)
        self._posts: tuple[deque[Posted], ...] = tuple(deque() for _ in LANES)
        self._next = [1 for _ in LANES]
        self._sent = [0 for _ in LANES]

    def __len__(self) -> int:
        return sum(map(len, self._posts))

    def waiting(self, lane: int) -> int:
        """How many posts of a lane are not acknowledged."""
        return len(self._posts[lane])

    def under_way(self, lane: int) -> int:
        """How many posts of a lane were sent, and are not acknowledged."""
        posts = self._posts[lane]
        return max(0, self._sent[lane] + 1 - posts[0].seq) if posts else 0

    def add(self, lane: int, body: Body, parts: Sequence[Part] = ()) -> int:
        """Post a message; its number."""
        seq = self._next[lane]
        self._next[lane] += 1
        self._posts[lane].append(Posted(seq, body, tuple(parts)))
        return seq

    def acknowledge(self, lane: int, seq: int) -> None:
        """All posts of a lane up to this one have been worked on.

        Raises
        ------
        ProtocolError
            If so many were never sent.
        """
        if seq > self._sent[lane]:
            raise ProtocolError(f"post {seq} was acknowledged, and {self._sent[lane]} were sent")
        posts = self._posts[lane]
        while posts and posts[0].seq <= seq:
            posts.popleft()

    def take(self, lane: int) -> Posted | None:
        """The next post to be sent on this connection, None if all were."""
        posts = self._posts[lane]
        if not posts or posts[-1].seq <= self._sent[lane]:
            return None
        post = posts[max(0, self._sent[lane] + 1 - posts[0].seq)]
        self._sent[lane] = post.seq
        return post

    @property
    def first(self) -> tuple[int, int]:
        """Number of the first post of each lane that is not acknowledged."""
        urgent, bulk = (posts[0].seq if posts else self._next[lane] for lane, posts in enumerate(self._posts))
        return urgent, bulk

    def resume(self, hello: Hello) -> None:
        """A connection begins: what the other side has is acknowledged, all else goes out again."""
        if hello.heard_epoch == self.epoch:
            for lane in LANES:
                self.acknowledge(lane, hello.heard[lane])
        self._sent = [first - 1 for first in self.first]

    def clear(self) -> None:
        """Forget what is not acknowledged: nobody need hear it.

        Numbers that were never sent are given anew, or the other side would take them for lost.
        """
        for lane, posts in enumerate(self._posts):
            posts.clear()
            self._next[lane] = self._sent[lane] + 1

    def __iter__(self) -> Iterator[Posted]:
        for posts in self._posts:
            yield from posts


class Inbox:
    """How far the other side has been heard, so that nothing is heard twice."""

    def __init__(self) -> None:
        self.epoch = ""
        self.heard = [0 for _ in LANES]

    def resume(self, hello: Hello) -> bool:
        """A connection begins; whether the other side began anew since the last one."""
        before = [first - 1 for first in hello.first]
        if hello.epoch == self.epoch:
            # What lies between was forgotten by the other side, and will not come.
            self.heard = [max(*pair) for pair in zip(self.heard, before, strict=True)]
            return False
        self.epoch, self.heard = hello.epoch, before
        return True

    def is_new(self, lane: int, seq: int) -> bool:
        """Whether a post is the next one; one that was heard before is not.

        Raises
        ------
        ProtocolError
            If there is a gap.
        """
        if seq > self.heard[lane] + 1:
            raise ProtocolError(f"post {seq} came after post {self.heard[lane]}; those between are lacking")
        return seq == self.heard[lane] + 1
