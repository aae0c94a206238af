"""``rtflow audit``: who did what, and whether the log of it is whole."""

from __future__ import annotations

from collections import deque
from typing import Annotated

import typer

from rtflow.cli import accounts, options

HELP = "Show the log of who did what, and prove that nothing in it was changed."
EXAMPLES = "Examples: [cyan]rtflow audit verify[/cyan], [cyan]rtflow audit show --who anna --last 50[/cyan]"
BROKEN = 4

app = typer.Typer(no_args_is_help=True)


@app.command()
def verify(
    expect: Annotated[
        str, typer.Option(metavar="HASH", help="A hash that an earlier check printed must still be there.")
    ] = "",
    access: accounts.Folder = None,
    json: options.Json = False,
) -> None:
    """Check that no line was changed, taken out or moved; exit status 4 if one was, and which first."""
    import dataclasses

    log = accounts.audit_log(access)
    verdict = log.verify(expect.strip().lower())
    if json:
        accounts.print_json({"log": str(log.path), **dataclasses.asdict(verdict)})
    else:
        typer.echo(f"lines that hold: {verdict.lines}, in {log.path}")
        if verdict.lines:
            typer.echo(f"hash of the last: {verdict.hash}")
        if verdict.repairs:
            typer.echo(
                f"lines that tell of a crash: {verdict.repairs}; rtflow audit show --what audit_repaired"
            )
        if verdict.unfinished:
            typer.echo("the last line has no end: a program was ended while it wrote it")
    if verdict.broken:
        typer.echo(f"rtflow: {verdict.broken}", err=True)
        raise typer.Exit(BROKEN)


@app.command()
def show(
    last: Annotated[int, typer.Option(min=1, metavar="N", help="How many lines, the last ones.")] = 20,
    who: Annotated[str, typer.Option(metavar="NAME", help="Only what this one did.")] = "",
    what: Annotated[str, typer.Option(metavar="WHAT", help="Only this, such as login.")] = "",
    access: accounts.Folder = None,
    json: options.Json = False,
) -> None:
    """Show the last lines of the log."""
    found = deque(
        (
            entry
            for entry in accounts.audit_log(access).entries()
            if who in ("", entry.who) and what in ("", entry.what)
        ),
        maxlen=last,
    )
    if json:
        accounts.print_json({"entries": list(found)})
        return
    for entry in found:
        details = " ".join(f"{name}={value}" for name, value in entry.details.items())
        typer.echo(visible(f"{entry.n}  {entry.time}  {entry.who}  {entry.what}  {details}".rstrip()))


def visible(text: str) -> str:
    """What came from outside, without what would command the terminal or turn the line around.

    >>> print(visible("a\\x1b[31mb\\u202ec"))
    a\\x1b[31mb\\u202ec
    """
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in text)
