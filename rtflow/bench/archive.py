"""What it costs to append a volume to a run in a data set, at its beginning and after a thousand volumes.

The peer appends as a program does that has no file which grows: it loads the run by nibabel, joins the volume
to it, and writes the whole again.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from rtflow.bench.report import Bar, BenchReport, bar, machine, versions
from rtflow.bids.archive import BidsArchive
from rtflow.bids.incremental import BidsIncremental

_SHAPE = (64, 64, 36)
_LENGTHS = (10, 100, 1000)
_REPEATS = 41
# The peer takes seconds a volume at a thousand: it is measured at what it is compared by elsewhere.
_PEER_LENGTHS = (10, 100, 500)
_PEER_REPEATS = 3
_RATIO = 1.5


def volume(number: int, shape: tuple[int, int, int] = _SHAPE) -> BidsIncremental:
    """A volume of the run."""
    data = np.random.default_rng(number).integers(0, 4000, shape, dtype=np.int16)
    return BidsIncremental(
        np.asfortranarray(data),
        np.diag([-3.0, 3.0, 3.0, 1.0]),
        volume=number,
        metadata={"RepetitionTime": 1.0, "TaskName": "feedback"},
        entities={"subject": "01", "task": "feedback", "run": "1"},
    )


def grown(root: Path, lengths: tuple[int, ...], repeats: int, shape: tuple[int, int, int]) -> list[float]:
    """Median seconds of an append by `BidsArchive`, at each length."""
    archive = BidsArchive.create(root)
    try:
        return _medians(archive.append, lengths, repeats, shape)
    finally:
        archive.close()


def rewritten(root: Path, lengths: tuple[int, ...], repeats: int, shape: tuple[int, int, int]) -> list[float]:
    """Median seconds of an append by loading and writing the whole run, at each length."""
    import nibabel as nib

    path = root / "run.nii"

    def append(one: BidsIncremental) -> None:
        data = one.data[..., np.newaxis]
        if path.exists():
            data = np.concatenate([np.asanyarray(nib.load(path).dataobj), data], axis=-1)  # type: ignore[attr-defined]
        nib.Nifti1Image(data, one.affine).to_filename(path)

    def fill(length: int) -> None:
        data = np.stack([volume(n, shape).data for n in range(1, length + 1)], axis=-1)
        nib.Nifti1Image(data, volume(1, shape).affine).to_filename(path)

    return _medians(append, lengths, repeats, shape, fill)


def _medians(
    append: Callable[[BidsIncremental], object],
    lengths: tuple[int, ...],
    repeats: int,
    shape: tuple[int, int, int],
    fill: Callable[[int], None] | None = None,
) -> list[float]:
    """Median seconds of the appends around each length; those between are made too, or filled in at once."""
    medians, number = [], 0
    for length in lengths:
        begin = max(length - repeats // 2, 1)
        if fill is not None and begin > 1:
            fill(begin - 1)
            number = begin - 1
        taken = []
        while number < begin + repeats - 1:
            number += 1
            one = volume(number, shape)
            start = time.perf_counter()
            append(one)
            taken.append(time.perf_counter() - start)
        medians.append(float(np.median(taken[-repeats:])))
    return medians


def run(shape: tuple[int, int, int] = _SHAPE, lengths: tuple[int, ...] = _LENGTHS) -> BenchReport:
    """Measure, and compare."""
    figures: dict[str, float] = {}
    bars: dict[str, Bar] = {}
    with tempfile.TemporaryDirectory() as folder:
        ours = grown(Path(folder) / "set", lengths, _REPEATS, shape)
        copied = volume(1, shape).data.nbytes
        for length, seconds in zip(lengths, ours, strict=True):
            figures[f"append_at_{length}_ms"] = seconds * 1e3
        figures["append_MB_per_s"] = copied / ours[-1] / 1e6
        figures["write_MB_per_s"] = copied / _write_time(Path(folder), shape) / 1e6
        theirs = rewritten(Path(folder), _PEER_LENGTHS, _PEER_REPEATS, shape)
        for length, seconds in zip(_PEER_LENGTHS, theirs, strict=True):
            figures[f"rewrite_at_{length}_ms"] = seconds * 1e3
    figures["rewrite_ratio"] = theirs[-1] / theirs[0]
    name = f"append_at_{lengths[-1]}_over_{lengths[0]}"
    bars[name] = bar(ours[-1] / ours[0], _RATIO)
    return BenchReport("archive", machine(), versions("rtflow", "numpy", "nibabel"), figures, bars)


def _write_time(folder: Path, shape: tuple[int, int, int]) -> float:
    """Median seconds to put a volume's bytes behind a file that is open: what no program can do without."""
    data = volume(1, shape).data.tobytes(order="F")
    taken = []
    with (folder / "plain").open("wb", buffering=0) as file:
        for _ in range(_REPEATS):
            start = time.perf_counter()
            file.write(data)
            taken.append(time.perf_counter() - start)
    return float(np.median(taken))
