"""Runs as they stand on disk, for whoever looks on: read from their journals, also while they go on.

Documents are numbered without a gap, so the number of a document is that of its line.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec

from rtflow.documents import RunStart, RunStop, decode

_UID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_LARGEST = 1 << 20


class Runs:
    """The runs of an output folder.

    Parameters
    ----------
    folder
        ``OUT/runs``.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def all(self, most: int = 1000) -> list[dict[str, Any]]:
        """What is to be said of each in a line, the newest first."""
        newest = sorted(self._folder.glob("*/journal"), reverse=True)[:most]
        return [told for journal in newest if (told := self._told(journal.parent)) is not None]

    def lines(self, run_uid: str, since: int, most: int) -> list[bytes] | None:
        """Documents from number ``since`` on, each as its line of JSON; None if there is no such run."""
        path = self._journal(run_uid)
        if path is None:
            return None
        try:
            with path.open("rb") as file:
                lines = []
                for number, line in enumerate(file):
                    if number >= since and line.endswith(b"\n"):
                        lines.append(line[:-1])
                        if len(lines) == most:
                            break
        except OSError:
            return None
        return lines

    def _journal(self, run_uid: str) -> Path | None:
        return self._folder / run_uid / "journal" / "documents.jsonl" if _UID.fullmatch(run_uid) else None

    def _told(self, run_dir: Path) -> dict[str, Any] | None:
        path = self._journal(run_dir.name)
        if path is None:
            return None
        try:
            with path.open("rb") as file:
                start = decode(file.readline())
                file.seek(max(file.seek(0, 2) - _LARGEST, 0))
                tail = file.read()
        except (OSError, msgspec.DecodeError):
            return None
        if not isinstance(start, RunStart):
            return None
        stop = _stop(tail)
        return {
            "run_uid": start.run_uid,
            "workflow": start.workflow,
            "source": start.source,
            "began": start.time,
            "status": stop.status if stop else "unfinished",
            "reason": stop.reason if stop else "",
            "counts": stop.counts if stop else {},
        }


def _stop(tail: bytes) -> RunStop | None:
    lines = tail.split(b"\n")
    if len(lines) < 2 or lines[-1]:
        return None
    try:
        last = decode(lines[-2])
    except msgspec.DecodeError:
        return None
    return last if isinstance(last, RunStop) else None
