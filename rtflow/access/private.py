"""Files that only their owner may read, and that one process at a time changes.

On Windows a file is as private as the folder that it is in, and that of a user's settings is the user's own:
modes are set and checked on POSIX only.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from rtflow.errors import OutputError, UsageError
from rtflow.whole_file import partial_name

#: Read and write for the owner, nothing for others.
MODE = 0o600


def private_folder(folder: Path) -> Path:
    """The folder, made for the owner alone if it is missing.

    Raises
    ------
    OutputError
        If it cannot be made.
    UsageError
        If others may write to it: what stands in it could be anybody's.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        mode = folder.stat().st_mode
    except OSError as error:
        raise OutputError(
            f"{folder}: {error.strerror or error}; choose a folder that can be written"
        ) from None
    if os.name == "posix" and mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise UsageError(f"{folder} can be written by others than its owner; 'chmod 700 {folder}' ends that")
    return folder


def open_private(path: Path, flags: int) -> int:
    """Descriptor of a file, made for its owner alone whatever the umask is; raises OSError."""
    return os.open(path, flags | os.O_CREAT | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0), MODE)


def write_private(path: Path, data: bytes) -> None:
    """Write a file in one step, for its owner alone, into a folder that is there.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    partial = partial_name(path)
    try:
        descriptor = open_private(partial, os.O_WRONLY | os.O_EXCL)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                partial.unlink()
            raise
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written: {error.strerror or error}; make room, or choose another folder"
        ) from None


def read_private(path: Path) -> bytes | None:
    """Content of a file that only its owner may read; None if there is none.

    Raises
    ------
    UsageError
        If others may read or write it, or it cannot be read.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise UsageError(
                    f"{path} holds secrets, and others than its owner may open it; 'chmod 600 {path}' ends "
                    "that; whoever could read it may know them: make new ones"
                )
            return file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error.strerror or error}; rtflow runs as another user?"
        ) from None


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Let one process (and one thread) at a time work on `path`; a process that is killed lets it go.

    The lock is on a file beside it, which stays: were it removed, two could hold a lock of that name.

    Raises
    ------
    OutputError
        If that file cannot be made.
    """
    beside = path.with_name(f"{path.name}.lock")
    try:
        descriptor = open_private(beside, os.O_RDWR)
    except OSError as error:
        raise OutputError(
            f"{beside}: {error.strerror or error}; choose a folder that can be written"
        ) from None
    try:
        _lock(descriptor)
        yield
    finally:
        os.close(descriptor)  # which unlocks it, also on Windows


def _lock(descriptor: int) -> None:
    if sys.platform == "win32":
        import msvcrt

        while True:
            try:
                os.lseek(descriptor, 0, os.SEEK_SET)
                msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
            except OSError:
                time.sleep(0.01)
            else:
                return
    else:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX)
