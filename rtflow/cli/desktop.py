"""A display of this machine for the dashboard: Debian's TigerVNC, at a socket that nobody else can open."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from rtflow.errors import OutputError, UsageError

Desktop = Annotated[
    bool,
    typer.Option(
        "--desktop", help="With the dashboard: a display of this machine, for tools that have a window."
    ),
]

_SIZE = "1280x800"
_NEVER = str(2**31 - 1)
_PATIENCE = 20.0


@contextlib.contextmanager
def opened_display() -> Iterator[Path]:
    """A display while the block lasts, and ``DISPLAY`` for all that is started meanwhile; gives its socket.

    Raises
    ------
    UsageError
        If there is no VNC server on this machine.
    OutputError
        If it does not start.
    """
    program = shutil.which("Xtigervnc")
    if program is None:
        raise UsageError(
            "--desktop needs a VNC server; on Debian: apt-get install tigervnc-standalone-server"
        )
    with tempfile.TemporaryDirectory(prefix="rtflow-desktop-") as folder:
        socket = Path(folder) / "vnc"
        readable, writable = os.pipe()
        options = [
            "-rfbport",
            "-1",
            "-rfbunixpath",
            str(socket),
            "-SecurityTypes",
            "None",
            "-geometry",
            _SIZE,
        ]
        options += ["-nolisten", "tcp", "-AlwaysShared", "-displayfd", str(writable)]
        # All who come by the socket are one host to it: for some pages that leave early, it would turn away
        # everybody. Who may come, the dashboard knows.
        options += ["-BlacklistThreshold", _NEVER]
        options += ["-auth", str(_cookie(Path(folder) / "authority"))]
        # Else it would outlast an rtflow that is killed.
        tied = [setpriv, "--pdeathsig", "TERM", "--"] if (setpriv := shutil.which("setpriv")) else []
        command = [*tied, program, *options]
        with (Path(folder) / "log").open("wb") as log:
            process = subprocess.Popen(
                command, pass_fds=(writable,), stdout=log, stderr=log, start_new_session=True
            )
        os.close(writable)
        before = {name: os.environ.get(name) for name in ("DISPLAY", "XAUTHORITY")}
        try:
            os.environ["DISPLAY"] = f":{_number(readable, Path(folder) / 'log')}"
            os.environ["XAUTHORITY"] = str(Path(folder) / "authority")
            yield socket
        finally:
            os.close(readable)
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value
            process.terminate()
            try:
                process.wait(5.0)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _cookie(path: Path) -> Path:
    """A file with a secret that opens the display: who cannot read it opens no window there, nor looks in."""
    fields = (b"", b"", b"MIT-MAGIC-COOKIE-1", secrets.token_bytes(16))
    entry = b"\xff\xff" + b"".join(len(field).to_bytes(2) + field for field in fields)  # of any host
    path.touch(0o600)
    path.write_bytes(entry)
    return path


def _number(readable: int, log: Path) -> int:
    """The number of the display, which the server tells once it takes connections."""
    import select

    there, _, _ = select.select([readable], [], [], _PATIENCE)
    text = os.read(readable, 16).strip() if there else b""
    if not text:
        said = " ".join(log.read_text(errors="replace").split())[-300:]
        raise OutputError(f"the desktop did not start: {said}")
    return int(text)
