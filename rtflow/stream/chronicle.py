"""The documents of a run in the order in which they were written: numbered, kept, shown."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Iterator
from typing import Protocol, TypeVar

import msgspec

from rtflow.documents import (
    AnyDocument,
    Document,
    Frame,
    PartRecord,
    Result,
    VolumeMissing,
    VolumeReceived,
    now,
)
from rtflow.errors import JournalError, RunError

DocumentT = TypeVar("DocumentT", bound=Document)
Observer = Callable[[AnyDocument], None]


class Keeper(Protocol):
    """What keeps a run on disk: the journal."""

    def keep_frame(self, frame: Frame) -> tuple[PartRecord, ...]:
        """Keep a frame's bytes, and say where."""

    def keep(self, document: Document) -> None:
        """Keep a document."""


class Onlooker:
    """Shows documents to an observer, in their order, from a thread of its own: it cannot hold up the run.

    Parameters
    ----------
    observer
        What is called with each document. When it raises, it is told no more.
    """

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._coming: queue.SimpleQueue[AnyDocument | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="onlooker", daemon=True)
        self._thread.start()

    def tell(self, document: AnyDocument) -> None:
        """Show a document, soon."""
        self._coming.put(document)

    def close(self, limit: float) -> None:
        """Wait until the observer has seen everything, but not longer than ``limit`` seconds."""
        self._coming.put(None)
        self._thread.join(limit)

    def _run(self) -> None:
        while (document := self._coming.get()) is not None:
            try:
                self._observer(document)
            except Exception:
                return


class Chronicle:
    """Numbers the documents of a run, gives them to the keeper, then to whoever looks on.

    Parameters
    ----------
    run_uid
        Identity of the run.
    keeper
        Where documents are kept; what it raises ends the run.
    observers
        Called with each document, each observer in a thread of its own. One that raises is dropped.
    first
        Number of the next document; more than 0 when a run is resumed.

    Attributes
    ----------
    cut_off
        Whether something could not be kept (the disk is full, say): the run has no end then, and can be taken
        up when there is room again.
    """

    def __init__(
        self, run_uid: str, keeper: Keeper | None = None, observers: tuple[Observer, ...] = (), first: int = 0
    ) -> None:
        self.run_uid = run_uid
        self._keeper = keeper
        self._observers = observers
        self._onlookers: list[Onlooker] = []
        self._next = first
        self._lock = threading.Lock()
        self._open: set[int] = set()
        self._writer: int | None = None
        self.cut_off = False
        self.counts: dict[str, int] = {"ok": 0, "late": 0, "missing": 0, "failed": 0}

    def add(self, document: DocumentT) -> DocumentT:
        """Number, time and keep a document.

        Raises
        ------
        RunError
            If the run has been closed by another thread.
        """
        with self._lock:
            if self._writer not in (None, threading.get_ident()):
                raise RunError("the run has ended; this volume was given up before")
            written = msgspec.structs.replace(document, run_uid=self.run_uid, seq=self._next, time=now())
            if self._keeper is not None:
                with self._kept():
                    self._keeper.keep(written)
            self._next += 1
            if isinstance(written, Result):
                self._open.discard(written.volume)
                self.counts[written.status] += 1
            elif isinstance(written, (VolumeReceived, VolumeMissing)):
                self._open.add(written.volume)
            if self._observers and not self._onlookers:
                self._onlookers = [Onlooker(observer) for observer in self._observers]
            for onlooker in self._onlookers:
                onlooker.tell(written)  # type: ignore[arg-type]
        return written

    def frame(self, frame: Frame) -> None:
        """Keep a frame before anything is done with it."""
        if frame.missing:
            self.add(VolumeMissing(volume=frame.volume, received=frame.received, reason=frame.missing))
        else:
            if self._keeper is not None:
                with self._kept():
                    parts = self._keeper.keep_frame(frame)
            else:
                parts = tuple(
                    PartRecord(part.name, part.media_type, len(part.data), part.sha256)
                    for part in frame.parts
                )
            self.add(
                VolumeReceived(
                    volume=frame.volume, received=frame.received, acquired=frame.acquired, parts=parts
                )
            )

    @contextlib.contextmanager
    def _kept(self) -> Iterator[None]:
        try:
            yield
        except JournalError:
            self.cut_off = True
            raise

    def close(self) -> list[int]:
        """Take no more documents but from this thread; the volumes that were received and have no Result.

        A node that hangs and comes back after the run was given up must not write behind RunStop.
        """
        with self._lock:
            self._writer = threading.get_ident()
            return sorted(self._open)

    def wait_for_onlookers(self, limit: float) -> None:
        """Wait until all observers have seen all documents, but not longer than ``limit`` seconds each."""
        for onlooker in self._onlookers:
            onlooker.close(limit)
        self._onlookers = []

    def reopen(self, frame: Frame) -> None:
        """Count a frame that stands in the journal already, but has no Result yet."""
        with self._lock:
            self._open.add(frame.volume)
