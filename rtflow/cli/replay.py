"""``rtflow replay``: a recorded run once more, compared with what it gave."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from rtflow.cli import options
from rtflow.errors import UsageError

EXAMPLES = (
    "Examples: [cyan]rtflow replay rtflow-out/runs/RUN_UID[/cyan], "
    "[cyan]rtflow replay rtflow-out/runs/RUN_UID --speed 1[/cyan]"
)

DIFFERENT = 4


def command(
    run_dir: Annotated[Path, typer.Argument(help="Folder of a recorded run.", metavar="RUN_DIR")],
    speed: options.Speed = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where everything is written; default RUN_DIR/replays.")
    ] = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Run a recorded run again, with its workflow and settings, and compare the Results bit for bit."""
    from rtflow.cli.output import NipypeLog, stdout_to_stderr
    from rtflow.cli.watching import Watched

    pace = _pace(speed)
    options.recorded_run(run_dir)
    log = NipypeLog()
    try:
        with stdout_to_stderr(json):
            from rtflow.rerun import replay

            watched = Watched(json=json, quiet=quiet)
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
    status = watched.tell(
        exit_status=DIFFERENT if differs else None,
        replay={"equal": comparison.equal, "differing": list(comparison.differing)},
    )
    if not json and not quiet:
        typer.echo(in_words(comparison.equal, comparison.differing))
    raise typer.Exit(status)


def in_words(equal: int, differing: Sequence[int]) -> str:
    """What a comparison came to.

    >>> in_words(100, ())
    'all 100 Results equal the recorded ones bit for bit'
    >>> in_words(98, (4, 7))
    '98 Results equal the recorded ones bit for bit; 2 differ: volumes 4, 7'
    """
    if not differing:
        return f"all {equal} Results equal the recorded ones bit for bit"
    shown = ", ".join(map(str, differing[:10])) + (", ..." if len(differing) > 10 else "")
    return f"{equal} Results equal the recorded ones bit for bit; {len(differing)} differ: volumes {shown}"


def _pace(speed: str | None) -> Any:
    """How many times faster than the recorded run; at full speed unless said otherwise."""
    from msgspec import inspect

    from rtflow.setting_types import from_text
    from rtflow.source_settings import Speed

    try:
        return from_text(speed or "max", inspect.type_info(Speed))
    except ValueError as error:
        raise UsageError(f"--speed: {error}") from None
