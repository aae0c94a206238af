"""One run from RunStart to RunStop: settings, workflow, journal and stream put together."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import logging
import platform
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from rtflow.derivatives import add_companions, derive, find_recorded, mark_ending
from rtflow.documents import AnyDocument, RunStart, RunStop
from rtflow.errors import OutputError, RtflowError, WorkflowError
from rtflow.journal import Journal
from rtflow.named_files import to_keep
from rtflow.run_table import list_run, require_subject
from rtflow.settings import Limits, RunSettings, settings_to_builtins
from rtflow.source_settings import AgentSource
from rtflow.source_uri import format_source, no_port_for
from rtflow.whole_file import require_writable

if TYPE_CHECKING:
    from nipype import Workflow

    from rtflow.server.messages import BeginRun
    from rtflow.server.thread import Server
    from rtflow.stream import Plan, RunContext

Observe = Callable[[AnyDocument], None]

_LOG = logging.getLogger("rtflow")
_PACKAGES = ("rtflow", "nipype", "nibabel", "numpy", "scipy", "pydicom", "nilearn", "scikit-learn", "msgspec")


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


def run(
    workflow: WorkflowFile,
    settings: RunSettings,
    out: Path,
    *,
    session: Path | None = None,
    observe: Observe | None = None,
    stopping: threading.Event | None = None,
    server: Server | None = None,
) -> RunStop:
    """Run a workflow once.

    Parameters
    ----------
    workflow, settings
        What to run.
    out
        Output folder: ``out/bids``, ``out/runs/RUN_UID``, and ``out/session`` unless ``session`` is given.
    observe
        Called with each document; must return at once.
    stopping
        Set it, from any thread, to end the run.
    server
        The port that scanner and subject are connected to, if they are on other machines.

    Raises
    ------
    UsageError
        If it cannot begin, or the session is another participant's; nothing has been written then.
    RtflowError
        If the run failed; its RunStop has been written.
    """
    if server is None and isinstance(settings.source, AgentSource):
        raise no_port_for(settings.source)
    context = replace(new_context(out, session, settings), server=server)
    require_subject(context.session_dir, settings.bids.subject)
    settings.work_dir = settings.work_dir or str(out.absolute() / "work")
    settings.require()
    plan(workflow, settings)
    if session is not None:
        require_writable(session)
    return execute(workflow, settings, context, observe=observe, stopping=stopping)


def execute(
    workflow: WorkflowFile,
    settings: RunSettings,
    context: RunContext,
    *,
    observe: Observe | None = None,
    stopping: threading.Event | None = None,
    replay_of: str = "",
    **options: Any,
) -> RunStop:
    """Run a workflow in a given place.

    Parameters
    ----------
    context
        The run and its folders.
    replay_of
        The run_uid of the run that is replayed.
    options
        Further options of `StreamPlugin`: source, decisions, resumed.
    """
    from rtflow.stream import StreamPlugin

    recorded = settings_to_builtins(settings)
    beside: dict[str, bytes] = {}
    if not context.resuming:  # else they are there, as they were when the run began
        beside = {
            f"workflow/{workflow.path.name}": workflow.path.read_bytes(),
            "workflow/settings.json": msgspec.json.format(msgspec.json.encode(recorded), indent=2),
            **to_keep(workflow.settings_type, recorded),
        }
    flow = build_workflow(workflow, settings)
    journal = Journal(context.run_dir, resume=context.resuming, beside=beside)
    speed = getattr(settings.source, "speed", 1.0)
    paced = not context.replaying and speed != "max"
    plugin = StreamPlugin(
        context=context,
        start=RunStart(
            workflow=workflow.name,
            workflow_file=str(workflow.path),
            workflow_sha256=workflow.sha256,
            source=format_source(settings.source),
            settings=recorded,
            versions=_versions(),
            places={"bids": str(context.bids_dir), "session": str(context.session_dir)},
            replay_of=replay_of,
        ),
        keeper=journal,
        observers=tuple(one for one in (observe, context.server and context.server.observe) if one),
        deadline=settings.deadline or ("tr" if paced else None),
        pace=float(speed) if paced else 1.0,
        drop=settings.source.drop and not context.replaying,
        stopping=stopping,
        files={workflow.module: str(workflow.path)},
        **options,
    )
    try:
        if context.server is not None:
            context.server.begin_run(_told_to_agents(workflow, settings, context))
        flow.run(plugin=plugin)
    finally:
        journal.close()
        if context.server is not None:
            context.server.end_run(context.run_uid, plugin.stop.status if plugin.stop else "failed")
        if plugin.stop is not None:
            with contextlib.suppress(OutputError):  # which is said of the table, or of the run itself
                status = "" if plugin.stop.status == "completed" else plugin.stop.status
                mark_ending(context.bids_dir, context.run_uid, status)
            list_run(context.session_dir, _row(workflow, settings, plugin.stop, context.bids_dir))
    assert plugin.stop is not None
    try:
        derive(context.run_dir)
        add_companions(context.run_dir)
    except (RtflowError, OSError) as error:  # the run itself is whole
        _LOG.warning(
            "rtflow: derivatives were not written: %s; then 'rtflow derivatives %s'", error, context.run_dir
        )
    return plugin.stop


def exit_status(stop: RunStop, limits: Limits) -> int:
    """Exit status of a command that ran: 0 well, 1 failed, aborted or no volume done, 3 beyond the limits."""
    if stop.status != "completed":
        return 1
    beyond = [
        limit is not None and stop.counts.get(status, 0) > limit
        for status, limit in (("missing", limits.missing), ("failed", limits.failed), ("late", limits.late))
    ]
    return 3 if any(beyond) else int(none_done(stop.counts))


def none_done(counts: Mapping[str, int]) -> bool:
    """Whether volumes failed and not one was done: a run that came to its end for nothing."""
    return counts.get("failed", 0) > 0 and not counts.get("ok", 0) and not counts.get("late", 0)


def new_context(out: Path, session: Path | None, settings: RunSettings) -> RunContext:
    """A run of its own in an output folder."""
    from rtflow.stream import RunContext

    out = out.absolute()
    run_uid = time.strftime("%Y%m%d-%H%M%S-") + uuid.uuid4().hex[:6]
    return RunContext(
        run_uid=run_uid,
        run_dir=out / "runs" / run_uid,
        bids_dir=out / "bids",
        session_dir=(session or out / "session").absolute(),
        subject=settings.bids.subject,
        seed=settings.seed,
    )


def _told_to_agents(workflow: WorkflowFile, settings: RunSettings, context: RunContext) -> BeginRun:
    from rtflow.server.messages import BeginRun

    volumes, tr = (getattr(settings.source, name, None) for name in ("volumes", "tr"))
    return BeginRun(
        run_uid=context.run_uid,
        workflow=workflow.name,
        volumes=context.volumes or volumes,
        tr=context.tr or tr,
    )


def _row(workflow: WorkflowFile, settings: RunSettings, stop: RunStop, raw: Path) -> dict[str, object]:
    bids = settings.bids
    recorded = find_recorded(raw, stop.run_uid)
    if recorded is not None and not recorded.bold:  # it failed before there was an image
        recorded = None
    return {
        "run_uid": stop.run_uid,
        "workflow": workflow.name,
        "subject": bids.subject,
        "session": bids.session or "n/a",
        "task": bids.task,
        "run": bids.run,
        "status": stop.status,
        **stop.counts,
        "series": (recorded and recorded.series) or "n/a",
        "recorded_run": (recorded and recorded.entities.get("run")) or "n/a",
    }


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "system": platform.platform()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:  # a checkout that was not installed
            continue
    return found


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
