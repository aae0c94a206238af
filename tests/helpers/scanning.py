"""A scanner that fills a folder from a thread of its own, and what a folder source makes of it."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from rtflow.dicom.writing import ScanSeries, write_volume
from rtflow.documents import Frame
from rtflow.source_settings import FolderSource
from rtflow.sources import open_source

AFFINE = np.diag([-3.0, 3.0, 3.0, 1.0])
SERIES = ScanSeries(AFFINE, tr=0.2, uid="1.2.3.1")


def mosaic_file(series: ScanSeries, data: np.ndarray, volume: int) -> bytes:
    """One volume as a Siemens mosaic: of several echoes, the last one's."""
    return write_volume("siemens-mosaic", series, [data] * len(series.echo_times), volume)[-1].data


def volume_file(volume: int, series: ScanSeries = SERIES) -> bytes:
    data = np.random.default_rng(volume).integers(0, 4000, (8, 8, 5), dtype=np.int16)
    return mosaic_file(series, data, volume)


def put(folder: Path, volume: int, series: ScanSeries = SERIES, name: str = "") -> Path:
    path = folder / (name or f"{series.number}_{volume:04d}.dcm")
    path.write_bytes(volume_file(volume, series))
    return path


def told(frames: list[Frame]) -> list[int]:
    """Volumes, negative where one is missing."""
    return [-frame.volume if frame.missing else frame.volume for frame in frames]


def collect(folder: Path, *actions: Callable[[], object], **options: object) -> list[Frame]:
    """All frames; a test that is not about time has so much of it that a slow machine cannot fail it.

    The actions are a scanner's, once the source listens: files are brought in their order.
    """
    spec = FolderSource(path=str(folder), **{"idle": 600.0, "patience": 1e4, **options})  # type: ignore[arg-type]
    source = open_source(spec)
    source.begin(folder / ".run", lambda _: None)
    with Scanner(*actions):
        return list(source.frames(threading.Event()))


class Scanner:
    """Writes files from a thread of its own, one action at a time."""

    def __init__(self, *actions: Callable[[], object], every: float = 0.02) -> None:
        self._actions, self._every = actions, every
        self._thread = threading.Thread(target=self._run)
        self._error: BaseException | None = None

    def _run(self) -> None:
        try:
            for action in self._actions:
                time.sleep(self._every)
                action()
        except BaseException as error:
            self._error = error

    def __enter__(self) -> "Scanner":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join()
        if self._error is not None:
            raise self._error
