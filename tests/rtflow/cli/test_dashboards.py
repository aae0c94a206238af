"""A dashboard beside a run: real processes, which are really killed."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import counting_workflow
import psutil
import pytest
from processes import LIMIT, environment, free_port

from rtflow.journal import Recording


class Shown:
    """``rtflow run --dashboard``, as a process."""

    def __init__(self, folder: Path, port: int, *options: str) -> None:
        self.out, self.errors = folder / "out", folder / "stderr"
        command = [sys.executable, "-m", "rtflow", "run", counting_workflow.__file__, "--out", str(self.out)]
        command += ["--dashboard", "--dashboard-listen", f"127.0.0.1:{port}", *options]
        with self.errors.open("w") as errors:
            self.process = subprocess.Popen(
                command, stdout=subprocess.DEVNULL, stderr=errors, env=environment()
            )
        self.until(lambda: self.said("dashboard at "))
        self.url = self.said(r"dashboard at (http://127\.0\.0\.1:\d+)")
        self.port = int(self.url.rpartition(":")[2])
        self.code = self.said(r"#code=(\S+)")

    def said(self, what: str) -> str:
        """What it has said of something; empty if nothing."""
        found = re.search(what, self.errors.read_text())
        return (found.group(1) if found.groups() else found.group()) if found else ""

    def until(self, there: Callable[[], Any]) -> None:
        end = time.monotonic() + LIMIT
        while not there():
            assert time.monotonic() < end, self.errors.read_text()
            assert self.process.poll() is None, self.errors.read_text()
            time.sleep(0.05)

    def child(self) -> psutil.Process | None:
        """The process of the dashboard."""
        children = psutil.Process(self.process.pid).children()
        return next((one for one in children if "--beside" in one.cmdline()), None)

    def ask(self, method: str, path: str, data: Any = None) -> int:
        """The status of an answer; 0 where nobody answers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=LIMIT)
        headers = {"Origin": self.url, "Content-Type": "application/json"}
        try:
            connection.request(method, path, json.dumps(data) if data else None, headers)
            return connection.getresponse().status
        except OSError:
            return 0
        finally:
            connection.close()


@contextlib.contextmanager
def shown(folder: Path, port: int, *options: str) -> Iterator[Shown]:
    made = Shown(folder, port, *options)
    child = made.child()
    try:
        yield made
    finally:
        if made.process.poll() is None:
            made.process.kill()
            made.process.wait()
        for one in (child, made.child() if made.process.poll() is None else None):
            if one is not None:
                psutil.wait_procs([one], timeout=LIMIT)


def test_it_comes_back_when_it_is_killed_and_the_run_does_not_notice(tmp_path: Path) -> None:
    with shown(tmp_path, free_port(), "--set", "count=120", "--set", "interval=0.1") as run:
        assert run.ask("POST", "/api/login", {"code": run.code}) == 200
        assert run.ask("POST", "/api/login", {"code": run.code}) == 401, "a link is good once"
        first = run.child()
        assert first is not None
        first.kill()
        run.until(lambda: run.ask("GET", "/api/health") == 0 or run.child() not in (None, first))
        run.until(lambda: run.ask("GET", "/api/health") == 200)
        assert run.child() != first
        run.until(lambda: run.said("the dashboard stays until Ctrl-C"))
        run.process.send_signal(signal.SIGINT)
        assert run.process.wait(LIMIT) == 0
    (run_dir,) = (run.out / "runs").iterdir()
    recording = Recording(run_dir)
    assert recording.stop is not None
    assert recording.stop.counts == {"ok": 120, "late": 0, "missing": 0, "failed": 0}


def test_it_ends_with_what_it_was_started_beside(tmp_path: Path) -> None:
    with shown(tmp_path, free_port(), "--set", "count=1000", "--set", "interval=0.1") as run:
        child = run.child()
        assert child is not None
        run.process.kill()
        run.process.wait(LIMIT)
        gone, alive = psutil.wait_procs([child], timeout=LIMIT)
        assert gone
        assert not alive


def test_ctrl_c_ends_the_run_and_does_not_stay(tmp_path: Path) -> None:
    with shown(tmp_path, free_port(), "--set", "count=1000", "--set", "interval=0.05") as run:
        child = run.child()
        run.until(lambda: list(run.out.glob("runs/*/shown.jsonl")))
        run.process.send_signal(signal.SIGINT)
        assert run.process.wait(LIMIT) == 1
        assert "stays until" not in run.errors.read_text()
        assert child is not None
        assert not child.is_running()


def test_a_port_that_is_taken_gives_way_to_another(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with shown(tmp_path, port, "--set", "count=1000", "--set", "interval=0.05") as run:
            assert run.port != port
            assert run.said(rf"127\.0\.0\.1:{port} is taken: the dashboard is at {run.port}")
            assert not run.said("cannot listen")
            assert run.ask("GET", "/api/health") == 200


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--desktop"], "add --dashboard"),
        (["--dashboard", "--dashboard-listen", "8050"], "--dashboard-listen 8050: expected HOST:PORT"),
        (["--dashboard", "--dashboard-listen", "0.0.0.0:0"], "here is no TLS; add --listen HOST:PORT"),
    ],
)
def test_what_does_not_go_together_is_said_once_and_before_the_run(
    tmp_path: Path, options: list[str], says: str
) -> None:
    command = [sys.executable, "-m", "rtflow", "run", counting_workflow.__file__, *options]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert says in " ".join(done.stderr.split())
    assert len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.glob("rtflow-out/runs/*"))
