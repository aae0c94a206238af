"""``rtflow run`` in a process of its own, that can be watched, killed and taken up."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import arrivals_workflow

from rtflow.documents import Event, Result
from rtflow.journal import Recording

ROOT = Path(__file__).resolve().parents[2]
WORKFLOW = Path(arrivals_workflow.__file__)
LIMIT = 120.0


def until(condition: Callable[[], bool]) -> None:
    """Wait for what is sure to come."""
    end = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < end, "what was waited for did not come"
        time.sleep(0.01)


def environment() -> dict[str, str]:
    """Of a process that finds rtflow and the helpers."""
    paths = os.pathsep.join([str(ROOT), str(WORKFLOW.parent)])
    return os.environ | {"PYTHONPATH": paths, "PYTHONWARNINGS": "default"}


class Recorded:
    """Something that runs a workflow once, into the output folder ``out``."""

    out: Path

    @property
    def run_dir(self) -> Path:
        (found,) = (self.out / "runs").iterdir()
        return found

    @property
    def recording(self) -> Recording:
        return Recording(self.run_dir)

    def results(self) -> list[Result]:
        """As far as the journal has them."""
        with contextlib.suppress(Exception):
            return self.recording.results
        return []


class Run(Recorded):
    """A run of the workflow of `arrivals_workflow`; a context manager that leaves no process.

    Parameters
    ----------
    out
        Its output folder.
    arguments
        Of ``rtflow run``, behind the workflow; ``--resume RUN_DIR`` takes the workflow's place.
    """

    def __init__(self, out: Path, *arguments: str, file_limit: int | None = None) -> None:
        self.out = out
        target = [] if "--resume" in arguments else [str(WORKFLOW), "--out", str(out)]
        command = [sys.executable, "-m", "rtflow", "run", *target, "--json", "--quiet", *arguments]
        if file_limit is not None:
            # Bytes, and no file grows beyond: as on a disk that is full, for whoever may not mount one.
            command = ["sh", "-c", f'ulimit -f {file_limit // 512}; exec "$@"', "sh", *command]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
        )

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait for what is sure to come."""

        def come() -> bool:
            if condition():
                return True
            assert self.process.poll() is None, self.process.communicate()
            return False

        until(come)

    def port(self) -> int:
        """Port that it listens at, once it does."""
        found: list[int] = []

        def listening() -> bool:
            with contextlib.suppress(Exception):
                found.extend(one.data["port"] for one in self.recording.events if one.name == "listening")
            return bool(found)

        self.until(listening)
        return found[-1]

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def wait(self) -> tuple[int, dict[str, Any], str]:
        """Exit status, what was told as JSON, and what was said on stderr."""
        out, err = self.process.communicate(timeout=LIMIT)
        return self.process.returncode, json.loads(out) if out else {}, err


def events(recording: Recording, name: str) -> list[Event]:
    return [one for one in recording.events if one.name == name]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port
