"""``rtflow report``: what there is to say of a run, as one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rtflow.cli import options
from rtflow.errors import UsageError

EXAMPLES = (
    "Examples: [cyan]rtflow report rtflow-out/runs/RUN_UID[/cyan], "
    "[cyan]rtflow report rtflow-out/runs/RUN_UID --out sub-01.html[/cyan]"
)


def command(
    run_dir: Annotated[Path, typer.Argument(help="Folder of a run.", metavar="RUN_DIR")],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Where the report is written; default [bold]RUN_DIR/report.html[/bold]."
        ),
    ] = None,
) -> None:
    """Write the report of a run: one HTML file with its charts, volumes, times, notes and settings.

    It needs no network, no script and no other file. An earlier report of the same run is replaced, and
    nothing else.
    """
    from rtflow.journal import Recording
    from rtflow.report import report, reported_run
    from rtflow.whole_file import write_whole

    recording = Recording(options.recorded_run(run_dir.absolute()))
    path = out or run_dir / "report.html"
    if path.is_dir():
        raise UsageError(f"{path} is a folder, expected the name of a file; give one in it by --out")
    if path.exists() and reported_run(path) != recording.start.run_uid:
        raise UsageError(
            f"{path} is there and is no report of run {recording.start.run_uid}; give another file by --out"
        )
    write_whole(path.absolute(), report(recording.documents))
    typer.echo(str(path))
