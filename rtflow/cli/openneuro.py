"""``rtflow openneuro``: which data sets there are, and what one of them is."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from rtflow.cli import options
from rtflow.errors import UsageError

EXAMPLES = (
    "Examples: [cyan]rtflow openneuro[/cyan], [cyan]rtflow openneuro ds002338[/cyan], "
    "[cyan]rtflow openneuro ds002338 --readme[/cyan]"
)


def command(
    dataset: Annotated[
        str, typer.Argument(help="A data set, such as ds002338; default the list of all.")
    ] = "",
    readme: Annotated[bool, typer.Option("--readme", help="Show its README.")] = False,
    endpoint: options.Endpoint = "",
    json: options.Json = False,
) -> None:
    """List the data sets of OpenNeuro, or describe one of them."""
    from rtflow.openneuro import Bucket, datasets

    if readme and not dataset:
        raise UsageError("--readme is of one data set: rtflow openneuro ds002338 --readme")
    bucket = Bucket(endpoint)
    if not dataset:
        names = datasets(bucket)
        typer.echo(_json(names) if json else "\n".join(names))
        return
    told = _about(bucket, dataset, with_readme=readme)
    if json:
        typer.echo(_json(told))
    elif readme:
        typer.echo(told["readme"])
    else:
        for name in ("Name", "License", "DatasetDOI", "BIDSVersion"):
            if about := told["description"].get(name):
                typer.echo(f"{name}: {about}")
        if authors := told["description"].get("Authors"):
            typer.echo(f"Authors: {', '.join(map(str, authors))}")
        typer.echo(f"subjects: {', '.join(told['subjects']) or 'none'}")
        typer.echo(f"runs: 'rtflow replay {dataset} --list'; its README: --readme")


def _about(bucket: Any, dataset: str, *, with_readme: bool) -> dict[str, Any]:
    from rtflow.openneuro import description, readme, subjects

    told: dict[str, Any] = {
        "dataset": dataset,
        "description": description(bucket, dataset),
        "subjects": subjects(bucket, dataset),
    }
    return told | ({"readme": readme(bucket, dataset)} if with_readme else {})


def _json(value: object) -> str:
    import msgspec

    return msgspec.json.encode(value).decode()
