"""``rtflow serve``: a server that waits for orders to run a workflow."""

from __future__ import annotations

import contextlib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rtflow.cli import accounts, dashboards, options
from rtflow.cli.desktop import Desktop
from rtflow.cli.listening import ClientCertificates, Plain
from rtflow.errors import RtflowError, in_words

if TYPE_CHECKING:
    from rtflow.server.desk import Desk
    from rtflow.server.thread import Server
    from rtflow.workflow_file import WorkflowFile

EXAMPLES = (
    "Examples: [cyan]rtflow serve mine.py --listen 0.0.0.0:8443 --out my_study[/cyan], "
    "[cyan]rtflow serve template --listen 127.0.0.1:8443 --plain[/cyan]"
)

_LOOK = 0.2
"""Seconds between looks whether Ctrl-C was pressed."""


def command(
    workflow: Annotated[Path, options.WORKFLOW],
    listen: Annotated[str, typer.Option(metavar="HOST:PORT", help="Where agents and operators connect.")],
    config: options.Config = None,
    source: options.Source = None,
    set_: options.Set = None,
    speed: options.Speed = None,
    out: options.Out = options.OUT,
    session: options.Session = None,
    plain: Plain = False,
    client_certificates: ClientCertificates = False,
    access: accounts.Folder = None,
    dashboard: Annotated[
        bool, typer.Option("--dashboard/--no-dashboard", help="Open a dashboard for browsers.")
    ] = True,
    dashboard_listen: dashboards.Listen = dashboards.DEFAULT,
    desktop: Desktop = False,
    quiet: options.Quiet = False,
) -> None:
    """Wait for orders, and run a workflow whenever one comes; one run at a time.

    Ctrl-C ends the run that there is, and otherwise the server.
    """
    from rtflow.cli.interrupt import on_interrupt
    from rtflow.cli.listening import open_server, reached_at, shown, tell_newcomers
    from rtflow.cli.output import PythonLog
    from rtflow.cli.shipped import workflow_path
    from rtflow.items import describe_session
    from rtflow.report import report
    from rtflow.server.desk import Desk
    from rtflow.whole_file import require_writable
    from rtflow.workflow_file import as_it_stands, build_workflow, load_workflow

    log = PythonLog()  # before Nipype is imported
    try:
        loaded = load_workflow(workflow_path(workflow))
        settings = options.settings_for(loaded, config, source, set_, speed)
        file = options.settings_file(loaded, config)
    finally:
        log.close()
    require_writable(out.absolute())
    held = partial(describe_session, (session or out / "session").absolute())
    desk = Desk(
        settings,
        out.absolute(),
        workflow=loaded.name,
        waits=True,
        file=file,
        session=held,
        build=lambda changed: build_workflow(*as_it_stands(loaded, changed)),
        report=report,
    )
    opened = open_server(listen, desk, access=access, plain=plain, client_certificates=client_certificates)
    with opened as server, on_interrupt(desk.close), contextlib.ExitStack() as page:
        if not quiet:
            tell_newcomers(reached_at(server))
        if dashboard:
            page.enter_context(shown(server, dashboard_listen, access, desktop=desktop))
        if not quiet:
            start = f"{reached_at(server, 'http')}/api/start"
            typer.echo(
                f"waiting for Run: POST {start}, with a token of 'rtflow token add NAME "
                "--role operator'" + (", or Run on the dashboard" if dashboard else ""),
                err=True,
            )
        while not desk.closed:
            if desk.wait_for_order(_LOOK):
                _run(loaded, desk, server, out, session, quiet, listen)
                if not quiet:
                    typer.echo("waiting for Run", err=True)


def _run(
    loaded: WorkflowFile,
    desk: Desk,
    server: Server,
    out: Path,
    session: Path | None,
    quiet: bool,
    listen: str,
) -> None:
    """One run; whatever goes wrong in it, the server waits for the next."""
    from rtflow.cli.output import PythonLog
    from rtflow.cli.watching import Watched
    from rtflow.workflow_file import as_it_stands

    watched, log = Watched(json=False, quiet=quiet, listen=listen), PythonLog()
    trouble = ""
    try:
        workflow, settings = as_it_stands(loaded, desk.settings)
        if workflow.sha256 != loaded.sha256 and not quiet:
            typer.echo(f"{workflow.path} was changed: it is loaded anew", err=True)
        watched.run_workflow(
            workflow, settings, out, log, session=session, server=server, stopping=desk.stopping
        )
        watched.tell()
    except Exception as error:
        trouble = str(error) if isinstance(error, RtflowError) else f"unexpected {in_words(error)}"
        typer.echo(f"rtflow: {' '.join(trouble.split())}", err=True)
    finally:
        log.close()
        desk.done(trouble)
