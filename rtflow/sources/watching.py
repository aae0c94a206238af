"""Files that come into a folder: told by the operating system, and looked for from time to time.

Events are fast but not to be relied on (network shares send none), a rescan is slow but sees all; so both.
"""

from __future__ import annotations

import contextlib
import fnmatch
import os
import queue
import re
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from rtflow.dicom.read import looks_like_dicom
from rtflow.documents import now
from rtflow.sources.feed import Arrival
from rtflow.sources.observing import Observer

_RESCAN = 0.2
"""Seconds from rescan to rescan, at least."""

_SHARE_HEARD, _SHARE_DEAF = 20.0, 8.0
"""So many times as long as a rescan takes is the time to the next one, at least: where files are told of, and
where only the rescans find them."""

_LOOKS = 5
"""After so many looks a file that keeps changing is tried."""

_AGAIN = 2.0
"""Seconds after which a file that was of no use is tried once more, though it looks unchanged: clocks of file
systems are coarse, and shares are read from a cache. After as many, a file that cannot be read is tried."""

_LAG = 30.0
"""So many seconds, at most, may `Watcher.brought_until` lie behind."""


class Stamp(NamedTuple):
    """By what a change of a file is told."""

    size: int
    modified: int


class _Notice(NamedTuple):
    path: Path
    at: float
    told: bool


class _Look(NamedTuple):
    """At a file that nothing was told of: when it was not there yet, and how often it was looked at."""

    stamp: Stamp
    looks: int
    since: float


class _Refused(NamedTuple):
    """What a file was when it was of no use, when it was read, and when to read it again in any case."""

    stamp: Stamp
    read: float
    again: float


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
        Which file names to look at. Names of files and folders that begin with a dot are passed over, unless
        the pattern does too: copying programs give them to what is not complete.
    existing
        Whether to bring what was there at the start; else it is left alone.
    """

    def __init__(self, folder: Path, pattern: str = "*", *, existing: bool = True) -> None:
        self._folder = folder.resolve()
        self._pattern = pattern
        self._match = re.compile(fnmatch.translate(os.path.normcase(pattern))).match
        self._events: queue.SimpleQueue[_Notice] = queue.SimpleQueue()
        self._brought: dict[str, Stamp] = {}
        # Hashes: the names themselves, of a long run by the slice, would take tens of megabytes.
        self._done: set[int] = set()
        self._refused: dict[str, _Refused] = {}
        self._looked: dict[str, _Look] = {}
        self._told = False
        self._drained = self._swept = now()
        self._rescanned = 0.0
        self._rescan_every = _RESCAN
        self._observer = Observer(self._folder, self.heard)
        self._identity = _identity(self._folder)
        self._troubles: list[str] = []
        self._said: set[str] = set()
        self._former: set[str] = set()
        if not existing:
            self._leave_alone()

    def __enter__(self) -> Watcher:
        self._observer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._observer.stop()

    def troubles(self) -> list[str]:
        """That the folder is gone, or back; that a file cannot be read."""
        said, self._troubles = self._troubles, []
        return said

    @property
    def brought_until(self) -> float:
        """Time up to which all that came was brought.

        It stands still while the folder is gone, or a file is still being written, but not for ever.
        """
        # Where events are told, all that was told is brought; elsewhere it is what a rescan has seen.
        until = self._drained if self._told and self._identity is not None else self._swept
        until = min((look.since for look in self._looked.values()), default=until)
        return max(until, self._drained - _LAG)

    @property
    def hint(self) -> str:
        """What else to check if nothing comes."""
        return f" and the pattern {self._pattern!r}"

    @property
    def left_alone(self) -> frozenset[str]:
        """Files that were there at the start and do not belong to the run, by their paths in the folder."""
        return frozenset(os.path.relpath(path, self._folder) for path in self._former)

    def leave_alone_only(self, names: Iterable[str]) -> None:
        """Of the files that were left alone, bring those that are not among these after all.

        For a run that is taken up: what came after it had begun belongs to it.
        """
        kept = {str(self._folder / name) for name in names}
        for path in self._former - kept:
            self._refused.pop(path, None)
        self._former &= kept

    def before(self) -> Iterator[Arrival]:
        """What is there already, each file with the time of its last change (or of its coming here)."""
        there = []
        for entry in self._walk(str(self._folder)):
            try:
                status = entry.stat()
            except OSError:
                continue
            if entry.path not in self._refused:
                # A copy may keep the time of the original, so the time of its coming counts too.
                there.append((entry.path, max(status.st_mtime, status.st_ctime)))
        for path, changed in sorted(there):
            arrival = self._bring(Path(path), changed)
            if arrival is not None:
                yield arrival

    def arrivals(self, timeout: float) -> Iterator[Arrival]:
        """What has come; waits for the first, but at most ``timeout`` seconds, or until a rescan."""
        for notice in self._notices(timeout):
            arrival = self._bring(notice.path, notice.at)
            if arrival is not None:
                yield arrival

    def done(self, arrival: Arrival) -> None:
        """Nothing is kept of it but that it was brought."""
        path = str(arrival.path)
        self._brought.pop(path, None)
        self._refused.pop(path, None)
        self._done.add(hash(path))

    def refuse(self, arrival: Arrival) -> None:
        """Bring it again once it differs from what it was when it was read."""
        path = str(arrival.path)
        stamp = self._brought.pop(path, Stamp(-1, -1))
        before = self._refused.get(path)
        again = before is None or before.stamp != stamp
        read = now()
        self._refused[path] = _Refused(stamp, read, read + _AGAIN if again else float("inf"))

    def heard(self, path: str) -> None:
        """An event told of a file."""
        self._told = True
        if self._is_wanted(path):
            self._events.put(_Notice(Path(path), now(), told=True))

    def _bring(self, path: Path, at: float) -> Arrival | None:
        began = now()
        try:
            with open(path, "rb", opener=_open_at_once) as stream:
                status = os.fstat(stream.fileno())
                if not stat.S_ISREG(status.st_mode):
                    return None
                # The stamp from before it is read: what comes after that is a change.
                stamp = Stamp(status.st_size, status.st_mtime_ns)
                start = stream.read(132)
                # A file of another kind may be large: it is not read to its end.
                data = start + stream.read() if looks_like_dicom(start) else start
        except FileNotFoundError:
            return None
        except OSError as error:
            self._say(f"{path.name} cannot be read ({error.strerror or error})")
            self._refused[str(path)] = _Refused(_stamp(path), began, began + _AGAIN)
            return None
        self._brought[str(path)] = stamp
        return Arrival(path.name, path, data, at)

    def _leave_alone(self) -> None:
        for entry in self._walk(str(self._folder)):
            # One that is still being written is no file of a former run: it changes once more.
            self._refused[entry.path] = _Refused(_stamp(Path(entry.path)), float("inf"), float("inf"))
            self._former.add(entry.path)

    def _notices(self, timeout: float) -> Iterator[_Notice]:
        due = self._rescanned + self._rescan_every - now()
        notices = []
        if due > 0 and timeout > 0:
            with contextlib.suppress(queue.Empty):
                notices.append(self._events.get(timeout=min(timeout, due)))
        # Not until there is none: they may come faster than they are taken, and time must count all the same.
        drained = now()
        notices += [self._events.get() for _ in range(self._events.qsize())]
        for notice in notices:
            if self._is_news(notice):
                yield notice
        self._drained = drained
        if now() >= self._rescanned + self._rescan_every:
            yield from self._rescan()

    def _is_news(self, notice: _Notice) -> bool:
        path = str(notice.path)
        if path in self._brought or hash(path) in self._done:
            return False
        refused = self._refused.get(path)
        return (
            refused is None
            or refused.stamp != _stamp(notice.path)
            or now() >= refused.again
            or (notice.told and notice.at > refused.read)
        )

    def _rescan(self) -> Iterator[_Notice]:
        began = now()
        self._notice_absence()
        before, self._looked = self._looked, {}
        ripe = []
        for entry in self._walk(str(self._folder)):
            path = entry.path
            if path in self._brought or hash(path) in self._done:
                continue
            try:
                status = entry.stat()
            except OSError:
                continue
            stamp = Stamp(status.st_size, status.st_mtime_ns)
            refused = self._refused.get(path)
            if refused is not None and refused.stamp == stamp and began < refused.again:
                continue
            last = before.get(path)
            if last is None:
                self._looked[path] = _Look(stamp, 1, self._swept)
            elif last.stamp == stamp or last.looks >= _LOOKS:
                ripe.append(_Notice(Path(path), now(), told=False))
            else:
                self._looked[path] = _Look(stamp, last.looks + 1, last.since)
        self._rescanned = now()
        # A folder of a hundred thousand slices on a slow share must not take all of the time.
        share = _SHARE_HEARD if self._told else _SHARE_DEAF
        self._rescan_every = max(_RESCAN, share * (self._rescanned - began))
        for notice in ripe:
            if self._is_news(notice):
                yield notice
        if self._identity is not None:
            self._swept = began

    def _notice_absence(self) -> None:
        identity = _identity(self._folder)
        was, self._identity = self._identity, identity
        if identity != was:
            how = "gone" if identity is None else "back" if was is None else "another one than before"
            self._say(f"folder {self._folder} is {how}", again=True)
        if identity is not None and (identity != was or self._observer.deaf):
            # The operating system told of what was there before; this is another one.
            self._observer.stop()
            self._told = False
            self._observer.start()

    def _say(self, trouble: str, *, again: bool = False) -> None:
        if again or trouble not in self._said:
            self._said.add(trouble)
            self._troubles.append(trouble)

    def _walk(self, folder: str) -> Iterator[os.DirEntry[str]]:
        try:
            with os.scandir(folder) as listing:
                entries = list(listing)
        except FileNotFoundError:
            return
        except OSError as error:
            self._say(f"folder {folder} cannot be listed ({error.strerror or error})")
            return
        for entry in entries:
            with contextlib.suppress(OSError):  # what it is cannot be told: it may be at the next rescan
                if entry.is_dir(follow_symlinks=False):
                    if not self._is_hidden(entry.name):
                        yield from self._walk(entry.path)
                elif self._is_named(entry.name) and entry.is_file():
                    yield entry

    def _is_wanted(self, path: str) -> bool:
        *folders, name = Path(path).parts[len(self._folder.parts) :]
        return self._is_named(name) and not any(map(self._is_hidden, folders))

    def _is_named(self, name: str) -> bool:
        return not self._is_hidden(name) and self._match(os.path.normcase(name)) is not None

    def _is_hidden(self, name: str) -> bool:
        return name.startswith(".") and not self._pattern.startswith(".")


def _open_at_once(path: str, flags: int) -> int:
    # To open a pipe would wait for its other end, for ever.
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _stamp(path: Path) -> Stamp:
    try:
        status = path.stat()
    except OSError:
        return Stamp(-1, -1)
    return Stamp(status.st_size, status.st_mtime_ns)


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        status = folder.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
