"""Files in the folder of a run, for whoever takes them away: nothing that lies elsewhere, also by no link."""

from __future__ import annotations

import contextlib
import os
import stat
import time
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from rtflow.documents import Result, Scalar, decode

PIECE = 256 * 1024
"""Bytes that are read at a time."""

_MOST = 50_000


class RunFile(msgspec.Struct, frozen=True):
    """A file of a run.

    Parameters
    ----------
    path
        Below the run's folder, with ``/`` between names.
    size
        Bytes.
    changed
        Seconds since 1970.
    """

    path: str
    size: int
    changed: float


def list_files(run_dir: Path) -> list[RunFile]:
    """The files of a run, by path; links, and what is neither file nor folder, are left out."""
    found: list[RunFile] = []
    for folder, folders, names in os.walk(run_dir):
        folders.sort()
        for name in names:
            path = Path(folder, name)
            try:
                about = path.lstat()
            except OSError:  # it was there a moment ago
                continue
            if stat.S_ISREG(about.st_mode) and len(found) < _MOST:
                found.append(RunFile(path.relative_to(run_dir).as_posix(), about.st_size, about.st_mtime))
    return sorted(found, key=lambda one: one.path)


def in_text(path: str) -> str:
    """A path as others can be told it, whatever its bytes are."""
    return os.fsencode(path).decode("utf-8", "replace")


def open_file(run_dir: Path, path: str) -> BinaryIO | None:
    """Open a file of a run; None if there is none at that path.

    Each name on the way is opened in the folder before it, and no link is followed: nothing that is put into
    the folder, at whatever time, leads out of it.
    """
    names = path.split("/")
    if any(name in ("", ".", "..") or "\0" in name for name in names):
        return None
    with contextlib.ExitStack() as opened:
        try:
            here = os.open(run_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            opened.callback(os.close, here)
            for name in names[:-1]:
                here = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=here)
                opened.callback(os.close, here)
            # A pipe must not hold up who opens it.
            file = os.open(names[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=here)
        except (OSError, ValueError):
            return None
        if not stat.S_ISREG(os.fstat(file).st_mode):
            os.close(file)
            return None
        return os.fdopen(file, "rb")


def pieces(file: BinaryIO, size: int) -> Iterator[bytes]:
    """The first bytes of a file, piece by piece, and not what is written behind them meanwhile."""
    left = size
    while left and (data := file.read(min(PIECE, left))):
        left -= len(data)
        yield data


class _Sink:
    """Takes what a ZIP file is made of, to be handed on."""

    def __init__(self) -> None:
        self._written: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._written.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing waits."""

    def take(self) -> bytes:
        taken, self._written = b"".join(self._written), []
        return taken


def archive(run_dir: Path) -> Iterator[bytes]:
    """A ZIP file of all files of a run, piece by piece: it is never whole in memory, nor on disk.

    Nothing is compressed: it would take a processor from a run.
    """
    sink = _Sink()
    with zipfile.ZipFile(sink, "w") as together:  # type: ignore[call-overload]
        for one in list_files(run_dir):
            file = open_file(run_dir, one.path)
            if file is None:  # it has gone meanwhile
                continue
            changed = max(time.localtime(one.changed)[:6], (1980, 1, 1, 0, 0, 0))
            info = zipfile.ZipInfo(f"{run_dir.name}/{in_text(one.path)}", changed)
            info.external_attr = 0o644 << 16
            with file, together.open(info, "w", force_zip64=True) as target:
                for data in pieces(file, one.size):
                    target.write(data)
                    yield sink.take()
            yield sink.take()
    yield sink.take()


def results_table(lines: Iterable[bytes]) -> bytes:
    """Results as a table (TSV): a row for each volume, ``latency`` in milliseconds, ``n/a`` for what is not.

    Parameters
    ----------
    lines
        Documents of a run, each a line of JSON.
    """
    results = [document for line in lines if isinstance(document := decode(line), Result)]
    names = dict.fromkeys(name for result in results for name in result.values)
    rows: list[list[Any]] = [["volume", "status", "latency", *names]]
    for result in sorted(results, key=lambda one: one.volume):
        values = (result.values.get(name) for name in names)
        rows.append([result.volume, result.status, result.latency, *values])
    return "".join("\t".join(map(_cell, row)) + "\n" for row in rows).encode("utf-8", "backslashreplace")


def _cell(value: Scalar) -> str:
    if value is None:
        return "n/a"
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value) if isinstance(value, float) else " ".join(str(value).split())
