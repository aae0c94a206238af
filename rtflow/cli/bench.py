"""``rtflow bench``: the benchmarks, each with its bars."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from rtflow.cli import options
from rtflow.errors import UsageError

if TYPE_CHECKING:
    from rtflow.bench.report import Bar, BenchReport

EXAMPLES = "Example: [cyan]rtflow bench engine --json[/cyan]"

BELOW = 4
NAMES = ("engine", "dicom", "receiving", "archive", "realign", "nodes", "remote", "dashboard", "bids-app")


def names() -> list[str]:
    """The benchmarks that there are."""
    return list(NAMES)


def command(
    name: Annotated[str, typer.Argument(metavar="NAME", help=f"Which benchmark: {', '.join(NAMES)}.")],
    json: options.Json = False,
) -> None:
    """Measure rtflow on this machine; exit status 4 if a bar does not hold."""
    from importlib import import_module

    import msgspec

    from rtflow.cli.output import PythonLog, stdout_to_stderr
    from rtflow.setting_types import suggestion

    if name not in names():
        raise UsageError(f"no benchmark '{name}'; {suggestion(name, names())}")
    log = PythonLog()
    try:
        with stdout_to_stderr(json):
            report: BenchReport = import_module(f"rtflow.bench.{name.replace('-', '_')}").run()
    finally:
        log.close()
    if json:
        typer.echo(msgspec.json.encode(report).decode())
    else:
        show(report)
    raise typer.Exit(0 if report.holds else BELOW)


def show(report: BenchReport) -> None:
    """Print a report as a table."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    machine = ", ".join(
        f"{value}" if key == "processor" else f"{key} {value}" for key, value in report.machine.items()
    )
    versions = ", ".join(f"{package} {version}" for package, version in report.versions.items())
    console.print(f"{report.name}: {machine}\n{versions}", soft_wrap=True, highlight=False, markup=False)
    alone = {name: value for name, value in report.figures.items() if ":" not in name}
    alone |= {name: bar.value for name, bar in report.bars.items() if name not in report.figures}
    if alone:
        table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
        table.add_column("figure", no_wrap=True)
        for column in ("value", "bar", ""):
            table.add_column(column, justify="right" if column else "left")
        for name, value in alone.items():
            bar = report.bars.get(name)
            table.add_row(name, f"{value:.4g}", f"{bar.limit:g}" if bar else "", _word(bar))
        console.print(table)
    for columns, rows in tables(report).items():
        table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
        table.add_column("", no_wrap=True)
        for column in columns:
            table.add_column(column.replace("_", " "), justify="right")
        for row in rows:
            cells = [_cell(report, f"{row}:{column}") for column in columns]
            table.add_row(row, *cells)
        console.print(table)


def tables(report: BenchReport) -> dict[tuple[str, ...], list[str]]:
    """Columns to the rows that have them, of figures that are named ``ROW:COLUMN``."""
    columns: dict[str, list[str]] = {}
    for name in report.figures:
        row, colon, column = name.partition(":")
        if colon:
            columns.setdefault(row, []).append(column)
    tables: dict[tuple[str, ...], list[str]] = {}
    for row, its in columns.items():
        tables.setdefault(tuple(its), []).append(row)
    return tables


def _cell(report: BenchReport, name: str) -> str:
    bar = report.bars.get(name)
    colour = "" if bar is None else "green" if bar.holds else "red"
    text = f"{report.figures[name]:.3g}"
    if bar is None:
        return text
    return f"[{colour}]{text}{'<=' if bar.holds else '>'}{bar.limit:g}[/{colour}]"


def _word(bar: Bar | None) -> str:
    if bar is None:
        return ""
    return "[green]holds[/green]" if bar.holds else "[red]does not hold[/red]"
