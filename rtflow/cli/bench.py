"""``rtflow bench``: the benchmarks, each with its bars."""

from __future__ import annotations

import pkgutil
from typing import TYPE_CHECKING, Annotated

import typer

from rtflow.cli import options
from rtflow.errors import UsageError

if TYPE_CHECKING:
    from rtflow.bench.report import BenchReport

EXAMPLES = "Example: [cyan]rtflow bench engine --json[/cyan]"

BELOW = 4


def names() -> list[str]:
    """The benchmarks that there are."""
    import rtflow.bench

    found = [module.name for module in pkgutil.iter_modules(rtflow.bench.__path__)]
    return [name for name in found if name != "report"]


def command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Which benchmark, such as engine.")],
    json: options.Json = False,
) -> None:
    """Measure rtflow on this machine; exit status 4 if a bar does not hold."""
    from importlib import import_module

    import msgspec

    from rtflow.cli.output import NipypeLog, stdout_to_stderr
    from rtflow.setting_types import suggestion

    if name not in names():
        raise UsageError(f"no benchmark '{name}'; {suggestion(name, names())}")
    log = NipypeLog()
    try:
        with stdout_to_stderr(json):
            report: BenchReport = import_module(f"rtflow.bench.{name}").run()
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
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column("figure", no_wrap=True)
    table.add_column("value", justify="right")
    table.add_column("bar", justify="right")
    table.add_column("")
    for figure, value in report.figures.items():
        bar = report.bars.get(figure)
        table.add_row(
            figure,
            f"{value:.4g}",
            f"{bar.limit:g}" if bar else "",
            "" if bar is None else "[green]holds[/green]" if bar.holds else "[red]does not hold[/red]",
        )
    for figure, bar in report.bars.items():
        if figure not in report.figures:
            word = "[green]holds[/green]" if bar.holds else "[red]does not hold[/red]"
            table.add_row(figure, f"{bar.value:.4g}", f"{bar.limit:g}", word)
    console.print(table)
