"""Folders of DICOM as scanners export them: several series, and files under names that say nothing."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom

from rtflow.dicom.offline import Conversion, SeriesReport
from rtflow.dicom.writing import ScanSeries, write_run

AFFINE = np.diag([-3.0, 3.0, 3.0, 1.0])
AFFINE[:3, 3] = [12.0, -10.0, 5.0]
SHAPE = (8, 10, 4)


def voxels(series: ScanSeries, volumes: int, shape: tuple[int, ...] = SHAPE) -> list[list[np.ndarray]]:
    """For each volume an array per echo, other ones in each series."""
    values = np.random.default_rng(series.number)
    return [
        [values.integers(0, 4000, shape, dtype=np.int16) for _ in series.echo_times] for _ in range(volumes)
    ]


def export(
    folder: Path, vendor: str, series: ScanSeries, data: list[list[np.ndarray]], stem: str = ""
) -> list[Path]:
    """Write a series; its files in the order in which the scanner writes them."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for count, written in enumerate(write_run(vendor, series, data), start=1):
        path = folder / f"{stem or series.number}_{count:05d}"
        path.write_bytes(written.data)
        paths.append(path)
    return paths


def edit(path: Path, **elements: object) -> None:
    """Give elements of a DICOM file other values; None removes one."""
    dataset = pydicom.dcmread(path)
    for name, value in elements.items():
        if value is None:
            delattr(dataset, name)
        else:
            setattr(dataset, name, value)
    dataset.save_as(path)


def make_anatomy(paths: list[Path], number: int) -> None:
    """Turn slices of an XA run (classic) into such of a series that was not acquired by EPI."""
    for path in paths:
        types = ["ORIGINAL", "PRIMARY", "M", "ND"]
        edit(path, ImageType=types, ScanningSequence="GR", SequenceName="fl2d1", SeriesNumber=number)


def stored(path: Path) -> np.ndarray:
    """Voxels of a NIfTI file, without its scale."""
    return np.asanyarray(nib.load(path).dataobj.get_unscaled())


def about(path: Path) -> dict:
    """The JSON beside an image."""
    return json.loads(path.with_name(path.name.partition(".nii")[0] + ".json").read_text())


def only(told: Conversion) -> SeriesReport:
    """The series, where there is one."""
    (one,) = told.series
    return one
