"""What a server did, in words, for whoever sits before it: runs, orders, who came and went, who was refused.

The audit log proves who did what; this one is read while something happens, and is bounded.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
from pathlib import Path

from rtflow.access.audit import cut

_LARGEST = 1 << 20
_WAITING = 1000
_AT_ONCE = 64 * 1024
_DETAILS = ("for", "channel", "agent", "scanner", "path", "name", "address", "reason", "says")
"""What is said of an act, of all that the audit log has; each cut after so many characters:"""
_LONGEST = 200


class SessionLog:
    """Writes lines from a thread of its own: whoever tells something never waits, nor hears of a full disk.

    Parameters
    ----------
    path
        Its file; the folder is made with the first line.
    largest
        Bytes after which it goes on anew; the file before it becomes ``NAME.1``, in place of an earlier one.
    """

    def __init__(self, path: Path, *, largest: int = _LARGEST) -> None:
        self.path = path
        self._largest = largest
        self._coming: queue.Queue[str | None] = queue.Queue(_WAITING)
        self._thread = threading.Thread(target=self._run, name="session-log", daemon=True)
        self._thread.start()

    def tell(self, says: str) -> None:
        """Write a line, with the time of day; what comes faster than the disk takes it is left out."""
        at = time.time()
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at)) + f".{int(at % 1 * 1000):03d}"
        with contextlib.suppress(queue.Full):
            self._coming.put_nowait(f"{stamp} {' '.join(cut(says, 2 * _LONGEST).split())}\n")

    def act(self, who: str, what: str, details: dict[str, object]) -> None:
        """Write what somebody did, or was refused."""
        told = [f"{key}={cut(str(details[key]), _LONGEST)}" for key in _DETAILS if details.get(key)]
        self.tell(" ".join([f"{who or '?'}: {what}", *told]))

    def close(self) -> None:
        """Wait until all is written."""
        self._coming.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (line := self._coming.get()) is not None:
            with contextlib.suppress(OSError):
                self._write(line.encode("utf-8", "backslashreplace"))

    def _write(self, line: bytes) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as file:
            if file.tell() + len(line) <= self._largest:
                file.write(line)
                return
        self.path.replace(self.path.with_name(f"{self.path.name}.1"))
        self.path.write_bytes(line)


def read_log(path: Path, since: int | None) -> tuple[list[str], int]:
    """Whole lines of a log from a byte on, up to 64 kB of them, and where those after them begin.

    Parameters
    ----------
    path
        Of the log; one that is not there has no lines.
    since
        Where a line begins; None for what was written last. If the file is shorter than that, it began anew,
        and it is read from its beginning.

    Returns
    -------
    lines, next
        Without their ends; and what ``since`` is the next time.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if since is None:
                at = max(size - _AT_ONCE, 0)
                file.seek(at)
                if at:
                    at += len(file.readline())  # the first one may be half a line
            else:
                at = since if since <= size else 0
            file.seek(at)
            data = file.read(_AT_ONCE)
    except OSError:
        return [], 0
    whole = data[: data.rfind(b"\n") + 1]
    if not whole and len(data) == _AT_ONCE:  # one line that is longer than this comes in pieces
        whole = data
    return whole.decode("utf-8", "replace").splitlines(), at + len(whole)
