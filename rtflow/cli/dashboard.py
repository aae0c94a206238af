"""``rtflow dashboard``: the page for whoever looks after a scan."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from rtflow.cli import accounts, options
from rtflow.errors import UsageError

EXAMPLES = (
    "Examples: [cyan]rtflow dashboard --server wss://localhost:8443 --listen 0.0.0.0:8050[/cyan], "
    "[cyan]rtflow run template --dashboard[/cyan]"
)

TOKEN = "RTFLOW_DASHBOARD_TOKEN"
"""The environment's name for the token; a command line can be seen by others."""


def command(
    server: Annotated[
        str, typer.Option(metavar="URL", help="The engine: wss://HOST:PORT, or ws:// on this machine.")
    ],
    listen: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where browsers connect.")
    ] = "127.0.0.1:8050",
    token_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Token of an operator; default: one that is made here, and taken back."
        ),
    ] = None,
    ca: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Authority that the engine's certificate is from.")
    ] = None,
    plain: Annotated[
        bool, typer.Option("--plain", help="Without TLS towards browsers; on this machine only.")
    ] = False,
    access: accounts.Folder = None,
    quiet: options.Quiet = False,
) -> None:
    """Show a run, or a server that waits for runs, in a browser.

    Users log in by the accounts of 'rtflow user'. To end it never touches a run.
    """
    from rtflow.access.store import Access
    from rtflow.cli.listening import known_names, parse_address
    from rtflow.dash_app.starting import run_dashboard

    host, port = parse_address(listen)
    names = ("localhost",) if plain else tuple(known_names(Access(access).folder / "certificates"))
    run_dashboard(
        server,
        host,
        port,
        names=names,
        token=_token(token_file),
        ca=ca,
        plain=plain,
        access=access,
        ready=lambda url: None if quiet else typer.echo(f"dashboard at {url}", err=True),
    )


def _token(file: Path | None) -> str:
    if file is None:
        return os.environ.pop(TOKEN, "")
    try:
        return file.read_text().strip()
    except OSError as error:
        raise UsageError(f"--token-file {file}: {error.strerror or error}") from None
