"""Agents and runs with a server as real processes."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import served_run
from processes import LIMIT, Recorded, environment


class Process:
    """A process whose lines of stderr are kept; a context manager that leaves none behind."""

    def __init__(self, *command: str, stdin: int | None = None) -> None:
        self.process = subprocess.Popen(
            [sys.executable, *command],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment(),
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        self.lines.extend(iter(self.process.stdout.readline, ""))

    def __enter__(self):
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.wait()

    def said(self, text: str) -> bool:
        return any(text in line for line in self.lines)

    def until(self, condition: Callable[[], object]) -> None:
        """Wait for what is sure to come."""
        end = time.monotonic() + LIMIT
        while not condition():
            assert self.process.poll() is None, self.lines
            assert time.monotonic() < end, self.lines
            time.sleep(0.02)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.wait()

    def interrupt(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.wait()

    def wait(self) -> int:
        status = self.process.wait(LIMIT)
        self._reader.join(LIMIT)
        if self.process.stdout is not None:
            self.process.stdout.close()
        return status


class Agent(Process):
    """``rtflow scanner``."""

    def __init__(self, port: int, state: Path, *arguments: str) -> None:
        where = ["--server", f"ws://127.0.0.1:{port}", "--state", str(state)]
        super().__init__("-m", "rtflow", "scanner", *where, *arguments)


class SubjectAgent(Process):
    """``rtflow subject``."""

    def __init__(self, port: int, folder: Path, *arguments: str, stdin: int | None = None) -> None:
        self.out = folder / "out"
        where = [
            "--server",
            f"ws://127.0.0.1:{port}",
            "--state",
            str(folder / "state"),
            "--out",
            str(self.out),
        ]
        super().__init__("-m", "rtflow", "subject", *where, *arguments, stdin=stdin)


class ServedRun(Process, Recorded):
    """A run of `arrivals_workflow` that listens at a port; given settings, or ``--resume RUN_DIR``."""

    def __init__(self, port: int, out: Path, *arguments: str) -> None:
        self.out = out
        given = arguments if "--resume" in arguments else (str(out), *arguments)
        super().__init__(served_run.__file__, str(port), *given)

    def events(self, name: str) -> list[str]:
        """What was told under a name."""
        with contextlib.suppress(Exception):
            return [one.data["says"] for one in self.recording.events if one.name == name]
        return []
