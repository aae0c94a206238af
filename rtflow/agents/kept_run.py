"""What the scanner's agent keeps on disk of a run, so that it goes on after a crash."""

from __future__ import annotations

import contextlib
import re
import shutil
import time
from pathlib import Path

from rtflow.errors import OutputError

_LINE = re.compile(r"[0-9A-Za-z.]{1,64}")
_DAYS = 30


class KeptRun:
    """One run's folder: what was there before it, what was received, and what the server has for good.

    Parameters
    ----------
    folder
        Made if it does not exist, for its owner only.

    Attributes
    ----------
    goes_on
        Whether it was there already.

    Raises
    ------
    OutputError
        If it cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.goes_on = folder.is_dir()
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = (folder / "done.txt").open("ab+", buffering=0)
            self._file.seek(0)
            # A line that was cut off names nothing, and its object is sent once more.
            *lines, _ = self._file.read().decode("ascii", "replace").split("\n")
            self._done = {line for line in lines if _LINE.fullmatch(line)}
            if _:
                self._file.write(b"\n")
        except OSError as error:
            raise OutputError(
                f"{folder} cannot be written ({error.strerror}); give another --state"
            ) from None

    @property
    def left_alone(self) -> Path:
        """Where it stands which files were there before the run."""
        return self.folder / "left_alone.json"

    @property
    def received(self) -> Path:
        """Folder of objects that a scanner sent."""
        return self.folder / "received"

    def is_done(self, key: str) -> bool:
        """Whether the server has it for good."""
        return key in self._done

    def mark_done(self, key: str) -> None:
        """The server has it for good; raises OSError if that cannot be written."""
        if key not in self._done and _LINE.fullmatch(key):
            self._done.add(key)
            self._file.write(key.encode() + b"\n")

    def close(self) -> None:
        """Write no more."""
        self._file.close()


def forget_run(folder: Path) -> int:
    """A run is over: remove its folder, but for objects that were received and that it did not use.

    Returns
    -------
    int
        How many such objects are left, in ``received``.
    """
    left = sum(1 for _ in (folder / "received").glob("*.dcm"))
    if not left:
        shutil.rmtree(folder, ignore_errors=True)
    return left


def forget_old(runs: Path) -> None:
    """Remove folders of runs that have not gone on for a month."""
    with contextlib.suppress(OSError):
        for folder in runs.iterdir():
            if folder.stat().st_mtime < time.time() - _DAYS * 86400:
                shutil.rmtree(folder, ignore_errors=True)
