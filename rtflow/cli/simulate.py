"""``rtflow simulate``: a scanner."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rtflow.cli import options
from rtflow.errors import OutputError, SettingsError, UsageError

if TYPE_CHECKING:
    from rtflow.source_settings import SimulateSource
    from rtflow.sources.simulation.delivery import Target
    from rtflow.sources.simulation.scanner import Scanner
    from rtflow.trials import Design

EXAMPLES = (
    "Examples: [cyan]rtflow simulate scan --vendor ge --tr 1.5 --volumes 100[/cyan], "
    "[cyan]rtflow simulate --send dicom://localhost:11112 --speed max[/cyan], "
    "[cyan]rtflow simulate scan --volumes 200 --drop 0.05 --reorder 0.05 --seed 3[/cyan]"
)

_FAULTS = "Faults"
_SCANNER = "Scanner"


def _share(help_: str) -> Any:
    return typer.Option(metavar="P", help=help_, rich_help_panel=_FAULTS)


def _set(help_: str, metavar: str) -> Any:
    return typer.Option(metavar=metavar, help=help_, rich_help_panel=_SCANNER)


def command(
    out: Annotated[
        Path | None,
        typer.Argument(
            metavar="OUT",
            help="Folder to make: a subfolder of DICOM files for each series, and OUT/truth. Needed unless "
            "--send is given; with it, only the truth goes there.",
        ),
    ] = None,
    vendor: Annotated[
        str,
        _set(
            "Whose DICOM: siemens-mosaic, siemens-xa, siemens-xa-classic, ge, philips or philips-enhanced.",
            "NAME",
        ),
    ] = "siemens-mosaic",
    tr: Annotated[float, _set("Repetition time.", "SECONDS")] = 2.0,
    volumes: Annotated[int | None, _set("Length of the run. Default: that of the design.", "N")] = None,
    shape: Annotated[str, _set("Voxels along i, j, k.", "I,J,K")] = "64,64,36",
    voxel: Annotated[float, _set("Size of a voxel.", "MM")] = 3.5,
    echoes: Annotated[
        str, _set("Number of echoes, or their times in ms, such as 13,28,43.", "N|MS,MS,...")
    ] = "1",
    multiband: Annotated[int, _set("How many slices are excited at once.", "N")] = 1,
    slice_order: Annotated[
        str, _set("ascending, descending or interleaved: what the headers say.", "ORDER")
    ] = "interleaved",
    moving: Annotated[
        bool,
        typer.Option(
            "--moving",
            help="Take each slice at its own time. Without it the head is still within a volume, "
            "as it is at the volume's start.",
            rich_help_panel=_SCANNER,
        ),
    ] = False,
    orientation: Annotated[str, _set("axial, sagittal, coronal or oblique.", "NAME")] = "oblique",
    position: Annotated[str, _set("How the patient lies: HFS, FFS, HFP ...", "CODE")] = "HFS",
    series: Annotated[int, _set("SeriesNumber of the run.", "N")] = 5,
    name: Annotated[str, _set("Name of the protocol.", "TEXT")] = "func_task-feedback",
    sbref: Annotated[
        bool,
        typer.Option("--sbref", help="A single-band reference comes first.", rich_help_panel=_SCANNER),
    ] = False,
    localizer: Annotated[
        bool, typer.Option("--localizer", help="A localizer comes first.", rich_help_panel=_SCANNER)
    ] = False,
    phase: Annotated[
        bool,
        typer.Option(
            "--phase",
            help="Phase images come along, in a series of their own.",
            rich_help_panel=_SCANNER,
        ),
    ] = False,
    began: Annotated[
        str,
        _set("When volume 1 is acquired by the scanner's clock: now, or YYYY-MM-DDTHH:MM:SS.", "TIME"),
    ] = "2024-05-17T10:30:00",
    events: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A BIDS events.tsv: what the participant is asked to do. Default: eight blocks "
            "(nothing at all in a run of less than 17 volumes).",
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="One more option of the source simulate:, such as motion=2, tsnr=40 or jitter=0.3; may be "
            "repeated.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="What all chance comes from.")] = 1,
    speed: options.Speed = "1",
    write: Annotated[
        str | None,
        typer.Option(
            metavar="WAY",
            help="rename (the default): each file appears when it is whole; in-place: under its own name at "
            "once; slow: so too, in eight pieces.",
        ),
    ] = None,
    send: Annotated[
        str | None,
        typer.Option(
            metavar="dicom://HOST:PORT",
            help="Send to a receiver (C-STORE, one association) instead of writing files; "
            "?called=TITLE&calling=TITLE may follow.",
        ),
    ] = None,
    wait: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", min=0, help="How long the receiver may take to be there; default 0."),
    ] = None,
    truth: Annotated[
        bool,
        typer.Option(
            "--truth/--no-truth",
            help="Write OUT/truth: events.tsv, motion.tsv, masks; objects.tsv and faults.json: what was done "
            "to which file.",
        ),
    ] = True,
    drop: Annotated[float, _share("Share of volumes (0 to 1) that lose files.")] = 0.0,
    duplicate: Annotated[
        float, _share("Share of volumes of which files come once more, under another name.")
    ] = 0.0,
    delay: Annotated[float, _share("Share of volumes of which files come 0.5 to 3 TR late.")] = 0.0,
    reorder: Annotated[float, _share("Share of volumes whose files change places.")] = 0.0,
    truncate: Annotated[
        float, _share("Share of volumes of which files are cut off; half are completed later.")
    ] = 0.0,
    stray: Annotated[
        float,
        _share(
            "Share of volumes before which something else comes: physiology, a report, an empty file, a text."
        ),
    ] = 0.0,
    abort: Annotated[
        int | None,
        typer.Option(metavar="VOLUME", help="Stop the scan in this volume.", rich_help_panel=_FAULTS),
    ] = None,
    restart: Annotated[
        int | None,
        typer.Option(
            metavar="VOLUME",
            help="Stop the scan in this volume, and start it again 10 s later as a new series.",
            rich_help_panel=_FAULTS,
        ),
    ] = None,
    quiet: options.Quiet = False,
) -> None:
    """Be a scanner: write or send DICOM as a vendor does, at its pace, with known motion and activation."""
    spec = _spec(
        set_, tr=tr, volumes=volumes, shape=shape, voxel=voxel, seed=seed, speed=speed if speed else "1"
    )
    target = _target(out, send, write, wait)
    truth_folder = out / "truth" if truth and out is not None else None
    from rtflow.cli.delivering import progress_of, tell
    from rtflow.cli.interrupt import on_interrupt
    from rtflow.sources.simulation.delivery import deliver
    from rtflow.sources.simulation.faults import STRAYS, Faults
    from rtflow.sources.simulation.protocol import ScanProtocol
    from rtflow.sources.simulation.scanner import Scanner

    protocol = ScanProtocol(
        vendor=vendor,
        echo_times=_echo_times(echoes),
        multiband=multiband,
        slice_order=slice_order,
        moving=moving,
        orientation=orientation,
        position=position,
        phase=phase,
        sbref=sbref,
        localizer=localizer,
        number=series,
        name=name,
        began=_began(began),
    )
    faults = Faults(
        drop=drop,
        duplicate=duplicate,
        delay=delay,
        reorder=reorder,
        truncate=truncate,
        stray=stray,
        abort=abort,
        # What is no DICOM cannot be sent.
        strays=STRAYS[:2] if send else STRAYS,
    )
    scanner = Scanner(spec, protocol, design=_design(events), faults=faults, restart=restart)
    _refuse_old(out, scanner, truth_folder, files=send is None)
    stopping = threading.Event()
    with on_interrupt(stopping.set), progress_of(scanner, quiet=quiet) as progress:
        done = deliver(
            scanner, target, speed=spec.speed, truth=truth_folder, stopping=stopping, progress=progress
        )
    if not quiet:
        tell(scanner, done, send or str(out), truth_folder)
    raise typer.Exit(0 if done.whole else 1)


def _spec(settings: list[str] | None, **given: Any) -> SimulateSource:
    """The source table of the options, and of more that ``--set`` gives."""
    import msgspec
    from msgspec import inspect

    from rtflow.setting_types import from_text, suggestion
    from rtflow.source_settings import SimulateSource

    info = inspect.type_info(SimulateSource)
    assert isinstance(info, inspect.StructType)
    types = {one.encode_name: one.type for one in info.fields}
    own = {name: f"--{name}" for name in (*given, "echoes")}
    more = {name: type_ for name, type_ in types.items() if name not in (*own, "truth", "drop")}
    values: dict[str, Any] = {}
    for name, value in given.items():
        if value is not None:
            try:
                values[name] = from_text(str(value), types[name])
            except ValueError as error:
                raise UsageError(f"{own[name]}: {error}") from None
    for one in settings or []:
        name, equals, text = one.partition("=")
        name = name.strip()
        if name in own:
            raise SettingsError(f"--set {one}: give {own[name]} instead")
        if not equals or name not in more:
            hint = f"no option '{name}'; {suggestion(name, more)}"
            raise SettingsError(f"--set {one}: {hint if equals else 'expected NAME=VALUE, such as tsnr=40'}")
        try:
            values[name] = from_text(text.strip(), more[name])
        except ValueError as error:
            raise SettingsError(f"--set {one}: {error}") from None
    return msgspec.convert(values, SimulateSource)


def _echo_times(text: str) -> tuple[float, ...]:
    from rtflow.sources.simulation.protocol import echo_times

    try:
        if "," not in text and float(text).is_integer():
            return echo_times(int(text))
        return tuple(round(float(one) / 1000, 6) for one in text.split(","))
    except ValueError:
        raise UsageError(
            f"--echoes: expected a number of echoes, or their times in ms such as 13,28,43; got '{text}'"
        ) from None


def _began(text: str) -> Any:
    import datetime

    if text == "now":
        return datetime.datetime.now()
    try:
        return datetime.datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"--began: expected now or YYYY-MM-DDTHH:MM:SS, got '{text}'") from None


def _design(events: Path | None) -> Design | None:
    if events is None:
        return None
    from rtflow.design import read_events

    return read_events(events)


def _target(out: Path | None, send: str | None, write: str | None, wait: float | None) -> Target:
    from rtflow.setting_types import suggestion

    if send is not None:
        from rtflow.sources.simulation.sending import Sender, parse_address

        if write is not None:
            raise UsageError("--write says how files are written, and --send sends; leave one of them out")
        return Sender(parse_address(send), wait=wait or 0.0)
    from rtflow.sources.simulation.delivery import WAYS, FolderTarget

    if out is None:
        raise UsageError("neither a folder nor --send was given; write rtflow simulate OUT")
    if wait is not None:
        raise UsageError("--wait is for a receiver, and files are written; add --send, or leave it out")
    write = write or "rename"
    for way in WAYS:
        if way == write:
            return FolderTarget(out, way)
    raise UsageError(f"--write: no way '{write}'; {suggestion(write, WAYS)}")


def _refuse_old(out: Path | None, scanner: Scanner, truth: Path | None, *, files: bool) -> None:
    """No file of an earlier scan may be taken for one of this."""
    from rtflow.sources.simulation.takes import folder_name

    if out is None:
        return
    folders = [out / folder_name(role.series) for role in scanner.series] if files else []
    for folder in (*folders, *([truth] if truth else [])):
        if folder.is_dir() and any(folder.iterdir()):
            other = "--no-truth" if folder == truth else "--series"
            raise OutputError(f"{folder} holds an earlier scan; give another folder or {other}")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{out} cannot be made ({error.strerror}); give another folder") from None
