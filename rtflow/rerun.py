"""A recorded run once more: replayed elsewhere, or taken up where it was cut off."""

from __future__ import annotations

import hashlib
import shutil
import threading
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rtflow.documents import Result, RunStop
from rtflow.engine import Observe, execute, new_context, require_port
from rtflow.errors import JournalError, UsageError
from rtflow.journal import Recording
from rtflow.named_files import as_kept
from rtflow.settings import RunSettings, settings_from_builtins
from rtflow.source_settings import JournalSource, Speed
from rtflow.sources.journal import JournalReplay
from rtflow.sources.taking_up import in_its_series
from rtflow.workflow_file import WorkflowFile, load_workflow

if TYPE_CHECKING:
    from rtflow.server.thread import Server


@dataclass(frozen=True)
class Comparison:
    """Results of a replay beside those of the recorded run.

    Parameters
    ----------
    equal
        Number of volumes whose values are equal bit for bit and whose status is the same.
    differing
        Volumes where they are not, or which only one of the two has. A volume that was given up when the
        recorded run ended has nothing to compare, and is neither.
    not_played
        Volumes of the recorded run that a replay which did not come to its end never came to, or gave up.
    """

    equal: int
    differing: tuple[int, ...]
    not_played: tuple[int, ...] = ()

    @classmethod
    def of(cls, recorded: list[Result], replayed: list[Result], *, whole: bool = True) -> Comparison:
        """Compare Results by volume; ``whole`` says whether the replay came to its end."""
        before = {result.volume: (result.values_sha256, result.status) for result in recorded}
        after = {result.volume: (result.values_sha256, result.status) for result in replayed}
        for result in recorded:
            if result.given_up:
                del before[result.volume]
                after.pop(result.volume, None)
        not_played: list[int] = []
        if not whole:
            never = {r.volume for r in replayed if r.given_up or r.status == "missing"}
            not_played = sorted(before.keys() - (after.keys() - never))
            for volume in not_played:
                del before[volume]
                after.pop(volume, None)
        differing = sorted(v for v in before.keys() | after.keys() if before.get(v) != after.get(v))
        equal = len(before.keys() | after.keys()) - len(differing)
        return cls(equal, tuple(differing), tuple(not_played))


def replay(
    run_dir: Path,
    *,
    out: Path | None = None,
    speed: Speed = "max",
    observe: Observe | None = None,
    stopping: threading.Event | None = None,
    server: Server | None = None,
) -> tuple[RunStop, Comparison]:
    """Run the frames of a recorded run through its workflow, with its settings and its decisions.

    Parameters
    ----------
    run_dir
        Folder of the recorded run.
    out
        Output folder of the replay; default ``run_dir/replays``.
    speed
        How many times faster than it was, or ``max``.
    observe, stopping
        As for `rtflow.engine.run`.
    server
        Displays that are to be shown the values once more; none unless it is given.

    Raises
    ------
    JournalError
        If the journal cannot be read, or the workflow or a file that was kept with the run has changed.
    RtflowError
        As for `rtflow.engine.run`.
    """
    from rtflow.stream.executor import Decisions

    recording = Recording(run_dir.absolute())
    workflow, settings = as_it_ran(recording)
    out = (out or run_dir / "replays").absolute()
    context = replace(new_context(out, None, settings), server=server)
    # What the run took from its session, it left a copy of: the session itself has moved on since. The
    # replay has a copy to itself, so that it finds no more and no less, and changes nobody's session.
    used = recording.run_dir / "session"
    context = replace(context, session_dir=context.run_dir / "session-of-the-run")
    if used.is_dir():
        shutil.copytree(used, context.session_dir)
    settings.work_dir = str(out / "work")
    stop = execute(
        workflow,
        settings,
        replace(
            context,
            replaying=True,
            tr=recording.start.tr,
            volumes=recording.start.volumes,
        ),
        observe=observe,
        stopping=stopping,
        replay_of=recording.start.run_uid,
        source=JournalReplay(JournalSource(path=str(recording.run_dir), speed=speed)),
        decisions=Decisions(
            recording.events, [result.volume for result in recording.results if result.status == "late"]
        ),
    )
    results = Recording(context.run_dir).results
    return stop, Comparison.of(recording.results, results, whole=stop.status == "completed")


def require_unfinished(recording: Recording) -> None:
    """Refuse to go on with a run that has ended.

    Raises
    ------
    UsageError
        Saying how it ended.
    """
    if recording.stop is not None:
        raise UsageError(
            f"run {recording.start.run_uid} has ended ({recording.stop.status}): it cannot go on; "
            f"'rtflow replay {recording.run_dir}' runs it again"
        )


def resume(
    run_dir: Path,
    *,
    observe: Observe | None = None,
    stopping: threading.Event | None = None,
    server: Server | None = None,
) -> RunStop:
    """Take up a run that was cut off: run what is recorded at full speed, then go on live.

    Nodes come to the state they were in because they see the same volumes again. What has a Result gets
    no second one, and what was delivered is not delivered again.

    Parameters
    ----------
    run_dir
        Folder of the run.
    observe, stopping, server
        As for `rtflow.engine.run`.

    Raises
    ------
    UsageError
        If the run has ended.
    JournalError
        If the journal cannot be read, or the workflow or a file that was kept with the run has changed.
    RtflowError
        As for `rtflow.engine.run`.
    """
    from rtflow.stream import Resumed, RunContext
    from rtflow.stream.executor import Decisions

    recording = Recording(run_dir.absolute())
    start = recording.start
    require_unfinished(recording)
    workflow, settings = as_it_ran(recording)
    require_port(settings, server)
    settings.work_dir = str(recording.located(settings.work_dir)) if settings.work_dir else ""
    settings.source = in_its_series(settings.source, recording.run_dir)
    context = RunContext(
        run_uid=start.run_uid,
        run_dir=recording.run_dir,
        bids_dir=recording.located(start.places["bids"]),
        session_dir=recording.located(start.places["session"]),
        tr=start.tr,
        volumes=start.volumes,
        seed=settings.seed,
        resuming=True,
        server=server,
    )
    if server is not None:
        server.recall(recording.documents)
    return execute(
        workflow,
        settings,
        context,
        observe=observe,
        stopping=stopping,
        decisions=Decisions(recording.events, complete=[result.volume for result in recording.results]),
        resumed=Resumed(
            results={result.volume: result.values_sha256 for result in recording.results},
            frames=recording.frames(),
            delivered=recording.delivered,
            recorded={document.volume for document in recording.volumes},
            counts=Counter(result.status for result in recording.results),
            documents=len(recording.documents),
        ),
    )


def as_it_ran(recording: Recording) -> tuple[WorkflowFile, RunSettings]:
    """The workflow and the settings of a recorded run, from what was kept with it; raises `JournalError`."""
    start = recording.start
    path = recording.run_dir / "workflow" / Path(start.workflow_file).name
    if not path.is_file():
        raise JournalError(f"{path} is missing: the run cannot be run again without its workflow file")
    if hashlib.sha256(path.read_bytes()).hexdigest() != start.workflow_sha256:
        raise JournalError(f"{path} was changed since the run; restore it, or run it as a new workflow")
    # Modules of one's own beside the workflow file are taken from where they were.
    workflow = load_workflow(path, beside=Path(start.workflow_file).parent)
    settings = as_kept(recording.run_dir, workflow.settings_type, start.settings)
    return workflow, settings_from_builtins(workflow.settings_type, settings)
