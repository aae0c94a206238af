"""Runs as they stand on disk, for whoever looks on: read from their journals, also while they go on.

Documents are numbered without a gap, so the number of a document is that of its line.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from rtflow.documents import Event, RunStart, RunStop, decode

_UID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_HEAD, _TAIL, _LARGEST = 64 << 10, 16 << 10, 1 << 20
"""Bytes of a journal in which is looked for what its first volumes told, and for its last document; for a
longer one."""
_ANSWER = 2 << 20
_KEYS = {"subject": "sub", "session": "ses", "task": "task", "run": "run"}
_RUNS = 32
"""So many runs are remembered of which documents were asked for."""


class Marks:
    """Where some lines of a file begin, for whoever wants those from a number on; at most 4096 of them.

    Every 16th line at first; when there are too many marks, every second one goes. May be used from any
    thread.
    """

    def __init__(self, *, every: int = 16, most: int = 4096) -> None:
        self._every, self._most = every, most
        self._at = [0]
        self._lock = threading.Lock()

    def before(self, number: int) -> tuple[int, int]:
        """The last line up to ``number`` that has a mark: its number, and at which byte it begins."""
        with self._lock:
            index = min(number // self._every, len(self._at) - 1)
            return index * self._every, self._at[index]

    def add(self, number: int, at: int) -> None:
        """A line begins there; its mark is kept if it is the next one to have one."""
        with self._lock:
            if number != len(self._at) * self._every:
                return
            self._at.append(at)
            if len(self._at) > self._most:
                self._at = self._at[::2]
                self._every *= 2


class Runs:
    """The runs of an output folder.

    Parameters
    ----------
    folder
        ``OUT/runs``.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._marks: dict[str, tuple[int, int, Marks]] = {}
        self._known: dict[str, tuple[tuple[int, ...], dict[str, Any] | None]] = {}

    def all(self, most: int = 1000) -> list[dict[str, Any]]:
        """What is to be said of each in a line, the newest first; only what has changed is read."""
        newest = sorted(self._folder.glob("*/journal/documents.jsonl"), reverse=True)[:most]
        before, known = self._known, {}
        for path in newest:
            name = path.parents[1].name
            if (seen := _seen(path)) is not None and _UID.fullmatch(name):
                there = before.get(name)
                known[name] = there if there and there[0] == seen else (seen, _told(path))
        self._known = known  # at once: others ask in other threads
        return [told for _, told in known.values() if told is not None]

    def folder(self, run_uid: str) -> Path | None:
        """The folder of a run; None if there is no such run."""
        path = self._journal(run_uid)
        found = path is not None and path.is_file() and not (self._folder / run_uid).is_symlink()
        return self._folder / run_uid if found else None

    def lines(self, run_uid: str, since: int, most: int) -> list[bytes] | None:
        """Documents from number ``since`` on, each as its line of JSON; None if there is no such run.

        There are at most ``most`` of them, and no more after the first 2 MB: they are in memory until whoever
        asked has taken them.
        """
        path = self._journal(run_uid)
        if path is None:
            return None
        lines: list[bytes] = []
        size = 0
        try:
            with path.open("rb") as file:
                marks = self._marks_of(run_uid, os.fstat(file.fileno()))
                number, at = marks.before(since)
                file.seek(at)
                while len(lines) < most and size < _ANSWER and (line := file.readline()).endswith(b"\n"):
                    if number >= since:
                        lines.append(line[:-1])
                        size += len(line)
                    number, at = number + 1, at + len(line)
                    marks.add(number, at)
        except OSError:
            return None
        return lines

    def _marks_of(self, run_uid: str, found: os.stat_result) -> Marks:
        """Where lines of a journal begin; none of another one that stood there before."""
        with self._lock:
            inode, size, marks = self._marks.pop(run_uid, (0, 0, Marks()))
            if inode != found.st_ino or size > found.st_size:
                marks = Marks()
            self._marks[run_uid] = found.st_ino, found.st_size, marks
            while len(self._marks) > _RUNS:
                del self._marks[next(iter(self._marks))]
            return marks

    def _journal(self, run_uid: str) -> Path | None:
        return self._folder / run_uid / "journal" / "documents.jsonl" if _UID.fullmatch(run_uid) else None


def _seen(path: Path) -> tuple[int, ...] | None:
    """By what a journal is known to be as it was; None if it is none of a run here."""
    try:
        if path.parents[1].is_symlink():
            return None
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _told(path: Path) -> dict[str, Any] | None:
    """What is to be said of a run; None if its journal does not begin as one."""
    try:
        with path.open("rb") as file:
            start = decode(file.readline(_LARGEST))
            became = _another_run(file.read(_HEAD))
            stop = _stop(file)
    except (OSError, msgspec.DecodeError):
        return None
    if not isinstance(start, RunStart):
        return None
    return {
        "run_uid": start.run_uid,
        "workflow": start.workflow,
        "source": start.source,
        "bids": bids_of(start.settings) | became,
        "began": start.time,
        "status": stop.status if stop else "unfinished",
        "reason": stop.reason if stop else "",
        "counts": stop.counts if stop else {},
    }


def _another_run(head: bytes) -> dict[str, Any]:
    """The run that it became in the data set, where the one that was asked for was there already."""
    for line in head.split(b"\n")[:-1]:
        if b'"another_run"' not in line:
            continue
        document = decode(line)
        if isinstance(document, Event) and document.name == "another_run" and "run" in document.data:
            return {"run": document.data["run"]}
    return {}


def bids_of(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Of whom, and which of their runs it is: subject, session, task and run, as far as settings say.

    >>> bids_of({"bids": {"subject": "02", "run": 1, "tr": None}})
    {'subject': '02', 'run': 1}
    """
    bids = settings.get("bids") or {}
    return {name: bids[name] for name in _KEYS if name in bids}


def run_name(bids: Mapping[str, Any], *names: str) -> str:
    """Some of what `bids_of` has, as BIDS would name it; without what is not known.

    >>> run_name({"subject": "02", "session": "", "task": "nf", "run": 1}, "subject", "session", "run")
    'sub-02 run-1'
    """
    return " ".join(f"{_KEYS[name]}-{bids[name]}" for name in names if bids.get(name))


def _stop(file: BinaryIO) -> RunStop | None:
    """How a run ended, by the last line of its journal; None if it has not."""
    size, lines = file.seek(0, os.SEEK_END), []
    for most in (_TAIL, _LARGEST):
        file.seek(max(size - most, 0))
        lines = file.read().split(b"\n")
        if len(lines) > 2:  # and so the last one is whole
            break
    if len(lines) < 2 or lines[-1]:
        return None
    try:
        last = decode(lines[-2])
    except msgspec.DecodeError:
        return None
    return last if isinstance(last, RunStop) else None
