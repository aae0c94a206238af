"""DICOM: from the last byte to the volume, beside native dcm2niix, and how fast each source can be.

*Last byte to volume* is the time from the moment at which the last file of a volume is complete on disk until
its BIDS-incremental is there (voxels, affine, metadata), by the code of a live run: the operating system's
event, the watcher, the reader, the gatherer, the conversion. Of a volume in several files the others came
before, and were decoded as they came. dcm2niix is given the files of the same volume, alone in a folder,
right after; its time is that from its start to its end. A ratio is the median of the ratios of such
neighbours, so that what else the machine does hits both. The time that dcm2niix takes to start and do nothing
is measured beside it: ``ratio_started`` leaves it out.

What must hold is that every layout that comes volume by volume is there sooner than dcm2niix has converted
it. Compressed mosaics, an object that holds a whole run (it comes when the scan is over), and real series
where they are laid out, are measured beside.

Both read from and write to memory (a tmpfs) where there is one. ``read_ms`` is the time to read the last
file, ``memcpy_ms`` that to copy the volume's voxels once; no program can do with less than their sum, and
``over_bytes`` says how many times as much it was.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from rtflow.bench import lastbyte, sustained
from rtflow.bench.peer import Dcm2niix
from rtflow.bench.report import BenchReport, bar, machine, versions
from rtflow.bench.scans import (
    SHAPES,
    Scan,
    compressed_scans,
    real_folders,
    real_scan,
    whole_run,
    written,
    written_scans,
)

_MEMORY = Path("/dev/shm")
_ROOM = 2**30


def run(
    volumes: int = 40, shapes: Sequence[tuple[int, int, int]] = SHAPES, *, real: bool = True
) -> BenchReport:
    """Measure, and compare.

    Parameters
    ----------
    volumes
        How many of each scan.
    shapes
        Sizes of the written scans; that of the others is the first of them.
    real
        Whether to measure real series too, where they are laid out.

    Raises
    ------
    UsageError
        If there is no native dcm2niix.
    RunError
        If it fails, or makes other voxels than rtflow.
    """
    peer = Dcm2niix.find()
    found = _last_byte(written_scans(volumes, shapes), peer)
    bars = {name: bar(value, 1.0) for name, value in found.items() if name.endswith(":ratio")}
    found |= _last_byte([whole_run(shapes[0], volumes, 5)], peer)
    found |= _last_byte(compressed_scans(max(volumes // 2, 1), shapes[0]), peer)
    if real:
        scans = (real_scan(folder, volumes) for folder in real_folders())
        found |= _last_byte((scan for scan in scans if scan is not None), peer)
    for vendor, count in (("siemens-mosaic", 5 * volumes), ("ge", volumes)):
        with tempfile.TemporaryDirectory(dir=_scratch()) as folder:
            found |= sustained.figures(written(vendor, shapes[0], count), Path(folder))
    found["sustained simulation:simulate_per_s"] = sustained.rate(
        sustained.simulated_times(shapes[0], max(volumes, 20))
    )
    told = versions("rtflow", "numpy", "pydicom", "pynetdicom") | {"dcm2niix": peer.version}
    return BenchReport("dicom", machine(), told, found, bars)


def _last_byte(scans: Iterable[Scan], peer: Dcm2niix) -> dict[str, float]:
    found: dict[str, float] = {}
    for scan in scans:
        with tempfile.TemporaryDirectory(dir=_scratch()) as folder:
            found |= lastbyte.figures(scan, lastbyte.measure(scan, peer, Path(folder)))
    return found


def _scratch() -> Path | None:
    """Where files are kept in memory, if there is room; None for where temporary files are."""
    if _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free >= _ROOM:
        return _MEMORY
    return None
