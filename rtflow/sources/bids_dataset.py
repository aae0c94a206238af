"""``bids:``: a run of a BIDS data set as a source of volumes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from rtflow.bids.finding import RunImages, choose_run, runs_in
from rtflow.bids.volumes import metadata_for, open_volumes
from rtflow.documents import Event, Frame
from rtflow.errors import SourceError, VolumeError
from rtflow.source_settings import BidsSource, format_source
from rtflow.sources.images import ImageReplay


class BidsReplay:
    """A run of a BIDS data set, as it was stored.

    Parameters
    ----------
    spec
        Which data set, which run of it, and how fast to play it.

    Raises
    ------
    SourceError
        If there is no such data set, none or several of its runs are meant, or its files cannot be read.
    """

    def __init__(self, spec: BidsSource) -> None:
        self._root = Path(spec.path).expanduser()
        if not self._root.is_dir():
            raise SourceError(
                f"BIDS data set {self._root} {'is a file' if self._root.exists() else 'does not exist'}; "
                "give the root of a data set"
            )
        self.run: RunImages = choose_run(runs_in(self._root), spec.entities, f"data set {self._root}")
        paths = [self._root / image for image in self.run.images]
        for path in paths:
            _require_content(path)
        try:
            metadata = [metadata_for(self._root, path) for path in paths]
        except VolumeError as error:
            raise SourceError(str(error)) from None
        self._replay = ImageReplay(
            str(paths[0]),
            format_source(spec),
            lambda: [open_volumes(path) for path in paths],
            metadata,
            spec.speed,
            limit=spec.volumes,
        )

    @property
    def uri(self) -> str:
        """What the source was opened from."""
        return self._replay.uri

    @property
    def tr(self) -> float | None:
        """Repetition time in seconds, by the sidecars, else the image."""
        return self._replay.tr

    @property
    def volumes(self) -> int:
        """Number of volumes in the image."""
        return self._replay.volumes

    def begin(self, run_dir: Path, emit: Callable[[Event], None]) -> None:
        """Which times of the sidecars were in milliseconds is told as events."""
        self._replay.begin(run_dir, emit)

    def end(self) -> None:
        """Nothing is open but while frames are asked for."""

    def frames(self, stopping: threading.Event) -> Iterator[Frame]:
        """Frames in the order of their volumes, as `rtflow.sources.images.ImageReplay.frames`."""
        return self._replay.frames(stopping)


def _require_content(path: Path) -> None:
    """Refuse a link to what was never fetched, as DataLad leaves them."""
    if path.is_symlink() and not path.exists():
        raise SourceError(
            f"{path} is a link to a file that is not here; fetch it first (datalad get {path.name})"
        )
