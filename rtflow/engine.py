"""One run from RunStart to RunStop: settings, workflow, journal and stream put together."""

from __future__ import annotations

import contextlib
import importlib.metadata
import logging
import platform
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from rtflow.derivatives import add_companions, derive, find_recorded, mark_ending
from rtflow.documents import AnyDocument, RunStart, RunStop
from rtflow.errors import OutputError, RtflowError
from rtflow.journal import Journal
from rtflow.named_files import to_keep
from rtflow.run_table import list_run, require_recorded_subject, require_subject
from rtflow.settings import Limits, RunSettings, settings_to_builtins
from rtflow.source_settings import AgentSource, JournalSource
from rtflow.source_uri import format_source, no_port_for
from rtflow.whole_file import require_writable
from rtflow.workflow_file import WorkflowFile, build_workflow, plan

if TYPE_CHECKING:
    from rtflow.server.messages import BeginRun
    from rtflow.server.thread import Server
    from rtflow.stream import RunContext

Observe = Callable[[AnyDocument], None]

_LOG = logging.getLogger("rtflow")
_PACKAGES = ("rtflow", "nipype", "nibabel", "numpy", "scipy", "pydicom", "nilearn", "scikit-learn", "msgspec")


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
    require_port(settings, server)
    context = replace(new_context(out, session, settings), server=server)
    require_subject(context.session_dir, settings.bids.subject)
    if isinstance(settings.source, JournalSource):
        require_recorded_subject(Path(settings.source.path), settings.bids.subject)
    settings.work_dir = settings.work_dir or str(out.absolute() / "work")
    settings.require()
    plan(workflow, settings)
    if session is not None:
        require_writable(session)
    return execute(workflow, settings, context, observe=observe, stopping=stopping)


def require_port(settings: RunSettings, server: Server | None) -> None:
    """Refuse a source on another machine where there is no port that its agent could connect to.

    Raises
    ------
    SettingsError
        If there is none.
    """
    if server is None and isinstance(settings.source, AgentSource):
        raise no_port_for(settings.source)


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
    from rtflow.bids.picture import pictures
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
            context.server.begin_run(_told_to_agents(workflow, settings, context), pictures)
        flow.run(plugin=plugin)
    finally:
        journal.close()
        if context.server is not None:
            context.server.end_run(context.run_uid, plugin.stop.status if plugin.stop else None)
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
