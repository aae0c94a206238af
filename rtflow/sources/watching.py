"""Files that come into a folder: told by the operating system, and looked for from time to time.

Events are fast but not to be relied on (network shares send none), a rescan is slow but sees all; so both.
"""

from __future__ import annotations

import contextlib
import os
import queue
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from rtflow.documents import now
from rtflow.sources.feed import Arrival
from rtflow.sources.file_content import Content, read_content
from rtflow.sources.listing import Listing, Stamp
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

_RECENT = 100
"""So many of the files that were brought last are looked at for another one in the place of theirs, where no
event tells of it: each costs a question to the share at each rescan."""


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
    unchanged; what is refused then is brought again when it has changed. Another object under the name of one
    that was brought is brought too, as far as events tell of it or the name is a recent one. The folder may
    vanish and come back (a network share does): what is in it then is found, and nothing is brought twice.

    Parameters
    ----------
    folder
        An existing folder.
    pattern
        Which file names to look at; hidden ones are passed over, as `Listing` says.
    existing
        Whether to bring what was there at the start; else it is left alone.

    Attributes
    ----------
    folder
        The folder.
    pattern
        As given.
    began
        When it looked at the folder first, seconds since 1970.
    """

    def __init__(self, folder: Path, pattern: str = "*", *, existing: bool = True) -> None:
        self.folder = folder.resolve()
        self.pattern = pattern
        self.began = now()
        self._passed: set[int] = set()
        self._passed_example = ""
        self._passed_since = self._passed_told = 0
        self._listing = Listing(self.folder, pattern, self._say, self._pass_over)
        self._events: queue.SimpleQueue[_Notice] = queue.SimpleQueue()
        self._brought: dict[str, Content] = {}
        self._recent: dict[str, Content] = {}
        # Hashes: the names themselves, of a long run by the slice, would take tens of megabytes.
        self._done: set[int] = set()
        self._refused: dict[str, _Refused] = {}
        self._looked: dict[str, _Look] = {}
        self._told = False
        self._drained = self._swept = self.began
        self._rescanned = 0.0
        self._rescan_every = _RESCAN
        self._observer = Observer(self.folder, self.heard)
        self._identity = self._listing.identity()
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
        passed = f" ({self._passed_since} files that came do not match it)" if self._passed_since else ""
        return f" and the pattern {self.pattern!r}{passed}"

    @property
    def left_alone(self) -> frozenset[str]:
        """Files that were there at the start and do not belong to the run, by their paths in the folder."""
        return frozenset(os.path.relpath(path, self.folder) for path in self._former)

    def leave_alone_only(self, names: Iterable[str]) -> None:
        """Of the files that were left alone, bring those that are not among these after all.

        For a run that is taken up: what came after it had begun belongs to it.
        """
        kept = {str(self.folder / name) for name in names}
        for path in self._former - kept:
            self._refused.pop(path, None)
        self._former &= kept

    def leave_alone_until(self, time: float) -> None:
        """Of the files that were left alone, bring those that came or changed after ``time`` after all.

        For a run that is taken up, and whose files came elsewhere, or were others, when it began.
        """
        names = []
        for path in self._former:
            with contextlib.suppress(OSError):
                if _came(Path(path).stat()) <= time:
                    names.append(path)
        self.leave_alone_only(names)
        self._say(
            f"the run began with another folder or pattern than {self.folder} and {self.pattern!r}: "
            f"{len(names)} files that are from before it are left alone"
        )

    def before(self) -> Iterator[Arrival]:
        """What is there already, each file with the time of its last change (or of its coming here)."""
        there = []
        for entry in self._listing:
            try:
                status = entry.stat()
            except OSError:
                continue
            if entry.path not in self._refused:
                there.append((entry.path, _came(status)))
        for path, came in sorted(there):
            arrival = self._bring(Path(path), came)
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
        brought = self._brought.pop(path, None)
        self._refused.pop(path, None)
        self._done.add(hash(path))
        if brought is not None:
            self._recent[path] = brought
            if len(self._recent) > _RECENT:
                del self._recent[next(iter(self._recent))]

    def refuse(self, arrival: Arrival) -> None:
        """Bring it again once it differs from what it was when it was read."""
        path = str(arrival.path)
        brought = self._brought.pop(path, None)
        stamp = brought.stamp if brought is not None else Stamp(-1, -1)
        before = self._refused.get(path)
        again = before is None or before.stamp != stamp
        read = now()
        self._refused[path] = _Refused(stamp, read, read + _AGAIN if again else float("inf"))

    def heard(self, path: str) -> None:
        """An event told of a file."""
        self._told = True
        if path in self._listing:
            self._events.put(_Notice(Path(path), now(), told=True))

    def _pass_over(self, entry: os.DirEntry[str]) -> None:
        """Count what came since the start under a name that does not match: the pattern may be wrong."""
        if (known := hash(entry.path)) in self._passed:
            return
        self._passed.add(known)
        with contextlib.suppress(OSError):
            if _came(entry.stat()) < self.began:
                return
            self._passed_since += 1
            self._passed_example = entry.name

    def _tell_passed(self) -> None:
        # Of a few beside those that match, a log say, nobody needs to hear.
        if self._passed_since >= max(self._passed_told * 10, 1) and not (self._brought or self._done):
            self._passed_told = self._passed_since
            self._say(self._not_named())

    def _not_named(self) -> str:
        return (
            f"files come that do not match the pattern {self.pattern!r}: {self._passed_since}, "
            f"such as {self._passed_example!r}"
        )

    def _bring(self, path: Path, at: float) -> Arrival | None:
        began = now()
        try:
            read = read_content(path)
        except OSError as error:
            self._say(f"{path.name} cannot be read ({error.strerror or error})")
            self._refused[str(path)] = _Refused(Stamp.of(path), began, began + _AGAIN)
            return None
        if read is None:
            return None
        content, data = read
        for taken in (self._brought, self._recent):
            if str(path) in taken and taken[str(path)].ends == content.ends:
                taken[str(path)] = content  # the same object: its times were set after it was written, say
                return None
        self._brought[str(path)] = content
        return Arrival(path.name, path, data, at)

    def _leave_alone(self) -> None:
        for entry in self._listing:
            # One that is still being written is no file of a former run: it changes once more.
            self._refused[entry.path] = _Refused(Stamp.of(Path(entry.path)), float("inf"), float("inf"))
            self._former.add(entry.path)

    def _notices(self, timeout: float) -> Iterator[_Notice]:
        due = self._rescanned + self._rescan_every - now()
        if due > 0 and timeout > 0:
            first = None
            with contextlib.suppress(queue.Empty):
                first = self._events.get(timeout=min(timeout, due))
            if first is not None and self._is_news(first):
                yield first
        yield from self._heard_of()
        if now() >= self._rescanned + self._rescan_every:
            yield from self._rescan()

    def _heard_of(self) -> Iterator[_Notice]:
        # Not until there is none: they may come faster than they are taken, and time must count all the same.
        drained = now()
        for _ in range(self._events.qsize()):
            notice = self._events.get()
            if self._is_news(notice):
                yield notice
        self._drained = drained

    def _is_news(self, notice: _Notice) -> bool:
        path = str(notice.path)
        taken = self._brought.get(path) or self._recent.get(path)
        if taken is not None:
            return taken.stamp != Stamp.of(notice.path)
        if hash(path) in self._done:
            return notice.told
        refused = self._refused.get(path)
        return (
            refused is None
            or refused.stamp != Stamp.of(notice.path)
            or now() >= refused.again
            or (notice.told and notice.at > refused.read)
        )

    def _rescan(self) -> Iterator[_Notice]:
        began = now()
        self._notice_absence()
        before, self._looked = self._looked, {}
        ripe = []
        elsewhere = 0.0
        for entry in self._listing:
            # A folder of a hundred thousand slices takes its time: what is told of meanwhile does not wait.
            if not self._events.empty():
                paused = now()
                yield from self._heard_of()
                elsewhere += now() - paused
            path = entry.path
            recent = self._recent.get(path)
            if path in self._brought or (recent is None and hash(path) in self._done):
                continue
            try:
                status = entry.stat()
            except OSError:
                continue
            stamp = Stamp.read(status)
            if recent is not None and recent.stamp == stamp:
                continue
            refused = self._refused.get(path)
            if refused is not None and refused.stamp == stamp and began < refused.again:
                continue
            last = before.get(path)
            if last is None:
                self._looked[path] = _Look(stamp, 1, self._swept)
            elif last.stamp == stamp or last.looks >= _LOOKS:
                ripe.append((_came(status), _Notice(Path(path), now(), told=False)))
            else:
                self._looked[path] = _Look(stamp, last.looks + 1, last.since)
        self._rescanned = now()
        if ripe:
            self._told = False  # of these no event told, so that none tells of all
        # The questions to a slow share must not take all of the time.
        share = _SHARE_HEARD if self._told else _SHARE_DEAF
        self._rescan_every = max(_RESCAN, share * (self._rescanned - began - elsewhere))
        # A folder is listed in no order, and the first file to be brought says what run it is.
        for _, notice in sorted(ripe):
            if self._is_news(notice):
                yield notice
        self._tell_passed()
        if self._identity is not None:
            self._swept = began

    def _notice_absence(self) -> None:
        identity = self._listing.identity()
        was, self._identity = self._identity, identity
        if identity != was:
            how = "gone" if identity is None else "back" if was is None else "another one than before"
            self._say(f"folder {self.folder} is {how}", again=True)
        if identity is not None and (identity != was or self._observer.deaf):
            # The operating system told of what was there before; this is another one.
            self._observer.stop()
            self._told = False
            self._observer.start()

    def _say(self, trouble: str, *, again: bool = False) -> None:
        if again or trouble not in self._said:
            self._said.add(trouble)
            self._troubles.append(trouble)


def _came(status: os.stat_result) -> float:
    # A copy may keep the time of the original, so the time of its coming counts too.
    return max(status.st_mtime, status.st_ctime)
