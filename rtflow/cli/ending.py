"""What a run came to, as a table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rtflow.engine import none_done
from rtflow.summary import published

_COLOURS = {"completed": "green", "aborted": "yellow", "failed": "red"}


def show_ending(told: dict[str, Any], console: Console) -> None:
    """Print the summary of a run.

    Parameters
    ----------
    told
        What `rtflow.summary.Summary.as_dict` gave.
    console
        Where to print it.
    """
    volumes = told["volumes"]
    console.print(
        Text.assemble(
            "\nrun ",
            (told["run_uid"] or "?", "bold"),
            " ",
            (told["status"], _COLOURS[told["status"]]),
            f" after {told['seconds']:.1f} s",
        ),
        soft_wrap=True,
    )
    if none_done(volumes):
        console.print(Text("no volume was done: all that came failed, and below is why", "bold red"))
    rows = Table.grid(padding=(0, 2))
    rows.add_column(style="dim", no_wrap=True)
    rows.add_column()
    if "accuracy" in told:
        rows.add_row("accuracy", Text(f"{told['accuracy']:.1%} of the test volumes decoded", style="bold"))
    elif 0 in published(told["values"], "volumes").values():
        rows.add_row("accuracy", Text("no test volume was decoded", style="yellow"))
    for name, value in told["values"].items():
        if not name.endswith(".accuracy"):
            rows.add_row(name, Text(f"{value:.6g}" if isinstance(value, float) else str(value)))
    planned = f" of {volumes['planned']}" if volumes["planned"] else ""
    counted = ", ".join(f"{volumes[status]} {status}" for status in ("ok", "late", "missing", "failed"))
    rows.add_row("volumes", f"{counted}{planned}; {volumes['suspect']} suspect")
    console.print(rows)
    _show_times(told, console)
    for name, colour in (("errors", "red"), ("doubts", "yellow"), ("notes", "")):
        for message, count in told[name].items():
            often = f"{count} x " if count > 1 else ""
            console.print(Text(f"{often}{message}", style=colour), soft_wrap=True)
    for name, path in told["outputs"].items():
        if not Path(path).exists():  # a run that saves nothing for the session leaves none
            continue
        console.print(Text.assemble((f"{name:<9} ", "dim"), path), soft_wrap=True)


def _show_times(told: dict[str, Any], console: Console) -> None:
    times = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    times.add_column("ms per volume")
    for column in ("p50", "p95", "max"):
        times.add_column(column, justify="right")
    for node, spread in told["nodes"].items():
        times.add_row(node, *(f"{value:.2f}" for value in spread.values()))
    if told["latency_ms"]:
        latency = [f"{value:.2f}" for value in told["latency_ms"].values()]
        times.add_row("last byte to Result", *latency, style="bold")
    if times.row_count:
        console.print(times)
