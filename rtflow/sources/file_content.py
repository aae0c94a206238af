"""What a watched file holds, and by what another object in its place is told."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import NamedTuple

from rtflow.dicom.read import looks_like_dicom
from rtflow.sources.listing import Stamp

_PREAMBLE = 132
"""Bytes at which DICOM is known."""

_ENDS = 4096
"""So many of its first bytes tell an object from another (its header, with its UID, begins there), and so
many of its last ones, with its length, whether more of it has come."""


class Content(NamedTuple):
    """By what a file is known again: its stamp, and a hash of its length and its ends."""

    stamp: Stamp
    ends: int


def read_content(path: Path) -> tuple[Content, bytes] | None:
    """Read a file: all of it if it is DICOM, else its first 132 bytes; None if it is gone, or no file.

    Raises
    ------
    OSError
        If it is there and cannot be read.
    """
    try:
        with open(path, "rb", opener=_open_at_once) as stream:
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode):
                return None
            # The stamp from before it is read: what comes after that is a change.
            stamp = Stamp.read(status)
            start = stream.read(_PREAMBLE)
            # A file of another kind may be large: it is not read to its end.
            data = start + stream.read() if looks_like_dicom(start) else start
    except FileNotFoundError:
        return None
    return Content(stamp, hash((len(data), data[:_ENDS], data[-_ENDS:]))), data


def _open_at_once(path: str, flags: int) -> int:
    # To open a pipe would wait for its other end, for ever.
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
