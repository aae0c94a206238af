"""The subject's agent as a real process: every value once, in order, through crashes and lost connections."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pty
import socket
import threading
import time
from typing import Any

import pytest
from agents import ServedRun, SubjectAgent
from cable import Cable
from displays import WORKFLOW, Running, serving
from processes import LIMIT, free_port

from rtflow.agents import subject
from rtflow.agents.kept_values import Arrival, KeptValues
from rtflow.documents import Delivered, Event, now
from rtflow.server.messages import BeginRun, Value


def delivered(documents: Any, stage: str = "received") -> list[int]:
    return [
        d.volume for d in documents if isinstance(d, Delivered) and (d.channel, d.stage) == ("subject", stage)
    ]


def files(agent: SubjectAgent) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(agent.out.glob("*/volume-*.json"))]


def volumes(agent: SubjectAgent) -> list[int]:
    return [one["volume"] for one in files(agent)]


class Client:
    """A display at the agent's port: connects again and again, and keeps each value once."""

    def __init__(self, port: int, *, shows: bool = False) -> None:
        self.port, self.shows = port, shows
        self.lines: list[dict[str, Any]] = []
        self._stop = threading.Event()
        self._socket: socket.socket | None = None
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Client:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(LIMIT)

    def _run(self) -> None:
        while not self._stop.wait(0.02):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 5) as here:
                here.settimeout(None)
                self._socket = here
                here.sendall(b"{}\n")
                for line in here.makefile("rb"):
                    self._take(json.loads(line))

    def _take(self, line: dict[str, Any]) -> None:
        if line["type"] == "Value" and any(line["volume"] == one["volume"] for one in self.values):
            return
        self.lines.append(line)
        if line["type"] == "Value" and self.shows:
            self.say(type="Shown", volume=line["volume"])

    def say(self, **fields: Any) -> None:
        assert self._socket is not None
        self._socket.sendall(json.dumps(fields).encode() + b"\n")

    @property
    def values(self) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["type"] == "Value"]


def test_values_become_files_and_lines_and_what_is_said_comes_back(tmp_path) -> None:
    with serving() as server, SubjectAgent(server.port, tmp_path, "--tcp", "0") as agent:
        agent.until(lambda: agent.said("connected"))
        (port,) = [int(line.rpartition(":")[2]) for line in agent.lines if "lines of JSON" in line]
        with Client(port, shows=True) as client, Running(tmp_path, server, "halt=8") as running:
            running.until(lambda documents: delivered(documents, "shown") == list(range(1, 9)))
            client.say(type="Response", button="left")
            client.say(type="StimulusEvent", name="face", onset=time.time(), duration=1)
            client.say(type="Trigger", n=1)
            client.say(type="Nonsense")
            running.until(
                lambda ds: {"response", "stimulus", "trigger"} <= {getattr(d, "name", "") for d in ds}
            )
            agent.until(lambda: any(line["type"] == "Error" for line in client.lines))
            running.stopping.set()
            running.wait()
            agent.until(lambda: client.lines[-1]["type"] == "EndRun")
        assert agent.interrupt() == 0
    assert client.lines[0]["type"] in ("BeginRun", "Value")
    assert [one["volume"] for one in client.values] == volumes(agent) == list(range(1, 9))
    assert {one["late"] for one in files(agent)} == {False}
    assert [one["value"] for one in files(agent)] == [number / 4 for number in range(1, 9)]
    (folder,) = agent.out.iterdir()
    assert folder.name == running.recording.start.run_uid
    assert not list(folder.glob(".*"))
    assert json.loads((folder / "note.json").read_text())["text"] == "rest"


def test_what_is_typed_in_the_terminal_is_triggers_and_responses(tmp_path) -> None:
    """At a terminal, a real one; the agent goes on when nothing more is typed."""
    keyboard, terminal = pty.openpty()
    told: list[Event] = []
    with serving() as server:
        channel = server.subject("subject")
        channel.emit = told.append
        with SubjectAgent(server.port, tmp_path, "--trigger-keyboard", stdin=terminal) as agent:
            os.close(terminal)
            agent.until(lambda: agent.said("connected"))
            channel.begin_run(BeginRun(run_uid="run"))
            agent.until(lambda: agent.said("run run begins"))
            os.write(keyboard, b"\n5\nleft\n")
            agent.until(lambda: len(told) >= 3)
            channel.begin_run(BeginRun(run_uid="next"))  # its triggers are counted anew
            agent.until(lambda: agent.said("run next begins"))
            os.write(keyboard, b"5\nright\n\x04")  # and the end of what is typed
            agent.until(lambda: len(told) >= 5)
            channel.offer(Value(run_uid="next", volume=1, time=now()))
            agent.until(lambda: volumes(agent) == [1])
            assert agent.interrupt() == 0
    os.close(keyboard)
    said = [(one.name, one.data.get("n", one.data.get("button"))) for one in told if isinstance(one, Event)]
    assert said == [
        ("trigger", 1), ("trigger", 2), ("response", "left"), ("trigger", 1), ("response", "right"),
    ]  # fmt: skip


def test_a_killed_agent_goes_on_where_it_was(tmp_path) -> None:
    """kill -9 in mid-run, twice: files are written once, lines come in order, nothing is left out."""
    port = free_port()
    with serving() as server, Client(port) as client:
        running = Running(tmp_path, server, "count=60", "interval=0.05", "halt=60")
        with running:
            written: dict[str, int] = {}
            for stop_at in (8, 20):
                with SubjectAgent(server.port, tmp_path, "--tcp", str(port)) as agent:
                    agent.until(lambda: len(volumes(agent)) >= stop_at)  # noqa: B023
                    agent.kill()
                written |= {
                    path.name: path.stat().st_mtime_ns
                    for path in agent.out.glob("*/volume-*.json")
                    if path.name not in written
                }
            with SubjectAgent(server.port, tmp_path, "--tcp", str(port)) as agent:
                agent.until(lambda: len(volumes(agent)) == 60 and len(client.values) == 60)
                running.until(lambda documents: set(delivered(documents)) == set(range(1, 61)))
                running.stopping.set()
                running.wait()
                assert agent.interrupt() == 0
    assert volumes(agent) == list(range(1, 61))
    assert [one["volume"] for one in client.values] == list(range(1, 61))
    again = {path.name: path.stat().st_mtime_ns for path in agent.out.glob("*/volume-*.json")}
    assert {name: again[name] for name in written} == written


def test_a_process_says_again_once_what_the_one_before_it_had(tmp_path) -> None:
    """The one before may have been killed when a value was here, and the server had not heard of it."""

    async def story() -> list[int]:
        agent = subject.SubjectAgent(tmp_path, lambda line: None)
        agent._kept = KeptValues(tmp_path / "values.jsonl", (), lambda line: None)
        waiting = []
        for uid in ("one", "one", "two"):
            await agent._work(BeginRun(run_uid=uid), [])
            waiting.append(agent.link.waiting())
        agent._kept.close()
        return waiting

    before = KeptValues(tmp_path / "values.jsonl", (), lambda line: None)
    for volume in (1, 2, 3):
        assert before.take(Arrival(run_uid="one", volume=volume, time=float(volume)))
    before.close()
    assert asyncio.run(story()) == [3, 3, 3]


def test_a_lost_connection_makes_values_late_and_nothing_else(tmp_path) -> None:
    with serving() as server, Cable(server.port) as cable, SubjectAgent(cable.port, tmp_path) as agent:
        agent.until(lambda: agent.said("connected"))
        with Running(tmp_path, server, "count=40", "interval=0.05", "halt=40") as running:
            agent.until(lambda: len(volumes(agent)) >= 10)
            cable.pull()
            running.until(lambda ds: any(isinstance(d, Delivered) and d.volume == 40 for d in ds))
            time.sleep(2.5)  # no time is asserted: longer than what counts as late
            assert len(volumes(agent)) < 40
            cable.cut()
            cable.plug()
            agent.until(lambda: len(volumes(agent)) == 40)
            running.until(lambda documents: delivered(documents) == list(range(1, 41)))
            running.stopping.set()
    late = [one["volume"] for one in files(agent) if one["late"]]
    assert late == list(range(late[0], 41))
    assert late[0] > 10


def test_what_a_display_shows_of_late_values_is_told_as_late(tmp_path) -> None:
    """The display need not say so: its agent knows what it gave it."""
    tr = 1000.0
    with serving() as server, Cable(server.port) as cable:
        channel = server.subject("subject")
        told: list[Delivered] = []
        channel.emit = told.append
        channel.begin_run(BeginRun(run_uid="run", tr=tr))
        with SubjectAgent(cable.port, tmp_path, "--tcp", "0") as agent:
            agent.until(lambda: agent.said("connected"))
            (port,) = [int(line.rpartition(":")[2]) for line in agent.lines if "lines of JSON" in line]
            with Client(port, shows=True) as client:
                for volume, age in ((1, 0.0), (2, 1.5 * tr), (3, 0.5 * tr)):
                    if volume == 2:
                        agent.until(lambda: len(client.values) == 1)
                        cable.pull()
                    channel.offer(Value(run_uid="run", volume=volume, time=now(), received=now() - age))
                cable.cut()
                cable.plug()
                agent.until(lambda: delivered(told, "shown") == [1, 2, 3])
            assert [(one["volume"], one["late"]) for one in client.values] == [
                (1, False),
                (2, True),
                (3, False),
            ]
    shown = [one for one in told if isinstance(one, Delivered) and one.stage == "shown"]
    assert [(one.volume, one.late) for one in shown] == [(1, False), (2, True), (3, False)]


def test_a_killed_server_that_goes_on_offers_only_what_was_not_received(tmp_path) -> None:
    port = free_port()
    settings = ("count=100", "interval=0.05")
    with SubjectAgent(port, tmp_path) as agent:
        with ServedRun(port, tmp_path / "out2", "--workflow", str(WORKFLOW), *settings) as first:
            # The run waits for nobody: what came before the display is kept for it.
            first.until(lambda: len(volumes(agent)) >= 8)
            first.kill()
        with ServedRun(port, tmp_path / "out2", "--resume", str(first.run_dir)) as second:
            agent.until(lambda: len(volumes(agent)) == 100)
            assert second.wait() == 0, second.lines
        assert agent.interrupt() == 0
    assert volumes(agent) == list(range(1, 101))
    documents = second.recording.documents
    assert delivered(documents) == list(range(1, 101))


def test_the_onset_delay_is_kept_and_nothing_is_lost_of_what_waits(tmp_path) -> None:
    """Killed while values wait for their time: they are received, and shown by the next process."""
    with serving() as server, Running(tmp_path, server, "delay=6", "halt=8") as running:
        with SubjectAgent(server.port, tmp_path) as agent:
            running.until(lambda documents: delivered(documents) == list(range(1, 9)))
            agent.kill()
            assert volumes(agent) == []
        with SubjectAgent(server.port, tmp_path) as agent:
            agent.until(lambda: volumes(agent) == list(range(1, 9)))
        running.stopping.set()
    for path, one in zip(sorted(agent.out.glob("*/volume-*.json")), files(agent), strict=True):
        assert path.stat().st_mtime >= one["time"] + one["delay"] - 0.01


def test_an_agent_that_is_started_again_says_that_the_run_goes_on_and_one_that_ends_says_no_more(
    tmp_path,
) -> None:
    with serving() as server, Running(tmp_path, server, "count=4", "halt=4") as running:
        with SubjectAgent(server.port, tmp_path) as first:
            first.until(lambda: volumes(first) == [1, 2, 3, 4])
            assert first.interrupt() == 0
        told = [line[9:].strip() for line in first.lines if line[2:3] == ":"]  # behind the time of day
        uid = running.recording.start.run_uid
        assert told == ["connected", f"run {uid} of feedback_workflow begins"]
        with SubjectAgent(server.port, tmp_path) as second:
            second.until(lambda: second.said(f"run {uid} of feedback_workflow goes on"))
            running.stopping.set()
            second.until(lambda: second.said("completed") or second.said("aborted"))


def test_two_agents_cannot_share_a_folder(tmp_path) -> None:
    port = free_port()
    with SubjectAgent(port, tmp_path) as first:
        first.until(lambda: first.said(f"not connected: nobody answers at 127.0.0.1:{port} ("))
        assert first.said("it is tried again")
        with SubjectAgent(port, tmp_path) as second:
            assert second.wait() == 2
            assert second.said("in use by another agent")


@pytest.mark.parametrize("arguments", [["--tcp", "nowhere:x"], ["--tcp", "70000"]])
def test_a_wrong_address_is_said(tmp_path, arguments) -> None:
    with SubjectAgent(1, tmp_path, *arguments) as agent:
        assert agent.wait() == 2
        assert agent.said("expected PORT")
