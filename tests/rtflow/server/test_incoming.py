import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtflow.errors import ProtocolError
from rtflow.server.incoming import Incoming
from rtflow.server.messages import Note
from rtflow.server.wire import BULK, URGENT, Post, chunk


def post(*sizes: int, lane: int = URGENT) -> Post:
    return Post(seq=1, lane=lane, body=Note(text="n"), sizes=sizes)


@given(st.lists(st.binary(max_size=20), max_size=5), st.integers(1, 30))
def test_parts_are_split_where_they_were_joined(parts, size):
    incoming = Incoming(1000)
    whole = incoming.begin(head := post(*map(len, parts)))
    data = b"".join(parts)
    for at in range(0, len(data), size):
        assert whole is None
        whole = incoming.add(chunk(URGENT, memoryview(data[at : at + size])))
    assert whole == (head, parts)


def test_lanes_do_not_mix():
    incoming = Incoming(1000)
    assert incoming.begin(post(2, lane=BULK)) is None
    assert incoming.begin(post(2)) is None
    assert incoming.add(chunk(BULK, memoryview(b"b"))) is None
    assert incoming.add(chunk(URGENT, memoryview(b"uu"))) == (post(2), [b"uu"])
    assert incoming.add(chunk(BULK, memoryview(b"b"))) == (post(2, lane=BULK), [b"bb"])


def test_a_message_that_never_becomes_whole_is_given_up():
    at = 0.0
    incoming = Incoming(1 << 20, clock=lambda: at)
    incoming.begin(post(1 << 20))
    at = 120.0  # a minute, and one more for its size
    incoming.require_progress()
    at = 130.0
    with pytest.raises(ProtocolError, match="not whole"):
        incoming.require_progress()
