"""``rtflow certs``: the certificates by which server and agents trust one another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rtflow.cli import accounts, options
from rtflow.errors import UsageError

if TYPE_CHECKING:
    from rtflow.access.certificates import Certificate

HELP = "Make and show certificates; no other program and no other authority is needed."
EXAMPLES = "Examples: [cyan]rtflow certs make console.lan 10.0.0.5[/cyan], [cyan]rtflow certs show[/cyan]"
LOOPBACK = ("localhost", "127.0.0.1", "::1")

app = typer.Typer(no_args_is_help=True)


@app.command()
def make(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME...",
            help="Names and addresses by which others reach this machine; default its host name.",
        ),
    ] = None,
    access: accounts.Folder = None,
) -> None:
    """Make the certificate of the server, and the authority that all trust if there is none yet.

    This machine's own names (localhost) are always in it. Agents that have enrolled need not do so again.
    """
    import socket

    from rtflow.access.certificates import make_authority, make_server_certificate

    folder = _folder(access)
    given = names or [socket.gethostname().lower()]
    with accounts.audited(access, "certificates_make", names=" ".join(given)):
        make_authority(folder)
        make_server_certificate(folder, [*given, *LOOPBACK])
    _tell(folder)


@app.command()
def show(access: accounts.Folder = None, json: options.Json = False) -> None:
    """Show the certificates, their names and fingerprints, and until when they are good."""
    from rtflow.access.certificates import certificates

    folder = _folder(access)
    if not json:
        _tell(folder)
        return
    told = [
        {
            "file": str(one.file),
            "names": one.names,
            "expires": one.expires.isoformat(),
            "sha256": one.fingerprint,
            "warning": _warning(one),
        }
        for one in certificates(folder)
    ]
    accounts.print_json({"folder": str(folder), "certificates": told})


def _folder(access: Path | None) -> Path:
    from rtflow.access.store import default_folder

    return (access or default_folder()) / "certificates"


def _tell(folder: Path) -> None:
    from rtflow.access.certificates import certificates

    found = certificates(folder)
    if not found:
        raise UsageError(f"{folder} has no certificates; 'rtflow certs make' makes them")
    for one in found:
        typer.echo(f"{one.file}")
        typer.echo(f"  for      {', '.join(one.names)}")
        typer.echo(f"  until    {one.expires:%Y-%m-%d}")
        typer.echo(f"  SHA-256  {one.fingerprint}")
        if warning := _warning(one):
            typer.echo(f"rtflow: {warning}", err=True)


def _warning(certificate: Certificate) -> str:
    from datetime import UTC, datetime

    return certificate.warning(datetime.now(UTC))
