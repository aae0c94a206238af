"""The scanner's agent as a process: what it says, what it refuses, and a scanner that sends to it."""

import socket
from pathlib import Path

import pytest
from agents import Agent, Process, ServedRun
from arrivals import digests_of, scan
from processes import free_port
from scanning import put
from ways import whole

from rtflow.sources.simulation.sending import Address, Sender

PATIENT = "source=agent:scanner?volumes=6&idle=60&patience=1000&wait=60"


def send(port: int, *layouts: str) -> None:
    for one in whole(scan(*layouts)):
        with Sender(Address("127.0.0.1", port)) as sender:
            sender.put(one.folder, one.name, one.data, 0)


def test_a_scanner_that_sends(tmp_path: Path) -> None:
    port, at = free_port(), free_port()
    state = tmp_path / "state"
    with (
        ServedRun(port, tmp_path / "out", PATIENT) as run,
        Agent(port, state, "--listen-dicom", f"127.0.0.1:{at}") as agent,
    ):
        agent.until(lambda: agent.said("begins"))
        send(at, "mosaic")
        assert run.wait() == 0, run.lines
        agent.until(lambda: agent.said("is over"))
    assert [result.values["digest.value"] for result in run.recording.results] == digests_of("mosaic", 6)
    assert not list((state / "runs").iterdir())
    assert (state / "site.key").stat().st_mode & 0o077 == 0
    names = [part.name for frame in run.recording.frames() for part in frame.parts]
    assert all(name.startswith("2.25.") for name in names), names


def test_outside_a_run_nothing_is_taken(tmp_path: Path) -> None:
    port, at = free_port(), free_port()
    with Agent(port, tmp_path / "state", "--listen-dicom", f"127.0.0.1:{at}") as agent:
        agent.until(lambda: agent.said("not connected"))
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", at))
        assert agent.interrupt() == 0


def test_what_was_there_before_belongs_to_no_run_unless_it_is_asked_for(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for volume in range(1, 4):
        put(folder, volume)
    watch = ["--watch", str(folder)]
    for existing, status in (("true", 0), ("false", 1)):
        port, out = free_port(), tmp_path / existing
        source = f"source=agent:scanner?volumes=3&wait=3&patience=1000&existing={existing}"
        with ServedRun(port, out, source) as run, Agent(port, tmp_path / "state", *watch):
            assert run.wait() == status, run.lines
    assert run.said("no volume came into agent 'scanner' within 3 s")


@pytest.mark.parametrize("wrong", ["folder", "pattern"])
def test_an_agent_that_is_started_again_with_another_folder_takes_nothing_from_before_the_run(
    wrong: str, tmp_path: Path
) -> None:
    folder, other = tmp_path / "in", tmp_path / "other"
    folder.mkdir()
    other.mkdir()
    for volume in (4, 5, 6):
        put(folder, volume, name=f"earlier_{volume}.dcm")
    port, state, watch = free_port(), tmp_path / "state", ["--watch", str(folder)]
    mistaken = [*watch, "--pattern", "*.IMA"] if wrong == "pattern" else ["--watch", str(other)]
    with ServedRun(port, tmp_path / "out", "source=agent:scanner?volumes=3&wait=60&patience=1000") as run:
        with Agent(port, state, *mistaken) as agent:
            agent.until(lambda: agent.said("begins"))
            put(folder, 1)
            if wrong == "pattern":
                agent.until(lambda: agent.said("do not match the pattern '*.IMA': 1, such as '5_0001.dcm'"))
            assert agent.interrupt() == 0
        with Agent(port, state, *watch) as agent:
            agent.until(lambda: agent.said("goes on"))
            put(folder, 2)
            put(folder, 3)
            assert run.wait() == 0, run.lines
            assert agent.said("3 files that are from before it are left alone")
    names = [part.name for frame in run.recording.frames() for part in frame.parts]
    assert len(names) == 3
    assert [volume.volume for volume in run.recording.volumes] == [1, 2, 3]
    told = run.events("source_trouble")
    assert any("3 files that are from before it are left alone" in says for says in told)
    assert wrong == "folder" or "agent 'scanner': files come that do not match the pattern '*.IMA': 1" in told


def test_two_agents_do_not_share_a_state(tmp_path: Path) -> None:
    allow = ["--allow", str(tmp_path)]
    with Agent(free_port(), tmp_path, *allow) as one:
        one.until(lambda: one.said("not connected"))
        with Agent(free_port(), tmp_path, *allow) as other:
            assert other.wait() == 2
        assert other.said("in use by another agent")


def test_an_agent_that_only_serves_files_says_that_it_sends_no_volumes(tmp_path: Path) -> None:
    port = free_port()
    with (
        ServedRun(port, tmp_path / "out", "source=agent:scanner?volumes=3&wait=3") as run,
        Agent(port, tmp_path / "state", "--allow", str(tmp_path)) as agent,
    ):
        agent.until(lambda: agent.said("asks for volumes, and this agent was started without --watch"))
        assert run.wait() == 1, run.lines
    assert any("started without --watch" in says for says in run.events("source_trouble"))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "nothing to send and nothing to serve; give --watch DIR"),
        (["--watch", "none"], "no folder none to watch"),
        (["--watch", ".", "--source", "simulate:"], "give one of them"),
        (["--source", "agent:other"], "cannot be the source of an agent"),
        (["--source", "bids:none"], "none"),
        (["--allow", "none"], "no such folder"),
        (["--service", "none"], "MODULE:CLASS"),
        (["--token-file", "none"], "cannot be read"),
    ],
)
def test_what_cannot_be_is_said_at_once(tmp_path: Path, arguments: list[str], says: str) -> None:
    with Agent(1, tmp_path, *arguments) as agent:
        assert agent.wait() == 2, agent.lines
    assert agent.said(says), agent.lines


@pytest.mark.parametrize(
    ("server", "says"),
    [
        ("ws://console.lan:1", "write wss://"),
        ("http://127.0.0.1:1", "no address of a server"),
        ("wss://127.0.0.1", "no address of a server"),
        ("wss://console.lan:1", "not enrolled"),
    ],
)
def test_servers_that_cannot_be(tmp_path: Path, server: str, says: str) -> None:
    state = ["--state", str(tmp_path), "--credentials", str(tmp_path / "none")]
    with Process("-m", "rtflow", "scanner", "--server", server, *state) as agent:
        assert agent.wait() == 2, agent.lines
    assert agent.said(says), agent.lines
