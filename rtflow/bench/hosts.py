"""The three hosts of a run, as processes of this machine: analysis, scanner and subject, over TLS."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from rtflow.errors import RunError

_PATIENCE = 60.0


def free_port() -> int:
    """A port of this machine that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as one:
        port: int = one.getsockname()[1]
    return port


class Hosts:
    """Starts the commands as a user would, enrols both agents, and leaves no process; a context manager.

    Parameters
    ----------
    folder
        For all that they write: each host has a folder of its own.

    Attributes
    ----------
    port, url
        Where the analysis host listens.
    through
        Where the scanner's agent connects to: the same, or something on the way.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.port = free_port()
        self.url = self.through = f"wss://127.0.0.1:{self.port}"
        self._ending = contextlib.ExitStack()

    def __enter__(self) -> Hosts:
        self.do("analysis", "certs", "make", "127.0.0.1")
        return self

    def __exit__(self, *unused: object) -> None:
        self._ending.close()

    def do(self, host: str, *command: str) -> str:
        """Run a command of rtflow on a host to its end; what it printed.

        Raises
        ------
        RunError
            If it fails.
        """
        done = subprocess.run(
            [sys.executable, "-m", "rtflow", *command],
            env=self._environment(host),
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=False,
        )
        if done.returncode:
            raise RunError(f"rtflow {' '.join(command)} ended with {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def start(self, host: str, *command: str) -> subprocess.Popen[bytes]:
        """Start a command of rtflow on a host; it is ended with this."""
        log = self._ending.enter_context((self.folder(host) / f"{command[0]}.log").open("wb"))
        process = subprocess.Popen(
            [sys.executable, "-m", "rtflow", *command], env=self._environment(host), stdout=log, stderr=log
        )
        self._ending.callback(_end, process)
        return process

    def listen(self, *command: str) -> subprocess.Popen[bytes]:
        """Start a command of the analysis host, and wait until it listens."""
        process = self.start("analysis", *command, "--listen", f"127.0.0.1:{self.port}")
        self.until(lambda: _answers(self.port), process, "does not listen")
        return process

    def enrol(self, host: str, url: str) -> None:
        """Enrol an agent's machine at the address that it will connect to; the analysis host must listen."""
        code = self.do("analysis", "token", "enrol", host, "--role", host).split()[0]
        self.do(host, "enrol", url, "--code", code)

    def folder(self, host: str) -> Path:
        """What belongs to a host."""
        folder = self._folder / host
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder

    def said(self, host: str, command: str) -> str:
        """What a command has printed so far."""
        return (self.folder(host) / f"{command}.log").read_text(errors="replace")

    def until(self, there: Callable[[], bool], process: subprocess.Popen[bytes], otherwise: str) -> None:
        """Wait for something.

        Raises
        ------
        RunError
            If it does not come before long, or the process ends first.
        """
        until = time.monotonic() + _PATIENCE
        while not there():
            if process.poll() is not None or time.monotonic() > until:
                raise RunError(f"a host {otherwise}; they said: {self._said()}")
            time.sleep(0.02)

    def _said(self) -> str:
        """The last that each command wrote."""
        logs = {path.stem: path.read_text(errors="replace")[-500:] for path in self._folder.rglob("*.log")}
        return "; ".join(f"{name}: {' '.join(text.split())}" for name, text in sorted(logs.items()))

    def _environment(self, host: str) -> dict[str, str]:
        own = self.folder(host) / "settings"
        return os.environ | {"RTFLOW_ACCESS": str(own / "access"), "PYTHONWARNINGS": "ignore"}


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1.0).close()
    except OSError:
        return False
    return True


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5.0)
            return
        process.kill()
    process.wait()
