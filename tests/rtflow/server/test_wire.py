import contextlib
import math

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wire_frames import FRAMES, damaged

from rtflow.errors import ProtocolError
from rtflow.server import messages
from rtflow.server.messages import Note, SourceOpened, Trigger
from rtflow.server.wire import (
    CHUNK,
    FRAME_LIMIT,
    Ack,
    Bye,
    Hello,
    Ping,
    Pong,
    Post,
    chunk,
    decode,
    encode,
    is_chunk,
    open_chunk,
)


@pytest.mark.parametrize("text", [False, True], ids=["MessagePack", "JSON"])
@pytest.mark.parametrize("frame", FRAMES, ids=lambda frame: type(frame).__name__)
def test_a_frame_comes_as_it_went(frame, text):
    data = encode(frame, text=text)
    assert decode(data.decode() if text else data) == frame
    assert not is_chunk(data)


@given(st.integers(0, 1), st.binary(min_size=1, max_size=100))
def test_a_chunk_comes_as_it_went(lane, data):
    frame = chunk(lane, memoryview(data))
    assert is_chunk(frame)
    got, piece = open_chunk(frame)
    assert (got, bytes(piece)) == (lane, data)


def test_a_chunk_fits_a_frame_with_two_bytes_more():
    assert len(chunk(0, memoryview(bytes(CHUNK)))) == CHUNK + 2 < FRAME_LIMIT


def decodes_or_is_refused(data):
    if isinstance(data, bytes) and is_chunk(data):
        with contextlib.suppress(ProtocolError):
            open_chunk(data)
        return
    with contextlib.suppress(ProtocolError):
        assert isinstance(decode(data), Hello | Post | Ack | Ping | Pong | Bye)


@given(st.lists(st.one_of(st.binary(max_size=60), st.text(max_size=60), damaged()), min_size=50, max_size=50))
@settings(max_examples=200, deadline=None)
def test_ten_thousand_frames_of_chance_are_decoded_or_refused(frames):
    for data in frames:
        decodes_or_is_refused(data)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)
_BODIES = [kind.__name__ for kind in messages.Body.__args__]


@given(
    frame=st.sampled_from([type(frame).__name__ for frame in FRAMES]),
    fields=st.dictionaries(
        st.sampled_from(["seq", "lane", "sizes", "sent", "epoch", "reason", "about", "heard"]), JSON_VALUES
    ),
    kind=st.sampled_from(_BODIES),
    body=st.dictionaries(st.sampled_from(["run_uid", "volume", "value", "at", "id", "text"]), JSON_VALUES),
)
@settings(max_examples=200, deadline=None)
def test_fields_of_other_types_are_refused(frame, fields, kind, body):
    data = {"frame": frame, **fields, "body": {"type": kind, **body}}
    decodes_or_is_refused(msgspec.msgpack.encode(data) if fields_fit(data) else b"")
    decodes_or_is_refused(msgspec.json.encode(data).decode())


def fields_fit(data):
    try:
        msgspec.msgpack.encode(data)
    except (OverflowError, UnicodeError):
        return False
    return True


@pytest.mark.parametrize(
    "about", [{"k" * 65: ""}, {"k": "v" * 501}, {str(n): "" for n in range(33)}], ids=["key", "value", "many"]
)
def test_what_a_host_says_of_itself_is_short(about):
    with pytest.raises(ProtocolError):
        decode(encode(Hello(about=about)))


def test_a_text_is_short():
    with pytest.raises(ProtocolError, match="length"):
        decode(encode(Post(seq=1, body=Note(text="n" * 2001))))


def test_parts_are_few():
    with pytest.raises(ProtocolError):
        decode(encode(Post(seq=1, body=Note(text=""), sizes=(0,) * 1001)))


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, 1e12])
def test_a_time_that_cannot_be_is_refused(number):
    with pytest.raises(ProtocolError):
        decode(encode(Post(seq=1, body=Trigger(n=1, at=number))))


@pytest.mark.parametrize("number", [0.0, -2.0, math.nan, math.inf])
def test_a_repetition_time_that_cannot_be_is_refused(number):
    with pytest.raises(ProtocolError):
        decode(encode(Post(seq=1, body=SourceOpened(run_uid="r", brings="volumes", tr=number))))
