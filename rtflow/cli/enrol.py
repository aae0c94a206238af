"""``rtflow enrol``: make this machine known to a server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

EXAMPLES = (
    "Example: [cyan]rtflow enrol wss://console.lan:8443[/cyan], with the code of "
    "[cyan]rtflow token enrol NAME --role scanner[/cyan] on that host"
)


def command(
    server: Annotated[str, typer.Argument(metavar="wss://HOST:PORT", help="The analysis host's rtflow.")],
    code: Annotated[
        str | None,
        typer.Option(metavar="CODE", help="The one-time code; default: ask for it. It holds once."),
    ] = None,
    credentials: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Where what comes is kept; default in the folder of the user's settings."
        ),
    ] = None,
) -> None:
    """Make this machine known to a server, as scanner's or subject's host, by a one-time code.

    The machine's key is made here and stays here; the code shows that the server is the right one.
    """
    import asyncio

    from rtflow.agents.enrolling import enrol, https_address

    https_address(server)  # a wrong one is said before the code is asked for
    said = code if code is not None else typer.prompt("code")
    known = asyncio.run(enrol(server, said, credentials))
    typer.echo(f"enrolled with {known.server} as {known.role} {known.name}")
    typer.echo(f"rtflow {known.role} --server {server} --help    says what comes next")
