"""``rtflow user``: who may log in by a password."""

from __future__ import annotations

from typing import Annotated

import typer

from rtflow.cli import accounts, options

HELP = "Add, list and remove those who log in by a password."
EXAMPLES = (
    "Examples: [cyan]rtflow user add anna --role operator[/cyan], [cyan]rtflow user list[/cyan], "
    "[cyan]rtflow user password anna[/cyan]"
)

app = typer.Typer(no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Name of the user.")]


@app.command()
def add(
    name: Name,
    role: Annotated[
        str,
        typer.Option(
            metavar="operator|viewer|scanner|subject", help="What they may do: operator all, viewer look on."
        ),
    ] = "viewer",
    password_file: accounts.PasswordFile = None,
    access: accounts.Folder = None,
) -> None:
    """Add a user; the password is asked for."""
    from rtflow.access.store import Access, require_name, require_role

    known = require_role(role)
    password = accounts.new_password(password_file, require_name(name))
    with accounts.audited(access, "user_add", name=name, role=known):
        Access(access).add_user(name, password, known)
    typer.echo(f"{name} may log in as {known}")


@app.command("list")
def list_(access: accounts.Folder = None, json: options.Json = False) -> None:
    """List the users."""
    from rtflow.access.store import Access

    found = Access(access)
    users = found.users()
    if json:
        accounts.print_json(
            {
                "folder": str(found.folder),
                "users": [{"name": one.name, "role": one.role, "added": one.added} for one in users],
            }
        )
        return
    for one in users:
        typer.echo(f"{one.name}  {one.role}, since {accounts.day(one.added)}")
    if not users:
        typer.echo(f"no users in {found.folder}; 'rtflow user add NAME --role operator' adds one", err=True)


@app.command()
def password(name: Name, password_file: accounts.PasswordFile = None, access: accounts.Folder = None) -> None:
    """Give a user a new password; whoever is logged in with the old one is logged out."""
    from rtflow.access.store import Access, require_name

    new = accounts.new_password(password_file, require_name(name))
    with accounts.audited(access, "user_password", name=name):
        Access(access).set_password(name, new)
    typer.echo(f"{name} has a new password")


@app.command()
def remove(name: Name, access: accounts.Folder = None) -> None:
    """Remove a user; whoever is logged in is logged out."""
    from rtflow.access.store import Access

    with accounts.audited(access, "user_remove", name=name):
        Access(access).remove_user(name)
    typer.echo(f"{name} may log in no more")
