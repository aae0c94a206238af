"""Bytes to a header: is it DICOM, and is it all there?

pydicom finds the elements; their values stay the bytes they are until they are asked for, for most of
the time of reading a volume would otherwise go into values that nobody wants.
"""

from __future__ import annotations

import io
import math
import struct
from dataclasses import dataclass
from typing import Any

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
_WANTED = list(TAGS.values())


class IncompleteError(DicomError):
    """A DICOM object whose end is not there yet.

    Parameters
    ----------
    message
        What is there, and what should be.
    header
        The header, if that at least is complete.
    """

    def __init__(self, message: str, header: Header | None = None) -> None:
        super().__init__(message)
        self.header = header

    def __reduce__(self) -> tuple[type[IncompleteError], tuple[str]]:
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
    from pydicom import dcmread
    from pydicom.dataelem import RawDataElement
    from pydicom.uid import UncompressedTransferSyntaxes

    if len(data) < 132:
        raise IncompleteError(f"only {len(data)} bytes, a DICOM file has more than 132")
    if not looks_like_dicom(data):
        raise NotDicomError("not a DICOM file: no 'DICM' after 128 bytes")
    try:
        dataset = dcmread(io.BytesIO(data), specific_tags=_WANTED)
        syntax = str(dataset.file_meta.get("TransferSyntaxUID", ""))
        values = {}
        for tag in TAGS.values():
            # The item, not the element: pydicom leaves its value alone.
            element: Any = dataset.get_item(tag) if tag in dataset else None
            if isinstance(element, RawDataElement) and element.value is not None:
                values[tag] = element.value
            elif element is not None and element.VR == "CS":  # the character set is converted on reading
                value = element.value
                values[tag] = (value if isinstance(value, str) else "\\".join(value or [])).encode("ascii")
        little = dataset.original_encoding[1]
    except (EOFError, OSError):
        raise IncompleteError(f"cut off within the header, after {len(data)} bytes") from None
    except Exception as error:  # whatever a parser says of arbitrary bytes
        raise DicomError(f"damaged: the DICOM header cannot be parsed ({error})") from None
    header = Header(values, "<" if little else ">", syntax)
    pixels = header.values.get(TAGS["PixelData"])
    if pixels is None:
        raise IncompleteError(f"no pixel data within {len(data)} bytes")
    if not syntax:
        raise DicomError("damaged: the DICOM file does not name its transfer syntax")
    if syntax in UncompressedTransferSyntaxes and len(pixels) < pixel_bytes(header):
        raise IncompleteError(f"{len(pixels)} of {pixel_bytes(header)} bytes of pixel data", header)
    return header


def pixel_bytes(header: Header) -> int:
    """How many bytes of uncompressed pixel data the header announces."""
    frames = header.integer("NumberOfFrames") or 1
    samples = (header.shorts("SamplesPerPixel") or [1])[0]
    return (
        header.short("Rows") * header.short("Columns") * frames * samples * header.short("BitsAllocated") // 8
    )
