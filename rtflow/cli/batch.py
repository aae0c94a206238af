"""``rtflow batch``: every run of a data set through one workflow, by Snakemake."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Annotated

import typer

from rtflow.cli import options
from rtflow.errors import UsageError

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
        from rtflow.batch.table import write_table

        write_table(table)
        return
    if workflow is None or data is None:
        raise UsageError("give a workflow and a data set: rtflow batch roi_feedback BIDS_DIR")
    from rtflow.batch.jobs import Job, write_batch
    from rtflow.batch.snakemake import alone, find_snakemake, pending
    from rtflow.cli.datasets import runs_of, source_of
    from rtflow.cli.shipped import workflow_path

    find_snakemake()
    entities = {"subject": subject, "session": session, "task": task}
    spec = source_of(data, {name: label for name, label in entities.items() if label}, "")
    found = [Job(str(run), run.entities) for run in runs_of(spec, anew=True)]
    path = workflow_path(Path(workflow))
    words = ["-c", str(config.resolve())] if config else []
    words += [word for one in set_ or [] for word in ("--set", one)]
    words += ["--events"] if events else []
    where = str(Path(data).resolve()) if Path(data).exists() else data
    with alone(out) as lock:
        write_batch(out, found, where, str(path.resolve()), words)
        left = pending(out)
        if dry_run:
            _tell_jobs([job.name for job in found], left, json=json)
            return
        arguments = ["--executor", executor, "--cores" if executor == "local" else "--jobs", str(jobs)]
        status = _work(out, len(found), left, arguments, lock, json=json, quiet=quiet)
    raise typer.Exit(status)


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
    folder: Path, count: int, left: list[str], arguments: list[str], lock: int, *, json: bool, quiet: bool
) -> int:
    import msgspec
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from rtflow.batch.snakemake import said, work
    from rtflow.batch.table import write_table
    from rtflow.cli.interrupt import ending_on_interrupt

    stopping = threading.Event()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    went_well = True
    with Progress(*columns, console=Console(stderr=True, quiet=quiet)) as progress:
        task = progress.add_task("runs", total=count, completed=count - len(left))

        def follow() -> None:
            done = sum((folder / "runs" / name / "result.json").exists() for name in left)
            progress.update(task, completed=count - len(left) + done)

        if left:
            with ending_on_interrupt(stopping, say=not quiet):
                went_well = work(folder, arguments, follow, stopping, lock)
    rows = write_table(folder)
    bad = [row for row in rows if row["status"] != "completed"]
    if json:
        typer.echo(msgspec.json.encode({"runs": rows, "folder": str(folder.absolute())}).decode())
    elif not quiet:
        typer.echo(f"{len(rows) - len(bad)} of {len(rows)} runs completed")
        for row in bad:
            typer.echo(f"{row['status']:7} {row['name']}: {row['why'] or 'not begun'}")
        typer.echo(f"table  {folder / 'group.tsv'}\npage   {folder / 'group.html'}")
    if not went_well and all(row["status"] == "to do" for row in bad):
        typer.echo(f"rtflow: snakemake did not end well: {said(folder)}", err=True)
        return 1
    return FAILED if bad else 0
