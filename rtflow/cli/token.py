"""``rtflow token``: by what programs on other machines show who they are."""

from __future__ import annotations

from typing import Annotated

import typer

from rtflow.cli import accounts, options

HELP = "Let programs on other machines in: by a token, or by a code that gives them one."
EXAMPLES = (
    "Examples: [cyan]rtflow token enrol scanner-1 --role scanner[/cyan], [cyan]rtflow token list[/cyan], "
    "[cyan]rtflow token revoke scanner-1[/cyan]"
)

app = typer.Typer(no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="What the token is called, such as the machine it is for.")]
Role = Annotated[
    str,
    typer.Option(
        metavar="scanner|subject|viewer|operator",
        help="What it may do; scanner and subject have a channel of their own, and nothing else.",
    ),
]


@app.command()
def enrol(
    name: Name,
    role: Role,
    minutes: Annotated[float, typer.Option(metavar="N", help="How many minutes the code is good for.")] = 15,
    days: accounts.Days = None,
    access: accounts.Folder = None,
) -> None:
    """Print a code by which one program gets a token and a certificate, once; an earlier code of it ends."""
    from rtflow.access.enrolment import Enrolling
    from rtflow.access.store import Access

    with accounts.audited(access, "token_enrol", name=name, role=role, minutes=minutes, days=days):
        code = Enrolling(Access(access)).code(name, role, minutes=minutes, days=days)
    typer.echo(code)
    typer.echo(f"good once, for {minutes:g} minutes, for {name} as {role}", err=True)


@app.command()
def add(name: Name, role: Role, days: accounts.Days = None, access: accounts.Folder = None) -> None:
    """Print a new token, for a program that cannot enrol; nobody can tell it later."""
    from rtflow.access.store import Access

    with accounts.audited(access, "token_add", name=name, role=role, days=days):
        text = Access(access).add_token(name, role, days=days)
    typer.echo(text)
    typer.echo("keep it now, readable by that program alone: it is shown this once", err=True)


@app.command("list")
def list_(access: accounts.Folder = None, json: options.Json = False) -> None:
    """List the tokens."""
    from rtflow.access.store import Access

    found = Access(access)
    tokens = found.tokens()
    if json:
        told = [
            {"name": one.name, "role": one.role, "added": one.added, "expires": one.expires or None}
            for one in tokens
        ]
        accounts.print_json({"folder": str(found.folder), "tokens": told})
        return
    for one in tokens:
        end = f", until {accounts.day(one.expires)}" if one.expires else ""
        typer.echo(f"{one.name}  {one.role}, since {accounts.day(one.added)}{end}")
    if not tokens:
        typer.echo(
            f"no tokens in {found.folder}; 'rtflow token enrol NAME --role scanner' makes one", err=True
        )


@app.command()
def revoke(name: Name, access: accounts.Folder = None) -> None:
    """Revoke a token; what is connected by it is cut off."""
    from rtflow.access.store import Access

    with accounts.audited(access, "token_revoke", name=name):
        Access(access).remove_token(name)
    typer.echo(f"{name} was revoked")
