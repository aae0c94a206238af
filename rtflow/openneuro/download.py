"""One file on its way from the bucket: in parallel parts, taken up where it was, read while it comes."""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import threading
from pathlib import Path
from typing import Any

import msgspec

from rtflow.errors import OutputError, RtflowError
from rtflow.openneuro.bucket import CONNECTIONS, Bucket, NoNetworkError, StoredObject
from rtflow.openneuro.cache import Cache

# The first parts are small: the first volumes are in them, and all connections share the line.
_PARTS = (1 << 18,) * CONNECTIONS + (1 << 20,) * CONNECTIONS
_PART = 1 << 22
_ATTEMPTS = 6
"""Attempts that get no byte, one after the other, before a part is given up."""


class StoppedError(Exception):
    """The reader was told to stop while it waited for bytes."""


class _Part(msgspec.Struct):
    start: int
    stop: int
    got: int = 0

    @property
    def left(self) -> int:
        return self.stop - self.start - self.got


class _State(msgspec.Struct):
    etag: str
    parts: list[_Part]


class Download:
    """A file that is being fetched into the cache.

    Another process that fetches the same file is waited for.

    Parameters
    ----------
    bucket, item
        Where it comes from, and which it is.
    cache
        Where it goes.
    backoff
        Seconds before the second attempt; doubled for each further one.

    Raises
    ------
    OutputError
        If the cache cannot be written.
    """

    def __init__(self, bucket: Bucket, item: StoredObject, cache: Cache, *, backoff: float = 0.25) -> None:
        self.item = item
        self.fetched = 0
        """Bytes that came over the network, by this process."""
        self._bucket, self._cache, self._backoff = bucket, cache, backoff
        self._path = cache.partial(item)
        self._state_path = self._path.with_name(f"{self._path.name}.parts")
        with cache.writing():
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._lock_file = self._path.with_name(f"{self._path.name}.lock").open("wb")
            with contextlib.suppress(OSError):  # a file system without locks
                fcntl.flock(self._lock_file.fileno(), fcntl.LOCK_EX)
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._error: RtflowError | None = None
        self._done: Path | None = None
        try:
            self._done = cache.whole(item)  # by whoever was waited for
            with cache.writing():
                if self._done is None:
                    self._path.touch()
                self._file = (self._done or self._path).open("rb" if self._done else "rb+", buffering=0)
        except BaseException:
            self._lock_file.close()
            raise
        self._state = self._taken_up()
        self._taken: set[int] = set()
        self._finishing = False

    def start(self) -> Download:
        """Begin to fetch what is not here yet."""
        if self._done is None:
            waiting = sum(part.left > 0 for part in self._state.parts)
            if not waiting:
                self._finish()
            for _ in range(min(CONNECTIONS, waiting)):
                threading.Thread(target=self._work, name="download", daemon=True).start()
        return self

    @property
    def received(self) -> int:
        """Bytes that are here, whenever they came."""
        return self.item.size if self._done else sum(part.got for part in self._state.parts)

    def stream(self, stopping: threading.Event) -> DownloadStream:
        """The file from its beginning; reading waits for what is not here yet."""
        return DownloadStream(self, stopping)

    def wait(self, stopping: threading.Event) -> Path:
        """The file once it is whole and its checksum is right.

        Raises
        ------
        SourceError
            If it could not be fetched, or the checksum is wrong.
        StoppedError
            If ``stopping`` was set.
        """
        with self._changed:
            while self._done is None:
                self._check(stopping)
                self._changed.wait(0.05)
            return self._done

    def close(self) -> None:
        """End fetching; what has come is kept, to be taken up. May be called twice.

        Nobody is waited for: a thread that hears from a slow line later finds that it may write no more.
        """
        with self._changed:
            self._closing.set()
            self._changed.notify_all()
            if not self._file.closed:
                if self._done is None and self._error is None:
                    self._note()
                self._file.close()
                self._lock_file.close()

    def read_at(self, offset: int, size: int, stopping: threading.Event) -> tuple[bytes, bool]:
        """Bytes at ``offset``, as many as there are up to ``size``, and whether they were waited for."""
        waited = False
        stop = min(offset + size, self.item.size)
        with self._changed:
            while self._done is None and offset < stop and self._front() <= offset:
                waited = True
                self._check(stopping)
                self._changed.wait(0.05)
            there = self.item.size if self._done else self._front()
        return os.pread(self._file.fileno(), max(min(stop, there) - offset, 0), offset), waited

    def _front(self) -> int:
        """How many bytes there are from the beginning without a gap."""
        for part in self._state.parts:
            if part.left > 0:
                return part.start + part.got
        return self.item.size

    def _check(self, stopping: threading.Event) -> None:
        if self._error is not None:
            raise self._error
        if stopping.is_set() or self._closing.is_set():
            raise StoppedError

    def _taken_up(self) -> _State:
        """How far the file has come: what stands on disk, if it is of the same content."""
        state: _State | None = None
        with contextlib.suppress(OSError, msgspec.DecodeError):
            state = msgspec.json.decode(self._state_path.read_bytes(), type=_State)
        size = os.fstat(self._file.fileno()).st_size
        if state is not None and state.etag == self.item.etag and self._done is None:
            reached = max((part.start + part.got for part in state.parts if part.got), default=0)
            if reached <= size:
                return state
        parts, at = [], 0
        sizes = iter(_PARTS)
        while at < self.item.size:
            stop = min(at + next(sizes, _PART), self.item.size)
            parts.append(_Part(at, stop))
            at = stop
        return _State(self.item.etag, parts)

    def _work(self) -> None:
        try:
            while (part := self._next()) is not None:
                self._fetch(part)
                with self._changed:
                    if part.left > 0 or self._closing.is_set():
                        return
                    self._note()
        except RtflowError as error:
            self._fail(error)
        except OSError as error:
            self._fail(OutputError(f"{self._path}: {error.strerror or error}; make room, and try again"))
        else:
            with self._changed:
                last = not self._finishing and all(part.left == 0 for part in self._state.parts)
                self._finishing = self._finishing or last
            if last:
                self._finish()

    def _next(self) -> _Part | None:
        with self._changed:
            for number, part in enumerate(self._state.parts):
                if part.left > 0 and number not in self._taken:
                    self._taken.add(number)
                    return part
        return None

    def _fetch(self, part: _Part) -> None:
        idle = 0
        while part.left > 0 and not self._closing.is_set() and self._error is None:
            before = part.got
            error = NoNetworkError(f"{self.item.key}: the connection broke; try again later")
            try:
                self._receive(part)
            except NoNetworkError as told:
                error = told
            if part.left == 0:
                return
            idle = 0 if part.got > before else idle + 1
            if idle >= _ATTEMPTS:
                raise error
            self._closing.wait(min(self._backoff * 2**idle, 10.0))

    def _receive(self, part: _Part) -> None:
        with contextlib.closing(
            self._bucket.pieces(self.item, part.start + part.got, part.stop)  # type: ignore[type-var]
        ) as pieces:
            for piece in pieces:
                rest = memoryview(piece)[: part.left]
                with self._changed:
                    if self._closing.is_set() or self._error is not None:
                        return
                    self.fetched += len(piece)
                    while rest:
                        written = os.pwrite(self._file.fileno(), rest, part.start + part.got)
                        rest = rest[written:]
                        part.got += written
                    self._changed.notify_all()

    def _finish(self) -> None:
        try:
            done = self._cache.finish(self.item, self._path, self._cache.path(self.item))
        except RtflowError as error:
            self._fail(error)
            done = None
        self._state_path.unlink(missing_ok=True)
        with self._changed:
            self._done = done
            self._changed.notify_all()

    def _fail(self, error: RtflowError) -> None:
        with self._changed:
            self._error = self._error or error
            if not self._closing.is_set():  # else another may have begun it anew
                with contextlib.suppress(OutputError):
                    self._note()
            self._changed.notify_all()

    def _note(self) -> None:
        """Write down how far it has come; not any more once it is being given its place."""
        if self._finishing:
            return
        with self._cache.writing():
            mine = self._state_path.with_name(f"{self._state_path.name}.new")
            mine.write_bytes(msgspec.json.encode(self._state))
            mine.replace(self._state_path)


class DownloadStream(io.RawIOBase):
    """A file that can be read while it comes.

    Attributes
    ----------
    waited
        Whether bytes had to be waited for since this was set to False.
    """

    def __init__(self, download: Download, stopping: threading.Event) -> None:
        self._download, self._stopping = download, stopping
        self._at = 0
        self.waited = False

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is: what was read is still there."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place in the file."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._download.item.size}[whence]
        self._at = max(base + offset, 0)
        return self._at

    def tell(self) -> int:
        """The place in the file."""
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Read what there is, at least one byte unless the file is at its end."""
        data, waited = self._download.read_at(self._at, len(buffer), self._stopping)
        buffer[: len(data)] = data
        self._at += len(data)
        self.waited = self.waited or waited
        return len(data)
