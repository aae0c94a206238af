"""``openneuro:``: a run of a data set of OpenNeuro as a source of volumes, while it comes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from rtflow.bids.volumes import metadata_for, open_volumes
from rtflow.documents import Event, Frame
from rtflow.errors import RtflowError, SourceError
from rtflow.openneuro.cache import Cache
from rtflow.openneuro.download import Download, DownloadStream, StoppedError
from rtflow.openneuro.run_files import RunFiles
from rtflow.source_settings import OpenNeuroSource
from rtflow.source_uri import format_source
from rtflow.sources.images import ImageReplay, Images

_STEPS = 10


class OpenNeuroReplay(ImageReplay):
    """A run of OpenNeuro, fetched while it is replayed, and kept.

    Parameters
    ----------
    spec
        Which data set, which run of it, and how fast to play it.

    Raises
    ------
    SourceError
        If there is no such run, several are meant, or it is not here and cannot be fetched.
    """

    def __init__(self, spec: OpenNeuroSource) -> None:
        self._emit: Callable[[Event], None] = lambda event: None
        self._stopping = threading.Event()
        self._streams: list[DownloadStream] = []
        self._limit = spec.volumes
        self._files = RunFiles(spec.dataset, spec.entities, spec.endpoint, Cache(spec.cache))
        self.run = self._files.run
        try:
            super().__init__(
                f"{spec.dataset} {self.run}",
                format_source(spec),
                self._open_files,
                [metadata_for(self._files.root, self._files.root / image) for image in self.run.images],
                spec.speed,
                limit=spec.volumes,
                was_late=self._has_waited,
            )
        except BaseException:
            self._files.close()
            raise

    def begin(self, run_dir: Path, emit: Callable[[Event], None]) -> None:
        """How far the files have come is told as events, and which times were in milliseconds."""
        self._emit = emit
        super().begin(run_dir, emit)

    def end(self) -> None:
        """Fetch no more; what has come is kept."""
        self._files.close()

    def frames(self, stopping: threading.Event) -> Iterator[Frame]:
        """Frames in the order of their volumes, each as soon as it has come (and is due).

        A run of which all is wanted ends when its files are whole and have the right checksums.

        Raises
        ------
        SourceError
            If the rest of the run cannot be fetched, or is not what the server says it is.
        """
        self._stopping = stopping
        told = self._tell(-1)
        try:
            for frame in super().frames(stopping):
                yield frame
                told = self._tell(told)
            if self._limit is None and not stopping.is_set():
                for download in self._files.downloads:
                    download.wait(stopping)
                self._tell(told)
        except StoppedError:
            return
        except RtflowError as error:
            raise SourceError(f"{self.run}: {self._cause(stopping) or error}") from None

    def _open_files(self) -> list[Images]:
        self._streams = []
        images: list[Images] = []
        for path in self.run.images:
            found = self._files.image(path)
            if isinstance(found, Download):
                self._streams.append(found.stream(self._stopping))
                images.append(open_volumes(self._streams[-1], name=str(path)))
            else:
                images.append(open_volumes(found))
        return images

    def _has_waited(self) -> bool:
        late = any(stream.waited for stream in self._streams)
        for stream in self._streams:
            stream.waited = False
        return late

    def _tell(self, told: int) -> int:
        """An event for each tenth that has come."""
        files = self._files
        step = _STEPS if not files.downloads else files.received * _STEPS // max(files.bytes, 1)
        if step <= told or (told < 0 and not files.downloads):
            return max(step, told)
        says = (
            f"{files.received / 1e6:.1f} of {files.bytes / 1e6:.1f} MB of {self.run} have come "
            f"({files.fetched / 1e6:.1f} MB were fetched)"
        )
        data = {"says": says, "bytes": files.received, "of": files.bytes, "fetched": files.fetched}
        self._emit(Event(name="fetched", data=data))
        return step

    def _cause(self, stopping: threading.Event) -> RtflowError | None:
        """Where bytes make no sense, what is wrong with the download, if anything is."""
        try:
            for download in self._files.downloads:
                download.wait(stopping)
        except StoppedError:
            return None
        except RtflowError as error:
            return error
        return None
