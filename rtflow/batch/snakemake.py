"""Snakemake as a program of its own: found, started, followed, and ended whole."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from rtflow.errors import OutputError, RunError, UsageError

VARIABLE = "RTFLOW_SNAKEMAKE"
"""Environment variable with the path of the program, for one that is not found by itself."""

LOG = "snakemake.log"
_TICK = 0.2
_AT_WORK = b"at work\n"
_TOLD = 300
"""How much of what Snakemake printed a message quotes."""


def find_snakemake() -> str:
    """Path of the program: what `VARIABLE` names, one beside this Python, or the first on the path.

    Raises
    ------
    UsageError
        If there is none; the message says how to get it.
    """
    chosen = os.environ.get(VARIABLE)
    if chosen:
        if not os.access(chosen, os.X_OK):
            raise UsageError(f"{VARIABLE} names {chosen}, which is no program; correct or unset it")
        return chosen
    beside = Path(sys.executable).with_name("snakemake")
    found = str(beside) if os.access(beside, os.X_OK) else shutil.which("snakemake")
    if found is None:
        raise UsageError(
            "snakemake is not installed; it wants an environment of its own: python3 -m venv ~/snakemake && "
            f"~/snakemake/bin/pip install 'snakemake>=9,<10' && export {VARIABLE}=~/snakemake/bin/snakemake"
        )
    return found


def ask(folder: Path, *arguments: str) -> str:
    """What Snakemake says of the batch in a folder.

    Raises
    ------
    RunError
        If it ends with an error.
    """
    done = subprocess.run(
        [find_snakemake(), *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise RunError(f"snakemake {' '.join(arguments)} failed: {_last(done.stdout + done.stderr)}")
    return done.stdout


def work(
    folder: Path,
    names: Sequence[str],
    arguments: Sequence[str],
    follow: Callable[[], None],
    stopping: threading.Event,
    at_once: threading.Event,
    lock: int,
) -> bool:
    """Do what is to be done, and wait for its end.

    Parameters
    ----------
    folder
        Of the batch; what Snakemake prints goes into its ``snakemake.log``.
    names
        The runs that are to be done.
    arguments
        ``--cores 2``, ``--executor slurm``, ...
    follow
        Called several times a second meanwhile.
    stopping
        Once set, Snakemake is interrupted: it ends its jobs, removes what they left half done, and unlocks.
    at_once
        Once set, Snakemake and the jobs that it runs on this machine are killed.
    lock
        What `alone` gave.

    Returns
    -------
    bool
        Whether all jobs went well.
    """
    targets = [f"runs/{name}/result.json" for name in names]
    command = [find_snakemake(), "--keep-going", "--rerun-incomplete", *arguments, *targets]
    for target in targets:  # left by results that are not there any more: Snakemake would take it for done
        (folder / target).unlink(missing_ok=True)
    if _is_locked(folder):
        ask(folder, "--unlock")  # left by one of ours that was killed: `alone` has seen to it
    os.pwrite(lock, _AT_WORK, 0)
    environment = dict(os.environ)
    if cache := environment.get("RTFLOW_CACHE"):  # a relative one would be another folder for each job
        environment["RTFLOW_CACHE"] = str(Path(cache).expanduser().absolute())
    with (folder / LOG).open("a", encoding="utf-8") as log:
        # In a session of its own: Ctrl-C is for this process, which passes it on once.
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            # Should this process be killed, Snakemake works on, and the folder stays held until it ends.
            pass_fds=(lock,),
        )
        asked = killed = False
        while True:
            try:
                process.wait(_TICK)
                break
            except subprocess.TimeoutExpired:
                follow()
            if stopping.is_set() and not asked:
                asked = True
                os.killpg(process.pid, signal.SIGINT)
            if at_once.is_set() and not killed:
                killed = True
                os.killpg(process.pid, signal.SIGKILL)
    if not killed:  # else what it has locked is to be unlocked by the next one
        os.ftruncate(lock, 0)
    follow()
    return process.returncode == 0


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[int]:
    """Hold a folder while its batch is at work; it is made if it is not there.

    Yields
    ------
    int
        Descriptor of the file that is locked: the folder is held by every process that has it open.

    Raises
    ------
    OutputError
        If nothing can be written there.
    UsageError
        If another batch is at work there, or Snakemake that was started by hand.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / ".lock").open("ab+")
    except OSError as error:
        raise OutputError(f"{folder}: {error.strerror or error}; choose another folder by --out") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UsageError(
                f"a batch is at work in {folder}; wait for it, or choose another --out"
            ) from None
        # Snakemake locks by files, which outlive it. Those of one of ours, which must have ended since the
        # folder is free, may go; of others nobody can tell whether they are at work.
        if _is_locked(folder) and os.pread(file.fileno(), len(_AT_WORK), 0) != _AT_WORK:
            raise UsageError(
                f"Snakemake is at work in {folder}, started by hand; wait for it, or, if it was killed, run "
                "'snakemake --unlock' there"
            )
        yield file.fileno()


def _is_locked(folder: Path) -> bool:
    return any((folder / ".snakemake" / "locks").glob("*"))


def said(folder: Path) -> str:
    """The end of what Snakemake printed."""
    try:
        return _last((folder / LOG).read_text(encoding="utf-8"))
    except OSError:
        return ""


def _last(text: str) -> str:
    """The last line that says what went wrong and what follows it, else the end."""
    lines = text.splitlines()
    wrong = [at for at, line in enumerate(lines) if re.search(r"error\b|exception\b", line, re.IGNORECASE)]
    told = " ".join(" ".join(lines[wrong[-1] :] if wrong else lines).split())
    return (told[:_TOLD] if wrong else told[-_TOLD:]).strip() or "it said nothing"
