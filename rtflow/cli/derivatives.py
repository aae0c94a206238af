"""``rtflow derivatives``: the derivatives of a run that is over, from its journal."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

EXAMPLES = "Examples: [cyan]rtflow derivatives rtflow-out/runs/RUN_UID[/cyan]"


def command(
    run_dir: Annotated[Path, typer.Argument(help="Folder of a run.", metavar="RUN_DIR")],
) -> None:
    """Write the derivatives of a run that is over, as `rtflow run` does at its end."""
    from rtflow.derivatives import derive

    for path in derive(run_dir.absolute()):
        typer.echo(str(path))
