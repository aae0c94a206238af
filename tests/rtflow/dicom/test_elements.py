"""The walk over a file's elements, against pydicom on files of every vendor."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from scanning import mosaic_file

from rtflow.dicom.elements import PIXEL_DATA, walk
from rtflow.dicom.identify import read_object
from rtflow.dicom.tags import MACROS, TAGS
from rtflow.dicom.writing import ScanSeries
from rtflow.errors import DicomError

IMPLICIT, EXPLICIT, BIG = (
    pydicom.uid.ImplicitVRLittleEndian,
    pydicom.uid.ExplicitVRLittleEndian,
    pydicom.uid.ExplicitVRBigEndian,
)
FILE = mosaic_file(ScanSeries(np.diag([-3.0, 3.0, 3.0, 1.0]), planned=9), np.ones((6, 6, 4), np.int16), 1)


# Not the sequences that are gone into: an enhanced object's, and that of related series.
PUBLIC = frozenset(tag for tag in TAGS.values() if tag >> 16 & 1 == 0) - {TAGS["RelatedSeries"]}

#: What Philips puts into classic objects of the enhanced ones that they were made from.
PHILIPS = 0x2005140F


def agree(data: bytes) -> int:
    """Compare the public elements that are wanted with pydicom's; how many there were."""
    found = walk(data, PUBLIC)
    dataset = pydicom.dcmread(io.BytesIO(data))
    within = [item for tag in MACROS if tag in dataset for item in dataset[tag].value[:1]]
    if PHILIPS in dataset and dataset[PHILIPS].VR == "SQ":
        within += dataset[PHILIPS].value[:1]
    expected: dict[int, object] = {}
    for level in (dataset, *within):
        # As they were stored; what stands outside of a macro comes before what it says.
        for tag in PUBLIC:
            if tag in level and tag != TAGS["SpecificCharacterSet"]:
                expected.setdefault(tag, level.get_item(tag).value or b"")
    found.top.values.pop(TAGS["SpecificCharacterSet"], None)
    assert found.top.values == expected
    assert found.syntax == dataset.file_meta.TransferSyntaxUID
    return len(expected)


def stored(dataset: FileDataset, syntax: pydicom.uid.UID, undefined: bool) -> bytes:
    dataset.file_meta.TransferSyntaxUID = syntax
    for name in ("ReferencedImageSequence", "SourceImageSequence"):
        if name in dataset:
            dataset[name].is_undefined_length = undefined
            for item in dataset[name].value:
                item.is_undefined_length_sequence_item = undefined
    stream = io.BytesIO()
    pydicom.dcmwrite(
        stream,
        dataset,
        implicit_vr=syntax == IMPLICIT,
        little_endian=syntax != BIG,
        enforce_file_format=True,
    )
    return stream.getvalue()


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG])
@pytest.mark.parametrize("undefined", [False, True])
def test_sequences_are_stepped_over(syntax: pydicom.uid.UID, undefined: bool) -> None:
    dataset = FileDataset("", {}, file_meta=FileMetaDataset(), preamble=b"\0" * 128)
    dataset.SOPClassUID = pydicom.uid.MRImageStorage
    dataset.SOPInstanceUID = "1.2.3"
    dataset.SeriesNumber = 4
    inner = Dataset()
    inner.SeriesNumber = 99  # of another object: must not be taken for this one's
    inner.ReferencedImageSequence = Sequence([Dataset()])
    inner["ReferencedImageSequence"].is_undefined_length = undefined
    dataset.ReferencedImageSequence = Sequence([inner, Dataset(), inner])
    dataset.SourceImageSequence = Sequence([])
    dataset.Rows = dataset.Columns = 2
    dataset.BitsAllocated = 16
    dataset.add_new(PIXEL_DATA, "OW", b"\1\2\3\4\5\6\7\x08")
    data = stored(dataset, syntax, undefined)
    assert agree(data) == 7
    assert walk(data, {TAGS["SeriesNumber"]}).top.values[TAGS["SeriesNumber"]] == b"4 "


def test_sequences_of_unknown_representation_are_implicit_within() -> None:
    element = struct.pack("<HHI", 0x0020, 0x0011, 2) + b"7 "
    item = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF) + element + struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
    unknown = struct.pack("<HH2sHI", 0x0008, 0x1140, b"UN", 0, 0xFFFFFFFF) + item
    unknown += struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    at = FILE.index(struct.pack("<HH2s", 0x0010, 0x0010, b"PN"))
    data = FILE[:at] + unknown + FILE[at:]
    assert agree(data) > 40
    assert read_object(data).instance == read_object(FILE).instance


def test_deflated_files() -> None:
    plain = pydicom.dcmread(io.BytesIO(FILE))
    plain.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    stream = io.BytesIO()
    plain.save_as(stream)
    assert read_object(stream.getvalue()).instance == read_object(FILE).instance
    meta_end = 132 + 12 + struct.unpack_from("<I", stream.getvalue(), 140)[0]
    broken = stream.getvalue()[:meta_end] + zlib.compress(b"not raw deflate")
    with pytest.raises(DicomError, match="inflated"):
        read_object(broken)


def test_compressed_pixels_are_walked_to_their_end() -> None:
    dataset = pydicom.dcmread(io.BytesIO(FILE))
    dataset.compress(pydicom.uid.RLELossless)
    stream = io.BytesIO()
    dataset.save_as(stream)
    found = walk(stream.getvalue(), {PIXEL_DATA})
    assert found.whole
    assert found.top.values[PIXEL_DATA]
    for length in range(len(stream.getvalue()) - 12, len(stream.getvalue())):
        assert not walk(stream.getvalue()[:length], {PIXEL_DATA}).whole


def test_sequences_without_end_are_refused() -> None:
    deep = struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
        "<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    with pytest.raises(DicomError, match="nested without end"):
        read_object(FILE[: FILE.index(struct.pack("<HH", 8, 8))] + deep * 200)


def test_private_elements_in_another_block() -> None:
    """The Siemens header stands where its creator says, not always in the first block."""
    dataset = pydicom.dcmread(io.BytesIO(FILE))
    header = dataset[0x0029, 0x1010].value
    del dataset[0x0029, 0x0010], dataset[0x0029, 0x1010], dataset[0x0029, 0x1020]
    dataset.private_block(0x29, "SOMEBODY ELSE", create=True).add_new(0x10, "OB", b"another")
    dataset.private_block(0x29, "SIEMENS CSA HEADER", create=True).add_new(0x10, "OB", header)
    stream = io.BytesIO()
    dataset.save_as(stream)
    assert read_object(stream.getvalue()).header.raw("CsaImage") == header


@pytest.mark.realdata
@pytest.mark.parametrize(
    "name",
    [
        *("siemens_E11_mosaic_rtcloud", "siemens_Trio_mosaic_opennft155", "siemens_D13_mosaic_multiecho"),
        *("siemens_D13_mosaic_ep2dInt", "siemens_E11_mosaic_nihRL", "siemens_XA30_enhanced_fa7"),
        *("siemens_XA30_classic_fa7", "ge_MR750_slices_nih4", "ge_Architect_HB3_48"),
        *("philips_classic_magdeburg", "philips_classic_studyforrest_half1"),
    ],
)
def test_real_files_agree_with_pydicom(name: str, series: Callable[[str], Path]) -> None:
    files = sorted(path for path in (series(name) / "dicom").rglob("*") if path.is_file())
    for path in files[:3]:
        assert agree(path.read_bytes()) > 20
