"""What goes along with one request: pieces of a file, no faster than the other side keeps them.

The loop's thread only hands pieces over. Whatever may take its time (a disk, a callback) is done by a thread
of the request's own, which tells the other side how far it has come; so nothing that is slow with one file
holds up another one, a volume, or the question whether the other side is there.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO

from rtflow.errors import ProtocolError, RemoteError, RtflowError
from rtflow.server.messages import Kept, Piece

PIECE = 256 * 1024
"""Bytes of a file in one message: what comes of a volume waits for no more than this to be written."""

WINDOW = 4 * PIECE
"""Bytes that may be sent beyond what the other side says it has kept."""

Send = Callable[[Piece | Kept, Sequence[bytes]], object]


class Transfer:
    """One side of it, between the loop's thread and the one that works on the request.

    Parameters
    ----------
    number
        Of the request.
    send
        Sends a message to the other side, in the order of all that this transfer sends; from any thread.
    """

    def __init__(self, number: int, send: Send) -> None:
        self._number, self._send = number, send
        self._changed = threading.Condition()
        self._pieces: deque[bytes] = deque()
        self._came = self._kept = 0  # bytes that the other side sent, and that were worked on here
        self._sent = self._kept_there = 0
        self._over = False
        self._error: RtflowError | None = None

    # In the loop's thread: nothing here waits

    def hear(self, body: Piece | Kept, parts: Sequence[bytes]) -> None:
        """What the other side says of this request; once it is over, nothing is heard any more.

        Raises
        ------
        ProtocolError
            If it may not say so.
        """
        with self._changed:
            if self._over:
                return
            if isinstance(body, Kept):
                if not self._kept_there <= body.size <= self._sent:
                    raise ProtocolError(f"{body.size} bytes of a file were kept, and {self._sent} were sent")
                self._kept_there = body.size
            elif len(parts) != 1 or not 0 < len(parts[0]) <= PIECE or body.offset != self._came:
                raise ProtocolError("a piece of a file came without its bytes, or not in its turn")
            elif self._came + len(parts[0]) - self._kept > WINDOW:
                self._end(
                    RemoteError("more of a file came than was asked for; install the same rtflow on both")
                )
            else:
                self._came += len(parts[0])
                self._pieces.append(parts[0])
            self._changed.notify_all()

    def end(self, error: RtflowError | None = None) -> None:
        """Nothing more comes; with an error, what has come is of no use either."""
        with self._changed:
            self._end(error)

    def _end(self, error: RtflowError | None) -> None:
        if not self._over:
            self._over, self._error = True, error
            self._changed.notify_all()

    # In the thread of the request

    def give(
        self,
        source: BinaryIO,
        *,
        until: float | None = None,
        progress: Callable[[int], None] = lambda sent: None,
    ) -> None:
        """Send a file; returns before its end if the request is over.

        Parameters
        ----------
        until
            On the clock of `time.monotonic`.
        progress
            Called with the bytes that were sent so far.

        Raises
        ------
        TimeoutError
            If it took longer.
        RtflowError
            What `end` was given.
        """
        while data := source.read(PIECE):
            with self._changed:
                self._wait(lambda: self._sent + PIECE - self._kept_there <= WINDOW, until)
                if self._over:
                    return
                offset, self._sent = self._sent, self._sent + len(data)
            self._send(Piece(id=self._number, offset=offset), (data,))
            progress(self._sent)

    def take(self, *, until: float | None = None) -> Iterator[bytes]:
        """What comes, piece by piece, until the request is over; the next one is asked for when one is kept.

        Raises
        ------
        TimeoutError, RtflowError
            As `give`.
        """
        while True:
            with self._changed:
                self._wait(lambda: bool(self._pieces), until)
                if not self._pieces:
                    return
                data = self._pieces.popleft()
            yield data
            with self._changed:
                self._kept += len(data)
            self._send(Kept(id=self._number, size=self._kept), ())

    def _wait(self, ready: Callable[[], bool], until: float | None) -> None:
        left = None if until is None else until - time.monotonic()
        if (left is not None and left < 0) or not self._changed.wait_for(lambda: self._over or ready(), left):
            raise TimeoutError
        if self._error is not None:
            raise self._error
