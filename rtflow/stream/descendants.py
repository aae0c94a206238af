"""End what a process has started, and what that has started, however fast more is started."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

_LIMIT = 5.0  # seconds without anything new, after which what does not end is left


def end_descendants(pid: int) -> None:
    """Kill the descendants of a process until nothing is left of them.

    The process should be stopped, or be this one, and adopt orphans: then what is killed leaves its own
    children to it, and none of its children, who wait until it takes their status, loses its number.
    """
    known: set[int] = set()
    dead: set[int] = set()
    began = time.monotonic()
    found_none = 0
    # None twice: one that ended while they were looked at may have left children that were not listed yet.
    while found_none < 2 and time.monotonic() - began < _LIMIT:
        alive = [child for child in _children(pid) if child not in dead and not _has_ended(child, dead)]
        found_none = 0 if alive else found_none + 1
        if not known.issuperset(alive):
            known.update(alive)
            began = time.monotonic()
        for child in alive:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(child, signal.SIGKILL)
        if alive:
            time.sleep(0.001)


def _children(pid: int) -> list[int]:
    """Numbers of the children; where the system does not list them, of all descendants."""
    try:
        lists = [task / "children" for task in Path(f"/proc/{pid}/task").iterdir()]
        return [int(child) for children in lists for child in children.read_text().split()]
    except OSError:
        import psutil

        with contextlib.suppress(psutil.NoSuchProcess):
            return [process.pid for process in psutil.Process(pid).children(recursive=True)]
        return []


def _has_ended(pid: int, dead: set[int]) -> bool:
    """Whether nothing of it is left but its status, which may never be taken; noted in ``dead``."""
    import psutil

    with contextlib.suppress(psutil.NoSuchProcess):
        if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
            return False
        dead.add(pid)
    return True
