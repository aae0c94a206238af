"""A run of an app, from what it gets to where its results stand."""

from __future__ import annotations

import contextlib
import math
import os
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

from rtflow.bids_apps.arguments import Given, given
from rtflow.bids_apps.command_line import Binding, Invocation, command_line, header, is_pinned
from rtflow.bids_apps.descriptor import BIDS_DIR, OUT_DIR, Descriptor
from rtflow.bids_apps.failures import failure
from rtflow.bids_apps.links import some
from rtflow.bids_apps.outputs import (
    container_uri,
    copy_of,
    count_files,
    describe,
    generators,
    put_in_place,
    where_results_go,
)
from rtflow.bids_apps.planted import links_out
from rtflow.bids_apps.process import AppProcess
from rtflow.bids_apps.runtime import Runtime, container_state, environment_of
from rtflow.bids_apps.work import Work, work_of
from rtflow.errors import AppError, OutputError, UsageError
from rtflow.whole_file import require_writable

Tell = Callable[[str], None]
"""Called with each line that the app says, from another thread."""

#: Between two questions whether a container of Docker has ended.
_ASK_SECONDS = 2.0

_STDERR_LINES, _STDERR_LETTERS = 12, 1500


@dataclass(frozen=True, kw_only=True)
class AppRun:
    """What is asked of an app.

    Parameters
    ----------
    descriptor
        The app.
    runtime
        What runs it.
    bids_dir
        The data set; the app may only read it.
    out
        The folder of derivatives; results go into its folder NAME.
    level
        Of the analysis. ``participant`` begins with an empty folder, and results of other participants stay;
        any other level finds a copy of the results so far.
    values
        By the names of the app's options.
    extra
        Arguments that its file does not know, at the end, as they are.
    mounts
        Path on this machine by the name of the mount.
    keep_work
        Whether what a failed run wrote is kept.
    """

    descriptor: Descriptor
    runtime: Runtime
    bids_dir: Path
    out: Path
    level: str = "participant"
    values: Mapping[str, Any] = field(default_factory=dict)
    extra: tuple[str, ...] = ()
    mounts: Mapping[str, Path] = field(default_factory=dict)
    keep_work: bool = False


@dataclass(frozen=True)
class Outcome:
    """What a run that ended well left.

    Parameters
    ----------
    folder
        With the results.
    log
        With all that the app said.
    seconds
        That it took.
    files
        In the folder, those of earlier runs among them.
    argv
        The command line.
    notes
        What a person should know of it; it stands in the log, too.
    """

    folder: Path
    log: Path
    seconds: float
    files: int
    argv: tuple[str, ...]
    notes: tuple[str, ...] = ()


def run_app(run: AppRun, tell: Tell = lambda line: None) -> Outcome:
    """Run an app, and put what it wrote into the folder of its results.

    Whatever happens, Ctrl-C too, nothing of it runs when this returns, and the folder of its results holds
    the earlier ones or the new ones.

    Raises
    ------
    UsageError
        If what was asked for cannot be run: an option, a mount, a link, a level.
    AppError
        If the app, or what runs it, failed; its ``kind`` says how.
    OutputError
        If the results cannot be written.
    """
    descriptor = run.descriptor
    if run.level not in descriptor.levels:
        known = ", ".join(descriptor.levels)
        raise UsageError(f"{descriptor.name} has no level {run.level!r}; known are {known}")
    bids_dir = _folder(run.bids_dir)
    final = where_results_go(run.out, descriptor.name)
    if bids_dir.is_relative_to(final):
        raise UsageError(
            f"{run.out} holds the data set itself; give another folder, such as {bids_dir}/derivatives"
        )
    require_writable(final.parent)
    require_writable(final)
    labels = run.values.get("participant_label") or []
    subjects = [labels] if isinstance(labels, str) else [str(label) for label in labels]
    lent = given(descriptor, run.runtime, run.values, run.mounts, bids_dir, subjects, final)
    environment = environment_of(run.runtime, descriptor)
    with work_of(final, keep=run.keep_work) as work:
        return _run_in(work, replace(run, bids_dir=bids_dir), final, lent, environment, tell)


def _run_in(
    work: Work, run: AppRun, final: Path, lent: Given, environment: Mapping[str, str], tell: Tell
) -> Outcome:
    descriptor = run.descriptor
    seen_out = str(work.folder) if run.runtime.native else OUT_DIR
    seen_data = str(run.bids_dir) if run.runtime.native else BIDS_DIR
    invocation = Invocation(
        descriptor=descriptor,
        name=f"rtflow-{descriptor.name.lower()}-{work.name.lower()}",
        arguments=(seen_data, seen_out, run.level, *lent.arguments, *run.extra),
        bindings=(*lent.bindings, Binding(work.folder, OUT_DIR, read_only=False)),
        environment=environment,
        keep=run.runtime.named,
        seconds=descriptor.limits.seconds,
    )
    merging = run.level == "participant"
    if not merging:
        copy_of(final, work.folder)
    before = _snapshot(work.folder)
    argv = command_line(run.runtime, invocation)
    began = time.monotonic()
    _run(run, invocation, argv, work.log, tell, lent.planted)
    seconds = time.monotonic() - began
    if _snapshot(work.folder) == before:
        raise AppError(
            f"{descriptor.name} ended well and wrote nothing to its output folder",
            "empty",
            argv=argv,
            log=work.log,
        )
    notes = _notes(run, work, lent.planted)

    def describing() -> None:
        earlier = generators(final, work.folder, merging=merging)
        stay = describe(work.folder, descriptor, run.runtime, earlier)
        others = [uri for uri in map(container_uri, stay) if uri]
        notes.extend(f"results of an earlier image stay beside the new ones: {uri}" for uri in others)

    put_in_place(work.folder, final, merging=merging, describing=describing)
    _add(work.log, notes)
    return Outcome(final, work.log, seconds, count_files(final), tuple(argv), tuple(notes))


def _notes(run: AppRun, work: Work, planted: Sequence[Path]) -> list[str]:
    notes = list(work.notes)
    if not is_pinned(run.descriptor, run.runtime):
        notes.append(
            f"only a tag is known of its image, {run.descriptor.image}: it may be another one tomorrow"
        )
    if planted:
        notes.append(
            f"links that apps have left and that lead out of the data set were not followed: {some(planted)}"
        )
    if out := links_out(work.folder):
        notes.append(f"links among the results lead out of them, and are never followed: {some(out)}")
    return notes


def _add(log: Path, notes: Sequence[str]) -> None:
    with contextlib.suppress(OSError), log.open("ab") as file:  # the results stand already
        file.writelines(f"# {note}\n".encode(errors="backslashreplace") for note in notes)


def _folder(path: Path) -> Path:
    try:
        real = path.expanduser().resolve(strict=True)
    except (OSError, RuntimeError):
        raise UsageError(f"{path} does not exist, expected a BIDS data set; give its folder") from None
    if not real.is_dir():
        raise UsageError(f"{path} is a file, expected a BIDS data set; give its folder")
    return real


def _run(
    run: AppRun, invocation: Invocation, argv: list[str], log: Path, tell: Tell, planted: Sequence[Path]
) -> None:
    """Run it to its end, which is a good one if this returns."""
    with _log(log) as file:
        file.write(header(run.descriptor, run.runtime, argv, planted))
        file.flush()
        try:
            process = AppProcess(run.runtime, invocation.name, argv, stdin=subprocess.DEVNULL)
        except OSError as error:
            raise AppError(
                f"{argv[0]} cannot be started: {error.strerror}", "runtime", argv=argv, log=log
            ) from None
        said = None
        try:
            said = _Said(process, file, tell)
            ended = _wait(run.runtime, invocation, process)
            state = container_state(run.runtime, invocation.name) if run.runtime.named else {}
        finally:  # after a good end, too: an app may leave something running
            process.end()
            if said is not None:
                said.wait()
        if _unlimited(state) and (run.descriptor.limits.memory or run.descriptor.limits.cpus):
            file.write(b"# podman runs without cgroups here: memory and processors were not limited\n")
    container = state.get("State", {})
    # What the container ended with is the truth: the command that started it may have lost its connection.
    status = container["ExitCode"] if container.get("Status") == "exited" else process.returncode
    if not ended:
        allowed = f"{invocation.seconds:g} s, which is all that limits.seconds of its file allows"
        kind, words = "time-out", f"it was ended after {allowed}"
    elif status != 0:
        memory = "" if _unlimited(state) else run.descriptor.limits.memory
        kind, words = failure(status, container, said.end, memory)
    else:
        return
    raise AppError(f"{invocation.descriptor.name}: {words}", kind, argv=argv, stderr=said.end, log=log)


def _wait(runtime: Runtime, invocation: Invocation, process: subprocess.Popen[bytes]) -> bool:
    """Wait for its end; whether that came in time.

    Docker's command line can miss the end of a container, if the daemon was slow or was started anew. It
    waits for ever then: the container is asked, too.
    """
    give_up = time.monotonic() + invocation.seconds if invocation.seconds else math.inf
    while True:
        left = min(give_up - time.monotonic(), _ASK_SECONDS if runtime.name == "docker" else math.inf)
        try:
            process.wait(None if left == math.inf else max(left, 0))
            return True
        except subprocess.TimeoutExpired:
            if time.monotonic() >= give_up:
                return False
            if container_state(runtime, invocation.name).get("State", {}).get("Status") == "exited":
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(_ASK_SECONDS)  # what was said last may be on its way
                return True


def _unlimited(state: Mapping[str, Any]) -> bool:
    return bool(state.get("HostConfig", {}).get("Cgroups") == "disabled")


@contextlib.contextmanager
def _log(path: Path) -> Any:
    try:
        file = path.open("wb")
    except OSError as error:
        raise OutputError(f"{path}: {error.strerror}; choose a folder that can be written") from None
    with file:
        yield file


class _Said:
    """What an app says, while it says it: into the log, to whoever listens, and the end of its stderr."""

    def __init__(self, process: subprocess.Popen[bytes], log: IO[bytes], tell: Tell) -> None:
        self._log, self._tell = log, tell
        self._lock = threading.Lock()
        self._end: deque[str] = deque(maxlen=_STDERR_LINES)
        assert process.stdout is not None
        assert process.stderr is not None
        self._threads = [
            threading.Thread(target=self._read, args=(process.stdout, False), daemon=True),
            threading.Thread(target=self._read, args=(process.stderr, True), daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def _read(self, pipe: IO[bytes], is_stderr: bool) -> None:
        with pipe:
            for line in pipe:
                text = line.decode(errors="replace").rstrip()
                with self._lock:
                    if self._log.closed:  # the app is over; something that it has left behind goes on
                        return
                    self._log.write(line)
                    self._log.flush()
                    if is_stderr and text:
                        self._end.append(text)
                self._tell(text)

    def wait(self) -> None:
        """Until the pipes are closed; something that the app left behind may hold them open."""
        for thread in self._threads:
            thread.join(2.0)

    @property
    def end(self) -> str:
        """The last lines of its stderr."""
        with self._lock:
            return "\n".join(self._end)[-_STDERR_LETTERS:]


def _snapshot(folder: Path) -> dict[Path, tuple[int, int]]:
    """Size and time of every file."""
    files = [Path(where, name) for where, _, names in os.walk(folder) for name in names]
    return {file: (file.lstat().st_size, file.lstat().st_mtime_ns) for file in files}
