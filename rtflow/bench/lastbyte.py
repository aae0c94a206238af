"""From the last byte of a volume to the volume: the live code and dcm2niix in turn, volume by volume."""

from __future__ import annotations

import gc
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rtflow.bench.peer import Dcm2niix, canonical, differing, images_in
from rtflow.bench.scans import Scan, Step
from rtflow.bids.incremental import BidsIncremental
from rtflow.dicom.writing import Written
from rtflow.errors import RunError
from rtflow.nodes.convert import frame_to_incrementals
from rtflow.source_settings import FolderSource
from rtflow.sources.dicom_stream import DicomStream
from rtflow.sources.feed import Arrival
from rtflow.sources.watching import Watcher

_ENTITIES = {"subject": "01", "task": "feedback", "run": "1"}
_WARM = 3
_COPIES = 3


@dataclass(frozen=True)
class Sample:
    """One step, both ways, and what bounds it; seconds.

    Parameters
    ----------
    ours
        From the last file's end until the volumes are there as BIDS-incrementals.
    theirs
        From the start of dcm2niix until its files are there.
    start
        What it takes to start dcm2niix and do nothing.
    read
        To read the last file, which no program can do without.
    copy
        To copy the volumes' voxels once in memory.
    """

    ours: float
    theirs: float
    start: float
    read: float
    copy: float


class PlacedFiles(Watcher):
    """A watched folder into which each file is written when the stream asks for what has come.

    All is as in a run, the operating system's events too, but one file comes when the one before is taken:
    so the slices of a volume are decoded as they come, however fast this machine writes them.

    Parameters
    ----------
    folder
        An empty folder.
    files
        What is written into it.
    """

    def __init__(self, folder: Path, files: Iterator[Written]) -> None:
        super().__init__(folder)
        self._into = folder
        self._files = files
        self._awaited = False
        self.complete = 0.0
        """When the newest file was complete, by `time.perf_counter`."""

    def arrivals(self, timeout: float) -> Iterator[Arrival]:
        """Write the next file, and bring what is found."""
        file = None if self._awaited else next(self._files, None)
        if file is not None:
            with (self._into / file.name).open("wb") as stream:
                stream.write(file.data)
            self.complete = time.perf_counter()
            self._awaited = True
        for arrival in super().arrivals(timeout):
            self._awaited = False
            yield arrival


def measure(scan: Scan, peer: Dcm2niix, scratch: Path, warm: int = _WARM) -> list[Sample]:
    """Measure each step of a scan.

    Parameters
    ----------
    scan
        What comes.
    peer
        What to compare with.
    scratch
        A folder, best in memory: the disk is nobody's merit.
    warm
        How many steps to leave out at the start.

    Raises
    ------
    RunError
        If the two do not make the same volumes.
    """
    samples: list[Sample] = []
    for number, run in enumerate(scan.runs):
        samples += _measure_run(run, peer, scratch / str(number), check=number == 0, name=scan.name)
        shutil.rmtree(scratch / str(number))
    return samples[min(warm, len(samples) - 1) :]


def _measure_run(
    run: Sequence[Step], peer: Dcm2niix, scratch: Path, *, check: bool, name: str
) -> list[Sample]:
    watched, alone, out = scratch / "watched", scratch / "alone", scratch / "out"
    for folder in (watched, out):
        folder.mkdir(parents=True)
    volumes = sum(step.volumes for step in run)
    spec = FolderSource(path=str(watched), volumes=volumes, idle=600.0, patience=1e4)
    feed = PlacedFiles(watched, (file for step in run for file in step.files))
    frames = DicomStream(feed, spec, str(watched)).frames(threading.Event())
    samples: list[Sample] = []
    gc.collect()
    gc.freeze()  # as the engine does at the start of a run
    try:
        for step in run:
            made = [frame_to_incrementals(next(frames), _ENTITIES) for _ in range(step.volumes)]
            ours = time.perf_counter() - feed.complete
            alone.mkdir()
            for file in step.files:
                (alone / file.name).write_bytes(file.data)
            theirs, start = peer.convert_time(alone, out), peer.start_time()
            if check and not samples:
                _compare(name, made, out)
            read = _read_time(alone / step.files[-1].name)
            samples.append(Sample(ours, theirs, start, read, _copy_time(made)))
            shutil.rmtree(alone)
    finally:
        frames.close()  # type: ignore[attr-defined]
        gc.unfreeze()
    return samples


def _compare(name: str, made: Sequence[Sequence[BidsIncremental]], out: Path) -> None:
    ours = []
    for echoes in zip(*made, strict=True):
        data = np.stack([incremental.data for incremental in echoes], axis=-1)
        ours.append(canonical(data, echoes[0].affine))
    if differs := differing(ours, images_in(out)):
        raise RunError(f"{name}: dcm2niix made {differs}: there is nothing to compare; report this")


def _read_time(path: Path) -> float:
    began = time.perf_counter()
    with path.open("rb") as stream:
        stream.read()
    return time.perf_counter() - began


def _copy_time(made: Sequence[Sequence[BidsIncremental]]) -> float:
    """Seconds to copy the voxels, the best of a few: what is in the way of the first is not the memory."""
    arrays = [incremental.data for echoes in made for incremental in echoes]
    copies = [np.empty_like(array) for array in arrays]
    times = []
    for _ in range(_COPIES):
        began = time.perf_counter()
        for copy, array in zip(copies, arrays, strict=True):
            np.copyto(copy, array)
        times.append(time.perf_counter() - began)
    return min(times)


def figures(scan: Scan, samples: Sequence[Sample]) -> dict[str, float]:
    """What the samples of a scan come to, as ``SCAN:WHAT`` and ``bytes of SCAN:WHAT`` to number.

    Ratios are medians of ratios of neighbouring measurements: what else the machine does hits both alike.
    """
    ours, theirs, start, read, copy = (
        np.array([getattr(sample, name) for sample in samples])
        for name in ("ours", "theirs", "start", "read", "copy")
    )
    steps = scan.runs[0]
    last = steps[-1].files[-1]
    times = {
        "volume_ms": np.median(ours) * 1e3,
        "volume_p95_ms": np.percentile(ours, 95) * 1e3,
        "dcm2niix_ms": np.median(theirs) * 1e3,
        "dcm2niix_p95_ms": np.percentile(theirs, 95) * 1e3,
        "dcm2niix_start_ms": np.median(start) * 1e3,
        "ratio": np.median(ours / theirs),
        # Without the start of a process, which a program that stays alive has once.
        "ratio_started": np.median(ours / np.maximum(theirs - start, 1e-9)),
    }
    bounds = {
        "samples": len(samples),
        "files": len(steps[-1].files),
        "last_file_mb": len(last.data) / 1e6,
        "read_ms": np.median(read) * 1e3,
        "memcpy_ms": np.median(copy) * 1e3,
        "over_bytes": np.median(ours / (read + copy)),
    }
    rows = {scan.name: times, f"bytes of {scan.name}": bounds}
    return {f"{row}:{name}": float(value) for row, its in rows.items() for name, value in its.items()}
