"""Received objects on disk: from before they are acknowledged until they are taken."""

from __future__ import annotations

import re
import sys
import threading
import time
from collections import deque
from pathlib import Path
from typing import IO

from rtflow.errors import SourceError

_NAME = re.compile(r"\d{16}_[0-9A-Za-z.]*")
_REFUSED_KEPT = 100


class Spool:
    """A folder of objects in the order in which they came; one process at a time.

    An object is written under another name and renamed when it is whole, so that what stands under its name
    outlives a process that is killed. It is not forced to the disk: it may not outlive a power cut.

    Parameters
    ----------
    folder
        Made if it does not exist, readable to its owner only: objects name patients.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._guard: IO[bytes] | None = None
        self._order = threading.Lock()
        self._last = 0
        self._refused: deque[Path] = deque()

    @property
    def folder(self) -> Path:
        """Where the objects are."""
        return self._folder

    def open(self) -> list[Path]:
        """Begin to use it.

        Returns
        -------
        list of Path
            What an earlier process acknowledged and did not take, in the order in which it came.

        Raises
        ------
        SourceError
            If it cannot be written, or another process uses it.
        """
        left: list[Path] = []
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._guard = exclusive(self._folder / ".lock")
            if self._guard is not None:
                left = self._survey()
        except OSError as error:
            self.close()
            raise SourceError(
                f"received objects cannot be kept in {self._folder} ({error.strerror}); choose a folder "
                "that can be written"
            ) from None
        if self._guard is None:
            raise SourceError(
                f"{self._folder} is in use by another receiver; give each receiver a folder of its own"
            )
        self._last = int(left[-1].name[:16]) if left else 0
        return left

    def _survey(self) -> list[Path]:
        own = sorted(path for path in self._folder.iterdir() if _NAME.fullmatch(path.stem))
        for path in own:
            if path.suffix == ".part":  # was never acknowledged: its sender knows
                path.unlink(missing_ok=True)
        self._refused = deque(path for path in own if path.suffix == ".refused")
        return [path for path in own if path.suffix == ".dcm"]

    def close(self) -> None:
        """Use it no more; what was not taken stays."""
        if self._guard is not None:
            self._guard.close()
            self._guard = None

    def keep(self, uid: str, data: bytes) -> Path:
        """Write an object.

        Parameters
        ----------
        uid
            SOPInstanceUID as its sender gave it; of which only what a UID may hold goes into the name.
        data
            The file.

        Returns
        -------
        Path
            The file; its name begins with the time, so that names sort by order of arrival and never
            collide.

        Raises
        ------
        OSError
            If it cannot be written; then nothing of it is left.
        """
        with self._order:
            self._last = max(self._last + 1, time.time_ns() // 1000)
            name = f"{self._last:016d}_{re.sub('[^0-9A-Za-z.]', '', uid)[:64]}.dcm"
        path = self._folder / name
        part = path.with_suffix(".part")
        try:
            with part.open("xb", buffering=0) as file:
                left = memoryview(data)
                while left:
                    left = left[file.write(left) :]
            part.rename(path)
        except OSError:
            part.unlink(missing_ok=True)
            raise
        return path

    def count(self) -> int:
        """How many objects are there, of those that are not set aside."""
        try:
            return sum(path.suffix == ".dcm" for path in self._folder.iterdir())
        except OSError:  # it is gone, and all with it
            return 0

    def drop(self, path: Path) -> None:
        """Remove an object; one that is gone already is no error."""
        path.unlink(missing_ok=True)

    def set_aside(self, path: Path) -> None:
        """Keep an object that cannot be read for a person to look at, and bring it no more.

        The newest hundred are kept.
        """
        aside = path.with_suffix(".refused")
        try:
            path.rename(aside)
        except FileNotFoundError:
            return
        self._refused.append(aside)
        while len(self._refused) > _REFUSED_KEPT:
            self._refused.popleft().unlink(missing_ok=True)


def exclusive(path: Path) -> IO[bytes] | None:
    """The file, locked for as long as it is open; None if another process has it."""
    file = path.open("wb")
    if sys.platform == "win32":
        import msvcrt

        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            file.close()
            return None
        return file
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    except OSError:  # a file system without locks
        pass
    return file
