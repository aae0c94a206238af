"""Files that are there whole, as they were before, or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from rtflow.errors import OutputError


def write_whole(path: Path, data: bytes) -> None:
    """Write a file in one step, with the folders above it.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(data)
        partial.replace(path)
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
        raise OutputError(f"{folder}: {there} cannot be written; choose a folder that can be written")
