"""A run as a command shows it: live display, Ctrl-C, summary, JSON. What `run` and `replay` share."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import typer

from rtflow.errors import RtflowError, UsageError

if TYPE_CHECKING:
    from rtflow.documents import AnyDocument
    from rtflow.summary import Summary

Engine = Callable[[Callable[["AnyDocument"], None], threading.Event], Any]


class Watched:
    """One run, watched from its first document to its last.

    Parameters
    ----------
    json
        Print one JSON object to stdout, and all else to stderr.
    quiet
        Print nothing else.
    """

    def __init__(self, *, json: bool, quiet: bool) -> None:
        from rtflow.summary import Summary

        self.json = json
        self.quiet = quiet
        self.summary: Summary = Summary()

    def run(self, engine: Engine) -> Any:
        """Run the engine, and give back what it gave; None if the run failed.

        Parameters
        ----------
        engine
            Called with an observer of documents and an event that ends the run.

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

        stopping = threading.Event()
        display = Display(self.summary.seen, Console(stderr=self.json, quiet=self.quiet), stopping)
        try:
            with ending_on_interrupt(stopping, say=not display.live), display:
                return engine(self.summary.add, stopping)
        except UsageError:
            raise
        except RtflowError:
            if self.summary.seen().stop is None:
                raise
            return None

    def tell(self, exit_status: int | None = None, **more: Any) -> int:
        """Print what the run came to, and give its exit status.

        Parameters
        ----------
        exit_status
            Another exit status than that of the run.
        more
            Further keys of the JSON object.
        """
        told = {**self.summary.as_dict(), **more}
        if exit_status is not None:
            told["exit_status"] = exit_status
        if self.json:
            import msgspec

            typer.echo(msgspec.json.encode(told).decode())
        elif not self.quiet:
            from rich.console import Console

            from rtflow.cli.ending import show_ending

            show_ending(told, Console())
        if told["status"] == "aborted":
            done = self.summary.seen().done
            typer.echo(f"rtflow: aborted; {done} volumes are kept in {told['outputs'].get('run')}", err=True)
        elif told["status"] == "failed":
            typer.echo(f"rtflow: {' '.join(str(told.get('reason', 'the run failed')).split())}", err=True)
        return int(told["exit_status"])
