"""``rtflow convert``: a folder of DICOM to NIfTI and JSON."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rtflow.cli import options
from rtflow.errors import SourceError, UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from rtflow.dicom.offline import Conversion
    from rtflow.dicom.offline.folder import Progress

EXAMPLES = (
    "Examples: [cyan]rtflow convert dicom nifti[/cyan], [cyan]rtflow convert dicom --list[/cyan], "
    "[cyan]rtflow convert dicom study --bids --subject 01 --task faces[/cyan]"
    "\n\nExit status: 0 all was converted, 1 it failed or was interrupted, 2 wrong usage, 4 something was "
    "left that should have been converted: an image that is damaged, incomplete or not supported."
)

LEFT = 4


def command(
    folder: options.DicomFolder,
    out: Annotated[
        Path | None,
        typer.Argument(metavar="OUT", help="Folder to write to. Needed unless --list is given."),
    ] = None,
    bids: Annotated[
        bool,
        typer.Option(
            "--bids",
            help="Write a BIDS data set, by names such as func-bold_task-faces_run-01; series without one "
            "are put aside in OUT/sourcedata/converted.",
        ),
    ] = False,
    subject: Annotated[
        str, typer.Option(metavar="LABEL", help="With --bids: the subject. Default: as the names say.")
    ] = "",
    session: Annotated[
        str, typer.Option(metavar="LABEL", help="With --bids: the session. Default: as the names say.")
    ] = "",
    task: Annotated[
        str, typer.Option(metavar="LABEL", help="With --bids: the task. Default: as the names say.")
    ] = "",
    compressed: Annotated[
        bool, typer.Option("--gzip/--uncompressed", help="Write .nii.gz or .nii files.")
    ] = True,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that are there.")] = False,
    list_: Annotated[bool, typer.Option("--list", help="Only list the series; nothing is written.")] = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Convert a folder of DICOM, several series mixed, to NIfTI and JSON, by the code that a run uses.

    Voxels are as the scanner stored them. A volume that is not whole is left out; in a run, zeros stand in
    its place, and the JSON says which and why.
    """
    from rich.console import Console

    from rtflow.cli.interrupt import interrupt, on_interrupt
    from rtflow.dicom.offline import BidsChoice, convert_folder, list_folder

    if out is None and not list_:
        raise UsageError("give the folder to write to (OUT), or --list")
    if not bids and (subject or session or task):
        raise UsageError("--subject, --session and --task name files in a BIDS data set; add --bids")
    choice = BidsChoice(subject, session, task) if bids else None
    try:
        with on_interrupt(interrupt), _progress(Console(stderr=True, quiet=quiet)) as progress:
            if list_ or out is None:
                told = list_folder(folder, bids=choice, progress=progress)
            else:
                told = convert_folder(
                    folder,
                    out,
                    bids=choice,
                    compressed=compressed,
                    overwrite=overwrite,
                    progress=progress,
                )
    except KeyboardInterrupt:
        typer.echo("rtflow: interrupted; the files that are there are whole", err=True)
        raise typer.Exit(1) from None
    if json:
        typer.echo(_as_json(told))
    elif not quiet:
        _show(told, Console(), None if list_ else out)
    if not told.series and told.complete:
        held = "; ".join(map(str, told.left)) or "no files"
        raise SourceError(f"{folder} holds no series that can be converted: {held}")
    raise typer.Exit(0 if told.complete else LEFT)


@contextlib.contextmanager
def _progress(console: Console) -> Iterator[Progress | None]:
    """A bar each for files and for volumes, on a terminal."""
    if not console.is_terminal or console.quiet:
        yield None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description:<18}"),
        BarColumn(None),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True),
    )
    titles = {"files": "reading files", "volumes": "writing volumes"}
    with Progress(*columns, console=console, transient=True, expand=True) as bars:
        tasks: dict[str, Any] = {}

        def tell(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(titles[what], total=total)
            bars.update(tasks[what], completed=done)

        yield tell


def _as_json(told: Conversion) -> str:
    import msgspec

    return msgspec.json.encode({"complete": told.complete, "series": told.series, "left": told.left}).decode()


def _show(told: Conversion, console: Console, out: Path | None) -> None:
    from rich.table import Table
    from rich.text import Text

    if not console.is_terminal:
        longest = max((len(file) for one in told.series for file in one.files), default=0)
        console.width = max(console.width, 120, longest + 80)
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column("series", justify="right", style="bold")
    table.add_column("name, file", overflow="fold")
    table.add_column("shows", no_wrap=True)
    table.add_column("vendor", no_wrap=True)
    for column in ("volumes", "voxels", "TR s", "echoes"):
        table.add_column(column, justify="right", no_wrap=True)
    for one in told.series:
        shows = one.kind if one.part == "mag" else f"{one.kind} {one.part}"
        planned = f" of {one.planned}" if one.kind == "bold" and (one.planned or 0) > one.volumes else ""
        name = Text(one.name or "-")
        for file in one.files:
            name.append(f"\n{file}", style="cyan")
        table.add_row(
            str(one.number),
            name,
            shows,
            one.vendor,
            f"{one.volumes}{planned}",
            "x".join(map(str, one.shape)),
            f"{one.tr:.6g}" if one.tr else "",
            str(one.echoes),
        )
    if told.series:
        console.print(table)
    for one in told.series:
        for reason, numbers in _by_reason(one.missing).items():
            lost = f"volume{'s' if len(numbers) > 1 else ''} {_ranges(numbers)} not whole: {reason}"
            console.print(Text(f"series {one.number}: {lost}", style="yellow"), soft_wrap=True)
    for note, numbers in _by_note(told).items():
        which = ", ".join(map(str, dict.fromkeys(numbers)))
        console.print(Text(f"series {which}: {note}", style="dim"), soft_wrap=True)
    for left in told.left:
        console.print(Text(f"left: {left}", style="red" if left.wanted else "dim"), soft_wrap=True)
    count = len(told.series)
    done = "found" if out is None else f"converted to {out}"
    colour = "green" if told.complete else "yellow"
    rest = "" if told.complete else "; not all that should have been"
    console.print(Text(f"{count} series {done}{rest}", style=colour), soft_wrap=True)


def _by_note(told: Conversion) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for one in told.series:
        for note in one.notes:
            found.setdefault(note, []).append(one.number)
    return found


def _by_reason(missing: dict[int, str]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for number, reason in missing.items():
        found.setdefault(reason, []).append(number)
    return found


def _ranges(numbers: list[int]) -> str:
    """Numbers in ascending order, those that follow one another as a range.

    >>> _ranges([1, 3, 4, 5, 9])
    '1, 3-5, 9'
    """
    from rtflow.summary import consecutive

    return ", ".join(
        str(first) if first == last else f"{first}-{last}" for first, last in consecutive(numbers)
    )
