"""What the commands on accounts share: the folder, passwords that are typed, a line in the audit log."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from rtflow.errors import RtflowError, UsageError

Folder = Annotated[
    Path | None,
    typer.Option(
        "--access",
        metavar="DIR",
        help="Folder of the accounts; default RTFLOW_ACCESS, else the folder of the user's settings.",
    ),
]
PasswordFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Read the password from the first line of a file; [bold]-[/bold] is stdin. Default: ask for it.",
    ),
]
Days = Annotated[
    float | None, typer.Option(metavar="N", help="How many days the token is good for; default no end.")
]

_LONGEST = 4096


def audit_log(folder: Path | None) -> Any:
    """The audit log beside the accounts."""
    from rtflow.access.audit import AuditLog
    from rtflow.access.store import default_folder

    return AuditLog((folder or default_folder()) / "audit.jsonl")


@contextlib.contextmanager
def audited(folder: Path | None, what: str, **details: object) -> Iterator[None]:
    """Do something to the accounts, and write who did it, and whether it could be done."""
    log = audit_log(folder)
    try:
        yield
    except RtflowError as error:
        log.write(_who(), what, **details, refused=str(error))
        raise
    log.write(_who(), what, **details)


def new_password(file: Path | None, name: str) -> str:
    """The password that was typed twice, or stands in a file; a command's own words everybody can read.

    Raises
    ------
    UsageError
        If there is no terminal to ask at, or the file cannot be read.
    """
    if file is None:
        if not sys.stdin.isatty():
            raise UsageError("there is no terminal to ask for a password at; give it by --password-file")
        typed: str = typer.prompt(
            f"Password of {name}", hide_input=True, confirmation_prompt="Once more", err=True
        )
        return typed
    try:
        if str(file) == "-":
            content = sys.stdin.buffer.read(_LONGEST)
        else:
            with file.open("rb") as opened:
                content = opened.read(_LONGEST)
        return content.decode().splitlines()[0]
    except OSError as error:
        raise UsageError(f"--password-file {file}: {error.strerror or error}") from None
    except (UnicodeDecodeError, IndexError):
        raise UsageError(f"--password-file {file}: expected a line of text (UTF-8)") from None


def day(seconds: float) -> str:
    """A time since 1970 as a day in UTC.

    >>> day(86_400.0)
    '1970-01-02'
    """
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d")


def print_json(value: object) -> None:
    """Print one JSON object."""
    import msgspec

    typer.echo(msgspec.json.encode(value).decode())


def _who() -> str:
    import getpass

    try:
        return f"command line of {getpass.getuser()}"
    except (OSError, KeyError, ImportError):  # a user without a name, as containers have them
        return "command line"
