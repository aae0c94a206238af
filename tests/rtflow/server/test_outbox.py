import pytest

from rtflow.errors import ProtocolError
from rtflow.server.messages import Note
from rtflow.server.outbox import Inbox, Outbox
from rtflow.server.wire import BULK, URGENT, Hello


def hello(outbox: Outbox, inbox: Inbox | None = None) -> Hello:
    heard = inbox or Inbox()
    return Hello(
        epoch=outbox.epoch,
        first=outbox.first,
        heard_epoch=heard.epoch,
        heard=(heard.heard[0], heard.heard[1]),
    )


def take_all(outbox: Outbox, lane: int = URGENT) -> list[int]:
    taken = []
    while (post := outbox.take(lane)) is not None:
        taken.append(post.seq)
    return taken


def filled(count: int) -> Outbox:
    outbox = Outbox()
    for number in range(count):
        outbox.add(URGENT, Note(text=str(number)))
    return outbox


def test_posts_are_numbered_for_each_lane_and_taken_once():
    outbox = filled(2)
    assert outbox.add(BULK, Note(text="file")) == 1
    assert take_all(outbox) == [1, 2]
    assert take_all(outbox) == []
    assert take_all(outbox, BULK) == [1]
    assert outbox.under_way(URGENT) == 2


def test_what_was_not_acknowledged_goes_out_again():
    outbox = filled(5)
    take_all(outbox)
    outbox.acknowledge(URGENT, 2)
    outbox.resume(Hello())
    assert take_all(outbox) == [3, 4, 5]


def test_what_the_other_side_has_heard_does_not_go_out_again():
    outbox, inbox = filled(5), Inbox()
    inbox.resume(hello(outbox))
    for seq in take_all(outbox)[:4]:
        assert inbox.is_new(URGENT, seq)
        inbox.heard[URGENT] = seq
    outbox.resume(hello(Outbox(), inbox))
    assert take_all(outbox) == [5]
    assert not inbox.is_new(URGENT, 4)


def test_an_outbox_that_began_anew_is_heard_from_its_beginning():
    inbox = Inbox()
    first = filled(3)
    assert inbox.resume(hello(first))
    inbox.heard[URGENT] = 3
    second = filled(1)
    assert inbox.resume(hello(second))
    assert inbox.is_new(URGENT, 1)
    assert not inbox.resume(hello(second))


def test_what_was_acknowledged_of_another_numbering_counts_for_nothing():
    outbox = filled(3)
    outbox.resume(Hello(heard_epoch="another", heard=(3, 0)))
    assert take_all(outbox) == [1, 2, 3]


def test_a_gap_is_refused():
    inbox = Inbox()
    inbox.resume(Hello(epoch="a"))
    with pytest.raises(ProtocolError, match="post 2 came after post 0"):
        inbox.is_new(URGENT, 2)


def test_more_than_was_sent_cannot_be_acknowledged():
    outbox = filled(3)
    outbox.take(URGENT)
    with pytest.raises(ProtocolError, match="post 2 was acknowledged, and 1 were sent"):
        outbox.acknowledge(URGENT, 2)


@pytest.mark.parametrize("sent", range(4))
@pytest.mark.parametrize("again", [False, True], ids=["same connection", "next connection"])
def test_what_is_forgotten_leaves_no_gap(sent: int, again: bool):
    outbox, inbox = filled(3), Inbox()
    inbox.resume(hello(outbox))
    for _ in range(sent):
        assert outbox.take(URGENT) is not None
    outbox.clear()
    if again:  # nothing of what was sent has come
        outbox.resume(hello(Outbox(), inbox))
        inbox.resume(hello(outbox))
    else:
        inbox.heard[URGENT] = sent
    seq = outbox.add(URGENT, Note(text="new"))
    assert take_all(outbox) == [seq]
    assert inbox.is_new(URGENT, seq)
