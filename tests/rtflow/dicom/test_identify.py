"""Which series and volume an object is, what is refused and how it is said."""

import contextlib
import io
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scanning import mosaic_file

from rtflow.bids.incremental import BidsIncremental
from rtflow.dicom.convert import to_incrementals
from rtflow.dicom.csa import read_csa
from rtflow.dicom.elements import IncompleteError
from rtflow.dicom.identify import read_object
from rtflow.dicom.instance import Piece, UnsupportedError
from rtflow.dicom.read import NotDicomError, TruncatedError
from rtflow.dicom.writing import ScanSeries, write_csa
from rtflow.errors import DicomError, VolumeError

DATA = np.arange(8 * 6 * 5, dtype=np.int16).reshape(8, 6, 5)
SERIES = ScanSeries(np.diag([-3.0, 3.0, 3.0, 1.0]), tr=1.5, planned=20, echo_times=(0.02, 0.04), number=7)
FILE = mosaic_file(SERIES, DATA, 4)


def convert(data: bytes, entities: dict[str, str] | None = None) -> BidsIncremental:
    """The one image of a file that holds one."""
    item = read_object(data)
    (incremental,) = to_incrementals([item], item.instance.volume, entities)
    return incremental


def edited(**changes: object) -> bytes:
    """The file with other values; None takes the element away."""
    dataset = pydicom.dcmread(io.BytesIO(FILE))
    for name, value in changes.items():
        if value is None:
            delattr(dataset, name)
        else:
            setattr(dataset, name, value)
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def test_place_in_the_run() -> None:
    instance = read_object(FILE).instance
    assert (instance.volume, instance.tr, instance.planned, instance.mosaic) == (4, 1.5, 20, True)
    assert (instance.series.number, instance.echoes, instance.pieces) == (7, 2, (Piece(4, 2),))
    assert (instance.vendor, instance.series.kind, instance.series.part) == ("Siemens", "bold", "mag")
    assert str(instance.series) == "series 7 'func_task-feedback'"
    first = read_object(mosaic_file(SERIES, DATA, 1)).instance
    assert instance.acquired is not None
    assert first.acquired is not None
    assert instance.acquired - first.acquired == pytest.approx(4.5)
    assert first.uid != instance.uid
    assert first.series == instance.series


def test_the_second_echo_says_so() -> None:
    assert convert(FILE, {"task": "x"}).entities == {"task": "x", "echo": "2"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"Manufacturer": "UIH"},
            "series 7 'func_task-feedback', UIH ORIGINAL/PRIMARY/M/TE2/ND/MOSAIC: not supported; "
            "supported: MR images of Siemens, GE and Philips",
        ),
        ({"Modality": "CT"}, "modality CT: not supported"),
        ({"Modality": None}, "modality ?: not supported"),
    ],
)
def test_other_scanners_are_refused(changes: dict[str, object], said: str) -> None:
    with pytest.raises(UnsupportedError, match=re.escape(said)):
        read_object(edited(**changes))


@pytest.mark.parametrize(
    ("changes", "kind", "part"),
    [
        ({"ImageType": ["ORIGINAL", "PRIMARY", "P", "ND", "MOSAIC"]}, "bold", "phase"),
        ({"ImageComments": "Single-band reference"}, "sbref", "mag"),
        ({"SeriesDescription": "func_SBRef"}, "sbref", "mag"),
        ({"SequenceName": "epse2d1_64", "ScanningSequence": ["EP", "SE"]}, "spin-echo", "mag"),
        ({"SequenceName": "*fm2d2r"}, "fieldmap", "mag"),
        ({"ImageType": ["DERIVED", "SECONDARY", "M", "MOSAIC"]}, "derived", "mag"),
    ],
)
def test_other_kinds_are_told_and_not_streamed(changes: dict[str, object], kind: str, part: str) -> None:
    series = read_object(edited(**changes)).instance.series
    assert (series.kind, series.part, series.streamed) == (kind, part, False)
    assert series.what.strip(" ()") == ", ".join(word for word in (kind, part) if word not in ("bold", "mag"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"AcquisitionNumber": None}, "no AcquisitionNumber"),
        ({"PixelSpacing": None}, "PixelSpacing should hold 2 numbers"),
        ({"ImagePositionPatient": [1, 2]}, "ImagePositionPatient should hold 3 numbers"),
        ({"SpacingBetweenSlices": None, "SliceThickness": None}, "lacks SpacingBetweenSlices"),
        ({"Rows": 17}, "do not fit a mosaic"),
        ({"SamplesPerPixel": 3}, "of pixel data"),
        ({"BitsStored": None}, "lacks BitsStored"),
    ],
)
def test_damaged_headers_are_refused(changes: dict[str, object], said: str) -> None:
    with pytest.raises(DicomError, match=re.escape(said)):
        convert(edited(**changes))


def test_implicit_and_big_endian_files_are_equal() -> None:
    expected = convert(FILE)
    for implicit, little in ((True, True), (False, False)):
        dataset = pydicom.dcmread(io.BytesIO(FILE))
        if not little:
            dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
        syntax = pydicom.uid.ImplicitVRLittleEndian if implicit else pydicom.uid.ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = syntax
        stream = io.BytesIO()
        pydicom.dcmwrite(
            stream, dataset, implicit_vr=implicit, little_endian=little, enforce_file_format=True
        )
        assert convert(stream.getvalue()) == expected


@pytest.mark.parametrize("bits", [12, 16])
@pytest.mark.parametrize("signed", [False, True])
def test_all_sixteen_bits_are_unsigned_unless_the_header_says_otherwise(bits: int, signed: bool) -> None:
    stored = np.frombuffer(pydicom.dcmread(io.BytesIO(FILE)).PixelData, "<u2").copy()
    stored[: stored.size // 2] += 60000 if bits == 16 else 0
    data = edited(
        PixelData=stored.tobytes(), BitsStored=bits, HighBit=bits - 1, PixelRepresentation=int(signed)
    )
    found = convert(data).data
    assert found.dtype == (np.uint16 if bits == 16 and not signed else np.int16)
    np.testing.assert_array_equal(found.astype(np.int64) % 65536 % 60000, DATA)
    assert (found.min() < 0) == (bits == 16 and signed)


@pytest.mark.parametrize(
    ("protocol", "planned"),
    [
        ("lRepetitions = 19", 20),
        ("lRepetitions = 19\nlAverages = 1", 20),
        ("lRepetitions = 19\nlAverages = 2", None),
        ("lAverages = 1", None),
        ("lRepetitions = many", None),
    ],
)
def test_the_plan_is_that_of_the_protocol_where_it_tells(protocol: str, planned: int | None) -> None:
    dataset = pydicom.dcmread(io.BytesIO(FILE))
    text = f"### ASCCONV BEGIN ###\n{protocol}\n### ASCCONV END ###"
    dataset[0x0029, 0x1020].value = write_csa({"MrPhoenixProtocol": [text]})
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    assert read_object(stream.getvalue()).instance.planned == planned


def test_texts_in_other_scripts() -> None:
    dataset = pydicom.dcmread(io.BytesIO(FILE))
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SeriesDescription = "Gesichter \u00fcben"
    stream = io.BytesIO()
    dataset.save_as(stream)
    assert read_object(stream.getvalue()).instance.series.name == "Gesichter \u00fcben"


@given(length=st.integers(0, len(FILE) - 1))
@settings(max_examples=300, deadline=None)
def test_every_truncation_is_told(length: int) -> None:
    with pytest.raises(DicomError):
        read_object(FILE[:length])


def test_a_truncation_within_the_pixels_still_tells_the_volume() -> None:
    with pytest.raises(TruncatedError, match="bytes of pixel data") as caught:
        read_object(FILE[:-100])
    assert caught.value.header is not None
    assert caught.value.header.integer("AcquisitionNumber") == 4


@given(data=st.binary(max_size=400))
def test_other_bytes_are_no_dicom(data: bytes) -> None:
    with pytest.raises((NotDicomError, IncompleteError)):
        read_object(data)


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_flipped_bytes_never_escape_as_another_error(data: st.DataObject) -> None:
    damaged = bytearray(FILE)
    for _ in range(data.draw(st.integers(1, 5))):
        damaged[data.draw(st.integers(0, len(FILE) - 500))] = data.draw(st.integers(0, 255))
    # Bytes of an affine or a size may be flipped to other good ones: then there is nothing to be told.
    with contextlib.suppress(VolumeError):
        convert(bytes(damaged))


def test_a_damaged_private_header_is_told() -> None:
    with pytest.raises(DicomError, match="not of version 2"):
        read_csa(b"something else", {"A"})
    raw = read_object(FILE).header.raw("CsaImage")
    for length in range(8, len(raw) - 8, 31):
        with pytest.raises(DicomError, match=r"cut off|damaged"):
            read_csa(raw[:length], {"A"})


@pytest.mark.realdata
def test_the_header_counts_not_the_name(series: Callable[[str], Path]) -> None:
    folder = series("siemens_E11_mosaic_rtcloud") / "dicom"
    volumes = [read_object(path.read_bytes()).instance.volume for path in sorted(folder.iterdir())]
    assert volumes == [10, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]


@pytest.mark.realdata
def test_a_truncated_real_file(series: Callable[[str], Path]) -> None:
    path = series("siemens_E11_mosaic_rtcloud") / "test_input" / "trunc_001_000013_000005.dcm"
    with pytest.raises(TruncatedError, match="of 294912 bytes of pixel data"):
        read_object(path.read_bytes())
