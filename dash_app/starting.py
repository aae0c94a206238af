"""How the dashboard's process is put together from what a user says."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

from rtflow.access.certificates import authority_pem, client_context, server_context
from rtflow.access.sessions import is_loopback
from rtflow.access.store import Access
from rtflow.dash_app.engine import EnginePlace
from rtflow.dash_app.process import DashboardOptions, serve
from rtflow.errors import OutputError, UsageError

_DAYS = 365.0


def run_dashboard(
    server: str,
    host: str,
    port: int,
    *,
    token: str,
    ca: Path | None,
    plain: bool,
    access: Path | None,
    names: tuple[str, ...],
    desktop: Path | None,
    ready: Callable[[str, int], None],
    ends_with: TextIO | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> None:
    """Serve the dashboard until it is told to end.

    Parameters
    ----------
    server
        The engine: ``wss://HOST:PORT``, or ``ws://`` on this machine.
    host, port
        Where browsers connect.
    token
        Of an operator; empty: one is made in the folder of the accounts, and taken back at the end.
    ca
        The authority that the engine's certificate is from; default that of the folder of the accounts.
    plain
        Without TLS towards browsers.
    access
        Folder of the accounts; None for the usual one.
    names
        Names that the dashboard is reached by.
    desktop
        Socket of a VNC server; None for no desktop.
    ready
        Called with the scheme and the port of the page's address.
    ends_with
        When this comes to its end, the dashboard ends, too.
    tell
        Called with a line whenever the engine is lost, or is there again.

    Raises
    ------
    UsageError
        If the address is none, there is no certificate, or it would be plain for others than this machine.
    """
    accounts = Access(access)
    folder = accounts.folder / "certificates"
    if plain and not is_loopback(host):
        raise UsageError(f"--plain is for this machine only, and {host} is for others; leave it out")
    place, towards = _place(server, ca, folder)
    tls = None if plain else server_context(folder, client_certificates=False)
    with contextlib.nullcontext(token) if token else lent_token(accounts) as known:
        options = DashboardOptions(
            EnginePlace(place, known, towards), accounts.folder, host, port, tls, names, desktop
        )
        scheme = "http" if tls is None else "https"
        asyncio.run(serve(options, lambda port: ready(scheme, port), ends_with, tell))


def _place(server: str, ca: Path | None, folder: Path) -> tuple[str, ssl.SSLContext | None]:
    scheme, colon, rest = server.partition("://")
    if not colon or scheme not in ("ws", "wss", "http", "https"):
        raise UsageError(f"--server {server}: expected wss://HOST:PORT, or ws://HOST:PORT on this machine")
    if scheme in ("ws", "http"):
        host = rest.rpartition(":")[0].strip("[]")
        if not is_loopback(host):
            raise UsageError(f"--server {server}: without TLS only on this machine; use wss://")
        return f"http://{rest.rstrip('/')}", None
    try:
        authority = ca.read_text() if ca is not None else authority_pem(folder)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--ca {ca}: {getattr(error, 'strerror', None) or error}") from None
    except UsageError as error:
        there = "--ca FILE, where the engine is on another machine: its authority.pem"
        raise UsageError(f"{error}; or give {there}") from None
    return f"https://{rest.rstrip('/')}", client_context(authority)


@contextlib.contextmanager
def lent_token(accounts: Access) -> Iterator[str]:
    """A token of an operator for a dashboard, taken back at the end; where that never comes, it expires."""
    name = f"dashboard-{secrets.token_hex(3)}"
    token = accounts.add_token(name, "operator", days=_DAYS)
    try:
        yield token
    finally:
        with contextlib.suppress(UsageError, OutputError):
            accounts.remove_token(name)
