"""Every way in which a file may be stored, and those that must not leave."""

import struct
import zlib
from typing import Any

import numpy as np
import pydicom
import pytest
from persons import (
    FAMILY,
    KEY,
    assert_clean,
    base,
    identified,
    opened,
    stored,
)
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import UID

from rtflow.dicom.deidentify import deidentify
from rtflow.dicom.elements import IncompleteError
from rtflow.dicom.identify import read_object
from rtflow.errors import DicomError, UsageError

SYNTAXES = [
    pydicom.uid.ImplicitVRLittleEndian,
    pydicom.uid.ExplicitVRLittleEndian,
    pydicom.uid.ExplicitVRBigEndian,
    pydicom.uid.DeflatedExplicitVRLittleEndian,
]


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: syntax.name)
@pytest.mark.parametrize("undefined", [False, True])
def test_transfer_syntaxes_and_pixels_stay(syntax: UID, undefined: bool) -> None:
    dataset = identified()
    for sequence in ("ReferencedImageSequence", "MREchoSequence"):
        item = Dataset()
        item.SeriesDescription, item.PatientName = f"x{FAMILY}", FAMILY
        item.is_undefined_length_sequence_item = undefined
        setattr(dataset, sequence, Sequence([item, Dataset()]))
        dataset[sequence].is_undefined_length = undefined
    dataset.file_meta.TransferSyntaxUID = syntax
    before = dataset.PixelData
    options = {"implicit_vr": syntax.is_implicit_VR, "little_endian": syntax.is_little_endian}
    data = stored(dataset, **options)
    safe = deidentify(data, KEY)
    after = opened(safe)
    assert after.file_meta.TransferSyntaxUID == syntax
    assert after.PixelData == before
    if syntax != pydicom.uid.DeflatedExplicitVRLittleEndian:
        assert_clean(safe)
    assert len(after.MREchoSequence) == 2
    assert after.MREchoSequence[0].SeriesDescription == "x"
    assert np.array_equal(read_object(data).planes[0], read_object(safe).planes[0])


def test_compressed_pixels_stay_byte_for_byte() -> None:
    dataset = identified()
    dataset.compress(pydicom.uid.RLELossless, generate_instance_uid=False)
    data = stored(dataset)
    safe = deidentify(data, KEY)
    after = opened(safe)
    assert after.PixelData == dataset.PixelData
    assert after.file_meta.TransferSyntaxUID == pydicom.uid.RLELossless
    assert_clean(safe)
    assert np.array_equal(read_object(data).planes[0], read_object(safe).planes[0])


def test_sequences_of_unknown_representation() -> None:
    dataset = identified()
    del dataset.ReferencedImageSequence
    plain = stored(dataset)
    name = FAMILY.encode()
    secret = struct.pack("<HHI", 0x0010, 0x0010, len(name)) + name
    item = struct.pack("<HHI", 0xFFFE, 0xE000, len(secret)) + secret
    for known_end in (False, True):
        head = struct.pack("<HH2sHI", 0x0008, 0x1140, b"UN", 0, len(item) if known_end else 0xFFFFFFFF)
        end = b"" if known_end else struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
        at = plain.index(struct.pack("<HH2s", 0x0010, 0x0010, b"PN"))
        safe = deidentify(plain[:at] + head + item + end + plain[at:], KEY)
        assert_clean(safe)
        assert opened(safe).ReferencedImageSequence[0].PatientName == ""


def capture(**changes: Any) -> bytes:
    dataset = base()
    for keyword, value in changes.items():
        setattr(dataset, keyword, value)
    return stored(dataset)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"SOPClassUID": pydicom.uid.SecondaryCaptureImageStorage}, "not an MR image"),
        ({"SOPClassUID": pydicom.uid.EncapsulatedPDFStorage}, "not an MR image"),
        ({"SOPClassUID": pydicom.uid.BasicTextSRStorage}, "not an MR image"),
        ({"SOPClassUID": pydicom.uid.RawDataStorage}, "not an MR image"),
        ({"SOPClassUID": "1.3.12.2.1107.5.9.1"}, "not an MR image"),
        ({"BurnedInAnnotation": "YES"}, "BurnedInAnnotation"),
        ({"ConversionType": "WSD"}, "captured"),
        ({"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]}, "SCREEN SAVE"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "RAWDATA", "PHYSIO"]}, "PHYSIO"),
        ({"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3}, "colours"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "colours"),
        ({"SOPInstanceUID": ""}, "SOPInstanceUID"),
    ],
)
def test_what_names_may_be_drawn_into_is_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(DicomError, match=reason):
        deidentify(capture(**changes), KEY)


def test_overlays_within_the_pixels_are_refused() -> None:
    dataset = base()
    dataset.add_new(0x60000100, "US", 16)
    dataset.add_new(0x60000102, "US", 12)
    with pytest.raises(DicomError, match="overlay lies within the pixels"):
        deidentify(stored(dataset), KEY)


def test_objects_without_pixels_are_refused() -> None:
    dataset = base()
    del dataset.PixelData
    with pytest.raises(DicomError, match="no pixel data"):
        deidentify(stored(dataset), KEY)


def test_files_that_are_not_whole_or_not_sound() -> None:
    data = stored(identified())
    for length in (0, 131, 132, 140, 300, len(data) // 2, len(data) - 1):
        with pytest.raises(IncompleteError if length != 132 else DicomError):
            deidentify(data[:length], KEY)
    with pytest.raises(DicomError, match="not a DICOM file"):
        deidentify(b"x" * 500, KEY)
    with pytest.raises(DicomError, match="transfer syntax"):
        deidentify(bytes(128) + b"DICM" + data[400:], KEY)
    at = data.index(struct.pack("<HH2s", 0x0010, 0x0010, b"PN"))
    stop = at + 8 + struct.unpack_from("<H", data, at + 6)[0]
    with pytest.raises(DicomError, match="twice"):
        deidentify(data[:stop] + data[at:stop] + data[stop:], KEY)
    deep = struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF)
    deep += struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    with pytest.raises(DicomError, match="nested without end"):
        deidentify(data[:at] + deep * 100 + data[at:], KEY)
    deflated = base()
    deflated.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    broken = stored(deflated)
    start = 132 + 12 + struct.unpack_from("<I", broken, 140)[0]
    with pytest.raises(DicomError, match="inflated"):
        deidentify(broken[:start] + zlib.compress(b"not raw"), KEY)


def test_short_keys_are_refused() -> None:
    with pytest.raises(UsageError, match="16 random"):
        deidentify(stored(base()), b"secret")
