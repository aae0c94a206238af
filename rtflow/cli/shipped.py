"""The workflows that come with rtflow, and the files that a command means."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from rtflow.errors import WorkflowError


def shipped_workflows() -> dict[str, Path]:
    """Name and file of each workflow that comes with rtflow."""
    spec = importlib.util.find_spec("rtflow.workflows")
    folders = spec.submodule_search_locations if spec else None
    return {
        path.stem: path
        for folder in folders or ()
        for path in sorted(Path(folder).glob("*.py"))
        if path.with_suffix(".toml").is_file()
    }


def workflow_path(given: Path) -> Path:
    """The workflow file that was meant: a file, or the name of one that comes with rtflow.

    Raises
    ------
    WorkflowError
        If there is neither.
    """
    if given.is_file():
        return given
    shipped = shipped_workflows()
    if given.stem in shipped and given.suffix in ("", ".py") and str(given.parent) in (".", "workflows"):
        return shipped[given.stem]
    from rtflow.setting_types import nearest

    near = nearest(str(given), [*shipped, *map(str, given.parent.glob("*.py"))])
    way = f"give a Python file, one of {', '.join(shipped)}, or make your own by 'rtflow new DIR'"
    raise WorkflowError(
        f"workflow file {given} {'is a folder' if given.is_dir() else 'does not exist'}; "
        + (f"did you mean '{near}'?" if near else way)
    )
