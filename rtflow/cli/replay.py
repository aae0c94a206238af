"""``rtflow replay``: what was scanned once, once more: a recorded run, or one of a data set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rtflow.cli import options
from rtflow.cli.datasets import (
    called,
    events_file,
    has_events,
    names_of,
    require_apart,
    runs_of,
    source_of,
    tell_runs,
)
from rtflow.errors import UsageError

if TYPE_CHECKING:
    from rtflow.cli.datasets import Recorded
    from rtflow.settings import RunSettings
    from rtflow.source_settings import Speed

EXAMPLES = (
    "Examples: [cyan]rtflow replay ds002338 --list[/cyan], "
    "[cyan]rtflow replay ds002338 --subject xp201 --task 1dNF --run 1[/cyan], "
    "[cyan]rtflow replay my_dataset --subject 01 -w template --speed 1[/cyan], "
    "[cyan]rtflow replay rtflow-out/runs/RUN_UID[/cyan]"
)

DIFFERENT = 4
OUT = Path("rtflow-replay")
"""Another folder than that of `rtflow run`: a replay is not a run of the study, and has its own session."""
_LABEL = {"metavar": "LABEL"}


def command(
    what: Annotated[
        str,
        typer.Argument(
            help="A data set of OpenNeuro (dsNNNNNN), the folder of a BIDS data set, or of a recorded run.",
            metavar="dsNNNNNN|BIDS_DIR|RUN_DIR",
        ),
    ],
    subject: Annotated[str, typer.Option(help="BIDS label of the participant.", **_LABEL)] = "",
    session: Annotated[str, typer.Option(help="BIDS label of the session.", **_LABEL)] = "",
    task: Annotated[str, typer.Option(help="BIDS label of the task.", **_LABEL)] = "",
    run: Annotated[str, typer.Option(help="BIDS index of the run.", metavar="INDEX")] = "",
    acquisition: Annotated[str, typer.Option(help="BIDS label acq-.", **_LABEL)] = "",
    direction: Annotated[str, typer.Option(help="BIDS label dir-.", **_LABEL)] = "",
    reconstruction: Annotated[str, typer.Option(help="BIDS label rec-.", **_LABEL)] = "",
    list_: Annotated[
        bool, typer.Option("--list", help="Show the runs that there are, and run none.")
    ] = False,
    workflow: Annotated[
        Path | None,
        typer.Option(
            "-w",
            "--workflow",
            help="A Python file with build(settings), or the name of one that comes with rtflow; "
            "default roi_feedback. A recorded run has its own.",
        ),
    ] = None,
    config: options.Config = None,
    set_: options.Set = None,
    events: Annotated[
        bool, typer.Option("--events", help="Take the data set's events of the run for the design.")
    ] = False,
    speed: options.Speed = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Where everything is written, apart from the data set; default rtflow-replay, "
            "of a recorded run RUN_DIR/replays.",
        ),
    ] = None,
    endpoint: options.Endpoint = "",
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Run what was scanned once through a workflow, at full speed or at the scanner's pace.

    A run of OpenNeuro begins when its first volumes have come, and is kept for the next time. A recorded run
    is run with its own workflow and settings, and its Results are compared bit for bit.
    """
    pace = _pace(speed)
    entities = {
        **{"subject": subject, "session": session, "task": task, "run": run},
        **{"acquisition": acquisition, "direction": direction, "reconstruction": reconstruction},
    }
    if (Path(what) / "journal").is_dir():
        given: dict[str, object] = {
            "--list": list_,
            "-w": workflow,
            "-c": config,
            "--set": set_,
            "--events": events,
        }
        given |= {f"--{name}": label for name, label in entities.items()} | {"--endpoint": endpoint}
        if wrong := [name for name, value in given.items() if value]:
            raise UsageError(
                f"{what} is a recorded run: it is replayed as it ran; leave out {', '.join(wrong)}"
            )
        _recorded(Path(what), pace, out, json=json, quiet=quiet)
    spec = source_of(what, {name: label for name, label in entities.items() if label}, endpoint)
    if list_:
        tell_runs(runs_of(spec, anew=True), json=json)
        raise typer.Exit
    _of_data_set(
        spec,
        workflow or Path("roi_feedback"),
        config,
        set_ or [],
        speed,
        out or OUT,
        events=events,
        json=json,
        quiet=quiet,
    )


def _of_data_set(
    spec: Recorded,
    workflow: Path,
    config: Path | None,
    set_: list[str],
    speed: str | None,
    out: Path,
    *,
    events: bool,
    json: bool,
    quiet: bool,
) -> None:
    """One run of a data set through a workflow."""
    require_apart(spec, out / "bids")
    from rtflow.cli.output import PythonLog, stdout_to_stderr
    from rtflow.cli.watching import Watched
    from rtflow.source_uri import format_source

    log = PythonLog()
    try:
        with stdout_to_stderr(json):
            from rtflow.cli.shipped import workflow_path
            from rtflow.workflow_file import load_workflow

            runs = runs_of(spec)
            if len(runs) > 1:
                if not quiet:
                    tell_runs(runs, json=False, err=True)
                from rtflow.bids.finding import choose_run

                choose_run(runs, spec.entities, called(spec))
            names = names_of(runs[0])
            if events:
                names.append(f"design.events={events_file(spec, runs[0])}")
            loaded = load_workflow(workflow_path(workflow))
            settings = options.settings_for(loaded, config, format_source(spec), [*names, *set_], speed)
            if not quiet and _leaves_out_events(settings) and has_events(spec, runs[0]):
                typer.echo(f"rtflow: {called(spec)} has events of {runs[0]}; --events takes them", err=True)
            watched = Watched(json=json, quiet=quiet, goes_on="the same command begins it anew")
            watched.run_workflow(loaded, settings, out, log)
    finally:
        log.close()
    raise typer.Exit(watched.tell())


def _recorded(run_dir: Path, pace: Speed, out: Path | None, *, json: bool, quiet: bool) -> None:
    """A recorded run with its workflow and settings; the Results are compared bit for bit."""
    from rtflow.cli.output import PythonLog, stdout_to_stderr
    from rtflow.cli.watching import Watched
    from rtflow.journal import Recording

    if out is not None:
        study = Path(Recording(run_dir.absolute()).start.places["bids"]).resolve()
        if (out / "bids").resolve() == study:
            raise UsageError(
                f"{run_dir} was recorded into {study}: a copy of it would stand beside it as one more run of "
                "the study; give another folder by --out, or none"
            )
    log = PythonLog()
    try:
        with stdout_to_stderr(json):
            from rtflow.rerun import replay

            watched = Watched(json=json, quiet=quiet, goes_on="the same command begins it anew")
            found = watched.run(
                lambda observe, stopping: replay(
                    run_dir,
                    out=out,
                    speed=pace,
                    observe=log.following(observe, out or run_dir / "replays"),
                    stopping=stopping,
                )
            )
    finally:
        log.close()
    if found is None:
        raise typer.Exit(watched.tell())
    stop, comparison = found
    differs = stop.status == "completed" and bool(comparison.differing)
    told: dict[str, object] = {"equal": comparison.equal, "differing": list(comparison.differing)}
    if comparison.not_played:
        told["not_played"] = list(comparison.not_played)
    status = watched.tell(exit_status=DIFFERENT if differs else None, replay=told)
    if not json and not quiet:
        typer.echo(in_words(comparison.equal, comparison.differing, comparison.not_played))
    raise typer.Exit(status)


def _leaves_out_events(settings: RunSettings) -> bool:
    """Whether a workflow has a place for a design, and its events come from no file."""
    return hasattr(settings, "design") and not getattr(settings.design, "events", "")


def in_words(equal: int, differing: Sequence[int], not_played: Sequence[int] = ()) -> str:
    """What a comparison came to.

    >>> in_words(100, ())
    'all 100 Results equal the recorded ones bit for bit'
    >>> in_words(98, (4, 7))
    '98 Results equal the recorded ones bit for bit; 2 differ: volumes 4, 7'
    >>> in_words(4, (), (5, 6))
    '4 Results equal the recorded ones bit for bit; 2 volumes were not played'
    >>> in_words(0, (), (1, 2))
    'no Result was compared; 2 volumes were not played'
    """
    every = "all " if equal and not differing and not not_played else ""
    said = [f"{every}{equal} Results equal the recorded ones bit for bit"]
    if not equal and not differing:
        said = ["no Result was compared"]
    if differing:
        shown = ", ".join(map(str, differing[:10])) + (", ..." if len(differing) > 10 else "")
        said.append(f"{len(differing)} differ: volumes {shown}")
    if not_played:
        said.append(f"{len(not_played)} volumes were not played")
    return "; ".join(said)


def _pace(speed: str | None) -> Speed:
    """How many times faster than the recorded run; at full speed unless said otherwise."""
    from msgspec import inspect

    from rtflow.setting_types import from_text
    from rtflow.source_settings import Speed

    try:
        pace: Speed = from_text(speed or "max", inspect.type_info(Speed))
    except ValueError as error:
        raise UsageError(f"--speed: {error}") from None
    return pace
