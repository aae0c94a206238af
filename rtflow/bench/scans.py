"""DICOM series to measure with: written ones of every vendor, and real ones where they are laid out."""

from __future__ import annotations

import io
import os
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtflow.bench.peer import find_dcmtk
from rtflow.dicom.writing import VENDORS, ScanSeries, Written, write_run, write_volume
from rtflow.errors import DicomError

SHAPES = ((64, 64, 36), (110, 110, 72))
_AFFINE = np.diag([-3.0, 3.0, 3.0, 1.0])
_JPEG_2000 = "1.2.840.10008.1.2.4.90"


@dataclass(frozen=True)
class Step:
    """What has to come before the next volume is there.

    Parameters
    ----------
    files
        In the order in which the scanner writes them.
    volumes
        How many volumes are there with the last of them.
    """

    files: tuple[Written, ...]
    volumes: int = 1


@dataclass(frozen=True)
class Scan:
    """A series, or several like it in turn, to be measured step by step.

    Parameters
    ----------
    name
        What its figures are called by.
    runs
        Each a run of its own.
    """

    name: str
    runs: tuple[tuple[Step, ...], ...]


def size(shape: Sequence[int]) -> str:
    """``64x64x36``."""
    return "x".join(map(str, shape))


def head(shape: tuple[int, int, int]) -> NDArray[np.int16]:
    """One volume of a simulated head, stored values of 12 bits, shape (i, j, k)."""
    from rtflow.nodes.convert import frame_to_incrementals
    from rtflow.source_settings import SimulateSource
    from rtflow.sources import open_source

    source = open_source(SimulateSource(shape=shape, voxel=200 / max(shape), speed="max"))
    frame = next(source.frames(threading.Event()))
    data: NDArray[np.int16] = frame_to_incrementals(frame, {})[0].data.astype(np.int16)
    return np.clip(data, 0, 4000)


def volumes_of(shape: tuple[int, int, int], count: int, echoes: int = 1) -> Iterator[list[NDArray[Any]]]:
    """Volumes of a head, no two alike for a little noise: for each one array (i, j, k) an echo."""
    still = head(shape)
    chance = np.random.default_rng(1)
    for _ in range(count):
        yield [still + chance.integers(0, 64, shape, dtype=np.int16) for _ in range(echoes)]


def series_of(shape: tuple[int, int, int], **about: Any) -> ScanSeries:
    """A series whose slices are acquired interleaved, as most are."""
    slices = shape[2]
    turns = np.argsort([*range(1, slices, 2), *range(0, slices, 2)])
    return ScanSeries(_AFFINE, slice_times=tuple((turns * 2.0 / slices).tolist()), **about)


def written(vendor: str, shape: tuple[int, int, int], count: int, echoes: int = 1) -> Scan:
    """A series as a vendor writes it, volume by volume.

    Parameters
    ----------
    vendor
        One of `rtflow.dicom.writing.VENDORS`. What puts a whole run into one object gives runs of one volume.
    shape
        Voxels along i, j, k.
    count
        Volumes.
    echoes
        Echoes of each volume.
    """
    name = f"{vendor}_{size(shape)}" + (f"_echoes{echoes}" if echoes > 1 else "")
    series = series_of(shape, echo_times=tuple(0.014 * (echo + 1) for echo in range(echoes)))
    volumes = volumes_of(shape, count, echoes)
    if vendor == "philips-enhanced":
        return Scan(name, tuple((Step(tuple(write_run(vendor, series, [volume]))),) for volume in volumes))
    steps = (
        Step(tuple(write_volume(vendor, series, one, number))) for number, one in enumerate(volumes, start=1)
    )
    return Scan(name, (tuple(steps),))


def whole_run(shape: tuple[int, int, int], volumes: int, count: int) -> Scan:
    """Runs of so many volumes in one object each: what comes when the scan is over."""
    run = write_run("philips-enhanced", series_of(shape), volumes_of(shape, volumes))
    name = f"philips-enhanced_{size(shape)}_run{volumes}"
    return Scan(name, ((Step(tuple(run), volumes),),) * count)


def written_scans(count: int, shapes: Sequence[tuple[int, int, int]] = SHAPES) -> Iterator[Scan]:
    """Each vendor at each size, and mosaics of several echoes, made when it is their turn."""
    for shape in shapes:
        for vendor in VENDORS:
            yield written(vendor, shape, count)
    yield written("siemens-mosaic", shapes[0], count, echoes=3)


def compressed_scans(count: int, shape: tuple[int, int, int] = SHAPES[0]) -> Iterator[Scan]:
    """Mosaics in JPEG 2000, and in JPEG-LS where dcmtk is there to write it."""
    plain = written("siemens-mosaic", shape, count)
    steps = plain.runs[0]
    name = f"{plain.name}_jpeg2000"
    yield Scan(name, (tuple(Step(tuple(map(_as_jpeg_2000, step.files))) for step in steps),))
    if find_dcmtk("dcmcjpls"):
        name = f"{plain.name}_jpegls"
        yield Scan(name, (tuple(Step(tuple(map(_as_jpeg_ls, step.files))) for step in steps),))


def _as_jpeg_2000(file: Written) -> Written:
    import pydicom

    dataset = pydicom.dcmread(io.BytesIO(file.data))
    dataset.compress(_JPEG_2000, generate_instance_uid=False)
    into = io.BytesIO()
    dataset.save_as(into)
    return Written(file.name, into.getvalue())


def _as_jpeg_ls(file: Written) -> Written:
    with tempfile.TemporaryDirectory() as folder:
        plain, packed = Path(folder, "plain"), Path(folder, "packed")
        plain.write_bytes(file.data)
        subprocess.run(["dcmcjpls", "+un", plain, packed], check=True, capture_output=True)
        return Written(file.name, packed.read_bytes())


def real_folders() -> list[Path]:
    """Folders of real series: those with a ``dicom/`` in RTFLOW_DATA, else in ~/.cache/rtflow-data."""
    root = Path(os.environ.get("RTFLOW_DATA") or Path.home() / ".cache" / "rtflow-data")
    return sorted(path.parent for path in root.glob("*/dicom"))


def real_scan(folder: Path, count: int) -> Scan | None:
    """At most ``count`` volumes of the largest fMRI series of a folder; None if none begins with volume 1.

    A series of fewer volumes is measured several times over.
    """
    from rtflow.dicom.identify import read_object
    from rtflow.dicom.instance import Instance, Series

    found: dict[Series, dict[str, tuple[Instance, Written]]] = {}
    for path in sorted((folder / "dicom").rglob("*")):
        if not path.is_file():
            continue
        data = path.read_bytes()
        try:
            instance = read_object(data).instance
        except DicomError:
            continue
        if instance.series.streamed:
            name = path.relative_to(folder / "dicom").as_posix().replace("/", "_")
            found.setdefault(instance.series, {}).setdefault(instance.uid, (instance, Written(name, data)))
    if not found:
        return None
    largest = max(found.values(), key=len)
    by_volume: dict[int, list[tuple[Instance, Written]]] = {}
    for instance, file in largest.values():
        by_volume.setdefault(instance.last_volume, []).append((instance, file))
    steps: list[Step] = []
    before = 0
    for volume in sorted(by_volume):
        if min(instance.volume for instance, _ in by_volume[volume]) != before + 1 or len(steps) >= count:
            break
        ordered = sorted(by_volume[volume], key=lambda item: (item[0].pieces[0].echo, item[1].name))
        steps.append(Step(tuple(file for _, file in ordered), volume - before))
        before = volume
    if not steps:
        return None
    return Scan(f"real_{folder.name}", (tuple(steps),) * max(1, min(5, count // len(steps))))
