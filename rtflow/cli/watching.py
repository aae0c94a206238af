"""A run as a command shows it: live display, Ctrl-C, summary, JSON. What `run` and `replay` share."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import typer

from rtflow.errors import RtflowError, RunError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from rtflow.cli.output import PythonLog
    from rtflow.documents import AnyDocument
    from rtflow.server.thread import Server
    from rtflow.settings import RunSettings
    from rtflow.summary import Summary
    from rtflow.workflow_file import WorkflowFile

Engine = Callable[[Callable[["AnyDocument"], None], threading.Event], Any]


BEYOND_LIMITS = 3


class Watched:
    """One run, watched from its first document to its last.

    Parameters
    ----------
    json
        Print one JSON object to stdout, and all else to stderr.
    quiet
        Print nothing else.
    listen
        Port that the run has for other machines.
    goes_on
        How a run goes on that was ended at once, where it is not by ``--resume``.

    Attributes
    ----------
    interrupted
        Whether the run was ended by Ctrl-C.
    """

    def __init__(self, *, json: bool, quiet: bool, listen: str | None = None, goes_on: str = "") -> None:
        from rtflow.summary import Summary

        self.json = json
        self.quiet = quiet
        port = f" --listen {listen}" if listen else ""
        self.goes_on = goes_on or f"'rtflow run --resume RUN_DIR{port}' goes on"
        self.interrupted = False
        self.summary: Summary = Summary()

    def run(self, engine: Engine, stopping: threading.Event | None = None) -> Any:
        """Run the engine, and give back what it gave; None if the run began and failed.

        Parameters
        ----------
        engine
            Called with an observer of documents and an event that ends the run.
        stopping
            That event, where somebody else may set it too.

        Raises
        ------
        UsageError
            If the run could not be done as asked.
        RtflowError
            If there was no run.
        """
        from rich.console import Console

        from rtflow.cli.display import Display
        from rtflow.cli.interrupt import ending_on_interrupt
        from rtflow.documents import Result, RunStop

        told: set[type] = set()

        def watch(document: AnyDocument) -> None:
            told.add(type(document))
            self.summary.add(document)

        stopping = stopping or threading.Event()
        display = Display(self.summary.seen, Console(stderr=self.json, quiet=self.quiet), stopping)
        try:
            tell = not display.live
            with ending_on_interrupt(stopping, tell=tell, goes_on=self.goes_on) as pressed, display:
                try:
                    return engine(watch, stopping)
                finally:
                    self.interrupted = pressed.is_set()
        except RtflowError as error:
            # A source that breaks down in the middle is not a mistake of the one who typed the command.
            if RunStop not in told or (isinstance(error, UsageError) and Result not in told):
                raise
            return None

    def run_workflow(
        self,
        workflow: WorkflowFile,
        settings: RunSettings,
        out: Path,
        log: PythonLog,
        *,
        session: Path | None = None,
        server: Server | None = None,
        stopping: threading.Event | None = None,
    ) -> None:
        """Run a workflow once, and raise what `run` does; see `rtflow.engine.run`.

        Parameters
        ----------
        workflow, settings, out, session, server
            As the engine has them.
        log
            Put into the folder of the run.
        stopping
            Ends the run, where somebody else may set it too.
        """
        from rtflow import engine

        self.run(
            lambda observe, ends: engine.run(
                workflow,
                settings,
                out,
                session=session,
                observe=log.following(observe, out),
                stopping=ends,
                server=server,
            ),
            stopping,
        )

    def tell(self, exit_status: int | None = None, **more: Any) -> int:
        """Print what the run came to, and give its exit status.

        Parameters
        ----------
        exit_status
            Another exit status than that of the run.
        more
            Further keys of the JSON object.

        Raises
        ------
        RunError
            If it cannot be printed.
        """
        from rtflow.engine import none_done

        told = {**self.summary.as_dict(), **more}
        if exit_status is not None:
            told["exit_status"] = exit_status
        try:
            self._print(told)
        except OSError as error:
            from rtflow.cli.output import drop_stdout

            drop_stdout()
            raise RunError(
                f"the run has {told['status']}, but that cannot be printed ({error.strerror or error}); "
                f"it stands in {told['outputs'].get('run')}"
            ) from None
        if told["status"] == "aborted":
            done = self.summary.seen().done
            typer.echo(f"rtflow: aborted; {done} volumes are kept in {told['outputs'].get('run')}", err=True)
        elif told["status"] == "failed":
            typer.echo(f"rtflow: {' '.join(str(told.get('reason', 'the run failed')).split())}", err=True)
        elif told["exit_status"] == BEYOND_LIMITS:
            volumes = told["volumes"]
            kinds = ("missing", "failed", "late")
            lost = ", ".join(f"{volumes[kind]} {kind}" for kind in kinds if volumes[kind])
            typer.echo(f"rtflow: more volumes were lost than [limits] allows: {lost}", err=True)
        if none_done(told["volumes"]):
            typer.echo(f"rtflow: no volume was done: {next(iter(told['errors']), '')}", err=True)
        return int(told["exit_status"])

    def _print(self, told: dict[str, Any]) -> None:
        if self.json:
            import msgspec

            typer.echo(msgspec.json.encode(told).decode())
        elif not self.quiet:
            from rich.console import Console

            from rtflow.cli.ending import show_ending

            show_ending(told, Console())
