"""What is in a folder: the files that are asked for, at any depth, and by what a change of one is told."""

from __future__ import annotations

import contextlib
import fnmatch
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple


class Stamp(NamedTuple):
    """By what a change of a file is told."""

    size: int
    modified: int

    @classmethod
    def of(cls, path: Path) -> Stamp:
        """That of a file; one that no file has if there is none."""
        try:
            return cls.read(path.stat())
        except OSError:
            return cls(-1, -1)

    @classmethod
    def read(cls, status: os.stat_result) -> Stamp:
        """That of a file whose status is known."""
        return cls(status.st_size, status.st_mtime_ns)


class Listing:
    """Lists the files of a folder whose names match a pattern.

    Names of files and folders that begin with a dot are passed over, unless the pattern does too: copying
    programs give them to what is not complete.

    Parameters
    ----------
    folder
        The folder; what is below it belongs to it. Links to folders are not followed.
    pattern
        Of file names.
    trouble
        Called with a sentence about what cannot be listed.
    passed
        Called with each file whose name does not match, of those that are not hidden.
    """

    def __init__(
        self,
        folder: Path,
        pattern: str,
        trouble: Callable[[str], None],
        passed: Callable[[os.DirEntry[str]], None],
    ) -> None:
        self._folder = folder
        self._hidden_too = pattern.startswith(".")
        self._match = re.compile(fnmatch.translate(os.path.normcase(pattern))).match
        self._trouble = trouble
        self._passed = passed

    def __iter__(self) -> Iterator[os.DirEntry[str]]:
        """The files that are there, one at a time as the system lists them."""
        return self._walk(str(self._folder))

    def __contains__(self, path: str) -> bool:
        """Whether a file of this path would be listed."""
        *folders, name = Path(path).parts[len(self._folder.parts) :]
        return self._is_named(name) and not any(map(self._is_hidden, folders))

    def identity(self) -> tuple[int, int] | None:
        """By what another folder of the same name is told apart; None if none is there, or can be listed."""
        try:
            os.scandir(self._folder).close()
            status = self._folder.stat()
        except OSError:
            return None
        return status.st_dev, status.st_ino

    def _walk(self, folder: str) -> Iterator[os.DirEntry[str]]:
        below = []
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    wanted = False
                    with contextlib.suppress(OSError):  # what it is cannot be told: it may be next time
                        if entry.is_dir(follow_symlinks=False):
                            if not self._is_hidden(entry.name):
                                below.append(entry.path)
                        elif self._is_named(entry.name):
                            wanted = entry.is_file()
                        elif not self._is_hidden(entry.name) and entry.is_file():
                            self._passed(entry)
                    if wanted:
                        yield entry
        except FileNotFoundError:
            return
        except OSError as error:
            self._trouble(f"folder {folder} cannot be listed ({error.strerror or error})")
        for path in below:
            yield from self._walk(path)

    def _is_named(self, name: str) -> bool:
        return not self._is_hidden(name) and self._match(os.path.normcase(name)) is not None

    def _is_hidden(self, name: str) -> bool:
        return name.startswith(".") and not self._hidden_too
