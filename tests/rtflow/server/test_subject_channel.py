"""Values to displays over real connections, and what they say as documents."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest
from displays import Display, Running, serving

from rtflow.documents import Delivered, Event, RunStop, now
from rtflow.errors import ProtocolError, RtflowError
from rtflow.rerun import replay
from rtflow.server import subject_channel
from rtflow.server.messages import (
    BeginRun,
    EndRun,
    Note,
    Received,
    Response,
    Shown,
    StimulusEvent,
    Trigger,
    Value,
)


def delivered(documents, channel: str = "subject", stage: str = "received") -> list[int]:
    return [
        d.volume for d in documents if isinstance(d, Delivered) and (d.channel, d.stage) == (channel, stage)
    ]


def named(documents, name: str) -> list[Event]:
    return [d for d in documents if isinstance(d, Event) and d.name == name]


def test_every_value_is_at_the_display_once_in_order_and_the_journal_says_so(tmp_path) -> None:
    with serving() as server, Display(server.url) as display:
        display.until(lambda: display.link.connected)
        with Running(tmp_path, server, "count=9") as running:
            stop = running.wait()
        display.until(lambda: isinstance(display.heard[-1], EndRun))
    assert stop.status == "completed"
    assert isinstance(display.heard[0], BeginRun)
    assert display.volumes == list(range(1, 10))
    assert [value.value for value in display.values] == [volume / 4 for volume in range(1, 10)]
    assert {value.kind for value in display.values} == {"evidence"}
    documents = running.recording.documents
    assert delivered(documents) == delivered(documents, stage="shown") == list(range(1, 10))
    assert delivered(documents, "file") == list(range(1, 10))
    assert isinstance(documents[-1], RunStop)


def test_times_of_the_display_are_on_the_clock_of_the_server(tmp_path) -> None:
    """Its clock is an hour ahead."""
    with serving() as server, Display(server.url, offset=3600.0) as display:
        display.until(lambda: display.link.clock.offset is not None)
        server_knows = server.subject().link.clock
        display.until(lambda: server_knows.offset is not None)
        began = now()
        with Running(tmp_path, server):
            pass
        ended = now()
    said = [d for d in Running(tmp_path, None).recording.documents if isinstance(d, Delivered) and d.at]
    assert len(said) == 16
    assert all(began - 1 < document.at < ended + 1 for document in said)


def test_a_display_that_comes_late_gets_all_of_this_run_and_nothing_of_the_one_before(tmp_path) -> None:
    with serving() as server:
        with Running(tmp_path / "one", server, "count=3"):
            pass
        with Running(tmp_path / "two", server, "count=6", "halt=4", "interval=0.01") as running:
            running.until(lambda documents: len(delivered(documents, "file")) == 4)
            with Display(server.url) as display:
                display.until(lambda: display.volumes == [1, 2, 3, 4])
                running.until(lambda documents: delivered(documents, stage="shown") == [1, 2, 3, 4])
            running.stopping.set()
        assert {value.run_uid for value in display.values} == {running.recording.start.run_uid}


def test_a_display_that_is_not_there_is_told_of_at_the_first_value_and_at_the_end(tmp_path) -> None:
    with serving() as server:
        server.for_agents = False  # the port is a dashboard's own
        with Running(tmp_path / "alone", server, "count=3") as running:
            running.wait()
        assert not named(running.recording.documents, "display_missing")
        server.for_agents = True
        with Running(tmp_path, server, "count=3") as running:
            running.wait()
    says = [event.data["says"] for event in named(running.recording.documents, "display_missing")]
    assert says == [
        "display 'subject' is not connected: values wait for it, and stand in the run's feedback folder",
        "display 'subject' was not there: nobody has received the values",
    ]


def test_another_process_gets_what_the_first_had_not_received(tmp_path) -> None:
    """The first one stops in the middle of volume 3, and is never heard of again."""
    stuck = threading.Event()

    async def hang(body) -> None:
        if isinstance(body, Value) and body.volume == 3:
            stuck.set()
            await asyncio.sleep(3600)

    with serving() as server, Running(tmp_path, server, "count=6", "halt=6") as running:
        with Display(server.url, before=hang) as first:
            assert stuck.wait(30)
            running.until(lambda documents: len(delivered(documents, "file")) == 6)
        with Display(server.url, instance="two") as second:
            second.until(lambda: second.volumes == [3, 4, 5, 6])
            running.until(lambda documents: len(delivered(documents)) == 6)
        running.stopping.set()
    assert first.volumes == [1, 2]
    assert delivered(running.recording.documents) == [1, 2, 3, 4, 5, 6]


def test_a_display_that_never_says_anything_holds_up_nothing(tmp_path) -> None:
    with serving() as server, Display(server.url, says=()) as display:
        display.until(lambda: display.link.connected)
        with Running(tmp_path, server, "count=200") as running:
            assert running.wait().counts["ok"] == 200
        assert delivered(running.recording.documents) == []


def test_a_value_that_no_display_could_take_does_not_end_the_connection() -> None:
    with serving() as server, Display(server.url) as display:
        display.until(lambda: display.link.connected)
        server.begin_run(BeginRun(run_uid="run-a"))
        server.attend(lambda document: None)
        channel = server.subject()
        for values, says in (
            ({"map": [0.123456789] * 40_000}, r"bytes, 262144 at most"),
            ({"n" * 101: 1.0}, "length <= 100"),
            ({"n": 10**30}, "cannot be sent"),
        ):
            with pytest.raises(ProtocolError, match=says):
                channel.offer(Value(run_uid="run-a", volume=1, values=values))  # type: ignore[arg-type]
        channel.offer(Value(run_uid="run-a", volume=2, value=0.5))
        display.until(lambda: display.volumes)
        assert channel.settle(30)
        assert display.volumes == [2]
        assert display.told == ["connected"]
        server.attend(None)


def test_a_display_that_floods_the_journal_is_stopped_and_that_is_told(monkeypatch) -> None:
    monkeypatch.setattr(subject_channel, "_DOCUMENTS", 20)
    monkeypatch.setattr(subject_channel, "_EACH_SECOND", 0.0)
    documents: list = []
    with serving() as server, Display(server.url) as display:
        server.begin_run(BeginRun(run_uid="run-a"))
        server.attend(documents.append)
        display.until(lambda: display.heard)
        for number in range(50):
            display.say(Response(button=str(number), at=now()))
        server.subject().offer(Value(run_uid="run-a", volume=1))
        display.until(lambda: delivered(documents) == [1])  # which is said after all of them
        assert [event.data["button"] for event in named(documents, "response")] == list(map(str, range(20)))
        assert len(named(documents, "display_floods")) == 1
        assert server.subject().settle(30)
        assert named(documents, "display_floods")[-1].data["says"] == "dropped in all: 30"
        server.begin_run(BeginRun(run_uid="run-b"))  # begins with a full allowance
        display.until(lambda: BeginRun(run_uid="run-b") in display.heard)
        display.say(Response(button="left", at=now()))
        display.until(lambda: named(documents, "response")[-1].data["button"] == "left")
        server.attend(None)


def test_displays_by_name(tmp_path) -> None:
    with serving() as server, Display(server.url) as one, Display(server.url, name="other") as two:
        one.until(lambda: one.link.connected)
        two.until(lambda: two.link.connected)
        with Running(tmp_path, server, 'displays=["subject", "other"]') as running:
            running.wait()
        assert one.volumes == two.volumes == list(range(1, 9))
    assert one.values[0].value == 0.25
    assert two.values[0].value is None
    assert two.values[0].values == {"left": 0.25, "right": -1, "word": "go"}
    documents = running.recording.documents
    for channel in ("subject", "other", "file", "file.other"):
        assert delivered(documents, channel) == list(range(1, 9))
    folder = running.recording.run_dir / "feedback"
    assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == ["other"]


def test_messages_are_told_when_they_change(tmp_path) -> None:
    with serving() as server, Display(server.url) as display:
        display.until(lambda: display.link.connected)
        with Running(tmp_path, server) as running:
            running.wait()
        notes = [body.text for body in display.heard if isinstance(body, Note)]
    assert notes == ["go", "rest", "go", "rest"]
    assert (
        running.recording.run_dir / "feedback" / "note.json"
    ).read_text() == '{"type":"Note","text":"rest"}'


def test_what_the_participant_does_is_told_and_what_is_of_no_run_is_not(tmp_path) -> None:
    with serving() as server, Display(server.url) as display:
        display.say(Response(button="before", at=now()))
        display.until(lambda: not display.link.waiting() and display.link.connected)
        with Running(tmp_path, server, "count=3", "halt=2") as running:
            running.until(lambda documents: delivered(documents) == [1, 2])
            uid = running.recording.start.run_uid
            display.say(Response(button="another run's", at=now(), run_uid="run-b"))
            display.say(Response(button="left", at=now(), run_uid=uid))
            display.say(Trigger(n=1, at=now()))
            display.say(Trigger(n=3, at=now() + 2))
            display.say(StimulusEvent(name="face", onset=now(), duration=60.0))
            display.say(StimulusEvent(name="house", onset=now() - 5, duration=1.0))
            display.say(Received(run_uid=uid, volume=9_000_000, at=now()))
            display.say(Shown(run_uid=uid, volume=1, at=now()))
            running.until(lambda documents: len(named(documents, "stimulus")) == 2)
            running.stopping.set()
    documents = running.recording.documents
    assert [event.data["button"] for event in named(documents, "response")] == ["left"]
    assert [event.data["n"] for event in named(documents, "trigger")] == [1, 3]
    assert [event.data["says"] for event in named(documents, "trigger_doubtful")] == [
        "1 trigger is missing before trigger 3"
    ]
    assert [event.data["after"] > 1.0 for event in named(documents, "stimulus")] == [False, True]
    assert delivered(documents) == delivered(documents, stage="shown") == [1, 2]


def test_what_was_said_before_the_run_goes_on_is_told_when_it_does() -> None:
    """The server was away; the display comes back to the new one before the run does."""
    documents: list = []
    run_a = BeginRun(run_uid="run-a")
    with serving() as server, Display(server.url) as display:
        for body in (
            Response(button="left", at=now(), run_uid="run-a"),
            Response(button="another run's", at=now(), run_uid="run-b"),
            Response(button="of no run", at=now()),
            Trigger(n=1, at=now(), run_uid="run-a"),
            StimulusEvent(name="face", onset=now(), duration=1.0, run_uid="run-a"),
            Shown(run_uid="run-a", volume=1, at=now()),
        ):
            display.say(body)
        display.until(lambda: display.link.connected and not display.link.waiting())
        server.begin_run(run_a)
        display.until(lambda: run_a in display.heard)
        display.say(Response(button="right", at=now()))
        display.until(lambda: not display.link.waiting())
        assert not documents
        server.attend(documents.append)
        channel = server.subject()
        channel.listen()
        channel.was_received([1])
        display.say(Trigger(n=2, at=now(), run_uid="run-a"))
        display.until(lambda: len(named(documents, "trigger")) == 2)
        assert [event.data["button"] for event in named(documents, "response")] == ["left", "right"]
        assert len(named(documents, "stimulus")) == 1
        assert delivered(documents, stage="shown") == [1]
        assert [event.name for event in channel.take()] == ["response", "stimulus", "response"]
        server.attend(None)


@pytest.mark.parametrize("body", [BeginRun(run_uid="x"), Response(button="x", at=float("nan"))])
def test_what_a_display_may_not_say_ends_its_connection(body) -> None:
    with serving() as server, Display(server.url) as display:
        display.say(body)
        with pytest.raises(RtflowError, match=r"may not say BeginRun|no message of this protocol"):
            display._task.result(30)


def test_a_replay_shows_nothing_unless_it_is_asked_to(tmp_path) -> None:
    with Running(tmp_path, None) as running:
        running.wait()
    run_dir: Path = running.recording.run_dir
    with serving() as server, Display(server.url) as display:
        display.until(lambda: display.link.connected)
        _, comparison = replay(run_dir, out=tmp_path / "quiet")
        assert not comparison.differing
        assert display.heard == []
        replay(run_dir, out=tmp_path / "shown", server=server)
        display.until(lambda: isinstance(display.heard[-1], EndRun))
        assert display.volumes == list(range(1, 9))
