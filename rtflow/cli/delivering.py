"""What one sees of a simulated scan on its way, and how it is stopped."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rtflow.sources.simulation.delivery import Delivered
    from rtflow.sources.simulation.scanner import Scanner


@contextlib.contextmanager
def progress_of(scanner: Scanner, *, quiet: bool) -> Iterator[Callable[[Delivered], None]]:
    """Shows how far the scan is: a bar on a terminal, else a line at every tenth."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True, quiet=quiet)
    live = console.is_terminal and not quiet
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("files"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not live,
    )
    total = len(scanner.schedule.actions)
    task = bar.add_task("making the head", total=total)
    tenth = 0

    def show(done: Delivered) -> None:
        nonlocal tenth
        if live:
            bar.update(
                task, completed=done.actions, description=f"volume {done.volumes} of {scanner.volumes}"
            )
        elif 10 * done.actions // total > tenth:
            tenth = 10 * done.actions // total
            console.print(
                f"volume {done.volumes} of {scanner.volumes}, {done.files} files",
                highlight=False,
                markup=False,
                soft_wrap=True,
            )

    with bar:
        yield show


def tell(scanner: Scanner, done: Delivered, where: str, truth: Path | None) -> None:
    """Say what was done."""
    missing = sum(map(len, scanner.missing().values()))
    what = "wrote" if not where.startswith("dicom://") else "sent"
    files = "files" if what == "wrote" else "objects"
    typer.echo(
        f"{what} {done.files} {files} ({done.size / 1e6:.1f} MB) of {done.volumes} volumes to {where}"
        + (f"; {missing} volumes are not there or not whole" if missing and done.whole else "")
    )
    if done.refused:
        typer.echo(f"{done.refused} could not be sent: they are no DICOM, or of a class that is not taken")
    if truth is not None:
        typer.echo(f"the truth is in {truth}")
    if not done.whole:
        left = done.of - done.actions
        typer.echo(f"interrupted: {left} {files} were yet to come; those there are whole")
    elif what == "wrote":
        # The template's own design is another one.
        events = f" --set design.events={truth / 'events.tsv'}" if truth is not None else ""
        typer.echo(f"\n  rtflow run template --source folder:{where}{events}    takes it as a scan")
