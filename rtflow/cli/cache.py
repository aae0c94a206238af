"""``rtflow cache``: what was fetched from OpenNeuro and is kept on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rtflow.cli import options
from rtflow.errors import UsageError

EXAMPLES = "Examples: [cyan]rtflow cache[/cyan], [cyan]rtflow cache --clear ds002338[/cyan]"


def command(
    dataset: Annotated[
        str, typer.Argument(help="One data set of OpenNeuro, such as ds002338; default all.")
    ] = "",
    clear: Annotated[bool, typer.Option("--clear", help="Remove what is kept.")] = False,
    cache: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The folder; default RTFLOW_CACHE, else the user's cache folder."),
    ] = None,
    json: options.Json = False,
) -> None:
    """Show what is kept of OpenNeuro's data sets, and how much room it takes; or remove it."""
    from rtflow.openneuro.cache import Cache

    kept = Cache(cache or "")
    found = [one for one in kept.datasets() if dataset in ("", one.dataset)]
    if dataset and not found:
        raise UsageError(f"nothing of {dataset!r} is kept in {kept.root}; 'rtflow cache' lists what is")
    freed = kept.clear(dataset) if clear else 0
    if json:
        import msgspec

        told = {
            "folder": str(kept.root),
            "datasets": [
                {
                    "dataset": one.dataset,
                    "files": one.files,
                    "bytes": one.size,
                    "partial_bytes": one.partial,
                }
                for one in found
            ],
            "freed_bytes": freed,
        }
        typer.echo(msgspec.json.encode(told).decode())
        return
    for one in found:
        rest = f", {in_bytes(one.partial)} of them not whole yet" if one.partial else ""
        typer.echo(f"{one.dataset}  {one.files} files, {in_bytes(one.size)}{rest}")
    total = in_bytes(sum(one.size for one in found))
    typer.echo(f"{total} {'removed from' if clear else 'in'} {kept.root}")


def in_bytes(size: int) -> str:
    """A number of bytes, as one reads it.

    >>> in_bytes(950), in_bytes(48_300_000)
    ('950 B', '48.3 MB')
    """
    value, unit = float(size), "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 1000 or unit == "TB":
            break
        value /= 1000
    return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"
