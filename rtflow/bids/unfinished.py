"""What is not whole yet in a data set: hidden while it is written, and put in order after a crash.

An image and its sidecar cannot appear at once. Until both are there, a line in ``.bidsignore`` hides them,
below a comment that says whose it is: a line that somebody else wrote is never taken away.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from rtflow.errors import OutputError
from rtflow.whole_file import write_whole

_MARK = b"# rtflow is writing this, or was cut off:\n"
_BLOCK = re.compile(re.escape(_MARK) + rb"([\w+.*-]+)\n")
# Where a process writes a file before it gets its name.
_PARTIAL = re.compile(r"\..+\.(\d+)\.partial")
_FOLDERS = ("", "sub-*/*/", "sub-*/ses-*/*/")
# A process of another machine may be at it: such a file is there for milliseconds, or grows.
_ABANDONED_AFTER = 5.0


def ignore(root: Path, file: Path, *, unfinished: bool = True) -> None:
    """Say in ``.bidsignore`` that a file and its sidecar are not whole yet, or that they are now.

    Parameters
    ----------
    root
        The data set.
    file
        Image of a run, which stands for all files of the run; or another file, which stands for itself.
    unfinished
        False once both are there.

    Raises
    ------
    OutputError
        If the list cannot be written.
    """
    with alone(root):
        _ignore(root, file, unfinished=unfinished)


def leave_to_others(root: Path, patterns: Iterable[str]) -> None:
    """Say in ``.bidsignore`` for good what validators should leave alone; lines that are there stay.

    Raises
    ------
    OutputError
        If the list cannot be written.
    """
    with alone(root):
        before = _read(root)
        there = before.decode(errors="replace").splitlines()
        lines = "".join(f"{pattern}\n" for pattern in patterns if pattern not in there)
        # In front: what hides a file for a while is taken out again where it stands.
        _replace(root, before, lines.encode() + before)


def claim(root: Path, bold: Path, text: str) -> bool:
    """Take the place of a run by its sidecar, hidden until its image is there; False if it is taken.

    Raises
    ------
    OutputError
        If the files cannot be written.
    """
    sidecar = bold.with_suffix(".json")
    with alone(root):
        try:
            bold.parent.mkdir(parents=True, exist_ok=True)
            if os.path.lexists(sidecar):
                return False
            _ignore(root, bold)
            with sidecar.open("x", encoding="utf-8") as file:
                file.write(text)
        except FileExistsError:  # by a program that knows of no lock
            return False
        except OSError as error:
            raise OutputError(f"{sidecar}: {error.strerror or error}; choose another folder") from None
    return True


def put_in_order(root: Path) -> None:
    """Mend what processes left that were killed while they wrote; what others are writing stays.

    Hidden files that were to become others go, if the process that wrote them is no more. A run that is whole
    is shown to validators; one that has no image yet stays hidden, and may go on.

    Raises
    ------
    OutputError
        If the list cannot be written.
    """
    for folder in _FOLDERS:
        for path in root.glob(f"{folder}.*.partial"):
            if _is_abandoned(path):
                with contextlib.suppress(OSError):
                    path.unlink()
    if not (root / ".bidsignore").exists():
        return
    with alone(root):
        text = _read(root)
        left = _BLOCK.sub(lambda found: b"" if _is_in_order(root, found[1].decode()) else found[0], text)
        _replace(root, text, left)


@contextlib.contextmanager
def alone(root: Path) -> Iterator[None]:
    """Nobody else changes what a data set has once meanwhile, as far as the file system has locks.

    Raises
    ------
    OutputError
        If the folder cannot be opened.
    """
    try:
        folder = os.open(root, os.O_RDONLY)
    except OSError as error:
        raise OutputError(f"{root}: {error.strerror or error}; choose another folder") from None
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def lock(descriptor: int) -> bool:
    """Take a file for this process alone; False if another one has it. It is given back when it is closed."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True


def unlock(descriptor: int) -> None:
    """Give a file back, although a child of this process may have it open still."""
    with contextlib.suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_UN)


def _pattern(file: Path) -> str:
    stem = file.name.partition(".")[0]
    return f"{stem.removesuffix('bold')}*" if stem.endswith("_bold") else f"{stem}.*"


def _ignore(root: Path, file: Path, *, unfinished: bool = True) -> None:
    block = _MARK + _pattern(file).encode() + b"\n"
    before = _read(root)
    after = before.replace(block, b"")
    if unfinished:
        after += (b"\n" if after and not after.endswith(b"\n") else b"") + block
    _replace(root, before, after)


def _read(root: Path) -> bytes:
    path = root / ".bidsignore"
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise OutputError(f"{path}: {error.strerror or error}; choose another folder") from None


def _replace(root: Path, before: bytes, after: bytes) -> None:
    path = root / ".bidsignore"
    if after == before:
        return
    if after:
        write_whole(path, after)
        return
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{path}: {error.strerror or error}; choose another folder") from None


def _is_in_order(root: Path, pattern: str) -> bool:
    """Whether nothing that a line hides is half there."""
    names = {path.name for folder in _FOLDERS[1:] for path in root.glob(folder + pattern)}
    if pattern.endswith("_*"):
        names = {name for name in names if name.startswith(f"{pattern[:-1]}bold.")}
    return not names or (
        any(name.endswith(".json") for name in names) and any(not name.endswith(".json") for name in names)
    )


def _is_abandoned(partial: Path) -> bool:
    named = _PARTIAL.fullmatch(partial.name)
    if named is None or _lives(int(named[1])):
        return False
    try:
        with partial.open("rb") as file:
            age = time.time() - os.fstat(file.fileno()).st_mtime
            return age > _ABANDONED_AFTER and lock(file.fileno())
    except OSError:  # it has got its name meanwhile, or is not ours
        return False


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
