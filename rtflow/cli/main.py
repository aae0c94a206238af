"""``rtflow``: the commands, and how each ends."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
import tempfile
import traceback
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import rtflow
from rtflow.cli import (
    audit,
    batch,
    bench,
    bids_app,
    cache,
    certs,
    convert,
    dashboard,
    deidentify,
    derivatives,
    enrol,
    graph,
    new,
    openneuro,
    package,
    replay,
    report,
    run,
    scanner,
    serve,
    simulate,
    subject,
    token,
    user,
)
from rtflow.errors import RtflowError, UsageError, needs_all

# Nipype asks its home server for news when it is imported: nothing that runs beside a scanner should.
os.environ.setdefault("NIPYPE_NO_ET", "1")
os.environ.setdefault("NO_ET", "1")


class Commands(TyperGroup):
    """The commands; whatever goes wrong in one becomes a line on stderr and an exit status."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except RtflowError as error:
            _say(error)
            raise typer.Exit(2 if isinstance(error, UsageError) else 1) from None
        except (typer.Exit, typer.Abort, typer.BadParameter, KeyboardInterrupt):
            raise
        except ModuleNotFoundError as error:
            if importlib.util.find_spec("numpy") is not None:  # it is another one that is missing
                _say_unexpected(error)
                raise typer.Exit(1) from None
            _say(needs_all(f"'rtflow {ctx.invoked_subcommand}'", error))
            raise typer.Exit(2) from None
        except Exception as error:
            if type(error).__module__.partition(".")[0] in ("typer", "click"):
                raise  # a wrong option or argument: typer tells it, with status 2
            _say_unexpected(error)
            raise typer.Exit(1) from None


def _say(error: BaseException) -> None:
    if _debugging():
        traceback.print_exception(error)
    typer.echo(f"rtflow: {' '.join(str(error).split()) or type(error).__name__}", err=True)


def _say_unexpected(error: Exception) -> None:
    """An error that rtflow did not foresee: one line, and the traceback where it can be looked up."""
    if _debugging():
        traceback.print_exception(error)
        return
    where = "set RTFLOW_DEBUG=1 to see the traceback"
    with contextlib.suppress(OSError):
        handle, name = tempfile.mkstemp(prefix="rtflow-", suffix=".traceback")
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            traceback.print_exception(error, file=file)
        where = f"please report it with {name}"
    typer.echo(
        f"rtflow: unexpected {type(error).__name__}: {' '.join(str(error).split())}; {where}", err=True
    )


def _debugging() -> bool:
    return os.environ.get("RTFLOW_DEBUG", "") not in ("", "0")


app = typer.Typer(
    name="rtflow",
    cls=Commands,
    help="Run a Nipype workflow for every volume that the scanner writes.",
    epilog="Exit status: 0 it went well, 1 it failed or was aborted, 2 wrong usage, 3 more volumes missing, "
    "failed or late than the settings allow, 4 a comparison or a bar does not hold.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"rtflow {rtflow.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", envvar="RTFLOW_DEBUG", help="Show the traceback of an error.")
    ] = False,
) -> None:
    del version
    if debug:
        os.environ["RTFLOW_DEBUG"] = "1"


for name, module in (
    ("run", run),
    ("dashboard", dashboard),
    ("serve", serve),
    ("enrol", enrol),
    ("replay", replay),
    ("report", report),
    ("batch", batch),
    ("scanner", scanner),
    ("subject", subject),
    ("simulate", simulate),
    ("convert", convert),
    ("deidentify", deidentify),
    ("derivatives", derivatives),
    ("new", new),
    ("graph", graph),
    ("package", package),
    ("openneuro", openneuro),
    ("cache", cache),
    ("bench", bench),
):
    app.command(name, epilog=module.EXAMPLES)(module.command)

for name, group in (
    ("bids-app", bids_app),
    ("user", user),
    ("token", token),
    ("certs", certs),
    ("audit", audit),
):
    app.add_typer(group.app, name=name, help=group.HELP, epilog=group.EXAMPLES)


def main() -> None:
    """The command ``rtflow``."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:  # started without it: the next file, the journal say, would be taken for the terminal
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = sys.stdout or os.fdopen(1, "w")
    sys.stderr = sys.stderr or os.fdopen(2, "w")
    app()


if __name__ == "__main__":
    main()
