"""``rtflow dashboard``: the page for whoever looks after a scan."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from rtflow.cli import accounts, options
from rtflow.errors import UsageError

EXAMPLES = (
    "Examples: [cyan]rtflow dashboard --server wss://localhost:8443 --listen 0.0.0.0:8050[/cyan], "
    "[cyan]rtflow run template --dashboard[/cyan]"
)


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
    desktop: Annotated[
        Path | None,
        typer.Option(
            metavar="SOCKET", help="Socket of a VNC server of this machine, to be shown to operators."
        ),
    ] = None,
    beside: Annotated[
        bool,
        typer.Option(
            "--beside", hidden=True, help="Of another rtflow: token from stdin, and end when that ends."
        ),
    ] = False,
    quiet: options.Quiet = False,
) -> None:
    """Show a run, or a server that waits for runs, in a browser.

    Users log in by the accounts of 'rtflow user'. To end it never touches a run.
    """
    from rtflow.access.store import Access
    from rtflow.cli.addresses import parse_address, reached_host
    from rtflow.cli.listening import known_names
    from rtflow.dash_app.starting import run_dashboard

    host, port = parse_address(listen)
    names = ("localhost",) if plain else tuple(known_names(Access(access).folder / "certificates"))
    run_dashboard(
        server,
        host,
        port,
        names=names,
        desktop=desktop,
        token=sys.stdin.readline().strip() if beside else _token(token_file),
        ca=ca,
        plain=plain,
        access=access,
        ready=_tell(reached_host(host, names), beside=beside, quiet=quiet),
        ends_with=sys.stdin if beside else None,
        # Beside another rtflow there is nothing to say: that one is the engine.
        tell=(lambda _: None) if beside or quiet else partial(typer.echo, err=True),
    )


def _tell(host: str, *, beside: bool, quiet: bool) -> Callable[[str, int], None]:
    def tell(scheme: str, port: int) -> None:
        url = f"{scheme}://{host}:{port}"
        if beside:
            print(url, flush=True)
        elif not quiet:
            typer.echo(f"dashboard at {url}", err=True)

    return tell


def _token(file: Path | None) -> str:
    if file is None:
        return ""
    try:
        return file.read_text().strip()
    except OSError as error:
        raise UsageError(f"--token-file {file}: {error.strerror or error}") from None
