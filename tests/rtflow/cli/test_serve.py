"""Servers as processes: orders, one run at a time, Ctrl-C, a run that is taken up."""

import asyncio
import itertools
import json
import signal
import threading
from pathlib import Path
from typing import Any

import counting_workflow
import feedback_workflow
import pytest
from counting_workflow import Settings
from processes import free_port, until
from served import Serving, kill
from typer.testing import CliRunner
from visitors import Agent, guarded

from rtflow.access.store import Access
from rtflow.agents.connecting import Place, stay_connected
from rtflow.cli import listening
from rtflow.cli.main import app
from rtflow.documents import now
from rtflow.engine import run
from rtflow.errors import UsageError
from rtflow.journal import Recording
from rtflow.server.link import Link
from rtflow.server.messages import BeginRun, Body, Received, Value
from rtflow.settings import RunSettings
from rtflow.workflow_file import load_workflow


def run_of(serving: Serving) -> str:
    serving.until(lambda: serving.status()["run_uid"] is not None)
    uid: str = serving.status()["run_uid"]
    return uid


def test_a_server_runs_when_it_is_told_to_and_waits_again(tmp_path: Path):
    with Serving(tmp_path, "serve", "--set", "count=5") as serving:
        assert serving.status()["state"] == "idle"
        assert serving.ask("GET", "/api/runs") == (200, [])
        uids = []
        for run, count in ((1, 5), (2, 7)):
            assert serving.ask("PUT", "/api/settings", {"count": count, "bids": {"run": run}})[0] == 200
            assert serving.ask("POST", "/api/start")[0] == 202
            serving.until(lambda: serving.status()["state"] == "idle")
            uids.append(serving.status()["run_uid"])
            documents = serving.documents(uids[-1])
            assert [document["seq"] for document in documents] == list(range(len(documents)))
            assert documents[-1]["counts"]["ok"] == count
        _, runs = serving.ask("GET", "/api/runs")
        assert {run["run_uid"]: run["status"] for run in runs} == dict.fromkeys(uids, "completed")
        serving.interrupt()
        assert serving.end() == 0
        assert f"listening at ws://127.0.0.1:{serving.port}" in serving.said()
        assert "rtflow scanner --server" in serving.said()
        assert "rtflow subject --server" in serving.said()
        assert "waiting for Run: POST" in serving.said()
        assert "rtflow token add NAME --role operator" in serving.said()
        assert serving.audit().count(("op", "start")) == 2


def test_a_run_is_stopped_and_another_is_refused_meanwhile(tmp_path: Path):
    with Serving(tmp_path, "serve", "--set", "count=1000", "--set", "interval=0.02") as serving:
        assert serving.ask("POST", "/api/start")[0] == 202
        serving.until(lambda: serving.status()["received"] > 2)
        assert serving.status()["state"] == "running"
        assert serving.ask("POST", "/api/start")[0] == 409
        assert serving.ask("PUT", "/api/settings", {"count": 3})[0] == 409
        assert serving.ask("POST", "/api/stop") == (202, {"state": "running", "stopping": True})
        serving.until(lambda: serving.status()["state"] == "idle")
        assert serving.documents(run_of(serving))[-1]["status"] == "aborted"
        serving.interrupt()
        assert serving.end() == 0


def test_ctrl_c_ends_the_run_and_then_the_server(tmp_path: Path):
    with Serving(tmp_path, "serve", "--set", "count=1000", "--set", "interval=0.02") as serving:
        serving.ask("POST", "/api/start")
        serving.until(lambda: serving.status()["received"] > 2)
        serving.interrupt()
        serving.until(lambda: serving.status()["state"] == "idle")
        assert serving.documents(run_of(serving))[-1]["status"] == "aborted"
        serving.process.send_signal(signal.SIGTERM)
        assert serving.end() == 0


def test_settings_of_which_no_workflow_can_be_made_are_refused_and_the_server_waits(tmp_path: Path):
    with Serving(tmp_path, "serve") as serving:
        status, told = serving.ask("PUT", "/api/settings", {"mode": "nonsense"})
        assert 400 <= status < 500, told
        assert "nonsense" in str(told)
        assert serving.status()["state"] == "idle"
        assert serving.ask("POST", "/api/start")[0] == 202
        serving.until(lambda: serving.status()["results"].get("ok") == 8)
        assert serving.status()["trouble"] == ""


def test_a_workflow_that_was_edited_is_loaded_anew_by_the_next_start(tmp_path: Path):
    """Also when it was broken in between; settings that were changed on the way stay."""
    text = "import counting_workflow\nfrom counting_workflow import Settings\n"
    file = tmp_path / "edited.py"

    def ordered(build: str) -> None:
        file.write_text(text + build)
        assert serving.ask("POST", "/api/start")[0] == 202
        serving.until(lambda: serving.status()["state"] == "idle")

    six = "def build(settings):\n    return counting_workflow.build(Settings(count=2 * settings.count))\n"
    file.write_text(text + "build = counting_workflow.build\n")
    with Serving(tmp_path, "serve", workflow=str(file)) as serving:
        serving.ask("PUT", "/api/settings", {"count": 3})
        ordered("build = counting_workflow.build\n")
        assert serving.status()["results"] == {"ok": 3}
        assert "loaded anew" not in serving.said()
        ordered("build = \n")
        assert "cannot be imported" in serving.status()["trouble"]
        ordered(six)
        assert serving.status()["trouble"] == ""
        assert serving.status()["results"] == {"ok": 6}
        assert "edited.py was changed: it is loaded anew" in serving.said()
        runs = (tmp_path / "out" / "runs").iterdir()  # those that began in one second are in no order
        assert sorted(len(Recording(one).results) for one in runs) == [3, 6]
        ordered("from rtflow.settings import RunSettings\nclass Settings(RunSettings):\n    pass\n" + six)
        assert "its settings are not those of before" in serving.status()["trouble"]


def test_two_servers_stand_beside_each_other(tmp_path: Path):
    folders = [tmp_path / name for name in ("one", "other")]
    for folder in folders:
        folder.mkdir()
    with Serving(folders[0], "serve") as one, Serving(folders[1], "serve") as other:
        for serving in (one, other):
            assert serving.ask("POST", "/api/start")[0] == 202
        for serving in (one, other):
            serving.until(lambda: serving.status()["results"].get("ok") == 8)  # noqa: B023
        assert one.status()["run_uid"] != other.status()["run_uid"]


def test_a_run_that_listens_is_watched_and_stopped(tmp_path: Path):
    options = ("--set", "count=1000", "--set", "interval=0.02")
    with Serving(tmp_path, "run", *options) as serving:
        serving.until(lambda: serving.status()["state"] == "running")
        serving.until(lambda: serving.status()["received"] > 2)
        assert serving.ask("POST", "/api/start")[0] == 409
        assert serving.ask("POST", "/api/stop")[0] == 202
        assert serving.end() == 1
    (run_dir,) = (tmp_path / "out" / "runs").iterdir()
    assert Recording(run_dir).stop.status == "aborted"


def test_a_run_that_was_killed_listens_again_when_it_is_taken_up(tmp_path: Path):
    with Serving(tmp_path, "run", "--set", "count=9", "--set", "halt=5") as serving:
        serving.until(lambda: serving.status()["results"].get("ok") == 5)
        uid = run_of(serving)
        kill(serving)
    run_dir = tmp_path / "out" / "runs" / uid
    settings = json.loads((run_dir / "journal/documents.jsonl").read_bytes().splitlines()[0])["settings"]
    assert settings["halt"] == 5
    with Serving(tmp_path, "run", "--resume", str(run_dir)) as serving:
        assert run_of(serving) == uid
        serving.until(lambda: serving.status()["state"] == "running")
        status = serving.status()
        assert (status["received"], status["results"]) == (5, {"ok": 5})
        documents = serving.documents(uid)
        assert [document["seq"] for document in documents] == list(range(len(documents)))
        assert serving.ask("POST", "/api/stop")[0] == 202
        assert serving.end() == 1


class Showing:
    """A display that says of each value that it has it; it outlives the servers that it was connected to."""

    def __init__(self, url: str, token: str) -> None:
        self.link = Link(self._work)
        self.place = Place(url, "subject", "subject", "one", token)
        self.heard: list[int] = []
        self.runs: list[str] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._stay()))

    def __enter__(self) -> "Showing":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    async def _stay(self) -> None:
        staying = asyncio.ensure_future(stay_connected(self.link, self.place, lambda says: None))
        await asyncio.to_thread(self._ended.wait)
        staying.cancel()
        await asyncio.wait([staying])

    async def _work(self, body: Body, parts: list[bytes]) -> None:
        if isinstance(body, BeginRun):
            self.runs.append(body.run_uid)
        if isinstance(body, Value):
            self.heard.append(body.volume)
            self.link.post(Received(run_uid=body.run_uid, volume=body.volume, at=now()))


def test_a_display_finds_the_run_again_after_the_server_was_killed(tmp_path: Path):
    tmp_path.chmod(0o700)
    token = Access(tmp_path / "access").add_token("display", "subject")
    workflow, port = feedback_workflow.__file__, free_port()
    with Showing(f"ws://127.0.0.1:{port}", token) as display:
        # Long enough for a display that looks for its server in ever longer intervals.
        options = ("--set", "count=120", "--set", "interval=0.06")
        with Serving(tmp_path, "run", *options, workflow=workflow, port=port) as serving:
            serving.until(lambda: len(display.heard) > 8)
            uid = run_of(serving)
            kill(serving)
        run_dir = tmp_path / "out" / "runs" / uid
        with Serving(tmp_path, "run", "--resume", str(run_dir), port=port) as serving:
            assert serving.end() == 0
    assert display.runs == [uid, uid]
    # At least once each, and in order: what was heard twice is the last that was not yet in the journal.
    assert sorted(set(display.heard)) == list(range(1, 121))
    again = [after for before, after in itertools.pairwise(display.heard) if after <= before]
    assert len(again) <= 1
    recording = Recording(run_dir)
    assert [result.volume for result in recording.results] == list(range(1, 121))
    received = [one.volume for one in recording.documents if getattr(one, "stage", "") == "received"]
    assert set(received) >= set(range(1, 121))


def test_agents_that_come_and_go_stand_in_the_journal(tmp_path: Path):
    came: list[Any] = []
    with guarded(tmp_path, settings=RunSettings(), waits=False) as served:

        async def visit() -> None:
            async with Agent(served).staying():
                while not {"agent_connected", "clock"} <= {getattr(one, "name", "") for one in came}:
                    await asyncio.sleep(0.01)

        stopping = threading.Event()
        settings = Settings(count=10_000, interval=0.01)
        thread = threading.Thread(
            target=lambda: run(
                load_workflow(Path(counting_workflow.__file__)),
                settings,
                tmp_path / "out",
                observe=came.append,
                stopping=stopping,
                server=served.server,
            )
        )
        thread.start()
        until(lambda: bool(came))
        asyncio.run(asyncio.wait_for(visit(), 60))

        def lost() -> bool:
            assert thread.is_alive()
            return "agent_lost" in {getattr(one, "name", "") for one in came}

        until(lost)
        stopping.set()
        thread.join()
    (run_dir,) = (tmp_path / "out" / "runs").iterdir()
    events = {event.name: event.data for event in Recording(run_dir).events}
    assert events["agent_connected"]["agent"] == "scanner"
    assert events["agent_lost"]["says"] == "scanner 'scanner' was lost: it is waited for"
    assert abs(events["clock"]["offset"]) <= events["clock"]["round_trip"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--listen", "0.0.0.0:0", "--plain"], "for this machine only"),
        (["--listen", "console.lan:0", "--plain"], "for this machine only"),
        (["--listen", "127.0.0.1:0", "--plain", "--client-certificates"], "needs TLS"),
        (["--listen", "127.0.0.1:0"], "certs make"),
        (["--listen", "8443"], "expected HOST:PORT"),
        (["--listen", "::1:8443"], "expected HOST:PORT"),
        (["--listen", "localhost:99999"], "expected HOST:PORT"),
        (["--listen", "no-such-host.invalid:1"], "certs make"),
        (["--plain"], "add --listen"),
    ],
)
def test_a_port_that_cannot_be_is_told(tmp_path: Path, arguments: list[str], told: str):
    options = ["--out", str(tmp_path / "out"), "--access", str(tmp_path / "access")]
    result = CliRunner().invoke(app, ["run", counting_workflow.__file__, *options, *arguments])
    assert result.exit_code == 2
    assert told in result.stderr
    assert not (tmp_path / "out" / "runs").exists()


def test_a_port_that_is_taken_is_told(tmp_path: Path):
    tmp_path.chmod(0o700)
    with guarded(tmp_path) as served, pytest.raises(UsageError, match="choose another port"):
        listening.open_server(
            f"127.0.0.1:{served.server.port}",
            served.desk,  # type: ignore[arg-type]
            access=tmp_path / "access",
            plain=True,
            client_certificates=False,
        ).__enter__()
    assert free_port()


def test_others_are_told_a_name_that_they_can_reach(tmp_path: Path):
    class Everywhere:
        host, port, names = "0.0.0.0", 8443, ("localhost", "127.0.0.1", "console.lan")
        url = "wss://0.0.0.0:8443"

    assert listening.reached_at(Everywhere()) == "wss://console.lan:8443"  # type: ignore[arg-type]
