"""What goes along with a request: no more is on its way than the window, and who sends more is not heard."""

import io
import threading
import time
from collections.abc import Sequence

import pytest

from rtflow.errors import ProtocolError, RemoteError
from rtflow.server.messages import Kept, Piece
from rtflow.server.transfer import PIECE, WINDOW, Transfer

DATA = bytes(range(256)) * 1024 * 7 + b"end"


def silent(body: Piece | Kept, parts: Sequence[bytes]) -> None:
    """Nobody is there."""


def test_a_file_comes_whole_through_the_window() -> None:
    most = 0

    def to_receiver(body: Piece | Kept, parts: Sequence[bytes]) -> None:
        nonlocal most
        receiver.hear(body, parts)
        most = max(most, receiver._came - receiver._kept)

    sender = Transfer(1, to_receiver)
    receiver = Transfer(1, lambda body, parts: sender.hear(body, parts))
    came: list[bytes] = []
    taking = threading.Thread(target=lambda: came.extend(receiver.take()))
    taking.start()
    sender.give(io.BytesIO(DATA * 3))
    receiver.end()
    taking.join(60.0)
    assert b"".join(came) == DATA * 3
    assert most <= WINDOW


def test_what_is_beyond_the_window_ends_the_request_and_not_the_connection() -> None:
    transfer = Transfer(1, silent)
    for number in range(2 * WINDOW // PIECE):
        transfer.hear(Piece(id=1, offset=number * PIECE), [bytes(PIECE)])
    assert len(transfer._pieces) == WINDOW // PIECE
    with pytest.raises(RemoteError, match="more of a file came"):
        next(transfer.take())


@pytest.mark.parametrize(
    ("body", "parts"),
    [
        (Piece(id=1, offset=1), [b"x"]),
        (Piece(id=1, offset=0), []),
        (Piece(id=1, offset=0), [b""]),
        (Piece(id=1, offset=0), [b"x", b"y"]),
        (Piece(id=1, offset=0), [bytes(PIECE + 1)]),
        (Kept(id=1, size=1), []),
    ],
)
def test_what_cannot_be_is_refused(body: Piece | Kept, parts: list[bytes]) -> None:
    with pytest.raises(ProtocolError):
        Transfer(1, silent).hear(body, parts)


def test_who_waits_is_told_that_it_is_over_or_that_time_is() -> None:
    transfer = Transfer(1, silent)
    with pytest.raises(TimeoutError):
        transfer.give(io.BytesIO(bytes(WINDOW + 1)), until=time.monotonic() + 0.05)
    with pytest.raises(TimeoutError):
        next(transfer.take(until=time.monotonic() + 0.05))
    transfer.end(RemoteError("gone"))
    with pytest.raises(RemoteError, match="gone"):
        transfer.give(io.BytesIO(b"x"))
