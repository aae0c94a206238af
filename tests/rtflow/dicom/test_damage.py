"""Damaged files of every vendor: an error that says so or an image, no other error, hang, or gigabytes."""

import io
import struct
import tracemalloc
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pydicom
import pytest
from compressing import COMPRESSED, UNCOMPRESSED, transferred
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rtflow.dicom.convert import to_incrementals
from rtflow.dicom.elements import IncompleteError
from rtflow.dicom.identify import read_object
from rtflow.dicom.instance import UnsupportedError
from rtflow.dicom.writing import VENDORS, ScanSeries, write_run
from rtflow.errors import DicomError, VolumeError

SHAPE = (36, 32, 3)
SERIES = ScanSeries(np.diag([-3.0, 3.0, 3.5, 1.0]), tr=2.0, slice_times=(0.0, 1.0, 0.5))
SYNTAXES = ("plain", *COMPRESSED, *UNCOMPRESSED)


@cache
def file(vendor: str, syntax: str = "plain") -> bytes:
    data = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE)
    first = next(iter(write_run(vendor, SERIES, [[data], [data]]))).data
    return first if syntax == "plain" else transferred(first, syntax)


def use(data: bytes) -> None:
    """Read and convert, where that can be done with one file."""
    item = read_object(data)
    to_incrementals([item], item.instance.volume)


vendors = st.sampled_from(VENDORS)


@given(vendors, st.sampled_from([name for name in SYNTAXES if name != "deflated"]), st.data())
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_every_truncation_is_incomplete(vendor: str, syntax: str, data: st.DataObject) -> None:
    whole = file(vendor, syntax)
    # Its last bytes may be the padding of a group or nothing at all: what counts is the pixel data.
    with pytest.raises(IncompleteError):
        read_object(whole[: data.draw(st.integers(0, len(whole) - 1), label="length")])


EDITS = ("flip", "lengthen", "cut", "insert")


@given(vendors, st.sampled_from(SYNTAXES), st.data())
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_damage_is_told_or_harmless(vendor: str, syntax: str, data: st.DataObject) -> None:
    damaged = bytearray(file(vendor, syntax))
    for _ in range(data.draw(st.integers(1, 6), label="edits")):
        at = data.draw(st.integers(0, len(damaged) - 8), label="at")
        match data.draw(st.sampled_from(EDITS), label="edit"):
            case "flip":
                damaged[at] = data.draw(st.integers(0, 255))
            case "lengthen":
                damaged[at : at + 4] = b"\xff\xff\xff\xff"
            case "cut":
                del damaged[at : at + data.draw(st.integers(1, 8))]
            case _:
                damaged[at:at] = data.draw(st.binary(min_size=1, max_size=8))
    # What is one piece of several is told as such; bytes of a size may be flipped to other good ones.
    said = ""
    try:
        use(bytes(damaged))
    except (DicomError, VolumeError) as error:
        said = str(error)
    assert said.isprintable()


def edited(vendor: str, syntax: str = "plain", **changes: object) -> bytes:
    dataset = pydicom.dcmread(io.BytesIO(file(vendor, syntax)))
    for name, value in changes.items():
        setattr(dataset, name, value)
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"Rows": 0}, "Rows is 0"),
        ({"Columns": 0}, "Columns is 0"),
        ({"NumberOfFrames": 0}, "NumberOfFrames is 0"),
        ({"NumberOfFrames": 10**9}, "announced"),
        ({"Rows": 65535, "Columns": 65535, "NumberOfFrames": 2}, "announced"),
    ],
)
@pytest.mark.parametrize("syntax", ["plain", "rle-pydicom", "jpeg-2000"])
@pytest.mark.parametrize("vendor", ["siemens-mosaic", "ge"])
def test_sizes_that_no_image_has(vendor: str, syntax: str, changes: dict[str, object], said: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(DicomError, match=said):
            use(edited(vendor, syntax, **changes))
        assert tracemalloc.get_traced_memory()[1] < 10**8
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("syntax", ["plain", "rle-pydicom"])
@pytest.mark.parametrize("vendor", ["siemens-mosaic", "siemens-xa-classic", "ge", "philips"])
def test_frames_without_their_places(vendor: str, syntax: str) -> None:
    dataset = pydicom.dcmread(io.BytesIO(file(vendor)))
    plane = dataset.PixelData
    dataset.NumberOfFrames, dataset.PixelData = 2, plane * 2
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    data = stream.getvalue() if syntax == "plain" else transferred(stream.getvalue(), syntax)
    with pytest.raises(UnsupportedError, match="2 frames without"):
        read_object(data)


@pytest.mark.parametrize("vendor", ["siemens-xa", "philips-enhanced"])
@pytest.mark.parametrize("frames", [1, 2, 4, 10**9])
def test_frames_that_are_not_described(vendor: str, frames: int) -> None:
    with pytest.raises(DicomError, match=rf"NumberOfFrames is {frames}, and \d frames are described"):
        use(edited(vendor, NumberOfFrames=frames))


@pytest.mark.parametrize("syntax", ["jpeg-2000", "jpeg", "jpeg-ls"])
def test_a_compressed_image_of_another_size_is_told_before_it_is_made(syntax: str) -> None:
    data = edited("siemens-mosaic", syntax, Rows=65)
    with pytest.raises(DicomError, match="72x64 pixels instead of 72x65"):
        _ = read_object(data).planes


def test_a_length_beyond_the_file_is_incomplete() -> None:
    data = file("ge")
    at = data.index(struct.pack("<HH2s", 0x0025, 0x101B, b"OB"))
    damaged = data[: at + 8] + b"\xfe\xff\xff\xff" + data[at + 12 :]
    with pytest.raises(IncompleteError, match="cut off within the header"):
        read_object(damaged)


@pytest.mark.realdata
@pytest.mark.parametrize(
    "name",
    [
        *("siemens_E11_mosaic_rtcloud", "siemens_XA30_enhanced_fa7", "siemens_XA30_classic_fa7"),
        *("ge_MR750_slices_nih4", "ge_Architect_HB3_48", "philips_classic_studyforrest_half1"),
    ],
)
def test_truncated_real_files_are_incomplete(name: str, series: Callable[[str], Path]) -> None:
    path = next(path for path in sorted((series(name) / "dicom").rglob("*")) if path.is_file())
    data = path.read_bytes()
    # To the byte up to the first values, then by steps that meet every element, then the end.
    for length in (*range(400), *range(400, len(data), 211), *range(len(data) - 9, len(data))):
        with pytest.raises(IncompleteError):
            read_object(data[:length])
