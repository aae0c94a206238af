import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtflow.errors import ProtocolError
from rtflow.server.incoming import BULK_LIMIT, Incoming, NoRoomError, Room
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


def test_all_of_one_room_hold_no_more_than_it_has():
    room = Room(10)
    one, other = Incoming(1000, room), Incoming(1000, room)
    assert one.begin(post(6)) is None
    with pytest.raises(NoRoomError, match=r"5 bytes came while 6 of other messages .* at most 10"):
        other.begin(post(5))
    assert other.begin(post(4)) is None
    assert one.add(chunk(URGENT, memoryview(b"123456"))) is not None
    with pytest.raises(NoRoomError):  # it is whole, and not worked on yet
        one.begin(post(1, lane=BULK))
    one.worked_on(URGENT)
    assert one.begin(post(6)) is None
    one.close()  # in the middle
    other.close()
    assert Incoming(1000, room).begin(post(10)) is None


def test_a_piece_of_a_file_is_no_larger_than_a_piece():
    incoming = Incoming(1 << 30)
    assert incoming.begin(post(BULK_LIMIT, lane=BULK)) is None
    with pytest.raises(ProtocolError, match="at most 1048576"):
        Incoming(1 << 30).begin(post(BULK_LIMIT + 1, lane=BULK))
