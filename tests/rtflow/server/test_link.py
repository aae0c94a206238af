import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from cables import Pipe, joined, pipe
from hypothesis import given, settings
from hypothesis import strategies as st
from wire_frames import damaged

from rtflow.errors import ProtocolError
from rtflow.server import link as link_module
from rtflow.server.link import Link
from rtflow.server.messages import Arrived, Body, Note, Piece
from rtflow.server.wire import BULK, CHUNK, URGENT, Ack, Bye, Hello, Ping, Pong, Post, chunk, decode, encode


def play(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(story, 20))


class Host:
    """A link, and what was heard by each process that stood at this end of it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.posted = Counter()
        self.lives: list[dict[int, list[str]]] = []
        self.begin_anew()

    def begin_anew(self) -> None:
        heard: dict[int, list[str]] = {URGENT: [], BULK: []}

        async def work(body: Body, parts: list[bytes]) -> None:
            await asyncio.sleep(0)
            assert isinstance(body, Note | Piece)
            if isinstance(body, Note):
                assert body.text.encode() * 3 == b"".join(parts)
                heard[URGENT].append(body.text)
            else:
                heard[BULK].append(parts[0].decode().strip())

        self.lives.append(heard)
        self.link = Link(work)

    def post(self, lane: int) -> None:
        self.posted[lane] += 1
        text = f"{self.name}{len(self.lives)}-{self.posted[lane]}"
        if lane == URGENT:
            self.link.post(Note(text=text), [text.encode(), text.encode() * 2])
        else:
            piece = Piece(id=1, offset=0)
            self.link.post(piece, [text.encode().ljust(CHUNK + 1)], BULK)


def test_ten_thousand_frames_of_chance_are_heard_and_the_link_lives() -> None:
    """Each on a connection that is there: one that is no good ends it, and the next one has another.

    Over TLS, beside a run, `test_security` does so; what comes behind a bad frame is heard by nobody there.
    """
    counted = Counter[str]()

    async def hear(frames: list[bytes | str]) -> None:
        works: list[Body] = []

        async def work(body: Body, parts: list[bytes]) -> None:
            works.append(body)

        link = Link(work)
        left = list(frames)
        while left:
            here, there = pipe()
            running = asyncio.ensure_future(link.run(here))
            await there.send(encode(Hello(epoch="x")), text=False)
            await until(lambda: link.connected or running.done())  # noqa: B023
            heard = here.taken
            while heard < len(left) + 1 and not running.done():
                frame = left[heard - 1]
                text = isinstance(frame, str)
                raw = frame.encode("utf-8", "surrogatepass") if isinstance(frame, str) else frame
                await there.send(raw, text=text)
                await until(lambda: here.taken > heard or running.done())  # noqa: B023
                heard = here.taken
            del left[: heard - 1]  # behind the Hello
            counted["heard"] += heard - 1
            there.cut()
            with contextlib.suppress(ProtocolError):
                await running
            counted["ended"] += 1
        assert not link.connected

    one = st.one_of(st.binary(max_size=60), st.text(max_size=60), damaged())

    @given(st.lists(one, min_size=50, max_size=50))
    @settings(max_examples=200, deadline=None)
    def tries(frames: list[bytes | str]) -> None:
        asyncio.run(asyncio.wait_for(hear(frames), 60))

    tries()
    assert counted["heard"] >= 10_000
    assert counted["ended"] > 1000  # most of them were bad


async def until(condition: Callable[[], object]) -> None:
    """Let others go on until something holds."""
    while not condition():
        await asyncio.sleep(0)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("post"), st.integers(0, 1), st.sampled_from([URGENT, BULK])),
        st.tuples(st.just("turns"), st.integers(1, 30), st.just(0)),
        st.tuples(st.just("cut"), st.integers(0, 12), st.integers(0, 1)),
    ),
    max_size=40,
)


async def tell_story(steps: list[tuple[str, int, int]], hosts: tuple[Host, Host], crashes: bool) -> None:
    """Post, and lose connections after so many frames of one side; at the end all may come through."""
    ends = pipe()
    runs: list[asyncio.Future[Bye]] = []

    async def connect() -> None:
        nonlocal ends
        ends[0].cut()
        await asyncio.gather(*runs)
        ends = pipe()
        runs[:] = [asyncio.ensure_future(host.link.run(end)) for host, end in zip(hosts, ends, strict=True)]

    await connect()
    for what, which, more in steps:
        if what == "post":
            hosts[which].post(more)
        elif what == "turns":
            for _ in range(which):
                await asyncio.sleep(0)
        elif what == "cut":
            await connect()
            ends[more].cut_after = which
        elif what == "crash":
            ends[0].cut()
            await asyncio.gather(*runs)
            runs.clear()
            hosts[which].begin_anew()
            await connect()
    await connect()
    await asyncio.gather(*(host.link.emptied() for host in hosts))
    ends[0].cut()
    await asyncio.gather(*runs)


@given(steps=STEPS)
@settings(max_examples=150, deadline=None)
def test_everything_arrives_once_and_in_order_however_often_the_connection_is_lost(steps):
    hosts = Host("a"), Host("b")
    play(tell_story(steps, hosts, crashes=False))
    for host, other in (hosts, hosts[::-1]):
        for lane in (URGENT, BULK):
            expected = [f"{host.name}1-{n}" for n in range(1, host.posted[lane] + 1)]
            assert other.lives[0][lane] == expected


@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("post"), st.integers(0, 1), st.sampled_from([URGENT, BULK])),
            st.tuples(st.just("turns"), st.integers(1, 30), st.just(0)),
            st.tuples(st.just("cut"), st.integers(0, 12), st.integers(0, 1)),
            st.tuples(st.just("crash"), st.integers(0, 1), st.just(0)),
        ),
        max_size=40,
    )
)
@settings(max_examples=150, deadline=None)
def test_whoever_dies_takes_only_its_own_along(steps):
    hosts = Host("a"), Host("b")
    play(tell_story(steps, hosts, crashes=True))
    for host, other in (hosts, hosts[::-1]):
        for lane in (URGENT, BULK):
            _check_lives(host, other, lane)


def _check_lives(host: Host, other: Host, lane: int) -> None:
    """What one process heard is in order and once; what the last process posted was heard whole."""
    heard_at_all: set[str] = set()
    for life in other.lives:
        numbers = [int(text.partition("-")[2]) for text in life[lane]]
        assert numbers == sorted(set(numbers))
        heard_at_all.update(life[lane])
    last = len(host.lives)
    posted_last = [f"{host.name}{last}-{n}" for n in range(1, host.posted[lane] + 1)]
    first_of_last = next((text for text in posted_last if text in heard_at_all), None)
    if first_of_last is not None:  # earlier ones are an earlier life's
        rest = posted_last[posted_last.index(first_of_last) :]
        assert set(rest) <= heard_at_all


def test_a_volume_waits_for_one_chunk_of_a_file_and_no_more():
    """Between what was under way when a message was posted and the message, there is one chunk at most."""

    async def story() -> None:
        order: list[str] = []

        async def work(body: Body, parts: list[bytes]) -> None:
            order.append(type(body).__name__)

        ends = pipe(room=1000)
        one, other = Link(work), Link(work)
        frames: list[bytes] = []
        receive = ends[1].receive

        async def seen() -> bytes | str | None:
            data = await receive()
            if isinstance(data, bytes):
                frames.append(data)
            return data

        ends[1].receive = seen  # type: ignore[method-assign]
        async with joined(one, other, ends):
            for number in range(4):
                one.post(Piece(id=1, offset=number), [bytes(16 * CHUNK)], BULK)
            while sum(frame[:1] == b"\x01" for frame in frames) < 5:
                await asyncio.sleep(0)
            before = len(frames)
            one.post(Note(text="volume"), [b"v"])
            while "Note" not in order:
                await asyncio.sleep(0)
            await one.emptied()
        head = next(
            n
            for n, frame in enumerate(frames)
            if frame[:1] != b"\x01"
            and isinstance(decode(frame), Post)
            and isinstance(decode(frame).body, Note)  # type: ignore[union-attr]
        )
        chunks = sum(frame[:1] == b"\x01" for frame in frames[before:head])
        assert chunks <= 2  # the one that was being sent, and one
        assert order.index("Note") < 3
        assert order.count("Piece") == 4

    play(story())


def test_only_two_pieces_of_files_are_under_way():
    async def story() -> None:
        stopped = asyncio.Event()

        async def work(body: Body, parts: list[bytes]) -> None:
            await stopped.wait()

        one, other = Link(work), Link(work)
        ends = pipe()
        async with joined(one, other, ends):
            for number in range(10):
                one.post(Piece(id=1, offset=number), [b"x"], BULK)
            for _ in range(200):
                await asyncio.sleep(0)
            assert one._outbox.under_way(BULK) == 2
            stopped.set()
            await one.emptied()

    play(story())


def test_what_goes_wrong_with_one_message_does_not_stop_the_next():
    async def story() -> None:
        failed: list[Exception] = []
        heard: list[str] = []

        async def work(body: Body, parts: list[bytes]) -> None:
            assert isinstance(body, Note)
            if body.text == "bad":
                raise ValueError("bad")
            heard.append(body.text)

        one, other = Link(work), Link(work, failed=failed.append)
        async with joined(one, other, pipe()):
            one.post(Note(text="bad"))
            one.post(Note(text="good"))
            await one.emptied()
        assert heard == ["good"]
        assert [str(error) for error in failed] == ["bad"]

    play(story())


def test_a_part_that_cannot_be_read_any_more_is_left_out():
    async def story() -> None:
        came: list[list[bytes]] = []

        async def work(body: Body, parts: list[bytes]) -> None:
            came.append(parts)

        def gone() -> bytes:
            raise FileNotFoundError

        one, other = Link(work), Link(work)
        async with joined(one, other, pipe()):
            one.post(Note(text="a"), [gone])
            one.post(Note(text="b"), [b"there", b"", b"too"])
            await one.emptied()
        assert came == [[], [b"there", b"", b"too"]]

    play(story())


def test_hanging_up_for_good_is_told():
    async def story() -> None:
        async def work(body: Body, parts: list[bytes]) -> None: ...

        one, other = Link(work), Link(work)
        async with joined(one, other, pipe()) as runs:
            while not (one.connected and other.connected):
                await asyncio.sleep(0)
            one.hang_up("revoked", final=True)
            assert await runs[1] == Bye(reason="revoked", final=True)

    play(story())


def test_a_side_that_falls_silent_is_given_up(monkeypatch):
    monkeypatch.setattr(link_module, "SILENCE", 0.2)
    monkeypatch.setattr(link_module, "_FIRST_EVERY", 0.01)

    async def story() -> None:
        async def work(body: Body, parts: list[bytes]) -> None: ...

        ours, theirs = pipe()
        one = Link(work)
        run = asyncio.ensure_future(one.run(ours))
        await theirs.send(encode(Hello(epoch="x")), text=False)
        bye = await run
        assert bye.reason.startswith("nothing was heard")
        assert not bye.final

    play(story())


HELLO = encode(Hello(epoch="x"))
_NOTE = Note(text="n")

WRONG = {
    "no hello": ([encode(Ping(sent=0.0))], "begins with Hello"),
    "another schema": ([encode(Hello(schema=99))], "speaks version 99"),
    "not MessagePack": ([HELLO, b"\xff\xff\xff"], "no message of this protocol"),
    "not JSON": ([HELLO, "{"], "no message of this protocol"),
    "a list of lists": ([HELLO, "[" * 100_000], "no message of this protocol"),
    "an unknown frame": ([HELLO, '{"frame": "Exec", "code": "1"}'], "no message of this protocol"),
    "an unknown message": (
        [HELLO, '{"frame": "Post", "seq": 1, "body": {"type": "Exec"}}'],
        "no message of this protocol",
    ),
    "an unknown field": (
        [HELLO, '{"frame": "Post", "seq": 1, "body": {"type": "Note", "text": "n", "class": "os.system"}}'],
        "no message of this protocol",
    ),
    "a negative number": (
        [HELLO, '{"frame": "Post", "seq": -1, "body": {"type": "Note", "text": "n"}}'],
        "no message of this protocol",
    ),
    "a gap": ([HELLO, encode(Post(seq=2, body=_NOTE))], "post 2 came after post 0"),
    "1 GB": ([HELLO, encode(Post(seq=1, body=_NOTE, sizes=(1 << 31,)))], "at most"),
    "1 GB in parts": ([HELLO, encode(Post(seq=1, body=_NOTE, sizes=(1 << 29,) * 4))], "at most"),
    "a chunk of nothing": ([HELLO, chunk(0, memoryview(b"x"))], "no message that it belongs to"),
    "a chunk of no lane": ([HELLO, chunk(7, memoryview(b"x"))], "of no lane"),
    "an empty chunk": ([HELLO, b"\x01\x00"], "empty"),
    "more bytes than were told": (
        [HELLO, encode(Post(seq=1, body=_NOTE, sizes=(1,))), chunk(0, memoryview(b"xy"))],
        "2 bytes came for a message of 1",
    ),
    "a message within another": (
        [HELLO, encode(Post(seq=1, body=_NOTE, sizes=(2,))), encode(Post(seq=2, body=_NOTE))],
        "in the middle of another",
    ),
    "a second hello": ([HELLO, HELLO], "in the middle of a connection"),
    "an acknowledgement of nothing": ([HELLO, encode(Ack(seq=3))], "was acknowledged"),
    "a name of 10,000 characters": (
        [HELLO, '{"frame": "Post", "seq": 1, "body": {"type": "EndRun", "run_uid": "%s"}}' % ("a" * 10_000)],
        "no message of this protocol",
    ),
}


@pytest.mark.parametrize(("frames", "told"), WRONG.values(), ids=WRONG.keys())
def test_what_may_not_be_said_ends_the_connection_and_nothing_else(frames: list[bytes | str], told: str):
    async def story() -> None:
        heard: list[Body] = []

        async def work(body: Body, parts: list[bytes]) -> None:
            heard.append(body)

        link = Link(work)
        ours, theirs = pipe()
        run = asyncio.ensure_future(link.run(ours))
        for frame in frames:
            if isinstance(frame, str):
                await theirs.send(frame.encode(), text=True)
            else:
                await theirs.send(frame, text=False)
        with pytest.raises(ProtocolError, match=told):
            await run
        said = []
        while (data := await theirs.receive()) is not None:
            said.append(decode(data))
        assert isinstance(said[-1], Bye)
        assert said[-1].final
        assert told in said[-1].reason
        assert heard == []
        assert not link.connected
        # The next connection is as good as any.
        await _greets(link)

    play(story())


async def _greets(link: Link) -> None:
    ours, theirs = pipe()
    run = asyncio.ensure_future(link.run(ours))
    await theirs.send(encode(Hello(epoch="y")), text=False)
    await theirs.send(encode(Ping(sent=5.0)), text=False)
    while True:
        data = await theirs.receive()
        assert data is not None
        if isinstance(frame := decode(data), Pong):
            break
    assert frame.sent == 5.0
    theirs.cut()
    await run


def test_the_same_post_twice_is_heard_once():
    async def story() -> None:
        heard: list[Body] = []

        async def work(body: Body, parts: list[bytes]) -> None:
            heard.append(body)

        link = Link(work)
        for _ in range(2):  # on one connection, and on the next
            ours, theirs = pipe()
            run = asyncio.ensure_future(link.run(ours))
            await theirs.send(HELLO, text=False)
            acknowledged = 0
            for _ in range(2):
                await theirs.send(encode(Post(seq=1, body=_NOTE, sizes=(1,))), text=False)
                await theirs.send(chunk(0, memoryview(b"x")), text=False)
            while acknowledged < 2:
                data = await theirs.receive()
                assert data is not None
                acknowledged += isinstance(decode(data), Ack)
            theirs.cut()
            await run
        assert heard == [_NOTE]

    play(story())


def test_json_and_messagepack_say_the_same():
    async def story() -> None:
        heard: list[Body] = []

        async def work(body: Body, parts: list[bytes]) -> None:
            heard.append(body)

        one, other = Link(work), Link(work)
        one.speak(text=True)
        ends = pipe()
        async with joined(one, other, ends):
            one.post(_NOTE)
            other.post(_NOTE)
            await one.emptied()
            await other.emptied()
        assert heard == [_NOTE, _NOTE]

    play(story())


def test_clocks_agree_when_a_connection_has_begun():
    async def story() -> None:
        async def work(body: Body, parts: list[bytes]) -> None: ...

        at = 1000.0
        one = Link(work, clock=lambda: at)
        other = Link(work, clock=lambda: at + 7.5)
        async with joined(one, other, pipe()):
            while one.clock.offset is None or other.clock.offset is None:
                await asyncio.sleep(0)
        assert one.clock.offset.seconds == pytest.approx(7.5)
        assert other.clock.to_ours(1007.5) == pytest.approx(1015.0)

    play(story())


def test_a_pipe_loses_what_is_under_way_when_it_is_cut():
    async def story() -> None:
        one, other = pipe()
        await one.send(b"x", text=False)
        one.cut()
        assert await other.receive() is None
        assert isinstance(other, Pipe)
        with pytest.raises(ConnectionResetError):
            await other.send(b"x", text=False)

    play(story())


def test_an_object_costs_little_more_than_its_bytes():
    async def story() -> None:
        async def work(body: Body, parts: list[bytes]) -> None: ...

        one, other = Link(work), Link(work)
        async with joined(one, other, pipe()):
            while not (one.connected and other.connected):
                await asyncio.sleep(0)
            before, size = one.sent_bytes, 300_000
            for number in range(20):
                arrived = Arrived(run_uid="r", key=f"{number:06}.dcm", name="image.dcm", received=1.0)
                one.post(arrived, [bytes(size)])
            await one.emptied()
            assert one.sent_bytes - before < 1.005 * 20 * size

    play(story())


class Falling:
    """A connection on which the last thing is read at the moment in which nothing can be sent any more."""

    def __init__(self, last: Bye | ProtocolError) -> None:
        self.last = last
        self.said_hello = False
        self.ended = asyncio.Event()

    async def send(self, frame: bytes, *, text: bool) -> None:
        if self.said_hello:
            self.ended.set()
            await asyncio.sleep(0)
            raise ConnectionResetError("it was closed")

    async def receive(self) -> bytes | str | None:
        if not self.said_hello:
            self.said_hello = True
            return encode(Hello(epoch="x"))
        await self.ended.wait()
        if isinstance(self.last, ProtocolError):
            raise self.last
        return encode(self.last)

    async def close(self, reason: str) -> None:
        """Nothing is left to be closed."""


@pytest.mark.parametrize("attempt", range(20))  # which of them asyncio names first is left to chance
def test_why_a_connection_ended_is_told_by_what_was_read_last(attempt):
    del attempt

    async def story() -> None:
        bye = Bye(reason="revoked", final=True)
        assert await Host("a").link.run(Falling(bye)) == bye
        with pytest.raises(ProtocolError, match="too large"):
            await Host("a").link.run(Falling(ProtocolError("too large")))

    play(story())


def test_a_new_process_is_never_taken_by_the_clock_of_the_one_before():
    """Another host may stand at the other end: what it says first is already on its own clock."""

    async def story() -> None:
        offsets: list[float | None] = []

        async def work(body: Body, parts: list[bytes]) -> None:
            offsets.append(link.clock.offset and round(link.clock.offset.seconds, 3))

        async def deaf(body: Body, parts: list[bytes]) -> None: ...

        at = 1000.0
        met: list[float | None] = []
        link = Link(
            work,
            met=lambda hello, anew: met.append(link.clock.offset and link.clock.offset.seconds),
            clock=lambda: at,
        )
        for ahead in (50.0, 50.0 + 1e-3):  # so little that the exchanges would agree with each other
            other = Link(deaf, clock=lambda ahead=ahead: at + ahead)
            other.post(Note(text="waits for the connection"))
            async with joined(link, other, pipe()):
                await other.emptied()
        assert met == [None, None]
        assert offsets == [50.0, 50.001]

    play(story())


def test_the_same_process_is_known_by_its_clock_on_the_next_connection():
    async def story() -> None:
        async def work(body: Body, parts: list[bytes]) -> None: ...

        link, other = Link(work), Link(work, clock=lambda: 7.0)
        met: list[bool] = []
        link._met = lambda hello, anew: met.append(link.clock.offset is not None)
        for times in (1, 2):
            async with joined(link, other, pipe()):
                while link.clock.offset is None or len(met) < times:
                    await asyncio.sleep(0)
        assert met == [False, True]

    play(story())


def test_a_side_that_never_asks_for_the_time_is_posted_to(monkeypatch):
    monkeypatch.setattr(link_module, "_FIRST_EVERY", 0.01)

    async def story() -> None:
        async def work(body: Body, parts: list[bytes]) -> None: ...

        ours, theirs = pipe()
        one = Link(work)
        one.post(_NOTE)
        run = asyncio.ensure_future(one.run(ours))
        await theirs.send(HELLO, text=False)
        while (data := await theirs.receive()) is not None:
            if isinstance(decode(data), Post):
                break
        theirs.cut()
        await run

    play(story())
