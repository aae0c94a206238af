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

from rtflow.dicom.read import looks_like_dicom
from rtflow.documents import now
from rtflow.sources.feed import Arrival

if TYPE_CHECKING:
    from watchdog.events import FileSystemEvent

Stamp = tuple[int, int]
_RESCAN = 0.2
_SHARE = 20.0
"""So many times as long as a rescan takes is the time to the next one, at least."""
_LINUX = platform.system() == "Linux"
_LOOKS = 5


@dataclass(frozen=True)
class Notice:
    """A file that may be complete, and when it was seen to be."""

    path: Path
    at: float


class Watcher:
    """Watches a folder with all that is below it: a feed, and so a context manager.

    A file is brought when its writer closes it or moves it into place, or when two rescans find it
    unchanged; what is refused then is brought again when it has changed. The folder may vanish and come back
    (a network share does): what is in it then is found, and nothing is brought twice.

    Parameters
    ----------
    folder
        An existing folder.
    pattern
        Which file names to look at. Names that begin with a dot are passed over, unless the pattern does
        too: copying programs give them to what is not complete.
    existing
        Whether to bring what was there at the start; else it is left alone.
    """

    def __init__(self, folder: Path, pattern: str = "*", *, existing: bool = True) -> None:
        self._folder = folder.resolve()
        self._pattern = pattern
        self._events: queue.SimpleQueue[Notice] = queue.SimpleQueue()
        self._brought: dict[str, Stamp] = {}
        self._refused: dict[str, Stamp] = {}
        self._looked: dict[str, tuple[Stamp, int]] = {}
        self._rescanned = 0.0
        self._rescan_every = _RESCAN
        self._observer: Any = None
        self._identity = _identity(self._folder)
        self._troubles: list[str] = []
        self.left_alone = 0
        if not existing:
            self._leave_alone()

    def __enter__(self) -> Watcher:
        self._observe()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._observer is not None:
            self._observer.stop()
            self._observer.join()
            self._observer = None

    def troubles(self) -> list[str]:
        """That the folder is gone, or back; each is said once."""
        said, self._troubles = self._troubles, []
        return said

    @property
    def unsure(self) -> bool:
        """Whether a rescan has seen a file once only: it may be brought by the next one."""
        return bool(self._looked)

    @property
    def hint(self) -> str:
        """What else to check if nothing comes."""
        return f" and the pattern {self._pattern!r}"

    def before(self) -> Iterator[Arrival]:
        """What is there already, each file with the time of its last change (or of its coming here)."""
        there = []
        for entry in self._walk(str(self._folder)):
            try:
                status = entry.stat()
            except OSError:
                continue
            if entry.path not in self._brought:
                # A copy may keep the time of the original, so the time of its coming counts too.
                there.append((entry.path, max(status.st_mtime, status.st_ctime)))
        for path, changed in sorted(there):
            arrival = self._bring(Path(path), changed)
            if arrival is not None:
                yield arrival

    def arrivals(self, timeout: float) -> Iterator[Arrival]:
        """Files to look at now; waits for the first, but at most ``timeout`` seconds, or until a rescan."""
        for notice in self._notices(timeout):
            arrival = self._bring(notice.path, notice.at)
            if arrival is not None:
                yield arrival

    def done(self, arrival: Arrival) -> None:
        """Nothing is kept of it as it is."""

    def refuse(self, arrival: Arrival) -> None:
        """Bring it again once it differs from what it was when it was read."""
        name = str(arrival.path)
        self._refused[name] = self._brought.pop(name, (-1, -1))

    def heard(self, path: str) -> None:
        """An event told of a file."""
        if self._matches(Path(path).name):
            self._events.put(Notice(Path(path), now()))

    def _bring(self, path: Path, at: float) -> Arrival | None:
        # The stamp from before it is read: what comes after that is a change.
        stamp = _stamp(path)
        try:
            with path.open("rb") as stream:
                start = stream.read(132)
                # A file of another kind may be large: it is not read to its end.
                data = start + stream.read() if looks_like_dicom(start) else start
        except OSError:
            return None
        if stamp is not None:
            self._brought[str(path)] = stamp
            self._refused.pop(str(path), None)
        return Arrival(path.name, path, data, at)

    def _leave_alone(self) -> None:
        for entry in self._walk(str(self._folder)):
            stamp = _stamp(Path(entry.path))
            if stamp is not None:
                # One that is still being written is no file of a former run: it changes once more.
                self._refused[entry.path] = stamp
                self.left_alone += 1

    def _notices(self, timeout: float) -> Iterator[Notice]:
        due = self._rescanned + self._rescan_every - now()
        try:
            if due > 0 and timeout > 0:
                yield from self._still_wanted(self._events.get(timeout=min(timeout, due)))
            while True:
                yield from self._still_wanted(self._events.get_nowait())
        except queue.Empty:
            pass
        if now() >= self._rescanned + self._rescan_every:
            yield from self._rescan()

    def _still_wanted(self, notice: Notice) -> Iterator[Notice]:
        name = str(notice.path)
        if name not in self._brought and self._refused.get(name) != (_stamp(notice.path) or 0):
            yield notice

    def _rescan(self) -> Iterator[Notice]:
        began = now()
        self._notice_absence()
        before, self._looked = self._looked, {}
        ripe = []
        for entry in self._walk(str(self._folder)):
            if entry.path in self._brought:
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
        self._rescanned = now()
        # A folder of a hundred thousand slices on a slow share must not take all of the time.
        self._rescan_every = max(_RESCAN, _SHARE * (self._rescanned - began))
        for notice in ripe:
            yield from self._still_wanted(notice)

    def _notice_absence(self) -> None:
        identity = _identity(self._folder)
        if identity != self._identity:
            self._identity = identity
            self._troubles.append(f"folder {self._folder} is {'gone' if identity is None else 'back'}")
            if identity is not None:
                # The operating system watched what was there before; this is another one.
                self.__exit__(None, None, None)
                self._observe()

    def _observe(self) -> None:
        observer = _observer()
        try:
            observer.schedule(_Handler(self), str(self._folder), recursive=True, event_filter=_wanted())
            observer.start()
            self._observer = observer
        except OSError:
            # No events here (the system's limit, or a file system without): the rescans remain.
            self._observer = None

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


def _stamp(path: Path) -> Stamp | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def _identity(folder: Path) -> Stamp | None:
    try:
        status = folder.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


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
