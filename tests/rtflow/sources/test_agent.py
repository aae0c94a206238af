"""An agent as the source of a run: what is dropped, what waits, and what is said of one that is not there."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from scanning import told, volume_file
from served_run import anyone

from rtflow.documents import Event, now
from rtflow.engine import run
from rtflow.errors import ProtocolError, SettingsError, SourceError
from rtflow.server.clock import Clock
from rtflow.server.messages import (
    Arrived,
    BeginRun,
    Listening,
    PartName,
    SourceEnded,
    SourceOpened,
    Trouble,
    VolumeSent,
)
from rtflow.server.thread import Server
from rtflow.settings import RunSettings
from rtflow.source_settings import AgentSource
from rtflow.sources import agent_feed, agent_troubles
from rtflow.sources.agent import AgentStream
from rtflow.sources.agent_feed import LOST_LIMIT, AgentFeed
from rtflow.sources.spool import Spool

OBJECTS = SourceOpened(run_uid="run", brings="objects")


@pytest.fixture
def server() -> Iterator[Server]:
    with Server("127.0.0.1", 0, authorise=anyone) as server:
        yield server
        for feed in OPEN:
            feed.__exit__(None, None, None)
        OPEN.clear()


OPEN: list[AgentFeed] = []


class Sent:
    """What the other side would be told, and a feed that hears what it is told to."""

    def __init__(
        self,
        server: Server,
        folder: Path,
        last: int = 0,
        *,
        existing: bool = False,
        began: float | None = None,
    ) -> None:
        self.channel = server.scanner("scanner")
        self.feed = AgentFeed(self.channel, BeginRun(run_uid="run", existing=existing), folder, began)
        OPEN.append(self.feed)
        self.feed.begin(last)
        self._server = server

    def say(self, *bodies: object, parts: tuple[bytes, ...] = ()) -> None:
        for body in bodies:
            hearing = self.channel.work(body, list(parts))  # type: ignore[arg-type]
            asyncio.run_coroutine_threadsafe(hearing, self.channel._loop).result(30.0)

    def arrived(self, key: str, data: bytes = b"data", received: float = 1.0, run_uid: str = "run") -> None:
        body = Arrived(run_uid=run_uid, key=key, name=f"{key}.dcm", received=received)
        self.say(body, parts=(data,))

    def told(self) -> list[tuple[str, str]]:
        """Kind and key of all that waits for the agent."""

        async def look() -> list[tuple[str, str]]:
            posts = self.channel.link._outbox
            return [(type(post.body).__name__, getattr(post.body, "key", "")) for post in posts]

        found = asyncio.run_coroutine_threadsafe(look(), self.channel._loop).result(30.0)
        return [one for one in found if one[0] != "BeginRun"]


def test_an_agent_that_floods_the_run_with_troubles_is_stopped_and_that_is_told(
    server, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(agent_troubles, "_TROUBLES", 3)
    monkeypatch.setattr(agent_troubles, "_EACH_SECOND", 0.0)
    sent = Sent(server, tmp_path)
    sent.feed.troubles()
    sent.say(*(Trouble(run_uid="run", says=str(number // 2)) for number in range(20)))
    assert sent.feed.troubles() == [
        "agent 'scanner': 0",
        "agent 'scanner': 1",
        "agent 'scanner' tells more troubles than can be; what is beyond is dropped",
    ]


@pytest.mark.parametrize("existing", [True, False])
def test_objects_from_before_the_run_are_told_of_once_where_none_belong_to_it(
    existing: bool, server: Server, tmp_path: Path
) -> None:
    sent = Sent(server, tmp_path, existing=existing, began=1000.0)
    sent.channel.link.clock = clock = Clock()
    clock.add(0.0, 0.0, 0.0, 0.0)
    sent.feed.troubles()
    sent.arrived("aa", received=995.0)
    assert sent.feed.troubles() == []
    sent.arrived("bb", received=700.0)
    sent.arrived("cc", received=600.0)
    said = sent.feed.troubles()
    assert len(said) == (0 if existing else 1)
    assert existing or "bb.dcm came 300 s before the run began" in said[0]
    assert names(sent.feed) == ["aa.dcm", "bb.dcm", "cc.dcm"]


def names(feed: AgentFeed) -> list[str]:
    return [arrival.name for arrival in feed.arrivals(0.0)]


def test_an_object_is_in_the_spool_before_it_is_acknowledged_and_until_it_is_done(
    server: Server, tmp_path: Path
) -> None:
    sent = Sent(server, tmp_path)
    sent.arrived("aa", b"the object")
    (path,) = tmp_path.glob("*.dcm")
    assert path.read_bytes() == b"the object"
    (arrival,) = sent.feed.arrivals(30.0)
    assert (arrival.name, arrival.data, arrival.path) == ("aa.dcm", b"the object", path)
    sent.feed.done(arrival)
    assert not list(tmp_path.glob("*.dcm"))
    assert sent.told() == [("Done", "aa")]


def test_what_comes_twice_is_dropped_and_confirmed_once_more(server: Server, tmp_path: Path) -> None:
    sent = Sent(server, tmp_path)
    sent.arrived("aa")
    sent.arrived("aa")
    (arrival,) = sent.feed.arrivals(30.0)
    assert sent.told() == []  # it is not done with: the journal does not have it
    sent.feed.done(arrival)
    sent.arrived("aa")
    assert names(sent.feed) == []
    assert sent.told() == [("Done", "aa"), ("Done", "aa")]


def test_what_was_refused_may_come_again(server: Server, tmp_path: Path) -> None:
    sent = Sent(server, tmp_path)
    sent.arrived("aa", b"half")
    (arrival,) = sent.feed.arrivals(30.0)
    sent.feed.refuse(arrival)
    assert sent.told() == [("Again", "aa")]
    sent.arrived("aa", b"whole")
    (arrival,) = sent.feed.arrivals(30.0)
    assert arrival.data == b"whole"


def test_what_can_no_longer_be_read_in_the_spool_is_asked_for_again(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent_feed, "_IN_MEMORY", 0)
    sent = Sent(server, tmp_path)
    sent.arrived("aa")
    for path in tmp_path.rglob("*aa.dcm"):
        path.unlink()
    assert list(sent.feed.arrivals(30.0)) == []
    assert sent.told()[-1] == ("Again", "aa")
    sent.arrived("aa")
    assert [arrival.data for arrival in sent.feed.arrivals(30.0)] == [b"data"]


def test_what_is_of_another_run_is_passed_over(server: Server, tmp_path: Path) -> None:
    sent = Sent(server, tmp_path)
    sent.arrived("aa", run_uid="former")
    assert names(sent.feed) == []
    assert not list(tmp_path.glob("*.dcm"))


def test_a_file_that_was_gone_or_could_not_be_read_is_asked_for_again(server: Server, tmp_path: Path) -> None:
    sent = Sent(server, tmp_path)
    sent.say(Arrived(run_uid="run", key="aa", name="a.dcm", received=1.0))
    assert names(sent.feed) == []
    assert sent.told() == [("Again", "aa")]
    sent.arrived("aa")  # it could be read when it was tried again
    assert names(sent.feed) == ["aa.dcm"]


def test_what_an_earlier_process_had_received_comes_first_and_not_twice(
    server: Server, tmp_path: Path
) -> None:
    spool = Spool(tmp_path)
    spool.open()
    spool.keep("aa", b"left")
    spool.close()
    sent = Sent(server, tmp_path)
    sent.arrived("bb")
    sent.arrived("aa")
    first, second = sent.feed.arrivals(30.0)
    assert (first.data, second.name) == (b"left", "bb.dcm")
    assert first.received <= now()
    sent.feed.done(first)
    assert sent.told() == [("Done", "aa")]


@pytest.mark.parametrize("key", ["../../x", "a/b", "", "a" * 65, "a\0"])
def test_a_key_that_is_none_is_refused(server: Server, tmp_path: Path, key: str) -> None:
    sent = Sent(server, tmp_path)
    with pytest.raises(ProtocolError, match="key"):
        sent.arrived(key)
    assert not list(tmp_path.glob("*.dcm"))


def test_times_are_by_the_clock_of_the_server(server: Server, tmp_path: Path) -> None:
    sent = Sent(server, tmp_path)
    at = now()
    clock = Clock()
    clock.add(at, at + 1000.0, at + 1000.0, at)
    sent.channel.link.clock = clock
    sent.arrived("aa", received=at + 999.0)
    sent.arrived("bb", received=at + 5000.0)
    past, future = sent.feed.arrivals(30.0)
    assert past.received == pytest.approx(at - 1.0)
    assert at <= future.received <= now()


def test_time_stands_still_while_nothing_is_heard_but_not_for_ever(server: Server, tmp_path: Path) -> None:
    sent = Sent(server, tmp_path)
    assert now() - sent.feed.brought_until < LOST_LIMIT / 2  # nobody was ever there: waiting counts
    at = now()
    clock = Clock()
    clock.add(at, at, at, at)
    sent.channel.link.clock = clock
    sent.say(OBJECTS)
    sent.feed._until = 0.0
    sent.say(Listening(run_uid="run", until=at - 10.0))
    assert sent.feed.brought_until == pytest.approx(at - 10.0)
    sent.feed._until = at - 10 * LOST_LIMIT
    assert sent.feed.brought_until == pytest.approx(now() - LOST_LIMIT, abs=LOST_LIMIT / 4)


def test_time_does_not_pass_what_was_not_taken(server: Server, tmp_path: Path) -> None:
    sent = Sent(server, tmp_path)
    at = now()
    clock = Clock()
    clock.add(at, at, at, at)
    sent.channel.link.clock = clock
    sent.say(OBJECTS)
    sent.arrived("aa", received=at - 5.0)
    assert sent.feed.brought_until == pytest.approx(at - 5.0)


def volume(number: int, *parts: str) -> VolumeSent:
    named = tuple(PartName(name=name, media_type="application/x-nifti") for name in parts)
    return VolumeSent(run_uid="run", volume=number, received=1.0, parts=named)


@pytest.mark.parametrize(("limit", "value"), [("_FRAMES", 3), ("_FRAMES_BYTES", 30)])
def test_volumes_that_the_run_does_not_take_do_not_fill_the_memory(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: int
) -> None:
    monkeypatch.setattr(agent_feed, limit, value)
    sent = Sent(server, tmp_path)
    for number in (1, 2, 3):
        sent.say(volume(number, "a.nii"), parts=(bytes(10),))
    with pytest.raises(ProtocolError, match="volume 4 came while 3 others"):
        sent.say(volume(4, "a.nii"), parts=(bytes(10),))
    assert sent.feed.next_volume(30.0) is not None
    sent.say(volume(4, "a.nii"), parts=(bytes(10),))  # there is room again


def test_volumes_come_once_and_in_order(server: Server, tmp_path: Path) -> None:
    sent = Sent(server, tmp_path, last=2)
    for number in (1, 2):
        sent.say(volume(number))
    assert sent.told() == [("Done", "1"), ("Done", "2")]  # the journal has them
    sent.say(volume(3))
    sent.say(volume(3))
    frame = sent.feed.next_volume(30.0)
    assert frame is not None
    assert frame.volume == 3
    assert sent.feed.next_volume(0.0) is None
    sent.say(volume(5))  # too early: it comes again, behind the one that is lacking
    assert sent.feed.next_volume(0.0) is None
    assert len(sent.told()) == 2
    sent.feed.volume_done(3)
    assert sent.told()[-1] == ("Done", "3")


def test_a_volume_without_its_parts_is_refused(server: Server, tmp_path: Path) -> None:
    with pytest.raises(ProtocolError, match="0 of 1 parts"):
        Sent(server, tmp_path).say(volume(1, "a.nii"))


def test_an_agent_with_another_kind_of_source_is_refused(server: Server, tmp_path: Path) -> None:
    sent = Sent(server, tmp_path)
    sent.say(OBJECTS, OBJECTS)
    with pytest.raises(ProtocolError, match="brings objects"):
        sent.say(SourceOpened(run_uid="run", brings="volumes"))


# The stream


def stream(server: Server, run_dir: Path, **options: object) -> tuple[AgentStream, Sent, list[Event]]:
    source = AgentStream(AgentSource(**{"idle": 600.0, "patience": 1e4, **options}))  # type: ignore[arg-type]
    source.connect(server)
    events: list[Event] = []
    source.begin(run_dir, events.append)
    assert source._feed is not None
    OPEN.append(source._feed)
    sent = Sent.__new__(Sent)
    sent.channel, sent.feed = server.scanner("scanner"), source._feed
    return source, sent, events


def test_volumes_of_objects(server: Server, tmp_path: Path) -> None:
    source, sent, _ = stream(server, tmp_path / "run", volumes=3)
    sent.say(OBJECTS)
    for number in (2, 1, 3):
        sent.arrived(f"{number}", volume_file(number), received=now())
    assert told(list(source.frames(threading.Event()))) == [1, 2, 3]
    assert source.tr == pytest.approx(0.2)


def test_volumes_of_a_source_that_knows_them(server: Server, tmp_path: Path) -> None:
    source, sent, _ = stream(server, tmp_path / "run")
    sent.say(SourceOpened(run_uid="run", brings="volumes", volumes=2, tr=1.5))
    sent.say(volume(1, "a/../b.nii"), parts=(b"voxels",))
    sent.say(volume(2, "c.nii"), parts=(b"others",))
    first, second = source.frames(threading.Event())
    assert (first.parts[0].name, first.parts[0].data) == ("a_.._b.nii", b"voxels")
    assert second.parts[0].data == b"others"
    assert (source.tr, source.volumes) == (1.5, 2)


def test_a_source_that_ends_before_its_time_ends_the_run(server: Server, tmp_path: Path) -> None:
    source, sent, _ = stream(server, tmp_path / "run")
    sent.say(SourceOpened(run_uid="run", brings="volumes", volumes=5), volume(1), SourceEnded(run_uid="run"))
    assert told(list(source.frames(threading.Event()))) == [1]


def test_volumes_that_never_come_are_missing(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rtflow.sources.agent_feed.LOST_LIMIT", 0.0)
    source, sent, _ = stream(server, tmp_path / "run", idle=0.0)
    sent.say(SourceOpened(run_uid="run", brings="volumes", volumes=3), volume(1))
    assert told(list(source.frames(threading.Event()))) == [1, -2, -3]


def test_what_the_agent_cannot_open_is_said(server: Server, tmp_path: Path) -> None:
    source, sent, _ = stream(server, tmp_path / "run")
    sent.say(SourceEnded(run_uid="run", error="the watched folder /x is not there"))
    with pytest.raises(SourceError, match="agent 'scanner': the watched folder /x is not there"):
        list(source.frames(threading.Event()))


def test_an_agent_that_is_not_there_is_told_and_the_run_ends(server: Server, tmp_path: Path) -> None:
    source, _, events = stream(server, tmp_path / "run", wait=0.0)
    with pytest.raises(SourceError, match="it is not connected; start it on the scanner's host"):
        list(source.frames(threading.Event()))
    assert [event.data["says"] for event in events] == [
        "the agent 'scanner' is not connected: it is waited for"
    ]


def test_a_run_without_a_server_says_what_to_do(tmp_path: Path) -> None:
    settings = RunSettings(source=AgentSource(name="siemens"))
    with pytest.raises(SettingsError, match=r"agent:siemens.*add --listen HOST:PORT"):
        run(None, settings, tmp_path)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())
    with pytest.raises(SettingsError, match="--listen"):
        AgentStream(AgentSource()).begin(tmp_path, lambda event: None)
