"""``rtflow graph``: which node runs when."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rtflow.cli import options
from rtflow.errors import OutputError

if TYPE_CHECKING:
    from rtflow.stream import Plan

EXAMPLES = "Examples: [cyan]rtflow graph template[/cyan], [cyan]rtflow graph mine.py --svg mine.svg[/cyan]"


def command(
    workflow: Annotated[Path, options.WORKFLOW],
    config: options.Config = None,
    source: options.Source = None,
    set_: options.Set = None,
    svg: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw the graph into this file.")] = None,
) -> None:
    """Show which node runs at set-up, per volume and at the end, and how; nothing is run."""
    from rtflow.cli.output import PythonLog
    from rtflow.cli.shipped import workflow_path
    from rtflow.drawing import draw
    from rtflow.workflow_file import load_workflow, plan

    log = PythonLog()
    try:
        loaded = load_workflow(workflow_path(workflow))
        settings = options.settings_for(loaded, config, source, set_)
        found = plan(loaded, settings)
    finally:
        log.close()
    _show(found)
    if svg is not None:
        try:
            svg.write_text(draw(found.name, found.nodes), encoding="utf-8")
        except OSError as error:
            raise OutputError(f"{svg} cannot be written ({error.strerror}); give another file") from None
        typer.echo(f"drawn in {svg}")


def _show(found: Plan) -> None:
    from rich.console import Console
    from rich.table import Table

    from rtflow.drawing import COLOURS, TITLES

    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column("node", no_wrap=True)
    table.add_column("interface", no_wrap=True)
    for column in ("stage", "mode", "on error", "deadline"):
        table.add_column(column, justify="right" if column in ("stage", "deadline") else "left")
    table.add_column("after", overflow="fold")
    for when, title in TITLES.items():
        nodes = [node for node in found.nodes if node.when == when]
        if nodes:
            table.add_row(f"[bold {COLOURS[when][1]}]{title}[/]")
        for node in nodes:
            streamed = when == "volume"
            table.add_row(
                f"  {node.name}",
                node.interface,
                str(node.stage) if streamed else "",
                node.mode if streamed else "",
                node.on_error if streamed else "",
                f"{node.deadline:g} s" if streamed and node.deadline is not None else "",
                ", ".join(node.after),
            )
    console = Console()
    if not console.is_terminal:
        console.width = max(console.width, 120)
    console.print(table)
