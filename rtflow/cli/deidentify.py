"""``rtflow deidentify``: a folder of DICOM files to those that may leave the scanner's host."""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rtflow.cli import options
from rtflow.errors import DicomError, OutputError, SourceError, UsageError

if TYPE_CHECKING:
    from rich.console import Console

EXAMPLES = (
    "Examples: [cyan]rtflow deidentify dicom safe --key site.key[/cyan], "
    "[cyan]rtflow deidentify dicom safe --key site.key --dates moved --descriptions removed[/cyan]"
    "\n\nExit status: 0 all MR images were written, 1 it failed, 2 wrong usage, 4 some files were refused."
)

REFUSED = 4


class Dates(StrEnum):
    """What becomes of dates."""

    kept = "kept"
    moved = "moved"


class Descriptions(StrEnum):
    """What becomes of SeriesDescription and ProtocolName."""

    cleaned = "cleaned"
    removed = "removed"


DatesOption = Annotated[
    Dates, typer.Option(help="Keep the dates of the acquisition, or move them back by unknown days.")
]
DescriptionsOption = Annotated[
    Descriptions, typer.Option(help="Clean SeriesDescription and ProtocolName, or remove them.")
]


def command(
    folder: options.DicomFolder,
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="Folder to write to; it may not hold files yet.")
    ],
    key: Annotated[
        Path,
        typer.Option(
            metavar="FILE",
            help="The site's secret key. It is made if it is not there; keep it on this host: with another "
            "one, the same series gets other UIDs.",
        ),
    ],
    dates: DatesOption = Dates.kept,
    descriptions: DescriptionsOption = Descriptions.cleaned,
    quiet: options.Quiet = False,
) -> None:
    """Take out of MR images what identifies people, places and the scanner (DICOM PS3.15, basic profile).

    Files are named by their new UIDs. What cannot be made safe, reports and screenshots for example, is
    refused and told, not written.
    """
    from rich.console import Console
    from rich.progress import track

    from rtflow.dicom.deidentify import deidentify
    from rtflow.dicom.deidentifying.site_key import site_key

    console = Console(stderr=True, quiet=quiet)
    if out.resolve().is_relative_to(folder.resolve()):
        raise UsageError(f"OUT ({out}) lies within DIR ({folder}); give a folder beside it")
    files = _files(folder)
    _prepare(out)
    secret, made = site_key(key)
    if made:
        typer.echo(f"made a new key, {key}: keep it, and keep it here", err=True)
    refused: dict[str, list[Path]] = {}
    written: set[str] = set()
    for file in track(files, "de-identifying", console=console, transient=True, disable=quiet):
        try:
            data = deidentify(
                _read(file),
                secret,
                dates="moved" if dates is Dates.moved else "kept",
                descriptions="removed" if descriptions is Descriptions.removed else "cleaned",
            )
        except DicomError as error:
            refused.setdefault(str(error), []).append(file.relative_to(folder))
        except OSError as error:
            refused.setdefault(f"it cannot be read ({error.strerror})", []).append(file.relative_to(folder))
        else:
            written.add(_write(out, data))
    if not quiet:
        _show(Console(), out, len(files), len(written), refused)
    if not written:
        raise DicomError(f"nothing was written: no file in {folder} is an MR image that can be de-identified")
    raise typer.Exit(REFUSED if refused else 0)


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise SourceError(f"no folder {folder}; give the one that holds the DICOM files")
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    if not files:
        raise SourceError(f"folder {folder} holds no files")
    return files


def _read(file: Path) -> bytes:
    """The bytes of a DICOM file; of any other, which may be large, only the first."""
    from rtflow.dicom.read import looks_like_dicom

    with file.open("rb") as opened:
        start = opened.read(132)
        return start + opened.read() if looks_like_dicom(start) else start.ljust(132, b"\0")


def _prepare(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        if any(out.iterdir()):
            raise OutputError(f"folder {out} holds files already; give an empty or a new one")
    except OSError as error:
        raise OutputError(f"folder {out} cannot be written ({error.strerror}); give another") from None


def _write(out: Path, data: bytes) -> str:
    """Write a file, whole or not at all, under its UID: the name that it had may tell who it is."""
    from rtflow.dicom.deidentify import written_uid

    uid = written_uid(data)
    target = out / f"{uid}.dcm"
    part = target.with_suffix(".part")
    try:
        part.write_bytes(data)
        part.replace(target)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise OutputError(
            f"{target} cannot be written ({error.strerror}); make room and begin anew"
        ) from None
    return uid


def _show(console: Console, out: Path, files: int, written: int, refused: dict[str, list[Path]]) -> None:
    from rich.table import Table

    count = Counter({reason: len(names) for reason, names in refused.items()})
    twice = files - written - count.total()
    console.print(
        f"{written} of {files} files written to {out}" + (f", {twice} were there twice" if twice else ""),
        highlight=False,
        markup=False,
    )
    if not refused:
        return
    table = Table(title=f"{count.total()} refused: they stay on this host", title_justify="left")
    table.add_column("files", justify="right")
    table.add_column("such as", overflow="fold")
    table.add_column("why", overflow="fold")
    for reason, number in count.most_common():
        table.add_row(str(number), str(refused[reason][0]), reason)
    console.print(table, markup=False)
