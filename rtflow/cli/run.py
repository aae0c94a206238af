"""``rtflow run``: one run of a workflow."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rtflow.cli import accounts, dashboards, options
from rtflow.cli.desktop import Desktop
from rtflow.cli.listening import ClientCertificates, ListenOptions, Plain
from rtflow.errors import UsageError

if TYPE_CHECKING:
    from rtflow.cli.output import PythonLog
    from rtflow.cli.watching import Watched
    from rtflow.settings import RunSettings

EXAMPLES = (
    "Examples: [cyan]rtflow run template[/cyan], "
    "[cyan]rtflow run mine.py --source 'folder:/data/incoming?pattern=*.dcm'[/cyan], "
    "[cyan]rtflow run template --speed max --json --set source.activation=0[/cyan]"
)


# Earlier runs that are told before the start.
_TOLD = 3


def command(
    workflow: Annotated[Path | None, options.WORKFLOW] = None,
    config: options.Config = None,
    source: options.Source = None,
    set_: options.Set = None,
    speed: options.Speed = None,
    subject: Annotated[
        str | None,
        typer.Option(metavar="LABEL", help="BIDS label of the participant: bids.subject of the settings."),
    ] = None,
    out: options.Out = options.OUT,
    session: options.Session = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN_DIR", help="Go on with a run that was cut off; all else is taken from there."
        ),
    ] = None,
    listen: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Open a port for the scanner's and the subject's hosts."),
    ] = None,
    plain: Plain = False,
    client_certificates: ClientCertificates = False,
    access: accounts.Folder = None,
    dashboard: Annotated[
        bool, typer.Option("--dashboard", help="Show the run in a browser, and stay until Ctrl-C.")
    ] = False,
    dashboard_listen: dashboards.Listen = dashboards.DEFAULT,
    desktop: Desktop = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Run a workflow once, from the first volume to the last."""
    from rtflow.cli.output import PythonLog, stdout_to_stderr
    from rtflow.cli.watching import Watched

    log = PythonLog()
    shown = dashboard_listen if dashboard else ""
    port = ListenOptions(listen, access, plain, client_certificates, quiet, shown, desktop)
    try:
        with contextlib.ExitStack() as aside:
            aside.enter_context(stdout_to_stderr(json))
            watched = Watched(json=json, quiet=quiet, listen=listen)
            if resume is not None:
                if workflow or config or source or set_ or speed or subject or session:
                    raise UsageError(
                        "--resume takes all else from the run's folder; leave out the other options"
                    )
                status = _resume(resume, watched, log, port, aside)
            elif workflow is None:
                raise UsageError(
                    "no workflow was given; try 'rtflow run template', or make your own by 'rtflow new DIR'"
                )
            else:
                from rtflow.cli.shipped import workflow_path
                from rtflow.whole_file import require_writable
                from rtflow.workflow_file import load_workflow

                loaded = load_workflow(workflow_path(workflow))
                named = [] if subject is None else [f"bids.subject={subject}"]
                settings = options.settings_for(loaded, config, source, [*(set_ or []), *named], speed)
                require_writable(out.absolute())
                if not quiet:
                    _tell_runs(out.absolute(), session or out / "session", settings)
                with port.opened(settings, out.absolute(), loaded.name, session) as (server, ends):
                    watched.run_workflow(
                        loaded, settings, out, log, session=session, server=server, stopping=ends
                    )
                    status = _tell(watched, port, aside)
    finally:
        log.close()
    raise typer.Exit(status)


def _tell(watched: Watched, port: ListenOptions, aside: contextlib.ExitStack) -> int:
    """What the run came to, said; then the dashboard, if there is one, is left to whoever looks at it.

    Parameters
    ----------
    watched, port
        The run, and where it was looked at.
    aside
        Keeps stdout free while the run lasts.
    """
    aside.close()
    status = watched.tell()
    if not watched.interrupted:
        port.linger()
    return status


def _tell_runs(out: Path, session: Path, settings: RunSettings) -> None:
    """Which series became which run lately, and which run this one will be; nothing for a session's first."""
    from rtflow.derivatives import planned_run
    from rtflow.run_table import listed_runs
    from rtflow.settings import BidsSettings, settings_to_builtins
    from rtflow.source_settings import ScannerTable

    rows = [row for row in listed_runs(session) if row.get("recorded_run", "n/a") != "n/a"]
    planned = planned_run(out / "bids", settings_to_builtins(settings))
    if len(rows) > _TOLD:
        typer.echo(f"{len(rows) - _TOLD} earlier runs: {session / 'runs.tsv'}", err=True)
    for row in rows[-_TOLD:]:
        series = row.get("series", "n/a")
        what = f"series {series}" if series != "n/a" else f"run {row.get('run', '')} as asked for"
        task, status = row.get("task", "n/a"), row.get("status", "n/a")
        typer.echo(f"{what} is recorded as run {row['recorded_run']} of task {task}, {status}", err=True)
    default = BidsSettings().subject
    if isinstance(settings.source, ScannerTable) and settings.bids.subject == default:
        typer.echo(f"the participant is subject {default}; for another one, --subject LABEL", err=True)
    asked = str(settings.bids.run)
    if rows or planned != asked:
        there = f": run {asked} is there already" if planned != asked else ""
        typer.echo(
            f"this one will be recorded as run {planned} of task {settings.bids.task}{there}", err=True
        )


def _resume(
    run_dir: Path, watched: Watched, log: PythonLog, port: ListenOptions, aside: contextlib.ExitStack
) -> int:
    from rtflow.journal import Recording
    from rtflow.rerun import as_it_ran, require_unfinished, resume

    recording = Recording(options.recorded_run(run_dir))
    require_unfinished(recording)
    for document in recording.documents:
        watched.summary.add(document)
    log.write_to(run_dir)
    workflow, settings = as_it_ran(recording)
    out = recording.run_dir.absolute().parents[1]
    session = recording.located(recording.start.places["session"])
    with port.opened(settings, out, workflow.name, session) as (server, ends):
        watched.run(
            lambda observe, stopping: resume(run_dir, observe=observe, stopping=stopping, server=server),
            ends,
        )
        return _tell(watched, port, aside)
