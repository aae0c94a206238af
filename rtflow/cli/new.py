"""``rtflow new``: an experiment of one's own."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

from rtflow.errors import OutputError, UsageError

EXAMPLES = "Example: [cyan]rtflow new my_experiment && rtflow run my_experiment/template.py[/cyan]"


def command(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to make; it may be there already.")],
    workflow: Annotated[
        str, typer.Option(metavar="NAME", help="The workflow to begin with, of those that come with rtflow.")
    ] = "template",
) -> None:
    """Copy a workflow and its settings into a folder, ready to run and to change."""
    from rtflow.cli.shipped import shipped_workflows
    from rtflow.setting_types import suggestion

    shipped = shipped_workflows()
    if workflow not in shipped:
        raise UsageError(f"no workflow '{workflow}' comes with rtflow; {suggestion(workflow, shipped)}")
    files = (shipped[workflow], shipped[workflow].with_suffix(".toml"))
    for file in files:
        if (folder / file.name).exists():
            raise UsageError(f"{folder / file.name} is there already; give another folder, or move it away")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file in files:
            shutil.copyfile(file, folder / file.name)
    except OSError as error:
        raise OutputError(f"folder {folder} cannot be written ({error.strerror}); give another") from None
    made = folder / f"{workflow}.py"
    typer.echo(f"made {made} (the graph) and {made.with_suffix('.toml')} (its settings)\n")
    typer.echo(f"  rtflow run {_quoted(made)}      runs it on a simulated scanner")
    typer.echo(f"  rtflow graph {_quoted(made)}    shows which node runs when")


def _quoted(path: Path) -> str:
    import shlex

    return shlex.quote(str(path))
