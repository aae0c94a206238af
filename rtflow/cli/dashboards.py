"""A dashboard beside a run, or beside a server that waits for runs; started again when it dies.

The run does not notice it: it has a process group of its own, so that Ctrl-C does not reach it, and speaks to
the run over the network only.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rtflow.cli.addresses import EVERYWHERE, parse_address
from rtflow.errors import OutputError, UsageError

if TYPE_CHECKING:
    from rtflow.access.store import Access
    from rtflow.server.thread import Server

DEFAULT = "127.0.0.1:8050"
_OPTION = "--dashboard-listen"

Listen = Annotated[
    str,
    typer.Option(
        _OPTION,
        metavar="HOST:PORT",
        help="Where browsers reach the dashboard; where that port is taken, another one on this machine.",
    ),
]

_FIRST, _LONGEST = 0.5, 10.0
"""Seconds until it is started again: twice as long each time, up to this, unless it lived for long."""
_LIVED = 60.0
_PATIENCE = 60.0
_FAREWELL = 5.0


@dataclass(frozen=True)
class DashboardAddress:
    """Where a dashboard is.

    Parameters
    ----------
    url
        Of its page.
    login
        Where somebody who has no account logs in, once; empty where there are accounts.
    instead
        Why it is not where it was to be; empty where it is.
    """

    url: str
    login: str = ""
    instead: str = ""


@contextlib.contextmanager
def private_accounts() -> Iterator[Path]:
    """A folder of accounts for one command, with one operator whose password nobody knows."""
    from rtflow.access.store import Access

    with tempfile.TemporaryDirectory(prefix="rtflow-access-") as folder:
        Access(Path(folder)).add_user("operator", secrets.token_urlsafe(24), "operator")
        yield Path(folder)


@contextlib.contextmanager
def dashboard_beside(
    server: Server,
    listen: str,
    accounts: Access,
    *,
    one_time: bool = False,
    desktop: Path | None = None,
) -> Iterator[DashboardAddress]:
    """A dashboard of a server while the block lasts.

    Parameters
    ----------
    server
        The open port of the run.
    listen
        ``HOST:PORT`` for browsers.
    accounts
        Who may log in.
    one_time
        Whether to give a link by which one browser logs in as the first operator that there is.
    desktop
        Socket of a VNC server, to be shown to operators.

    Raises
    ------
    UsageError
        If the address is none, or it would be plain for others than this machine.
    OutputError
        If it does not start.
    """
    from rtflow.access.one_time import OneTimeLogins
    from rtflow.access.sessions import is_loopback
    from rtflow.dash_app.starting import lent_token

    plain = server.url.startswith("ws://")
    host, _ = parse_address(listen, _OPTION)
    if plain and not is_loopback(host):
        raise UsageError(
            f"{_OPTION} {listen} is for others than this machine, and here is no TLS; add --listen HOST:PORT "
            "without --plain"
        )
    command = _command(server, accounts, plain=plain)
    command += ["--desktop", str(desktop)] if desktop is not None else []
    with lent_token(accounts) as token:
        keeper = _Keeper(command, token)
        try:
            why = _why_not(listen)
            url = keeper.start(f"{listen.rpartition(':')[0]}:0" if why else listen)
            login = ""
            if one_time:
                operator = next(one for one in accounts.users() if one.role == "operator")
                code = OneTimeLogins(accounts).make(accounts.identity(operator.name))
                login = f"{url}/login#code={code}"
            yield DashboardAddress(url, login, why and f"{listen} {why}")
        finally:
            keeper.end()


def _why_not(listen: str) -> str:
    """What is wrong with a port, where another one would do; empty if nothing is."""
    host, port = parse_address(listen, _OPTION)
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as whoever listens there has it
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return "is taken"
            if error.errno == errno.EACCES:
                return f"cannot be had ({os.strerror(error.errno)})"
    return ""


def _command(server: Server, accounts: Access, *, plain: bool) -> list[str]:
    host = server.host if server.host not in EVERYWHERE else "127.0.0.1"
    if not plain:  # the certificate is for names; of the first one we know that it leads here
        host = next((one for one in server.names if one in ("localhost", "127.0.0.1")), server.names[0])
    shown = f"[{host}]" if ":" in host else host
    scheme = server.url.partition(":")[0]
    command = [sys.executable, "-m", "rtflow", "dashboard", "--beside", "--access", str(accounts.folder)]
    command += ["--server", f"{scheme}://{shown}:{server.port}"]
    return [*command, "--plain"] if plain else command


class _Keeper:
    """Starts the process, and again when it dies."""

    def __init__(self, command: list[str], token: str) -> None:
        self._command, self._token = command, token
        self._ended = threading.Event()
        self._process: subprocess.Popen[str] | None = None
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def start(self, listen: str) -> str:
        host, _, port = listen.rpartition(":")
        url = self._begin(listen)
        if not url and port != "0":
            url = self._begin(f"{host}:0")  # somebody else has taken the port meanwhile, most likely
        if not url:
            raise OutputError("the dashboard did not start; leave out --dashboard, or try 'rtflow dashboard'")
        # It comes back where it was: pages that are open look for it there.
        again = f"{host}:{url.rpartition(':')[2]}"
        self._thread = threading.Thread(target=self._keep, args=(again,), name="dashboard", daemon=True)
        self._thread.start()
        return url

    def end(self) -> None:
        self._ended.set()
        with self._lock:
            process = self._process
        if process is not None and process.stdin is not None:
            with contextlib.suppress(OSError):
                process.stdin.close()
            try:
                process.wait(_FAREWELL)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self._thread is not None:
            self._thread.join(_FAREWELL)
        if process is not None:
            _let_go(process)

    def _begin(self, listen: str) -> str:
        with self._lock:
            if self._ended.is_set():
                return ""
            process = self._process = subprocess.Popen(
                [*self._command, "--listen", listen],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        assert process.stdin is not None
        assert process.stdout is not None
        hangs = threading.Timer(_PATIENCE, process.kill)
        hangs.start()
        with contextlib.suppress(OSError):
            process.stdin.write(self._token + "\n")
            process.stdin.flush()
        url = process.stdout.readline().strip()
        hangs.cancel()
        if not url:
            process.wait()
            _let_go(process)
        return url

    def _keep(self, listen: str) -> None:
        wait = _FIRST
        while not self._ended.is_set():
            assert self._process is not None
            began = time.monotonic()
            self._process.wait()
            _let_go(self._process)
            # To start one takes a processor for seconds: what dies each time must not take it from the run.
            wait = _FIRST if time.monotonic() - began > _LIVED else wait
            if self._ended.wait(wait):
                return
            wait = min(_LONGEST, 2 * wait)
            self._begin(listen)


def _let_go(process: subprocess.Popen[str]) -> None:
    """Close what is ours of the pipes to a process that has ended."""
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
