"""A folder of DICOM to NIfTI and JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from rtflow.bids.dataset import add_participant, prepare_dataset
from rtflow.dicom.offline.bids import BidsChoice, bids_places, plain_places
from rtflow.dicom.offline.found import Found, Left
from rtflow.dicom.offline.place import Place
from rtflow.dicom.offline.scan import Read, scan_folder
from rtflow.dicom.offline.sort import Stack, sort_images
from rtflow.dicom.offline.write import Result, Volumes, json_beside, try_stack, write_stack
from rtflow.dicom.read import Header, read_header
from rtflow.errors import OutputError

# Bytes of files that are kept from the first look until their volume's turn; others are read again.
_HELD = 64 << 20

README = """# A data set converted from DICOM

rtflow converted these series from DICOM, by the code that it runs with while a scan goes on: voxels are
as the scanner stored them. Volumes of a run that are missing are zeros, and are listed (from 1) under
`MissingVolumes` in its sidecar. Series that have no name in BIDS are in `sourcedata/converted`.

Say here what the experiment was, who took part, and how the data may be used.
"""


class Progress(Protocol):
    """Told how far a conversion is."""

    def __call__(self, what: str, done: int, total: int) -> None:
        """``done`` of ``total`` ``files`` were read, or ``volumes`` converted."""


@dataclass(frozen=True)
class SeriesReport:
    """One series that was found (one stack of it, if it has several).

    Parameters
    ----------
    number, name, uid, kind, part, vendor
        As `rtflow.dicom.instance.Series` has them.
    volumes
        How many are in its file; missing ones between others are counted.
    missing
        Number of a volume (the scanner's) that is not there or not whole: why.
    shape, voxel_size
        Voxels and millimetres, along i, j, k.
    tr
        Repetition time, seconds, if it is known.
    echoes
        How many.
    planned
        Number of volumes that the protocol asks for, if the headers say.
    files
        Image files, one per echo, below the output's folder; empty if nothing was asked to be written.
    notes
        What else is to be said.
    """

    number: int
    name: str
    uid: str
    kind: str
    part: str
    vendor: str
    volumes: int
    missing: dict[int, str]
    shape: tuple[int, ...]
    voxel_size: tuple[float, ...]
    tr: float | None
    echoes: int
    planned: int | None
    files: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Conversion:
    """What a folder held, and what came of it.

    Parameters
    ----------
    series
        Those that were converted, or would be, in the order of their numbers.
    left
        Everything else, with reasons.
    """

    series: tuple[SeriesReport, ...]
    left: tuple[Left, ...]

    @property
    def complete(self) -> bool:
        """Whether nothing was left that should have been converted."""
        return not any(one.missing for one in self.series) and not any(one.wanted for one in self.left)


def convert_folder(
    folder: Path,
    out: Path,
    *,
    bids: BidsChoice | None = None,
    compressed: bool = True,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Conversion:
    """Convert all series below a folder, in any mixture, to one NIfTI and one JSON file per series and echo.

    Parameters
    ----------
    folder
        Where the DICOM files are: in any order, under any names, in folders below it too.
    out
        Where files are written; made if it is not there.
    bids
        Write a BIDS data set.
    compressed
        Write ``.nii.gz``, else ``.nii``.
    overwrite
        Replace files that are there.
    progress
        Told how far it is.

    Raises
    ------
    SourceError
        If there is no such folder.
    OutputError
        If a file is there already, or cannot be written.
    UsageError
        If a BIDS name cannot be made of what was given.
    """
    tell = progress or _silent
    stacks, left, volumes = _find(folder, out, tell)
    places = _places(stacks, bids)
    ending = ".nii.gz" if compressed else ".nii"
    paths = [
        {echo: out / f"{place.stem(stack, echo)}{ending}" for echo in stack.echoes}
        for stack, place in zip(stacks, places, strict=True)
    ]
    _refuse_what_is_there([path for files in paths for path in files.values()], overwrite)
    if stacks:
        _make_folder(out)
        if bids is not None:
            prepare_dataset(out, "Series converted by rtflow", README)
    total, done = sum(len(stack.volumes) for stack in stacks), 0

    def count() -> None:
        nonlocal done
        done += 1
        tell("volumes", min(done, total), total)

    reports, subjects = [], set[str]()
    for stack, place, files in zip(stacks, places, paths, strict=True):
        _make_folder(next(iter(files.values())).parent)
        result = write_stack(stack, files, volumes, _about(stack, place), count)
        if not result.stack.volumes:
            left.append(_unsound(result.stack))
            continue
        if place.suffix:
            subjects.add(place.entities["subject"])
        written = [str(path.relative_to(out)) for path in files.values()]
        if overwrite:
            _drop_others(files.values(), compressed)
        reports.append(_report(result, place, written))
    for subject in sorted(subjects):
        add_participant(out, subject)
    return Conversion(tuple(reports), tuple(left))


def list_folder(
    folder: Path, *, bids: BidsChoice | None = None, progress: Progress | None = None
) -> Conversion:
    """What `convert_folder` would find and write; only the first volume of each series is converted.

    Raises
    ------
    SourceError
        If there is no such folder.
    UsageError
        If a BIDS name cannot be made of what was given.
    """
    stacks, left, volumes = _find(folder, None, progress or _silent)
    reports = []
    for stack, place in zip(stacks, _places(stacks, bids), strict=True):
        result = try_stack(stack, volumes)
        if result.stack.volumes:
            names = [f"{place.stem(stack, echo)}" for echo in stack.echoes]
            reports.append(_report(result, place, names))
        else:
            left.append(_unsound(result.stack))
    return Conversion(tuple(reports), tuple(left))


def _find(folder: Path, out: Path | None, tell: Progress) -> tuple[list[Stack], list[Left], Volumes]:
    held: dict[str, Header] = {}
    room = _HELD

    def keep(read: Read) -> None:
        nonlocal room
        first = read.found[0]
        if first.size <= room:
            room -= first.size
            held[first.path] = read.header

    inside = out is not None and out.resolve() != folder.resolve()
    found, left = scan_folder(
        folder,
        skipped=out if inside else None,
        seen=lambda done, total: tell("files", done, total),
        keep=keep,
    )
    stacks, others = sort_images(found, _same(held))
    return stacks, [*others, *left], Volumes(held)


def _same(held: dict[str, Header]) -> Callable[[Found, Found], bool]:
    def pixels(one: Found) -> bytes:
        header = held.get(one.path) or read_header(Path(one.path).read_bytes())
        return header.raw("PixelData")

    return lambda one, other: pixels(one) == pixels(other)


def _places(stacks: Sequence[Stack], bids: BidsChoice | None) -> list[Place]:
    return plain_places(stacks) if bids is None else bids_places(stacks, bids)


def _refuse_what_is_there(paths: Sequence[Path], overwrite: bool) -> None:
    others = [path.with_suffix("") if path.suffix == ".gz" else Path(f"{path}.gz") for path in paths]
    there = [path for path in (*paths, *others, *map(json_beside, paths)) if path.exists()]
    if there and not overwrite:
        more = f", and {len(there) - 1} more" if len(there) > 1 else ""
        raise OutputError(f"{there[0]} is there already{more}; give another folder, or --overwrite")


def _drop_others(paths: Iterable[Path], compressed: bool) -> None:
    """The same image in the other form is an older one."""
    for path in paths:
        (path.with_suffix("") if compressed else Path(f"{path}.gz")).unlink(missing_ok=True)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder} cannot be made ({error.strerror}); give another folder") from None


def _about(stack: Stack, place: Place) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if task := place.entities.get("task"):
        fields["TaskName"] = task
    if stack.series.part == "phase":
        fields["Units"] = "arbitrary"
    return fields


def _unsound(stack: Stack) -> Left:
    reason = next(iter(stack.lost.values()), "no volume is whole")
    files = sum(len(volume.members) for volume in stack.volumes)
    return Left(f"{stack.series}, {stack.vendor}", reason, max(files, 1), wanted=True)


def _report(result: Result, place: Place, files: Sequence[str]) -> SeriesReport:
    stack = result.stack
    notes = list(stack.notes)
    if result.moved:
        notes.append(
            f"positions differ by up to {result.moved:.1f} mm (prospective motion correction?); "
            "the affine is the first volume's"
        )
    if place.note:
        notes.append(place.note)
    return SeriesReport(
        stack.series.number,
        stack.series.name,
        stack.series.uid,
        stack.series.kind,
        stack.series.part,
        stack.vendor,
        len(stack.numbers),
        dict(stack.lost),
        result.shape,
        result.voxel_size,
        result.tr,
        len(stack.echoes),
        stack.planned,
        tuple(files),
        tuple(notes),
    )


def _silent(what: str, done: int, total: int) -> None:
    """Nobody wants to know."""
