"""Written series, changed as scanners, archives and exports change them, and what is read of them."""

import io
from collections.abc import Callable, Sequence

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from writing import ROTATIONS, noise, placed

from rtflow.bids.incremental import BidsIncremental
from rtflow.dicom.convert import to_incrementals
from rtflow.dicom.identify import read_object
from rtflow.dicom.instance import DicomObject
from rtflow.dicom.writing import ScanSeries, write_run

SHAPE = (16, 12, 6)
TIMES = [0.0, 0.75, 0.25, 1.0, 0.5, 1.25]
SERIES = ScanSeries(placed(ROTATIONS["oblique"], (3.0, 3.5, 4.0), SHAPE), tr=1.5, slice_times=TIMES, number=7)
Change = Callable[[Dataset], object]


def files(vendor: str, series: ScanSeries = SERIES, volumes: int = 2) -> list[bytes]:
    return [file.data for file in write_run(vendor, series, noise(SHAPE, series, volumes))]


def edited(data: bytes, change: Change) -> bytes:
    dataset = pydicom.dcmread(io.BytesIO(data))
    change(dataset)
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def read(data: Sequence[bytes]) -> list[DicomObject]:
    return [read_object(one) for one in data]


def images(objects: Sequence[DicomObject]) -> dict[tuple[int, int], BidsIncremental]:
    volumes = {piece.volume for item in objects for piece in item.instance.pieces}
    return {
        (volume, int(image.entities.get("echo", "1"))): image
        for volume in volumes
        for image in to_incrementals(objects, volume)
    }


def equal(
    left: dict[tuple[int, int], BidsIncremental], right: dict[tuple[int, int], BidsIncremental]
) -> None:
    assert set(left) == set(right)
    for key, image in left.items():
        np.testing.assert_array_equal(image.data, right[key].data)
        np.testing.assert_array_equal(image.affine, right[key].affine)
