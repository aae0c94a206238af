"""``rtflow batch``: every run of a data set through one workflow, by Snakemake."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rtflow.cli import options
from rtflow.errors import UsageError

if TYPE_CHECKING:
    from rtflow.batch.jobs import Batch
    from rtflow.cli.datasets import Recorded
    from rtflow.settings import RunSettings

EXAMPLES = (
    "Examples: [cyan]rtflow batch roi_feedback my_dataset --jobs 4[/cyan], "
    "[cyan]rtflow batch mine.py ds002338 --subject xp201 --dry-run[/cyan], "
    "[cyan]rtflow batch mine.py my_dataset --jobs 50 --executor slurm[/cyan]"
)
FAILED = 3


def command(
    workflow: Annotated[
        str | None,
        typer.Argument(help="A Python file with build(settings), or the name of one that comes with rtflow."),
    ] = None,
    data: Annotated[
        str | None, typer.Argument(metavar="BIDS_DIR|dsNNNNNN", help="A data set, or one of OpenNeuro.")
    ] = None,
    subject: Annotated[str, typer.Option(metavar="LABEL", help="Only runs of this participant.")] = "",
    session: Annotated[str, typer.Option(metavar="LABEL", help="Only runs of this session.")] = "",
    task: Annotated[str, typer.Option(metavar="LABEL", help="Only runs of this task.")] = "",
    jobs: Annotated[int, typer.Option(metavar="N", min=1, help="How many runs at once.")] = 1,
    executor: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Where Snakemake runs the jobs: local, slurm, ... (its plug-in of that name is needed).",
        ),
    ] = "local",
    profile: Annotated[
        str, typer.Option(metavar="DIR", help="A profile of Snakemake: what else the executor is to be told.")
    ] = "",
    config: options.Config = None,
    set_: options.Set = None,
    events: Annotated[bool, typer.Option("--events", help="Take each run's events for the design.")] = False,
    out: Annotated[Path, typer.Option(metavar="DIR", help="The folder of the batch.")] = Path("rtflow-batch"),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the jobs, and do none.")] = False,
    table: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Only write table and page of the batch in this folder anew."),
    ] = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Run every run of a data set through a workflow, each as a job; what is done already is not done again.

    The folder of the batch holds a Snakefile that can be run by hand and committed, what each run wrote, a
    table of all runs (group.tsv, group.json) and a page with a picture of each (group.html).
    """
    if table is not None:
        if workflow is not None:
            raise UsageError("--table DIR makes the table of a batch anew; leave out workflow and data set")
        from rtflow.batch.table import write_table

        _tell(table, write_table(table), json=json, quiet=quiet)
        return
    if workflow is None or data is None:
        raise UsageError("give a workflow and a data set: rtflow batch roi_feedback BIDS_DIR")
    from rtflow.batch.checks import require_files
    from rtflow.batch.jobs import Job, planned, results_of, write_batch
    from rtflow.batch.snakemake import alone, find_snakemake
    from rtflow.cli.datasets import require_apart, runs_of, source_of
    from rtflow.cli.shipped import workflow_path

    entities = {"subject": subject, "session": session, "task": task}
    spec = source_of(data, {name: label for name, label in entities.items() if label}, "")
    require_apart(spec, out / "runs")
    path = workflow_path(Path(workflow)).resolve()
    settings, overrides = _checked(path, config, spec, set_ or [])
    require_files(settings, out.absolute())
    if not events:  # with them, each job has a design of its own
        settings.require()
    found = [Job(str(run), run.entities) for run in runs_of(spec, anew=True)]
    find_snakemake()
    words = ["-c", str(config.resolve())] if config else []
    words += [word for one in overrides for word in ("--set", one)]
    words += ["--events"] if events else []
    files = [str(path), str(config.resolve() if config else path.with_suffix(".toml"))]
    where = str(Path(data).resolve()) if Path(data).exists() else data

    def plan() -> tuple[Batch, list[str]]:
        batch = planned(out, found, where, str(path), words, files, some=any(entities.values()))
        return batch, [job.name for job in found if results_of(out, batch, job.name) is None]

    names = [job.name for job in found]
    _, left = plan()
    if dry_run:
        _tell_jobs(names, left, json=json)
        return
    with alone(out) as lock:
        batch, left = plan()  # another one may have been at work there until now
        write_batch(out, batch)
        arguments = ["--executor", executor, "--cores" if executor == "local" else "--jobs", str(jobs)]
        arguments += ["--profile", str(Path(profile).resolve())] if profile else []
        status = _work(out, names, left, arguments, lock, json=json, quiet=quiet)
    raise typer.Exit(status)


def _checked(
    path: Path, config: Path | None, spec: Recorded, overrides: list[str]
) -> tuple[RunSettings, list[str]]:
    """Settings, and overrides as jobs are to be given them: in order, and with no path from this folder."""
    import msgspec

    from rtflow.cli.output import stdout_to_stderr
    from rtflow.source_uri import format_source
    from rtflow.workflow_file import load_workflow

    with stdout_to_stderr(True):
        workflow = load_workflow(path)
    source = format_source(spec)
    here = options.settings_for(workflow, config and config.resolve(), source, overrides)
    with contextlib.chdir("/"):
        there = options.settings_for(workflow, config and config.resolve(), source, overrides)
    told = []
    for override in overrides:
        name = override.partition("=")[0]
        value = _value(here, name)
        # What another folder makes another value of is a path: the jobs have a folder of their own.
        told.append(
            override
            if value == _value(there, name)
            else f"{name.strip()}={msgspec.json.encode(value).decode()}"
        )
    return here, told


def _value(settings: object, name: str) -> Any:
    import msgspec

    value: Any = msgspec.to_builtins(settings)
    for key in name.split("."):
        value = value[key.strip()]
    return value


def _tell_jobs(names: list[str], left: list[str], *, json: bool) -> None:
    states = {name: "to do" if name in left else "done" for name in names}
    if json:
        import msgspec

        typer.echo(msgspec.json.encode(states).decode())
        return
    for name, state in states.items():
        typer.echo(f"{state:6} {name}")
    typer.echo(f"{len(left)} of {len(names)} runs to do")


def _work(
    folder: Path,
    names: list[str],
    left: list[str],
    arguments: list[str],
    lock: int,
    *,
    json: bool,
    quiet: bool,
) -> int:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from rtflow.batch.snakemake import said, work
    from rtflow.batch.table import write_table
    from rtflow.cli.interrupt import on_interrupt, say

    stopping, at_once = threading.Event(), threading.Event()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    went_well, count = True, len(names)
    with Progress(*columns, console=Console(stderr=True, quiet=quiet)) as progress:
        task = progress.add_task("runs", total=count, completed=count - len(left))

        before = {name: _done_at(folder, name) for name in left}

        def follow() -> None:
            done = sum(_done_at(folder, name) not in (None, at) for name, at in before.items())
            progress.update(task, completed=count - len(left) + done)

        if left:

            def end() -> None:
                stopping.set()
                if not quiet:
                    say("ending the runs at work; Ctrl-C again kills them")

            def kill() -> None:
                at_once.set()
                if not quiet:
                    say("killing them")

            with on_interrupt(end, kill):
                went_well = work(folder, left, arguments, follow, stopping, at_once, lock)
    rows = write_table(folder)
    _tell(folder, rows, json=json, quiet=quiet)
    bad = [row for row in rows if row["status"] != "completed" and row["name"] in names]
    if stopping.is_set():
        done = count - len(bad)
        typer.echo(f"rtflow: ended; {done} of {count} runs are done, the same command goes on", err=True)
        return 1
    if not went_well and all(row["status"] == "to do" for row in bad):
        typer.echo(f"rtflow: snakemake did not end well: {said(folder)}", err=True)
        return 1
    return FAILED if bad else 0


def _done_at(folder: Path, name: str) -> int | None:
    try:
        return (folder / "runs" / name / "result.json").stat().st_mtime_ns
    except OSError:
        return None


def _tell(folder: Path, rows: list[dict[str, Any]], *, json: bool, quiet: bool) -> None:
    import msgspec

    bad = [row for row in rows if row["status"] != "completed"]
    if json:
        typer.echo(msgspec.json.encode({"runs": rows, "folder": str(folder.absolute())}).decode())
    elif not quiet:
        typer.echo(f"{len(rows) - len(bad)} of {len(rows)} runs completed")
        for row in bad:
            typer.echo(f"{row['status']:7} {row['name']}: {row['why'] or 'not begun'}")
        typer.echo(f"table  {folder / 'group.tsv'}\npage   {folder / 'group.html'}")
