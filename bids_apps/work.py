"""Where an app writes while it runs: beside its results, until they are put in place."""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import glob
import secrets
import shutil
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rtflow.errors import OutputError

#: Of a file that is locked as long as the run goes on, beside the folder of the same name.
_RUNNING = ".running"


@dataclass(frozen=True)
class Work:
    """What a run of an app has to itself.

    Parameters
    ----------
    name
        Of the run, like no other.
    folder
        That the app writes into; empty at first.
    log
        For what it says.
    notes
        What became of folders of runs that were killed, for a person.
    """

    name: str
    folder: Path
    log: Path
    notes: tuple[str, ...]


@contextlib.contextmanager
def work_of(final: Path, *, keep: bool) -> Iterator[Work]:
    """A folder for a run of an app, on the file system of its results.

    Parameters
    ----------
    final
        Where the results belong.
    keep
        Whether the folder stays if the run fails. If only its results cannot be put in place, it always does.

    Raises
    ------
    OutputError
        If the folder cannot be made.
    """
    aside = final.parent / f".{final.name}"
    name = f"{datetime.datetime.now():%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"
    work, running = aside / name, aside / f"{name}{_RUNNING}"
    with contextlib.ExitStack() as stack:
        try:
            aside.mkdir(parents=True, exist_ok=True)
            notes = tuple(_remove_left(aside))
            if not keep:
                mark = stack.enter_context(running.open("wb", buffering=0))
                fcntl.flock(mark, fcntl.LOCK_EX)
                stack.callback(running.unlink, missing_ok=True)
                mark.write(socket.gethostname().encode())
            work.mkdir()
        except OSError as error:
            raise OutputError(f"{work}: {error.strerror}; choose a folder that can be written") from None
        try:
            yield Work(name, work, aside / f"{name}.log", notes)
        except OutputError:
            raise  # the message says where the results are
        except BaseException:
            if not keep:
                shutil.rmtree(work, ignore_errors=True)
            raise


def _remove_left(aside: Path) -> Iterator[str]:
    """Remove what killed runs were writing: nobody holds their lock any more. Their logs stay."""
    if any(aside.parent.glob(f"{glob.escape(aside.name)}.*.earlier")):
        return  # killed between two renames: the results are here
    for running in sorted(aside.glob(f"*{_RUNNING}")):
        with contextlib.suppress(OSError), running.open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # A run that ends takes its mark away before the lock; and locks may hold on one machine only.
            if not running.exists() or file.read() != socket.gethostname():
                continue
            work = running.with_suffix("")
            if work.is_dir():
                try:
                    shutil.rmtree(work)
                except OSError as error:  # of root's, say
                    why = error.strerror or error
                    yield f"what a run that was killed had left cannot be removed ({why}); remove {work}"
                    continue
                yield f"what a run that was killed had left was removed: {work}"
            running.unlink(missing_ok=True)
