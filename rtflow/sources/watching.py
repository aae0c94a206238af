"""Files that come into a folder: told by the operating system, and looked for from time to time.

Events are fast but not to be relied on (network shares send none), a rescan is slow but sees all; so both.
"""

from __future__ import annotations

import fnmatch
import os
import platform
import queue
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rtflow.documents import now

if TYPE_CHECKING:
    from watchdog.events import FileSystemEvent

Stamp = tuple[int, int]
_RESCAN = 0.2
_LINUX = platform.system() == "Linux"
_LOOKS = 5


@dataclass(frozen=True)
class Notice:
    """A file that may be complete, and when it was seen to be."""

    path: Path
    at: float


class Watcher:
    """Watches a folder with all that is below it; a context manager.

    A file is announced when its writer closes it or moves it into place, or when two rescans find it
    unchanged. Whoever reads it says what came of it (`done`, `refuse`): what was refused is announced
    again when it has changed.

    Parameters
    ----------
    folder
        An existing folder.
    pattern
        Which file names to look at. Names that begin with a dot are passed over, unless the pattern does
        too: copying programs give them to what is not complete.
    """

    def __init__(self, folder: Path, pattern: str = "*") -> None:
        self._folder = folder.resolve()
        self._pattern = pattern
        self._events: queue.SimpleQueue[Notice] = queue.SimpleQueue()
        self._done: set[str] = set()
        self._refused: dict[str, Stamp] = {}
        self._looked: dict[str, tuple[Stamp, int]] = {}
        self._rescanned = 0.0
        self._observer: Any = None

    def __enter__(self) -> Watcher:
        observer = _observer()
        try:
            observer.schedule(_Handler(self), str(self._folder), recursive=True, event_filter=_wanted())
            observer.start()
            self._observer = observer
        except OSError:
            # No events here (the system's limit, or a file system without): the rescans remain.
            self._observer = None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._observer is not None:
            self._observer.stop()
            self._observer.join()
            self._observer = None

    def listing(self) -> dict[Path, float]:
        """All files that match, each with the time of its last change (or of its coming here)."""
        found = {}
        for entry in self._walk(str(self._folder)):
            try:
                status = entry.stat()
            except OSError:
                continue
            # A copy may keep the time of the original, so the time of its coming counts too.
            found[Path(entry.path)] = max(status.st_mtime, status.st_ctime)
        return found

    def stamp(self, path: Path) -> Stamp | None:
        """Size and time of change of a file, None if it is gone."""
        try:
            status = path.stat()
        except OSError:
            return None
        return status.st_size, status.st_mtime_ns

    def done(self, path: Path) -> None:
        """Announce a file no more."""
        self._done.add(str(path))
        self._refused.pop(str(path), None)

    def refuse(self, path: Path, stamp: Stamp | None) -> None:
        """Announce a file again once it differs from what it was when it was read."""
        if stamp is not None:
            self._refused[str(path)] = stamp

    def notices(self, timeout: float) -> Iterator[Notice]:
        """Files to read now; waits for the first one, but at most ``timeout`` seconds, or until a rescan."""
        due = self._rescanned + _RESCAN - now()
        try:
            if due > 0 and timeout > 0:
                yield from self._still_wanted(self._events.get(timeout=min(timeout, due)))
            while True:
                yield from self._still_wanted(self._events.get_nowait())
        except queue.Empty:
            pass
        if now() >= self._rescanned + _RESCAN:
            self._rescanned = now()
            yield from self._rescan()

    @property
    def unsure(self) -> bool:
        """Whether a rescan has seen a file once only: it may be announced by the next one."""
        return bool(self._looked)

    def heard(self, path: str) -> None:
        """An event told of a file."""
        if self._matches(Path(path).name):
            self._events.put(Notice(Path(path), now()))

    def _still_wanted(self, notice: Notice) -> Iterator[Notice]:
        name = str(notice.path)
        if name not in self._done and self._refused.get(name) != (self.stamp(notice.path) or 0):
            yield notice

    def _rescan(self) -> Iterator[Notice]:
        before, self._looked = self._looked, {}
        ripe = []
        for entry in self._walk(str(self._folder)):
            if entry.path in self._done:
                continue
            try:
                status = entry.stat()
            except OSError:
                continue
            stamp = (status.st_size, status.st_mtime_ns)
            if self._refused.get(entry.path) == stamp:
                continue
            last, looks = before.get(entry.path, (None, 0))
            if last == stamp or looks >= _LOOKS:
                ripe.append(Notice(Path(entry.path), now()))
            else:
                self._looked[entry.path] = (stamp, looks + 1)
        for notice in ripe:
            yield from self._still_wanted(notice)

    def _walk(self, folder: str) -> Iterator[os.DirEntry[str]]:
        try:
            entries = list(os.scandir(folder))
        except OSError:
            return
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from self._walk(entry.path)
            elif self._matches(entry.name):
                yield entry

    def _matches(self, name: str) -> bool:
        return fnmatch.fnmatch(name, self._pattern) and (name[0] != "." or self._pattern.startswith("."))


def _observer() -> Any:
    if _LINUX:
        from watchdog.observers.inotify import InotifyObserver

        # Full events, for a file that is moved in from elsewhere would otherwise look like one just begun.
        return InotifyObserver(generate_full_events=True)
    from watchdog.observers import Observer

    return Observer()


def _wanted() -> list[type[FileSystemEvent]]:
    """The events after which a file may be complete; our own reading would cause many others."""
    from watchdog import events

    if _LINUX:
        return [events.FileClosedEvent, events.FileMovedEvent, events.DirMovedEvent]
    # Other systems do not tell when a file is closed: there, every change is worth a look.
    return [events.FileCreatedEvent, events.FileModifiedEvent, events.FileMovedEvent, events.DirMovedEvent]


class _Handler:
    """Passes events on (the shape that watchdog calls)."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher

    def dispatch(self, event: FileSystemEvent) -> None:
        if not event.is_directory:
            self._watcher.heard(os.fsdecode(event.dest_path or event.src_path))
