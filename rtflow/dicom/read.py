"""Bytes to a header: is it DICOM, and is it all there?

Values stay the bytes they are until they are asked for: most of the time of reading a volume would
otherwise go into values that nobody wants.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass

from rtflow.dicom.elements import PIXEL_DATA, UNCOMPRESSED, IncompleteError, walk
from rtflow.errors import DicomError

TAGS = {
    "SpecificCharacterSet": 0x00080005,
    "ImageType": 0x00080008,
    "SOPClassUID": 0x00080016,
    "SOPInstanceUID": 0x00080018,
    "AcquisitionDate": 0x00080022,
    "AcquisitionTime": 0x00080032,
    "Modality": 0x00080060,
    "Manufacturer": 0x00080070,
    "SeriesDescription": 0x0008103E,
    "ManufacturerModelName": 0x00081090,
    "BodyPartExamined": 0x00180015,
    "ScanningSequence": 0x00180020,
    "SequenceVariant": 0x00180021,
    "ScanOptions": 0x00180022,
    "MRAcquisitionType": 0x00180023,
    "SequenceName": 0x00180024,
    "SliceThickness": 0x00180050,
    "RepetitionTime": 0x00180080,
    "EchoTime": 0x00180081,
    "ImagingFrequency": 0x00180084,
    "EchoNumbers": 0x00180086,
    "MagneticFieldStrength": 0x00180087,
    "SpacingBetweenSlices": 0x00180088,
    "EchoTrainLength": 0x00180091,
    "PixelBandwidth": 0x00180095,
    "SoftwareVersions": 0x00181020,
    "ProtocolName": 0x00181030,
    "AcquisitionMatrix": 0x00181310,
    "InPlanePhaseEncodingDirection": 0x00181312,
    "FlipAngle": 0x00181314,
    "PatientPosition": 0x00185100,
    "MosaicSize": 0x0019100A,
    "MosaicSliceTimes": 0x00191029,
    "SeriesInstanceUID": 0x0020000E,
    "SeriesNumber": 0x00200011,
    "AcquisitionNumber": 0x00200012,
    "InstanceNumber": 0x00200013,
    "ImagePositionPatient": 0x00200032,
    "ImageOrientationPatient": 0x00200037,
    "ImageComments": 0x00204000,
    "SamplesPerPixel": 0x00280002,
    "PhotometricInterpretation": 0x00280004,
    "NumberOfFrames": 0x00280008,
    "Rows": 0x00280010,
    "Columns": 0x00280011,
    "PixelSpacing": 0x00280030,
    "BitsAllocated": 0x00280100,
    "BitsStored": 0x00280101,
    "HighBit": 0x00280102,
    "PixelRepresentation": 0x00280103,
    "CsaImage": 0x00291010,
    "CsaSeries": 0x00291020,
    "PixelData": 0x7FE00010,
}
_WANTED = frozenset(TAGS.values())
# Private elements stand in a block that their creator has taken: group, creator, element, tag in TAGS.
_PRIVATE = (
    (0x0019, b"SIEMENS MR HEADER", 0x0A, TAGS["MosaicSize"]),
    (0x0019, b"SIEMENS MR HEADER", 0x29, TAGS["MosaicSliceTimes"]),
    (0x0029, b"SIEMENS CSA HEADER", 0x10, TAGS["CsaImage"]),
    (0x0029, b"SIEMENS CSA HEADER", 0x20, TAGS["CsaSeries"]),
)
_PRIVATE_GROUPS = frozenset({0x0019, 0x0029})


class TruncatedError(IncompleteError):
    """A DICOM object whose header is there, and whose pixel data are not all.

    Parameters
    ----------
    message
        What is there, and what should be.
    header
        The header.
    """

    def __init__(self, message: str, header: Header | None = None) -> None:
        super().__init__(message)
        self.header = header

    def __reduce__(self) -> tuple[type[TruncatedError], tuple[str]]:
        return type(self), (str(self),)


class NotDicomError(DicomError):
    """Bytes that are no DICOM file at all."""


@dataclass(frozen=True, slots=True)
class Header:
    """The elements of `TAGS` that a DICOM object has, as the bytes they are stored as.

    Parameters
    ----------
    values
        Tag to bytes.
    order
        Byte order of binary values: ``<`` or ``>``.
    syntax
        UID of the transfer syntax.
    """

    values: dict[int, bytes]
    order: str
    syntax: str

    def raw(self, name: str) -> bytes:
        """The stored bytes; empty if there are none."""
        return self.values.get(TAGS[name], b"")

    def text(self, name: str) -> str:
        """A text, on one line; empty if there is none."""
        raw = self.raw(name)
        if raw.isascii():
            return _on_one_line(raw.decode("ascii"))
        from pydicom.charset import convert_encodings, decode_bytes

        declared = self.raw("SpecificCharacterSet").decode("latin-1").strip(" \0").split("\\")
        return _on_one_line(decode_bytes(raw, convert_encodings(declared), {0x5C}))

    def texts(self, name: str) -> list[str]:
        """The values of a text element that holds several."""
        text = self.text(name)
        return [part.strip() for part in text.split("\\")] if text else []

    def numbers(self, name: str) -> list[float]:
        """Numbers that are stored as text.

        Raises
        ------
        DicomError
            If one is no finite number.
        """
        try:
            values = [float(part) for part in self.texts(name) if part]
        except ValueError:
            values = [math.nan]
        if not all(map(math.isfinite, values)):
            raise DicomError(f"damaged: {name} should be numbers, got {self.text(name)!r}")
        return values

    def number(self, name: str) -> float | None:
        """The first number that is stored as text, or None."""
        return next(iter(self.numbers(name)), None)

    def integer(self, name: str) -> int | None:
        """A whole number that is stored as text, or None."""
        value = self.number(name)
        return None if value is None else int(value)

    def shorts(self, name: str) -> list[int]:
        """Numbers that are stored as 16-bit binaries."""
        raw = self.raw(name)
        return list(struct.unpack(f"{self.order}{len(raw) // 2}H", raw[: len(raw) // 2 * 2]))

    def short(self, name: str) -> int:
        """A number that is stored as a 16-bit binary.

        Raises
        ------
        DicomError
            If it is absent.
        """
        values = self.shorts(name)
        if not values:
            raise DicomError(f"damaged: the DICOM header lacks {name}")
        return values[0]


def _on_one_line(text: str) -> str:
    text = text.strip(" \0")
    return text if text.isprintable() else "".join(c if c.isprintable() else " " for c in text)


def looks_like_dicom(start: bytes) -> bool:
    """Whether the first 132 bytes of a file are those of a DICOM file."""
    return start[128:132] == b"DICM"


def read_header(data: bytes) -> Header:
    """Find what fMRI needs of a DICOM file; its pixel data are there to the last byte.

    Raises
    ------
    NotDicomError
        If it is no DICOM file.
    IncompleteError
        If it ends too early.
    DicomError
        If it is damaged.
    """
    if len(data) < 132:
        raise IncompleteError(f"only {len(data)} bytes, a DICOM file has more than 132")
    if not looks_like_dicom(data):
        raise NotDicomError("not a DICOM file: no 'DICM' after 128 bytes")
    elements = walk(data, _WANTED, _PRIVATE_GROUPS)
    header = Header(_in_first_block(elements.values), elements.order, elements.syntax)
    pixels = header.values.get(PIXEL_DATA)
    if pixels is None:
        raise IncompleteError(f"no pixel data within {len(data)} bytes")
    if header.syntax in UNCOMPRESSED and len(pixels) < pixel_bytes(header):
        raise TruncatedError(f"{len(pixels)} of {pixel_bytes(header)} bytes of pixel data", header)
    return header


def _in_first_block(values: dict[int, bytes]) -> dict[int, bytes]:
    """Private elements under the tags that `TAGS` has for them, whichever block their creator took."""
    found: dict[int, bytes] = {}
    blocks: dict[tuple[int, bytes], int] = {}
    for tag, value in values.items():
        group, element = tag >> 16, tag & 0xFFFF
        if group not in _PRIVATE_GROUPS:
            found[tag] = value
        elif 0x10 <= element <= 0xFF:
            blocks.setdefault((group, value.strip(b" \0")), element)
    for group, creator, element, tag in _PRIVATE:
        stored = blocks.get((group, creator), 0) << 8 | element
        if group << 16 | stored in values:
            found[tag] = values[group << 16 | stored]
    return found


def pixel_bytes(header: Header) -> int:
    """How many bytes of uncompressed pixel data the header announces."""
    frames = header.integer("NumberOfFrames") or 1
    samples = (header.shorts("SamplesPerPixel") or [1])[0]
    return (
        header.short("Rows") * header.short("Columns") * frames * samples * header.short("BitsAllocated") // 8
    )
