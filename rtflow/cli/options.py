"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Config = Annotated[
    Path | None,
    typer.Option(
        "-c",
        "--config",
        metavar="FILE.toml",
        help="Settings; default the TOML of the same name beside WORKFLOW.",
    ),
]
Source = Annotated[
    str | None,
    typer.Option(
        metavar="URI",
        help="Where volumes come from, such as folder:DIR or simulate:?tr=1. Default: the settings'.",
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="One setting, such as source.tr=1.5; may be repeated."),
]
Speed = Annotated[
    str | None,
    typer.Option(
        metavar="1|N|max",
        help="How many times faster than the scanner; [bold]max[/bold] does not wait at all.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object, and nothing else, to stdout.")]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print nothing but errors (and what --json asks for).")
]


def overrides(source: str | None, settings: list[str] | None, speed: str | None = None) -> list[str]:
    """Options as overrides of settings: a source first, so that ``--set source.NAME`` refines it."""
    given = [f"source={source}"] if source is not None else []
    given += settings or []
    return given + ([f"source.speed={speed}"] if speed is not None else [])
