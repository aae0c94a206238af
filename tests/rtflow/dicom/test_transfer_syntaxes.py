"""Every transfer syntax in which scanners and archives hand on images: values stay as they were stored."""

import io
import re

import numpy as np
import pydicom
import pytest
from compressing import COMPRESSED, UNCOMPRESSED, transferred
from pydicom.encaps import encapsulate, generate_fragments, generate_frames

from rtflow.bids.incremental import BidsIncremental
from rtflow.dicom.convert import to_incrementals
from rtflow.dicom.elements import IncompleteError
from rtflow.dicom.identify import read_object
from rtflow.dicom.read import TruncatedError
from rtflow.dicom.writing import VENDORS, ScanSeries, write_run
from rtflow.errors import DicomError

# JPEG 2000 is made of images no smaller than this.
SHAPE = (36, 32, 3)
SERIES = ScanSeries(np.diag([-3.0, 3.0, 3.5, 1.0]), tr=2.0, slice_times=(0.0, 1.0, 0.5))


def volumes(bits: int) -> list[list[np.ndarray]]:
    """Two volumes of values from the least to the greatest of so many bits."""
    rng = np.random.default_rng(bits)
    kind = np.int16 if bits < 16 else np.uint16
    data = rng.integers(0, 2**bits - 1, SHAPE, dtype=np.int64, endpoint=True)
    data[0, 0, :], data[1, 0, :] = 0, 2**bits - 1
    return [[data.astype(kind)], [data[::-1].astype(kind)]]


def files(vendor: str, bits: int) -> list[bytes]:
    return [item.data for item in write_run(vendor, SERIES, volumes(bits))]


def converted(objects: list[bytes]) -> list[BidsIncremental]:
    read = [read_object(data) for data in objects]
    numbers = sorted({piece.volume for item in read for piece in item.instance.pieces})
    return [image for number in numbers for image in to_incrementals(read, number)]


@pytest.mark.parametrize("syntax", [*COMPRESSED, *UNCOMPRESSED])
@pytest.mark.parametrize("bits", [12, 16])
@pytest.mark.parametrize("vendor", VENDORS)
def test_the_same_values_in_every_transfer_syntax(vendor: str, bits: int, syntax: str) -> None:
    # GE stores signed values.
    bits -= vendor == "ge" and bits == 16
    plain = files(vendor, bits)
    expected = converted(plain)
    assert [image.volume for image in expected] == [1, 2]
    for image, (data,) in zip(expected, volumes(bits), strict=True):
        np.testing.assert_array_equal(image.data, data)
    assert converted([transferred(data, syntax) for data in plain]) == expected


def signed(bits: int) -> tuple[bytes, np.ndarray]:
    """A GE slice of negative and positive values, sign-extended as they are stored."""
    data = files("ge", 12)[0]
    dataset = pydicom.dcmread(io.BytesIO(data))
    shape = dataset.Rows, dataset.Columns
    values = np.linspace(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1, dataset.Rows * dataset.Columns)
    values = np.rint(values).reshape(shape).astype(np.int16)
    dataset.PixelData = values.astype("<i2").tobytes()
    dataset.PixelRepresentation, dataset.BitsStored, dataset.HighBit = 1, bits, bits - 1
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue(), values


@pytest.mark.parametrize("syntax", [*COMPRESSED, *UNCOMPRESSED])
@pytest.mark.parametrize("bits", [12, 16])
def test_negative_values(bits: int, syntax: str) -> None:
    data, values = signed(bits)
    planes = read_object(transferred(data, syntax)).planes
    assert planes.dtype == np.int16
    np.testing.assert_array_equal(planes[0], values)


@pytest.mark.parametrize("syntax", COMPRESSED)
def test_truncated_compressed_pixels_are_incomplete(syntax: str) -> None:
    data = transferred(files("siemens-mosaic", 12)[0], syntax)
    at = data.index(b"\xe0\x7f\x10\x00OB")
    for length in (*range(at + 12, len(data), 97), *range(len(data) - 20, len(data))):
        with pytest.raises(TruncatedError, match="without their end") as caught:
            read_object(data[:length])
        assert caught.value.header is not None
        assert caught.value.header.integer("AcquisitionNumber") == 1
    assert read_object(data).instance.volume == 1


def test_truncated_deflated_files_are_incomplete_or_whole() -> None:
    data = transferred(files("siemens-mosaic", 12)[0], "deflated")
    expected = converted([data])
    incomplete, lengths = 0, (*range(0, len(data) - 40, 31), *range(len(data) - 40, len(data)))
    for length in lengths:
        try:
            found = converted([data[:length]])
        except IncompleteError:
            incomplete += 1
        else:
            assert found == expected
    assert incomplete > len(lengths) / 2


@pytest.mark.parametrize("syntax", COMPRESSED)
def test_damaged_compressed_pixels_are_told(syntax: str) -> None:
    data = transferred(files("siemens-mosaic", 12)[0], syntax)
    dataset = pydicom.dcmread(io.BytesIO(data))
    fragments = list(generate_fragments(dataset.PixelData))
    for damaged in (b"\0" * len(fragments[0]), fragments[0][: len(fragments[0]) // 3 * 2 // 2 * 2], b"\0\0"):
        dataset.PixelData = encapsulate([damaged], has_bot=False)
        dataset["PixelData"].is_undefined_length = True
        stream = io.BytesIO()
        dataset.save_as(stream)
        with pytest.raises(DicomError, match="cannot be decoded"):
            _ = read_object(stream.getvalue()).planes


def with_syntax(data: bytes, syntax: str) -> bytes:
    """The same bytes, said to be in another transfer syntax."""
    dataset = pydicom.dcmread(io.BytesIO(data))
    old = dataset.file_meta.TransferSyntaxUID
    size = max(len(old), len(syntax)) + 1 & ~1
    assert len(old) + 1 & ~1 == size, "of the same length"
    return data.replace(old.encode().ljust(size, b"\0"), syntax.encode().ljust(size, b"\0"), 1)


@pytest.mark.parametrize(
    ("syntax", "said"),
    [
        ("1.2.840.10008.1.2.4.50", "JPEG Baseline (Process 1) (1.2.840.10008.1.2.4.50); supported:"),
        ("1.2.840.10008.1.2.4.99", "transfer syntax 1.2.840.10008.1.2.4.99; supported:"),
    ],
)
def test_lossy_and_unknown_compression_is_refused(syntax: str, said: str) -> None:
    data = with_syntax(transferred(files("ge", 12)[0], "jpeg-2000"), syntax)
    with pytest.raises(DicomError, match=re.escape(said)):
        _ = read_object(data).planes


def test_pixels_of_another_form_than_the_syntax_says_are_refused() -> None:
    compressed = transferred(files("ge", 12)[0], "rle-pydicom")
    dataset = pydicom.dcmread(io.BytesIO(files("ge", 12)[0]))
    with pytest.raises(DicomError, match="the pixel data are in the form of compressed ones"):
        read_object(with_syntax(compressed, "1.2.840.10008.1.2.1"))
    stream = io.BytesIO()
    dataset.save_as(stream)
    with pytest.raises(DicomError, match="the pixel data are not in the form of compressed ones"):
        read_object(with_syntax(stream.getvalue(), "1.2.840.10008.1.2.5"))


@pytest.mark.parametrize("table", [False, True])
@pytest.mark.parametrize("syntax", ["jpeg", "jpeg-ls", "jpeg-2000", "rle-pydicom"])
@pytest.mark.parametrize("vendor", ["siemens-mosaic", "siemens-xa"])
def test_images_in_several_fragments(vendor: str, syntax: str, table: bool) -> None:
    """Archives break a compressed image into pieces, with and without a table of where frames begin."""
    plain = files(vendor, 12)[0]
    dataset = pydicom.dcmread(io.BytesIO(transferred(plain, syntax)))
    count = int(dataset.get("NumberOfFrames", 1))
    if syntax.startswith("rle") and count > 1:
        return  # the standard allows RLE one fragment a frame
    frames = list(generate_frames(dataset.PixelData, number_of_frames=count))
    dataset.PixelData = encapsulate(frames, fragments_per_frame=3, has_bot=table)
    dataset["PixelData"].is_undefined_length = True
    stream = io.BytesIO()
    dataset.save_as(stream)
    np.testing.assert_array_equal(read_object(stream.getvalue()).planes, read_object(plain).planes)
