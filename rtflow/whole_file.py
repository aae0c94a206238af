"""Files that are there whole, as they were before, or not at all."""

from __future__ import annotations

import contextlib
import itertools
import os
from pathlib import Path

from rtflow.errors import OutputError

_NUMBERS = itertools.count(1)


def partial_name(path: Path) -> Path:
    """Where this process writes a file that appears when it is whole; another name each time.

    >>> partial_name(Path("a/b.nii")).name.endswith(f".{os.getpid()}.partial")
    True
    """
    return path.with_name(f".{path.name}.{next(_NUMBERS)}.{os.getpid()}.partial")


def put_whole(path: Path, data: bytes) -> None:
    """Write a file in one step into a folder that is there.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    partial = partial_name(path)
    try:
        partial.write_bytes(data)
        partial.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise


def write_whole(path: Path, data: bytes) -> None:
    """Write a file in one step, with the folders above it.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        put_whole(path, data)
    except OSError as error:
        raise OutputError(f"{path}: {error.strerror or error}; choose a folder that can be written") from None


def require_writable(folder: Path) -> None:
    """Refuse a folder that nothing can be written to; one that is not there yet is made when it is needed.

    Raises
    ------
    OutputError
        If it, or what stands above it, cannot be written.
    """
    there = folder
    while not there.exists():
        there = there.parent
    if not there.is_dir() or not os.access(there, os.W_OK):
        what = "it" if there == folder else str(there)
        why = "may not be written to" if there.is_dir() else "is a file"
        raise OutputError(f"{folder} cannot be written: {what} {why}; choose a folder that can be written")


def require_writable_file(file: Path) -> None:
    """Refuse a file that cannot be written when a run has ended.

    Raises
    ------
    OutputError
        If it is a folder, or its folder cannot be written.
    """
    if file.is_dir():
        raise OutputError(f"{file} is a folder, expected the name of a file; give one in it")
    require_writable(file.absolute().parent)
