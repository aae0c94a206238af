"""Workflow files: imported, built for settings, and looked at without running."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rtflow.errors import RtflowError, SettingsError, WorkflowError
from rtflow.settings import RunSettings, settings_from_builtins, settings_to_builtins

if TYPE_CHECKING:
    from nipype import Workflow

    from rtflow.stream import Plan


@dataclass(frozen=True)
class WorkflowFile:
    """A Python file with ``build(settings) -> nipype.Workflow`` and, perhaps, a ``class Settings``.

    Parameters
    ----------
    path
        The file.
    module
        Name under which it was imported; no other file has it.
    sha256
        Hash of the file.
    settings_type
        Its ``Settings``, or `RunSettings`.
    build
        Its ``build``.
    """

    path: Path
    module: str
    sha256: str
    settings_type: type[RunSettings]
    build: Callable[[Any], Any]

    @property
    def name(self) -> str:
        """Name of the file without its suffix."""
        return self.path.stem


def load_workflow(path: Path, *, beside: Path | None = None) -> WorkflowFile:
    """Import a workflow file.

    Parameters
    ----------
    path
        The file.
    beside
        Folder of the modules that it may import as a script does; default its own.

    Raises
    ------
    WorkflowError
        If the file is missing, cannot be imported, or has no ``build``.
    """
    from rtflow.stream.worker import import_file

    path = Path(path).absolute()
    try:
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise WorkflowError(
            f"workflow file {path}: {error.strerror or error}; give the path of a Python file, "
            "or make one by 'rtflow new DIR'"
        ) from None
    module_name = (
        f"rtflow_workflow_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}{sha256[:8]}"
    )
    folder = str(beside or path.parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)  # what stands beside it can be imported, as in a script
    try:
        module = import_file(module_name, str(path))
    except (Exception, SystemExit) as error:
        raise WorkflowError(f"workflow file {path} cannot be imported: {_where(error, path)}") from error
    build = getattr(module, "build", None)
    if not callable(build):
        raise WorkflowError(
            f"workflow file {path} has no function build(settings) that returns a nipype.Workflow; add one"
        )
    settings_type = getattr(module, "Settings", RunSettings)
    if not (isinstance(settings_type, type) and issubclass(settings_type, RunSettings)):
        raise WorkflowError(
            f"workflow file {path}: Settings must derive from rtflow.settings.RunSettings, "
            f"got {settings_type!r}"
        )
    return WorkflowFile(path, module_name, sha256, settings_type, build)


def as_it_stands(workflow: WorkflowFile, settings: RunSettings) -> tuple[WorkflowFile, RunSettings]:
    """The workflow as its file is now, and a copy of the settings that is of its own ``Settings``.

    What the file imports from beside it is not loaded anew: other workflows may have it as it was.

    Raises
    ------
    WorkflowError
        If the file has become one that cannot be loaded.
    SettingsError
        If the settings do not fit it any more.
    """
    try:
        changed = hashlib.sha256(workflow.path.read_bytes()).hexdigest() != workflow.sha256
    except OSError:
        changed = True  # which loading says better
    if changed:
        workflow = load_workflow(workflow.path)
    try:
        return workflow, settings_from_builtins(workflow.settings_type, settings_to_builtins(settings))
    except SettingsError as error:
        raise SettingsError(
            f"workflow file {workflow.path} was changed, and its settings are not those of before "
            f"({error}); start anew what has them"
        ) from None


def build_workflow(workflow: WorkflowFile, settings: RunSettings) -> Workflow:
    """The Nipype workflow of a file, for these settings.

    Raises
    ------
    WorkflowError
        If ``build`` raises, or returns something else.
    """
    from nipype import Workflow

    try:
        flow = workflow.build(settings)
    except RtflowError:
        raise
    except (Exception, SystemExit) as error:
        raise WorkflowError(
            f"workflow file {workflow.path}: build() raised {_where(error, workflow.path)}"
        ) from error
    if not isinstance(flow, Workflow):
        raise WorkflowError(
            f"workflow file {workflow.path}: build() must return a nipype.Workflow, got {type(flow).__name__}"
        )
    flow.base_dir = flow.base_dir or settings.work_dir or None
    flow.config.setdefault("execution", {})["create_report"] = "false"
    return flow


def plan(workflow: WorkflowFile, settings: RunSettings) -> Plan:
    """Which node runs when, without running any.

    Raises
    ------
    CompileError
        If the graph cannot be run as a stream.
    """
    from rtflow.stream import inspect

    return inspect(build_workflow(workflow, settings))


def _where(error: BaseException, path: Path) -> str:
    """An error in a line, with the line of the workflow file that it came from."""
    line = None
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(path):
            line = trace.tb_lineno
        trace = trace.tb_next
    if isinstance(error, SyntaxError) and error.filename == str(path):
        line = error.lineno
    message = " ".join(str(error).split())
    return f"{type(error).__name__}: {message}" + (f" (line {line})" if line else "")
