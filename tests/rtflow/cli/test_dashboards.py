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

#: A workflow whose node, in a process of its own, writes down where its windows would open.
WINDOWS = """
import os
from pathlib import Path

from nipype import Node, Workflow
from streamtools import Counter, Number

from rtflow.settings import RunSettings
from rtflow.stream import stream


Settings = RunSettings


class Where(Number):
    def _run_interface(self, runtime):
        words = [f"{name}={os.environ.get(name)}" for name in ("DISPLAY", "XAUTHORITY")]
        Path(__file__).with_name("where").write_text(" ".join(words))
        return super()._run_interface(runtime)


def build(settings):
    where = Node(Where(), name="where")
    stream(where, mode="process")
    flow = Workflow(name="windows", base_dir=settings.work_dir)
    flow.connect(Node(Counter(count=1), name="scanner"), "frame", where, "frame")
    return flow
"""


class Shown:
    """``rtflow run --dashboard``, as a process."""

    def __init__(self, folder: Path, port: int, *options: str, workflow: str) -> None:
        self.out, self.errors = folder / "out", folder / "stderr"
        command = [sys.executable, "-m", "rtflow", "run", workflow, "--out", str(self.out)]
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

    def layout(self) -> str:
        """What stands on the page, as JSON, for whoever follows the link."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=LIMIT)
        headers = {"Origin": self.url, "Content-Type": "application/json"}
        try:
            connection.request("POST", "/api/login", json.dumps({"code": self.code}), headers)
            answer = connection.getresponse()
            assert answer.status == 200, answer.read()
            answer.read()
            cookie = {"Cookie": answer.headers["Set-Cookie"].partition(";")[0]}
            connection.request("GET", "/_dash-layout", headers=headers | cookie)
            return json.dumps(json.loads(connection.getresponse().read()))
        finally:
            connection.close()

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
def shown(
    folder: Path, port: int, *options: str, workflow: str = counting_workflow.__file__
) -> Iterator[Shown]:
    made = Shown(folder, port, *options, workflow=workflow)
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
            layout = run.layout()
            assert '"Settings"' in layout
            assert "esktop" not in layout  # nobody has asked for one


def test_a_run_has_a_desktop_where_it_was_asked_for_and_its_nodes_open_their_windows_there(
    tmp_path: Path,
) -> None:
    flow = tmp_path / "windows.py"
    flow.write_text(WINDOWS)
    with shown(tmp_path, free_port(), "--desktop", workflow=str(flow)) as run:
        run.until(lambda: run.said("the dashboard stays until Ctrl-C"))
        where = run.said(r"its desktop, for programs that you start here: (DISPLAY=:\d+ XAUTHORITY=\S+)")
        layout = run.layout()
        assert '"Desktop"' in layout
        assert f'"{where}"' in layout
        assert (tmp_path / "where").read_text() == where
        display = psutil.Process(run.process.pid).children()
        run.process.send_signal(signal.SIGINT)
        assert run.process.wait(LIMIT) == 0
    assert len(display) == 2  # and the dashboard
    assert not any(one.is_running() for one in display)
    assert not Path(where.partition("XAUTHORITY=")[2]).parent.exists()


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
