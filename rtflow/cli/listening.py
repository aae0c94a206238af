"""The port of a run, or of a server that waits for runs: what `run --listen` and `serve` share."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from rtflow.cli.addresses import parse_address, reached_host
from rtflow.cli.dashboards import dashboard_beside, private_accounts
from rtflow.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rtflow.server.desk import Desk
    from rtflow.server.thread import Server
    from rtflow.settings import RunSettings

Plain = Annotated[
    bool, typer.Option("--plain", help="Without TLS; on this machine only (127.0.0.1, ::1, localhost).")
]
ClientCertificates = Annotated[
    bool,
    typer.Option(
        "--client-certificates", help="Agents must show their certificate too (mutual TLS), not a token only."
    ),
]


@dataclass(frozen=True)
class ListenOptions:
    """What a command that runs once was told of its port.

    Parameters
    ----------
    listen
        ``HOST:PORT``; None opens none.
    access, plain, client_certificates
        As `open_server` has them.
    quiet
        Say nothing to newcomers.
    dashboard
        ``HOST:PORT`` for browsers; empty for no dashboard.
    desktop
        Whether the dashboard has a display of this machine.
    """

    listen: str | None
    access: Path | None
    plain: bool
    client_certificates: bool
    quiet: bool
    dashboard: str = ""
    desktop: bool = False

    @contextlib.contextmanager
    def opened(
        self, settings: RunSettings, out: Path, workflow: str, session: Path | None = None
    ) -> Iterator[tuple[Server | None, threading.Event | None]]:
        """The server while the block lasts, and what ends the run when an operator says so; None without."""
        if self.listen is None and (self.plain or self.client_certificates):
            raise UsageError("--plain and --client-certificates need a port; add --listen HOST:PORT")
        if self.desktop and not self.dashboard:
            raise UsageError("--desktop is shown by the dashboard; add --dashboard")
        if self.listen is None and not self.dashboard:
            yield None, None
            return
        from rtflow.items import describe_session
        from rtflow.report import report
        from rtflow.server.desk import Desk

        held = partial(describe_session, (session or out / "session").absolute())
        desk = Desk(settings, out, workflow=workflow, session=held, report=report)
        with self._accounts() as access:
            opened = open_server(
                self.listen or "127.0.0.1:0",
                desk,
                access=access,
                plain=self.plain or self.listen is None,
                client_certificates=self.client_certificates,
            )
            with opened as server:
                server.for_agents = self.listen is not None  # else the port is the dashboard's own
                if self.listen is not None and not self.quiet:
                    tell_newcomers(reached_at(server))
                if not self.dashboard:
                    yield server, desk.stopping
                    return
                page = shown(server, self.dashboard, access, demo=access != self.access, desktop=self.desktop)
                with page:
                    yield server, desk.stopping

    def linger(self) -> None:
        """With a dashboard, wait for Ctrl-C: the run is over, and is to be looked at."""
        if not self.dashboard:
            return
        from rtflow.cli.interrupt import on_interrupt

        over = threading.Event()
        with on_interrupt(over.set):
            typer.echo("the run is over; the dashboard stays until Ctrl-C", err=True)
            while not over.wait(0.5):
                pass

    @contextlib.contextmanager
    def _accounts(self) -> Iterator[Path | None]:
        """Where the accounts stand: those of a demonstration on this machine are made for it."""
        if self.listen is not None or self.access is not None:
            yield self.access
        else:
            with private_accounts() as access:
                yield access


@contextlib.contextmanager
def shown(
    server: Server, listen: str, access: Path | None, *, demo: bool = False, desktop: bool = False
) -> Iterator[None]:
    """A dashboard while the block lasts, with a desktop if asked for; where it is, is said."""
    from rtflow.access.store import Access
    from rtflow.cli.desktop import opened_display

    accounts = Access(access)
    with (
        opened_display() if desktop else contextlib.nullcontext() as socket,
        dashboard_beside(server, listen, accounts, one_time=demo, desktop=socket) as address,
    ):
        if address.instead:
            typer.echo(f"{address.instead}: the dashboard is at {address.url.rpartition(':')[2]}", err=True)
        typer.echo(f"dashboard at {address.login or address.url}", err=True)
        if desktop:
            where = " ".join(f"{name}={os.environ[name]}" for name in ("DISPLAY", "XAUTHORITY"))
            typer.echo(f"its desktop, for programs that you start here: {where}", err=True)
        if not accounts.users():
            typer.echo("nobody can log in yet: rtflow user add NAME --role operator|viewer", err=True)
        yield


def open_server(
    listen: str, desk: Desk, *, access: Path | None, plain: bool, client_certificates: bool
) -> Server:
    """A server that is not open yet; whom it knows stands in the folder of the accounts.

    Parameters
    ----------
    listen
        ``HOST:PORT``.
    desk
        Takes the operator's orders.
    access
        Folder of the accounts; None for the usual one.
    plain
        Without TLS.
    client_certificates
        Turn away whoever has no certificate of ours.

    Raises
    ------
    UsageError
        If the address is none, there is no certificate, or it would be plain for others than this machine.
    """
    from rtflow.access.audit import AuditLog
    from rtflow.access.certificates import server_context
    from rtflow.access.sessions import is_loopback
    from rtflow.access.store import Access
    from rtflow.server.guard import Guard
    from rtflow.server.thread import Server

    host, port = parse_address(listen)
    if plain and not is_loopback(host):
        raise UsageError(f"--plain is for this machine only, and {host} is for others; leave it out")
    if plain and client_certificates:
        raise UsageError("--client-certificates needs TLS; leave out --plain")
    accounts = Access(access)
    folder = accounts.folder / "certificates"
    tls = None if plain else server_context(folder, client_certificates=client_certificates)
    names = known_names(folder) if tls is not None else ("localhost",)
    guard = Guard(accounts, AuditLog(accounts.folder / "audit.jsonl"), names=names)
    return Server(host, port, guard=guard, tls=tls, desk=desk, names=names)


def known_names(folder: Path) -> Sequence[str]:
    """Names that the server's certificate is for."""
    from rtflow.access.certificates import certificates

    return next((one.names for one in certificates(folder) if one.file.stem == "server"), ())


def reached_at(server: Server, kind: Literal["ws", "http"] = "ws") -> str:
    """The address that others type: of agents, or of the API."""
    scheme = (server.url if kind == "ws" else server.http).partition(":")[0]
    return f"{scheme}://{reached_host(server.host, server.names)}:{server.port}"


def tell_newcomers(address: str) -> None:
    """What to type on the two other hosts."""
    plain = address.startswith("ws://")
    token = " --token-file FILE" if plain else ""
    lines = [
        f"listening at {address}",
        f"on the scanner's host:  rtflow scanner --server {address} --watch DIR{token}",
        f"on the subject's host:  rtflow subject --server {address} --out DIR{token}",
    ]
    if plain:
        lines.append("once for each, here:    umask 077; rtflow token add NAME --role scanner|subject > FILE")
    else:
        lines.append("once for each, here:    rtflow token enrol NAME --role scanner|subject")
        lines.append(f"and with its code there: rtflow enrol {address}")
    for line in lines:
        typer.echo(line, err=True)
