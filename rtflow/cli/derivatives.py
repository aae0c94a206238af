"""``rtflow derivatives``: the derivatives of a run that is over, from its journal."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

EXAMPLES = (
    "Examples: [cyan]rtflow derivatives rtflow-out/runs/RUN_UID[/cyan], "
    "[cyan]rtflow derivatives rtflow-out/runs/RUN_UID --physio scan.puls --physio scan.resp[/cyan]"
)


def command(
    run_dir: Annotated[Path, typer.Argument(help="Folder of a run.", metavar="RUN_DIR")],
    physio: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE", help="Siemens' log: .puls, .resp, .ecg, .ext, or CMRR's DICOM; may be repeated."
        ),
    ] = None,
) -> None:
    """Write the derivatives of a run that is over, as `rtflow run` does at its end."""
    from rtflow.derivatives import add_companions, cut_short, derive
    from rtflow.journal import Recording

    if status := cut_short(Recording(run_dir.absolute())):
        typer.echo(f"the run was cut short: RunStatus {status} in its sidecar says so", err=True)
    for path in [*derive(run_dir.absolute()), *add_companions(run_dir.absolute(), physio or [])]:
        typer.echo(str(path))
