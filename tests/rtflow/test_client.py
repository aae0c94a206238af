"""The client in one file: what it gives, what it tells, and what it does when the connection is lost."""

import ast
import json
import math
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest
from aiohttp import web
from cable import Cable
from subjects import RUN, Subject, serving
from websockets.sync.server import ServerConnection, serve

from rtflow import client
from rtflow.access import certificates
from rtflow.agents import kept_values
from rtflow.agents.kept_values import Arrival
from rtflow.client import Feedback
from rtflow.documents import now
from rtflow.server import messages, subject_page
from rtflow.server.messages import EndRun, Note, Received, Request, Response, Shown, StimulusEvent, Trigger
from rtflow.server.thread import Server

SOURCE = Path(client.__file__)


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as server:
        yield server


@pytest.fixture
def subject(server: Server) -> Subject:
    subject = Subject(server)
    subject.channel.begin_run(RUN)
    return subject


def end(subject: Subject, status: str = "completed") -> None:
    subject.channel.end_run(EndRun(run_uid=RUN.run_uid, status=status))


def test_values_come_once_and_in_order_while_the_connection_is_lost(subject: Subject) -> None:
    with (
        Cable(subject.server.port) as cable,
        Feedback(f"ws://127.0.0.1:{cable.port}", "token") as feedback,
    ):
        came = []
        for volume in range(1, 101):
            if volume in (30, 60):
                cable.cut()
            subject.offer(volume, value=volume / 100)
            if volume == 90:
                cable.pull()  # nobody is told; what is offered meanwhile waits
            elif volume == 95:
                cable.plug()
            if volume % 10 == 0 and volume != 90:
                came += [feedback.wait(volume, timeout=30)]
        end(subject)
        given = list(feedback)
        assert cable.connections >= 3
        assert feedback.latest == given[-1]
    assert [value.volume for value in given] == list(range(1, 101))
    assert [value.value for value in given] == [volume / 100 for volume in range(1, 101)]
    assert [value.volume for value in came] == [10, 20, 30, 40, 50, 60, 70, 80, 100]
    said = subject.wait_for(lambda body: isinstance(body, Received) and body.volume == 100)
    assert [body.volume for body in said] == list(range(1, 101))
    assert feedback.status == "ended: it was closed"


def test_a_connection_that_says_nothing_is_given_up(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "_SILENCE", 0.5)
    monkeypatch.setattr(client, "_HEARTBEAT", 0.1)
    with Cable(subject.server.port) as cable, Feedback(f"ws://127.0.0.1:{cable.port}", "token") as feedback:
        subject.offer(1)
        assert feedback.wait(1, timeout=30)
        cable.pull()
        subject.offer(2)
        feedback.respond("left")
        while feedback.status == "connected":
            assert feedback.wait(2, timeout=0.05) is None
        assert feedback.status.startswith("not connected: ")
        cable.plug()
        assert feedback.wait(2, timeout=30)
        said = subject.wait_for(lambda body: isinstance(body, Received) and body.volume == 2)
    assert [value.volume for value in (feedback.next(), feedback.next()) if value] == [1, 2]
    assert sorted(type(body).__name__ for body in said) == ["Received", "Received", "Response"]


def test_what_came_late_behind_a_lost_connection_is_marked_and_told_as_late(
    subject: Subject, tmp_path: Path
) -> None:
    """The TR is 1000 s, so that no machine is slow enough to make anything else late."""
    tr = 1000.0
    subject.channel.begin_run(type(RUN)(run_uid="slow", volumes=4, tr=tr))
    state = tmp_path / "feedback.json"

    def offer(volume: int, age: float) -> None:
        subject.offer(volume, run_uid="slow", time=now() - age / 2, received=now() - age)

    with Cable(subject.server.port) as cable:
        url = f"ws://127.0.0.1:{cable.port}"
        with Feedback(url, "token", state=state) as feedback:
            offer(1, 0.0)
            assert feedback.wait(1, timeout=30)
            cable.pull()
            offer(2, 1.5 * tr)  # as if it had waited so long for the connection
            offer(3, 0.5 * tr)
            assert feedback.wait(2, timeout=0.05) is None
            cable.cut()
            cable.plug()
            assert feedback.wait(3, timeout=30)
            given = [feedback.next(), feedback.next(), feedback.next()]
            for value in given:
                assert value is not None
                feedback.shown(value.volume)
            said = subject.wait_for(lambda body: isinstance(body, Shown) and body.volume == 3)
            assert cable.connections >= 2
    assert [(value.volume, value.late) for value in given if value] == [(1, False), (2, True), (3, False)]
    shown = [(body.volume, body.late) for body in said if isinstance(body, Shown)]
    assert shown == [(1, False), (2, True), (3, False)]


def test_without_a_tr_two_seconds_are_late_and_a_program_that_comes_back_still_knows(
    subject: Subject, tmp_path: Path
) -> None:
    subject.channel.begin_run(type(RUN)(run_uid="unknown"))
    state = tmp_path / "feedback.json"
    ahead = 5000.0  # the server's clock is another one
    subject.channel.link._now = lambda: now() + ahead
    with Feedback(subject.server.url, "token", state=state) as feedback:
        subject.offer(1, run_uid="unknown", time=now() + ahead + 60)
        subject.offer(2, run_uid="unknown", time=now() + ahead - 30)
        assert feedback.wait(2, timeout=30)
        subject.offer(3, run_uid="unknown", time=now() + ahead - 30)
        subject.wait_for(lambda body: isinstance(body, Received) and body.volume == 3)
        given = [feedback.next(), feedback.next()]
    with Feedback(subject.server.url, "token", state=state) as feedback:
        given.append(feedback.next(timeout=None) if feedback.wait_for_run(timeout=30) else None)
    assert [(value.volume, value.late) for value in given if value] == [(1, False), (2, True), (3, True)]


def test_what_is_told_reaches_the_server_once_though_it_was_away(subject: Subject) -> None:
    before = client.now()
    with Cable(subject.server.port) as cable, Feedback(f"ws://127.0.0.1:{cable.port}", "token") as feedback:
        assert feedback.wait_for_run(timeout=30) == (RUN.run_uid, "test", 100, 1.0)
        for n in range(1, 41):
            if n in (10, 30):
                cable.cut()
            feedback.trigger(n)
        feedback.respond("left", at=before)
        feedback.respond("right")
        feedback.event("face", onset=before + 1, duration=0.5)
        feedback.shown(7)
    said = subject.wait_for(lambda body: isinstance(body, Shown))
    triggers, rest = said[:40], said[40:]
    assert [body.n for body in triggers if isinstance(body, Trigger)] == list(range(1, 41))
    assert rest[0] == Response(button="left", at=before, run_uid=RUN.run_uid)
    assert isinstance(rest[1], Response)
    assert before < rest[1].at < client.now()
    assert rest[2] == StimulusEvent(name="face", onset=before + 1, duration=0.5, run_uid=RUN.run_uid)
    assert rest[3] == Shown(run_uid=RUN.run_uid, volume=7, at=rest[3].at)


def test_a_value_is_waited_for_by_its_volume(subject: Subject) -> None:
    with Feedback(subject.server.url, "token") as feedback:
        assert feedback.wait(1, timeout=0.01) is None
        assert feedback.latest is None
        subject.offer(1, value=None, kind="neutral", stale=True, status="withheld", quality="suspect")
        value = feedback.wait(1, timeout=30)
        assert value is not None
        assert (value.run_uid, value.volume, value.value, value.kind) == (RUN.run_uid, 1, None, "neutral")
        assert (value.stale, value.status, value.quality) == (True, "withheld", "suspect")
        assert (value.acquired, value.next_volume) == (None, None)
        subject.offer(3)
        assert feedback.wait(2) is None, "volume 2 has none, as the one of volume 3 is there"
        assert [feedback.next(), feedback.next(), feedback.next()] == [value, feedback.latest, None]
        end(subject)
        assert feedback.wait(4) is None, "the run is over"
        assert feedback.wait(3) == feedback.latest


def test_times_are_on_this_hosts_clock_and_a_value_is_given_when_it_is_due(subject: Subject) -> None:
    ahead = 5000.0  # the server's clock
    link = subject.channel.link
    link._now = lambda: client.now() + ahead
    with Feedback(subject.server.url, "token") as feedback:
        offered = client.now()
        times = {"time": offered + ahead, "acquired": offered + ahead - 2, "next_volume": offered + ahead + 1}
        subject.offer(1, delay=0.3, **times)
        subject.offer(2, **times)
        first = feedback.wait(1, timeout=30)
        at = client.now()
        assert first is not None
        assert at >= first.time + 0.3
        second = feedback.wait(2, timeout=30)
    assert [value.volume for value in (feedback.next(), feedback.next()) if value] == [1, 2]
    assert second is not None
    # On one machine, both clocks are the same one, and half of the round trip is what may be wrong.
    assert first.time == pytest.approx(offered, abs=1.0)
    assert first.acquired == pytest.approx(first.time - 2)
    assert first.next_volume == pytest.approx(first.time + 1)


def test_a_value_that_was_had_is_not_given_again_by_a_program_that_comes_back(
    subject: Subject, tmp_path: Path
) -> None:
    state = tmp_path / "feedback.json"
    with Feedback(subject.server.url, "token", state=state) as feedback:
        subject.offer(1)
        subject.offer(2)
        assert feedback.wait(2, timeout=30)
        instance = subject.channel.instance
    with Feedback(subject.server.url, "token", state=state) as feedback:
        subject.offer(2, value=0.9)
        subject.offer(3)
        assert feedback.wait(3, timeout=30)
        assert [value.volume for value in [feedback.next(), feedback.next()] if value] == [3]
        assert subject.channel.instance == instance
        kept = {"instance": instance, "run_uid": RUN.run_uid, "volume": 3, "waiting": []}
        assert json.loads(state.read_text()) == kept
        # Of another run, the same volume is another one.
        subject.offer(1, run_uid="run-2")
        value = feedback.next(timeout=30)
        assert value is not None
        assert value.run_uid == "run-2"


def test_a_value_that_was_not_given_is_given_to_the_program_that_comes_back(
    subject: Subject, tmp_path: Path
) -> None:
    """The first program ends while volume 2 is not yet due, and nothing of volume 3 was asked for."""
    state = tmp_path / "feedback.json"
    with Feedback(subject.server.url, "token", state=state) as feedback:
        subject.offer(1)
        assert feedback.wait(1, timeout=30)
        assert feedback.next()
        subject.offer(2, delay=30.0)
        subject.offer(3)
        subject.wait_for(lambda body: isinstance(body, Received) and body.volume == 3)
        assert feedback.next() is None
    kept = json.loads(state.read_text())
    assert (kept["volume"], [body["volume"] for body in kept["waiting"]]) == (1, [2, 3])
    for body in kept["waiting"]:
        body["delay"] = 0.0  # the time has gone by
    state.write_text(json.dumps(kept))
    with Feedback(subject.server.url, "token", state=state) as feedback:
        assert feedback.wait_for_run(timeout=30)
        assert [value.volume for value in (feedback.next(30), feedback.next(30)) if value] == [2, 3]
    kept = json.loads(state.read_text())
    assert (kept["volume"], kept["waiting"]) == (3, [])
    # What is left of a run that is over is of no use to the next one.
    state.write_text(json.dumps({**kept, "run_uid": "run-0", "waiting": [{"run_uid": "run-0", "volume": 7}]}))
    with Feedback(subject.server.url, "token", state=state) as feedback:
        subject.offer(4)
        assert feedback.wait_for_run(timeout=30)
        value = feedback.next(timeout=30)
        assert value is not None
        assert value.volume == 4


@pytest.mark.parametrize("content", ["", "{", "[]", '{"instance": "a"}'])
def test_a_state_that_cannot_be_read_is_begun_anew(tmp_path: Path, content: str) -> None:
    state = tmp_path / "feedback.json"
    state.write_text(content)
    with Feedback("ws://127.0.0.1:9", "token", state=state) as feedback:
        assert feedback.latest is None


def test_volume_1_is_that_of_the_next_run_once_it_was_given(subject: Subject) -> None:
    with Feedback(subject.server.url, "token") as feedback:
        subject.offer(1)
        assert feedback.wait(1, timeout=30)
        assert feedback.wait(1) == feedback.latest
        end(subject)
        assert list(feedback)
        assert not feedback.running
        assert feedback.wait(1, timeout=0.01) is None
        feedback.trigger(1)  # the next run may be on already
        subject.channel.begin_run(type(RUN)(run_uid="run-2"))
        subject.offer(1, run_uid="run-2")
        value = feedback.wait(1, timeout=30)
        assert value is not None
        assert value.run_uid == "run-2"
        feedback.trigger(2)
        said = subject.wait_for(lambda body: isinstance(body, Trigger) and body.n == 2)
    told = [(body.n, body.run_uid) for body in said if isinstance(body, Trigger)]
    assert told == [(1, ""), (2, "run-2")]


def test_clocks_are_compared_anew_when_one_was_set(subject: Subject) -> None:
    with Scripted() as server, Feedback(server.url, "token") as feedback:

        def answer(ahead: float, took: float = 0.0) -> None:
            sent = client.now() - took
            server.say("Pong", sent=sent, received=client.now() + ahead, answered=client.now() + ahead)

        def at_server(seq: int, ahead: float) -> float:
            """How much later than now a value seems to have been handed over."""
            body = {"type": "Value", "run_uid": "run-1", "volume": seq, "time": client.now() + ahead}
            server.say("Post", seq=seq, lane=0, body=body)
            value = feedback.wait(seq, timeout=30)
            assert value is not None
            return value.time - client.now()

        server.meet()
        answer(100.0)
        assert at_server(1, 100.0) == pytest.approx(0.0, abs=20.0)
        answer(500.0, took=0.5)  # on the same connection; the faster one is of no use any more
        assert at_server(2, 500.0) == pytest.approx(0.0, abs=20.0)
        server.hang_up()
        server.meet(epoch="another")
        server.say("Post", seq=1, lane=0, body={"type": "Note", "text": "before any answer"})
        while feedback.note == "":
            assert feedback.next(timeout=0.01) is not None or feedback.running
        assert not feedback._talk._exchanges


def test_another_server_at_the_same_place_is_taken_up() -> None:
    with serving() as server:
        port = server.port
        subject = Subject(server)
        subject.channel.begin_run(RUN)
        feedback = Feedback(server.url, "token")
        subject.offer(1)
        assert feedback.wait(1, timeout=30)
        subject.wait_for(lambda body: isinstance(body, Received))
    feedback.respond("left")  # to nobody
    with serving(port) as server, feedback:
        subject = Subject(server)
        subject.channel.begin_run(RUN)  # taken up: the same run
        subject.offer(2)
        assert feedback.wait(2, timeout=30)
        assert feedback.wait(1) is not None
        said = subject.wait_for(lambda body: isinstance(body, Received))
    assert [type(body) for body in said] == [Response, Received]


def test_a_run_after_the_other(subject: Subject) -> None:
    with Feedback(subject.server.url, "token") as feedback:
        subject.offer(1)
        end(subject)
        assert [value.volume for value in feedback] == [1]
        second = type(RUN)(run_uid="run-2")
        subject.channel.begin_run(second)
        subject.offer(1, run_uid="run-2", value=0.25)
        subject.channel.end_run(EndRun(run_uid="run-2"))
        assert [(value.run_uid, value.value) for value in feedback] == [("run-2", 0.25)]
        assert feedback.run == ("run-2", "", None, None)


def test_a_message_to_the_participant(subject: Subject) -> None:
    with Feedback(subject.server.url, "token") as feedback:
        subject.channel.post(Note(text="Please lie still."))
        subject.offer(1)
        assert feedback.wait(1, timeout=30)
        assert feedback.note == "Please lie still."


def test_a_request_is_declined_and_nobody_waits_for_it(subject: Subject) -> None:
    with Feedback(subject.server.url, "token"):
        subject.channel.post(Request(id=5, method="stimuli.load"))
        said = subject.wait_for(lambda body: True)
    assert said[0].id == 5  # type: ignore[union-attr]
    assert said[0].error == "rtflow.client has no services"  # type: ignore[union-attr]


def test_an_unknown_token_is_told_and_nobody_waits_for_ever() -> None:
    async def nobody(request: web.Request, kind: str) -> None:
        assert request.headers["Authorization"] == "Bearer wrong"
        raise web.HTTPUnauthorized

    with serving(authorise=nobody) as server, Feedback(server.url, "wrong") as feedback:
        for waits in (feedback.wait_for_run, lambda: feedback.wait(1), lambda: list(feedback)):
            with pytest.raises(ConnectionError, match="ended: the server does not know this token"):
                waits()
        assert feedback.next() is None
        feedback.respond("left")  # and a frame loop goes on
        assert feedback.status.startswith("ended: the server does not know this token")


def test_a_second_subject_of_the_name_waits_until_the_first_has_gone(subject: Subject) -> None:
    first = Feedback(subject.server.url, "token")
    assert first.wait_for_run(timeout=30)
    with Feedback(subject.server.url, "token") as second:
        while "another subject of this name" not in second.status:
            assert second.wait_for_run(timeout=0.05) is None
        first.close()
        subject.offer(1)
        value = second.next(timeout=None) if second.wait_for_run(timeout=30) else None
        assert value is not None
        assert value.volume == 1


class Scripted:
    """A server that says what it is told to, and keeps what it hears: one connection after the other."""

    def __init__(self) -> None:
        self.heard: list[dict[str, Any]] = []
        self._connections: queue.Queue[ServerConnection] = queue.Queue()
        self._done = threading.Event()

    def __enter__(self) -> Self:
        self._server = serve(self._keep, "127.0.0.1", 0)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"ws://127.0.0.1:{self._server.socket.getsockname()[1]}"
        return self

    def __exit__(self, *unused: object) -> None:
        self._done.set()
        self._server.shutdown()

    def _keep(self, connection: ServerConnection) -> None:
        self._connections.put(connection)
        self._done.wait()

    def meet(self, **hello: object) -> dict[str, Any]:
        """Take the next connection; what the client says first."""
        self._connection = self._connections.get(timeout=30)
        self.say(
            "Hello",
            **{"schema": 1, "epoch": "e", "first": [1, 1], "heard_epoch": "", "heard": [0, 0]} | hello,
        )
        return self.hear("Hello")

    def say(self, frame: str, **fields: object) -> None:
        self._connection.send(json.dumps({"frame": frame, **fields}))

    def hear(self, frame: str) -> dict[str, Any]:
        """The next frame of a kind; questions about the time are passed over."""
        while True:
            said = json.loads(self._connection.recv(timeout=30))
            if said["frame"] == frame:
                return said
            assert said["frame"] in ("Ping", "Ack"), said

    def hang_up(self) -> None:
        self._connection.close()


def test_the_next_connection_goes_on_where_the_last_one_stood() -> None:
    request = {"type": "Request", "id": 1, "method": "a.b", "arguments": {}}
    with Scripted() as server, Feedback(server.url, "token") as feedback:
        first = server.meet()
        assert (first["heard_epoch"], first["heard"], first["first"]) == ("", [0, 0], [1, 1])
        for seq in (1, 1, 2):  # the first one twice, as if its acknowledgement had been lost
            server.say("Post", seq=seq, lane=0, body=request | {"id": seq})
        replies = [server.hear("Post"), server.hear("Post")]
        assert [(post["seq"], post["body"]["id"]) for post in replies] == [(1, 1), (2, 2)]
        feedback.respond("left")
        assert server.hear("Post")["seq"] == 3
        server.say("Ack", lane=0, seq=1)
        server.hang_up()
        # The second one was heard, though its acknowledgement got lost; the third one was not.
        second = server.meet(heard_epoch=first["epoch"], heard=[2, 0])
        assert (second["heard_epoch"], second["heard"], second["epoch"]) == ("e", [2, 0], first["epoch"])
        assert second["first"] == [2, 1]
        assert server.hear("Post")["seq"] == 3
        server.say("Post", seq=4, lane=0, body=request)  # and the one before is lacking
        third = server.meet(heard_epoch=first["epoch"], heard=[3, 0])
        assert (third["heard"], third["first"]) == ([2, 0], [3, 1])
        # Another server knows nothing: its messages are numbered anew.
        feedback.respond("right")
        assert server.hear("Post")["seq"] == 4
        server.hang_up()
        server.meet(epoch="another", first=[7, 1])
        server.say("Post", seq=7, lane=0, body=request | {"id": 7})
        assert server.hear("Post")["body"]["button"] == "right"
        assert server.hear("Post")["body"]["id"] == 7
        server.say("Bye", reason="the run is over", final=True)
        with pytest.raises(ConnectionError, match="ended: the run is over"):
            feedback.wait_for_run()


def test_what_was_pressed_is_told_when_the_server_knows_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rtflow.client._FIRST_QUESTIONS", 1_000_000)
    with Scripted() as server, Feedback(server.url, "token") as feedback:
        feedback.respond("left")
        server.meet()
        for _ in range(2):
            server.hear("Ping")
        server.say("Ping", sent=1.0)
        server.hear("Pong")  # no post came before it
        assert server.hear("Post")["body"]["button"] == "left"
        server.say("Ack", lane=0, seq=1)


def test_a_server_of_another_version_is_not_spoken_to() -> None:
    with Scripted() as server, Feedback(server.url, "token") as feedback:
        server.meet(schema=2)
        with pytest.raises(ConnectionError, match="speaks version 2 of the messages, and this file 1"):
            feedback.wait_for_run()


def test_a_defect_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    def answer(connection) -> None:  # type: ignore[no-untyped-def]
        connection.recv()
        connection.send("{")
        connection.recv()

    with serve(answer, "127.0.0.1", 0) as wrong:
        threading.Thread(target=wrong.serve_forever, daemon=True).start()
        url = f"ws://127.0.0.1:{wrong.socket.getsockname()[1]}"
        with Feedback(url, "token") as feedback, pytest.raises(ConnectionError, match="ended by a defect"):
            feedback.wait(1)
    assert "JSONDecodeError" in capsys.readouterr().err


def test_closing_ends_all_waiting(subject: Subject) -> None:
    feedback = Feedback(subject.server.url, "token")
    assert feedback.wait_for_run(timeout=30)
    got: list[object] = ["nothing"]
    waiting = threading.Thread(target=lambda: got.append(feedback.wait(1)))
    waiting.start()
    feedback.close()
    waiting.join(30)
    assert got == ["nothing", None]


def test_a_program_that_cannot_tell_the_server_ends_all_the_same() -> None:
    with serving() as server:
        url = server.url
    feedback = Feedback(url, "token")
    feedback.respond("left")
    feedback.close(limit=0.1)
    assert feedback.status == "ended: it was closed; 1 messages had not reached the server"


@pytest.mark.parametrize(
    ("url", "name", "says"),
    [
        ("http://127.0.0.1:1", "subject", "must be wss://HOST:PORT"),
        ("wss:", "subject", "must be wss://HOST:PORT"),
        ("ws://10.0.0.1:1", "subject", "without TLS, only a server on this computer"),
        ("ws://localhost:1", "a b", "a name is up to 64 letters"),
    ],
)
def test_what_cannot_be_right_is_refused(url: str, name: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Feedback(url, "token", name=name)


def test_what_the_server_would_refuse_is_refused_here() -> None:
    with Feedback("ws://localhost:9", "token") as feedback:
        for wrong in (
            lambda: feedback.shown(0),
            lambda: feedback.trigger(-1),
            lambda: feedback.respond("x" * 101),
            lambda: feedback.respond("left", at=math.nan),
            lambda: feedback.event("x", onset=math.inf, duration=1),
            lambda: feedback.event("x", onset=1, duration=-1),
        ):
            with pytest.raises(ValueError, match=r"numbered from 1|100 characters|seconds"):
                wrong()


def test_over_tls_only_the_expected_server_is_spoken_to(tmp_path: Path) -> None:
    access = tmp_path / "access"
    certificates.make_authority(access)
    certificates.make_server_certificate(access, ["127.0.0.1"])
    authority = tmp_path / "authority.pem"
    authority.write_text(certificates.authority_pem(access))
    with serving(tls=certificates.server_context(access, client_certificates=False)) as server:
        subject = Subject(server)
        subject.channel.begin_run(RUN)
        with Feedback(server.url, "token", ca=authority) as feedback:
            subject.offer(1)
            assert feedback.wait(1, timeout=30)
        with Feedback(server.url, "token") as feedback, pytest.raises(ConnectionError, match="certificate"):
            feedback.wait(1)


def test_it_speaks_of_what_the_server_speaks_of() -> None:
    assert client.SCHEMA == messages.SCHEMA_VERSION
    assert set(client.Value._fields) == set(Arrival.__struct_fields__)
    page = (Path(subject_page.__file__).parent / "page" / "link.js").read_text(encoding="utf-8")
    assert f"const SCHEMA = {messages.SCHEMA_VERSION};" in page
    assert f"const UNKNOWN_TR = {kept_values.UNKNOWN_TR:g};" in page


@pytest.mark.parametrize("tr", [None, 0.8, 2.0, 3.0])
@pytest.mark.parametrize("received", [None, 99.0, 100.0])
@pytest.mark.parametrize("arrived", [100.5, 101.5, 101.99, 102.5, 103.5])
def test_it_calls_late_what_the_agent_calls_late(
    arrived: float, received: float | None, tr: float | None
) -> None:
    value = client.Value("run-1", 1, time=100.0, received=received, arrived=arrived)
    there = 100.0 if received is None else received
    assert client._is_late(value, tr) == kept_values.is_late(arrived, there, tr)


def test_it_is_python_3_8_and_needs_websockets_alone() -> None:
    tree = ast.parse(SOURCE.read_text(), feature_version=(3, 8))
    imported = {
        (node.module if isinstance(node, ast.ImportFrom) else alias.name) or ""
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    packages = {name.partition(".")[0] for name in imported}
    assert packages - set(sys.stdlib_module_names) == {"websockets"}
    assert not packages & {"fcntl", "grp", "pwd", "resource", "termios"}, "these are not on Windows"


#: What an older Python is to do: read the file as it is read there, without the one package that it needs.
READ = """
import runpy, sys, types
for name in ("websockets", "websockets.version", "websockets.exceptions"):
    sys.modules[name] = types.ModuleType(name)
sys.modules["websockets.exceptions"].InvalidHandshake = Exception
sys.modules["websockets.exceptions"].WebSocketException = Exception
sys.modules["websockets"].version = sys.modules["websockets.version"]
module = runpy.run_path(sys.argv[1])
print(module["Value"]._fields[1], module["_Kept"](None)._volume)
"""


def test_older_pythons_read_it() -> None:
    """Where there are any; what one is told to do is done by this one, too."""
    there = Path.home() / ".pyenv" / "versions"
    for python in [Path(sys.executable), *there.glob("3.8.*/bin/python"), *there.glob("3.9.*/bin/python")]:
        done = subprocess.run([python, "-c", READ, SOURCE], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.split() == ["volume", "0"]
