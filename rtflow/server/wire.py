"""Messages as they stand on a WebSocket: what connects, numbers, acknowledges, and keeps time.

Binary frames hold MessagePack, text frames the same in JSON. A binary frame that begins with the byte 1 is a
chunk of a part instead: that byte, the lane, then the bytes as they are. (No MessagePack of a message begins
so.)

A connection begins with a `Hello` from each side. Then each `Post` carries one message; posts of a lane are
numbered without a gap, and acknowledged by `Ack` once they have been worked on. The parts of a post follow it
as chunks.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from rtflow.errors import ProtocolError
from rtflow.server.messages import SCHEMA_VERSION, Body
from rtflow.server.signatures import Signature

URGENT, BULK = 0, 1
LANES = (URGENT, BULK)
"""Volumes, values and all that is small go first; pieces of files take what is left."""

CHUNK = 64 * 1024
"""Bytes of a part in one frame: a volume waits for no more than one of a file."""

FRAME_LIMIT = 256 * 1024
"""Bytes of one frame, at most."""

_CHUNK_MARK = 1
_HEADER = 2

Lane = Annotated[int, msgspec.Meta(ge=0, le=1)]
Sequence = Annotated[int, msgspec.Meta(ge=0)]
Epoch = Annotated[str, msgspec.Meta(max_length=64)]
About = Annotated[
    dict[Annotated[str, msgspec.Meta(max_length=64)], Annotated[str, msgspec.Meta(max_length=500)]],
    msgspec.Meta(max_length=32),
]
"""A few words on each of a few things."""

MOST_METHODS = 256
"""Methods of one agent; what they take and give fills no more than half of a frame."""
Methods = Annotated[
    dict[Annotated[str, msgspec.Meta(max_length=97)], Signature], msgspec.Meta(max_length=MOST_METHODS)
]
"""What can be called, by the names of `Request`."""


class _Frame(msgspec.Struct, frozen=True, tag_field="frame", forbid_unknown_fields=True):
    """Base of what stands in a frame."""


class Hello(_Frame, frozen=True, kw_only=True, tag=True):
    """Who is there, and where each side stands.

    Parameters
    ----------
    schema
        Version of the list of messages.
    epoch
        Of the sender's numbering: another one each time it begins anew.
    first
        Number of the first post, for each lane, that is not acknowledged.
    heard_epoch, heard
        Numbering of the other side as far as it is known, and the last post that was worked on for each lane.
    about
        Whatever else the other side should know, such as the version.
    methods
        What the experimenter's own services on this host offer.
    """

    schema: int = SCHEMA_VERSION
    epoch: Epoch = ""
    first: tuple[Sequence, Sequence] = (1, 1)
    heard_epoch: Epoch = ""
    heard: tuple[Sequence, Sequence] = (0, 0)
    about: About = {}
    methods: Methods = {}


class Post(_Frame, frozen=True, kw_only=True, tag=True):
    """One message, and the sizes of the parts that follow it in chunks."""

    seq: Sequence
    body: Body
    lane: Lane = URGENT
    sizes: Annotated[tuple[Annotated[int, msgspec.Meta(ge=0)], ...], msgspec.Meta(max_length=1000)] = ()


class Ack(_Frame, frozen=True, kw_only=True, tag=True):
    """All posts of a lane up to this one have been worked on."""

    seq: Sequence
    lane: Lane = URGENT


class Ping(_Frame, frozen=True, kw_only=True, tag=True):
    """Are you there, and what time is it? ``sent`` is the asker's clock."""

    sent: float


class Pong(_Frame, frozen=True, kw_only=True, tag=True):
    """The answer: ``sent`` as it was asked, and when the question came on the clock of who answers."""

    sent: float
    received: float
    answered: float


class Bye(_Frame, frozen=True, kw_only=True, tag=True):
    """The connection ends; ``final`` says that it is of no use to come back."""

    reason: Annotated[str, msgspec.Meta(max_length=2000)] = ""
    final: bool = False


Frame = Hello | Post | Ack | Ping | Pong | Bye

_PACK, _UNPACK = msgspec.msgpack.Encoder(), msgspec.msgpack.Decoder(Frame)
_WRITE, _READ = msgspec.json.Encoder(), msgspec.json.Decoder(Frame)


def encode(frame: Frame, *, text: bool = False) -> bytes:
    """A frame as MessagePack, or as JSON."""
    return _WRITE.encode(frame) if text else _PACK.encode(frame)


def decode(data: bytes | str) -> Frame:
    """A frame from a binary frame that is no chunk, or from a text frame.

    Raises
    ------
    ProtocolError
        If it is none, or one of another schema.
    """
    try:
        frame: Frame = _READ.decode(data) if isinstance(data, str) else _UNPACK.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise ProtocolError(f"what came is no message of this protocol: {error}") from None
    return frame


def require_sendable(body: Body) -> None:
    """Refuse a message that the other side would refuse, whichever form of it that one speaks.

    Raises
    ------
    ProtocolError
        If it is too large, or does not keep to the rules of its fields.
    """
    try:
        frame = encode(Post(seq=1 << 53, body=body), text=True)
        encode(Post(seq=1, body=body))
    except (OverflowError, UnicodeError) as error:
        raise ProtocolError(f"{type(body).__name__} cannot be sent: {error}") from None
    if len(frame) > FRAME_LIMIT:
        raise ProtocolError(
            f"{type(body).__name__} cannot be sent: {len(frame)} bytes, {FRAME_LIMIT} at most; send less"
        )
    decode(frame.decode())


def is_chunk(data: bytes) -> bool:
    """Whether a binary frame is a chunk of a part."""
    return data[:1] == b"\x01"


def chunk(lane: int, data: memoryview) -> bytes:
    """The frame of a chunk, of at most `CHUNK` bytes."""
    return bytes((_CHUNK_MARK, lane)) + data


def open_chunk(data: bytes) -> tuple[int, memoryview]:
    """Lane and bytes of a chunk.

    Raises
    ------
    ProtocolError
        If it names no lane, or is empty.
    """
    if len(data) <= _HEADER or data[1] not in LANES:
        raise ProtocolError("a chunk came that is empty, or of no lane")
    return data[1], memoryview(data)[_HEADER:]
