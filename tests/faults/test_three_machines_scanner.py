"""The scanner's host as a process of its own: killed, cut off and taken up while the scanner goes on."""

import threading
import time
from pathlib import Path

import pytest
from agents import Agent, ServedRun
from arrivals import digests_of, scan
from cable import Cable
from processes import free_port
from ways import Put, whole

from rtflow.documents import RunStop
from rtflow.sources.simulation.delivery import FolderTarget

VOLUMES = 20
PATIENT = f"source=agent:scanner?volumes={VOLUMES}&idle=15&patience=1000&wait=30"
layouts = pytest.mark.parametrize("layout", ["mosaic", "ge"])


class Scanner:
    """Writes the objects of a scan into a folder, from a thread of its own."""

    def __init__(self, layout: str, folder: Path, seconds: float = 3.0) -> None:
        self.puts: list[Put] = whole(scan(layout, VOLUMES))
        self.folder = folder
        self._every = seconds / len(self.puts)
        self._thread = threading.Thread(target=self._write)
        folder.mkdir()

    def __enter__(self) -> "Scanner":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join()

    def _write(self) -> None:
        with FolderTarget(self.folder, "rename") as target:
            for put in self.puts:
                target.put(put.folder, put.name, put.data, 0)
                time.sleep(self._every)


def undisturbed(run: ServedRun, layout: str) -> None:
    """Every volume has its Result, once, and the value that it would have had; none came twice."""
    assert run.wait() == 0, run.lines
    results = run.recording.results
    assert [result.volume for result in results] == list(range(1, VOLUMES + 1))
    assert {result.status for result in results} <= {"ok", "late"}
    assert [result.values["digest.value"] for result in results] == digests_of(layout, VOLUMES)
    assert isinstance(run.recording.documents[-1], RunStop)
    assert not {"twice", "another_image", "resume_differs"} & {event.name for event in run.recording.events}
    assert not list((run.run_dir / "received").glob("*.dcm"))


@pytest.fixture
def port() -> int:
    return free_port()


@layouts
def test_from_one_machine_to_the_other(layout: str, port: int, tmp_path: Path) -> None:
    scanner = Scanner(layout, tmp_path / "in", seconds=1.0)
    with (
        ServedRun(port, tmp_path / "out", PATIENT) as run,
        Agent(port, tmp_path / "state", "--watch", str(tmp_path / "in")) as agent,
    ):
        agent.until(lambda: agent.said("begins"))
        with scanner:
            undisturbed(run, layout)
        agent.until(lambda: agent.said("is over (completed)"))
        assert agent.interrupt() == 0
    assert not list((tmp_path / "state" / "runs").iterdir())


@pytest.mark.fault("the scanner's agent is killed")
@layouts
def test_the_agent_is_killed(layout: str, port: int, tmp_path: Path) -> None:
    scanner = Scanner(layout, tmp_path / "in")
    watch = ["--watch", str(tmp_path / "in")]
    with (
        ServedRun(port, tmp_path / "out", PATIENT) as run,
        Agent(port, tmp_path / "state", *watch) as agent,
    ):
        agent.until(lambda: agent.said("begins"))
        with scanner:
            run.until(lambda: len(run.results()) >= 5)
            agent.kill()
            there = len(run.results())
            with Agent(port, tmp_path / "state", *watch) as again:
                again.until(lambda: again.said("goes on"))
                assert there < VOLUMES, "it was not killed in mid-run"
                undisturbed(run, layout)
    assert "scanner 'scanner' was lost: it is waited for" in run.events("agent_lost")


@pytest.mark.fault("the cable between scanner and server is pulled")
@pytest.mark.parametrize("how", ["pulled", "cut"])
def test_the_cable_is_pulled(how: str, port: int, tmp_path: Path) -> None:
    """Pulled for longer than a connection may be silent, or cut again and again."""
    scanner = Scanner("mosaic", tmp_path / "in", seconds=4.0)
    with (
        Cable(port) as cable,
        ServedRun(port, tmp_path / "out", PATIENT) as run,
        Agent(cable.port, tmp_path / "state", "--watch", str(tmp_path / "in")) as agent,
    ):
        agent.until(lambda: agent.said("begins"))
        with scanner:
            run.until(lambda: len(run.results()) >= 5)
            if how == "pulled":
                cable.pull()
                agent.until(lambda: agent.said("nothing was heard"))
                assert len(run.results()) < VOLUMES
                cable.plug()
            else:
                for _ in range(10):
                    time.sleep(0.2)
                    cable.cut()
            undisturbed(run, "mosaic")


@pytest.mark.fault("rtflow is killed while an agent sends")
@layouts
def test_the_server_is_killed(layout: str, port: int, tmp_path: Path) -> None:
    """What it had not recorded comes once more: from its spool, or from the agent."""
    scanner = Scanner(layout, tmp_path / "in")
    with Agent(port, tmp_path / "state", "--watch", str(tmp_path / "in")) as agent:
        with ServedRun(port, tmp_path / "out", PATIENT) as first:
            agent.until(lambda: agent.said("begins"))
            with scanner:
                first.until(lambda: len(first.results()) >= 5)
                first.kill()
        assert first.recording.stop is None
        with ServedRun(port, tmp_path / "out", "--resume", str(first.run_dir)) as again:
            undisturbed(again, layout)
        agent.until(lambda: agent.said("is over (completed)"))


@pytest.mark.fault("rtflow is killed while an agent sends")
def test_both_are_killed(port: int, tmp_path: Path) -> None:
    scanner = Scanner("ge", tmp_path / "in", seconds=2.0)
    watch = ["--watch", str(tmp_path / "in")]
    with (
        ServedRun(port, tmp_path / "out", PATIENT) as first,
        Agent(port, tmp_path / "state", *watch) as agent,
    ):
        agent.until(lambda: agent.said("begins"))
        with scanner:
            first.until(lambda: len(first.results()) >= 5)
            agent.kill()
            first.kill()
    with (
        ServedRun(port, tmp_path / "out", "--resume", str(first.run_dir)) as run,
        Agent(port, tmp_path / "state", *watch),
    ):
        undisturbed(run, "ge")


@pytest.mark.fault("the scanner's agent is killed")
def test_a_replay_service_is_killed(port: int, tmp_path: Path) -> None:
    """A source that knows its volumes begins anew, and sends those that the run does not have."""
    service = ["--source", f"simulate:?volumes={VOLUMES}&tr=0.2&shape=8,8,4&voxel=24"]
    with ServedRun(port, tmp_path / "out", "source=agent:?wait=100") as run:
        with Agent(port, tmp_path / "state", *service) as agent:
            run.until(lambda: len(run.results()) >= 5)
            agent.kill()
        with Agent(port, tmp_path / "state", *service):
            assert run.wait() == 0, run.lines
    assert [result.volume for result in run.recording.results] == list(range(1, VOLUMES + 1))
    assert {result.status for result in run.recording.results} <= {"ok", "late"}
