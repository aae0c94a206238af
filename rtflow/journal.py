"""A run on disk: every document, and every byte that came in.

::

    RUN_DIR/journal/documents.jsonl   one document a line, in the order of their numbers
    RUN_DIR/journal/frames.bin        the bytes of all parts, one after the other

A document that speaks of bytes is written after them. So whatever moment the program is ended at, each
whole line is true, and a last line that is not whole was never said. (Until RunStop nothing waits for the
disk itself: when the machine loses its power, the last seconds may be lost, and a hash tells.)
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

import msgspec

from rtflow.documents import (
    AnyDocument,
    Delivered,
    Document,
    Event,
    Frame,
    Part,
    PartRecord,
    Result,
    RunStart,
    RunStop,
    VolumeMissing,
    VolumeReceived,
    decode,
    encode,
)
from rtflow.errors import JournalError, OutputError

_DOCUMENTS = "documents.jsonl"
_FRAMES = "frames.bin"


class Journal:
    """The journal of a run that is under way; its files are made when the first word is written.

    Parameters
    ----------
    run_dir
        Folder of the run; made if it is missing.
    resume
        Go on with a journal that is there, after cutting off a line or bytes that were not finished; it is
        opened at once.
    beside
        Files to write into the run's folder before the first word: name to content.

    Raises
    ------
    OutputError
        If the journal to go on with is still being written by another process.
    """

    def __init__(
        self, run_dir: Path, *, resume: bool = False, beside: Mapping[str, bytes] | None = None
    ) -> None:
        self._run_dir = run_dir
        self._beside = beside or {}
        self._resume = resume
        self._files: tuple[IO[bytes], IO[bytes]] | None = None
        self._offset = 0
        if resume:
            self._open()

    def keep_frame(self, frame: Frame) -> tuple[PartRecord, ...]:
        """Write the bytes of a frame, and say where they are.

        Raises
        ------
        OutputError
            If the folder cannot be written, or holds a journal already.
        JournalError
            If writing fails later.
        """
        file = self._open()[1]
        records = []
        for part in frame.parts:
            self._write(file, part.data)
            records.append(PartRecord(part.name, part.media_type, len(part.data), part.sha256, self._offset))
            self._offset += len(part.data)
        return tuple(records)

    def keep(self, document: Document) -> None:
        """Write a document; raises as `keep_frame`."""
        documents, frames = self._open()
        self._write(documents, encode(document) + b"\n")
        if isinstance(document, RunStop):
            os.fsync(frames.fileno())
            os.fsync(documents.fileno())

    def close(self) -> None:
        """Close the files."""
        for file in self._files or ():
            file.close()

    def _open(self) -> tuple[IO[bytes], IO[bytes]]:
        if self._files is None:
            folder = self._run_dir / "journal"
            try:
                folder.mkdir(parents=True, exist_ok=self._resume)
                documents = (folder / _DOCUMENTS).open("ab", buffering=0)
                _claim(documents, self._run_dir)
                if self._resume:
                    _cut(folder)
                for name, content in self._beside.items():
                    path = self._run_dir / name
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(content)
                self._beside = {}  # they may be large
                frames = (folder / _FRAMES).open("ab", buffering=0)
            except OSError as error:
                raise OutputError(
                    f"the output folder {self._run_dir} cannot be written ({error.strerror or error}); "
                    "give another by --out"
                ) from None
            self._offset = frames.seek(0, os.SEEK_END)
            self._files = documents, frames
        return self._files

    @staticmethod
    def _write(file: IO[bytes], data: bytes) -> None:
        rest = memoryview(data)
        whole = os.fstat(file.fileno()).st_size
        try:
            while rest:
                rest = rest[file.write(rest) :]
        except OSError as error:
            # Half a line must not stand before what may be written when there is room again.
            with contextlib.suppress(OSError):
                os.ftruncate(file.fileno(), whole)
            raise JournalError(
                f"the journal cannot be written: {error.strerror or error}; what stands in it is whole: "
                "make room, and go on with 'rtflow run --resume RUN_DIR'"
            ) from error


class Recording:
    """The journal of a run that is over, or was cut off.

    Parameters
    ----------
    run_dir
        Folder of the run.

    Raises
    ------
    JournalError
        If there is no journal, or it does not begin with a RunStart of a known schema.
    """

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        self._folder = run_dir / "journal"
        path = self._folder / _DOCUMENTS
        try:
            lines = path.read_bytes().split(b"\n")
        except OSError:
            raise JournalError(
                f"{run_dir} holds no journal (looked for {path.relative_to(run_dir)}); "
                "give the folder of a run, such as rtflow-out/runs/RUN_UID"
            ) from None
        self.documents: list[AnyDocument] = []
        for number, line in enumerate(lines[:-1], start=1):
            try:
                self.documents.append(decode(line))
            except msgspec.DecodeError as error:
                raise JournalError(
                    f"{path}, line {number}, is no document of this version: {error}"
                ) from None
        if not self.documents or not isinstance(self.documents[0], RunStart):
            raise JournalError(f"{path} does not begin with a RunStart: the run ended before it began")
        self.start: RunStart = self.documents[0]

    def located(self, recorded: str | Path) -> Path:
        """Where a folder of the run is now: beside the run's own, if all was moved or copied together.

        Parameters
        ----------
        recorded
            The absolute path that the journal has of it.

        Raises
        ------
        JournalError
            If the run's folder was moved, and nothing is where the other one was or should be now.
        """
        there = Path(recorded)
        was = Path(self.start.places["bids"]).parent / "runs" / self.start.run_uid
        here = self.run_dir.resolve()
        if here == was.resolve():
            return there
        moved = Path(os.path.normpath(here / os.path.relpath(there, was)))
        if moved.is_dir():
            return moved
        if there.is_dir():
            return there
        # Neither is there, as where nothing was recorded: it is made in the folder that the run is in now.
        if here.parts[-2:] == was.parts[-2:]:
            return moved
        if there.parent.is_dir():
            return there
        raise JournalError(
            f"{self.run_dir} was moved away from {was.parent}, and {there} is no longer there: move the "
            f"whole of {was.parent.parent}"
        )

    @property
    def stop(self) -> RunStop | None:
        """How the run ended; None if it was cut off."""
        last = self.documents[-1]
        return last if isinstance(last, RunStop) else None

    @property
    def results(self) -> list[Result]:
        """The Results, in the order in which they were written."""
        return [document for document in self.documents if isinstance(document, Result)]

    @property
    def events(self) -> list[Event]:
        """The Events, in the order in which they were written."""
        return [document for document in self.documents if isinstance(document, Event)]

    @property
    def delivered(self) -> set[tuple[str, int]]:
        """Channel and volume of each value that has reached the subject's side."""
        return {(d.channel, d.volume) for d in self.documents if isinstance(d, Delivered)}

    @property
    def volumes(self) -> list[VolumeReceived | VolumeMissing]:
        """What came, and what did not, in order."""
        return [d for d in self.documents if isinstance(d, (VolumeReceived, VolumeMissing))]

    def frames(self) -> Iterator[Frame]:
        """The frames as they came, one by one from disk.

        Raises
        ------
        JournalError
            If bytes are gone, or are not those whose hash was written.
        """
        path = self._folder / _FRAMES
        try:
            file = path.open("rb")
        except OSError as error:
            raise JournalError(f"{path}: {error.strerror or error}; the volumes are gone") from None
        with file:
            for document in self.volumes:
                if isinstance(document, VolumeMissing):
                    yield Frame(document.volume, document.received, missing=document.reason)
                    continue
                parts = []
                for record in document.parts:
                    file.seek(record.offset)
                    data = file.read(record.size)
                    if hashlib.sha256(data).hexdigest() != record.sha256:
                        raise JournalError(
                            f"{path}: volume {document.volume} ({record.name}) is not what was recorded; "
                            "the file was changed or is damaged"
                        )
                    parts.append(Part(record.name, record.media_type, data))
                yield Frame(document.volume, document.received, tuple(parts), document.acquired)


def _claim(file: IO[bytes], run_dir: Path) -> None:
    """Hold the journal as long as this process lives, so that nobody else goes on with it meanwhile."""
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise OutputError(
            f"run {run_dir.name} is still under way in another process; end that one first"
        ) from None
    except OSError:
        pass  # a file system without locks


def _cut(folder: Path) -> None:
    """Cut off what was being written when the run was."""
    path = folder / _DOCUMENTS
    text = path.read_bytes()
    whole = text.rfind(b"\n") + 1
    if whole < len(text):
        os.truncate(path, whole)
    end = 0
    for line in text[:whole].splitlines():
        document = decode(line)
        if isinstance(document, VolumeReceived):
            end = max([end, *(part.offset + part.size for part in document.parts)])
    os.truncate(folder / _FRAMES, end)
