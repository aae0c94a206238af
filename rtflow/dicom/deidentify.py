"""DICOM files that may leave the scanner's host: `deidentify`, to the basic profile of PS3.15, Annex E.

What is kept although it stands in the profile, and which private elements are, is listed in
`rtflow.dicom.deidentifying.kept`. Not found are people whose names the object does not hold in an element for
names, and faces: an anatomical image of the head shows one.
"""

from __future__ import annotations

import struct
import zlib
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from rtflow.dicom.elements import PIXEL_DATA, UNCOMPRESSED, IncompleteError
from rtflow.errors import DicomError, UsageError

if TYPE_CHECKING:
    from rtflow.dicom.deidentifying.parsing import Level
    from rtflow.dicom.deidentifying.rewriting import Rewriting

#: Names of people, numbers and places, birth dates.
Names = tuple[frozenset[bytes], frozenset[bytes], frozenset[bytes]]
Dates = Literal["kept", "moved"]
Descriptions = Literal["cleaned", "removed"]

#: The shortest key that cannot be found by trying.
KEY_BYTES = 16
#: MR Image, Enhanced MR Image, Legacy Converted Enhanced MR Image.
IMAGES = frozenset(
    {"1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.4.1", "1.2.840.10008.5.1.4.1.1.4.4"}
)
_IMPLICIT, _DEFLATED, _BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"
_IMPLEMENTATION = "2.25.281765078669063909891472140144639892824"
_SYNTAX, _CHARACTER_SET, _IMAGE_TYPE, _CLASS, _INSTANCE = (
    0x00020010,
    0x00080005,
    0x00080008,
    0x00080016,
    0x00080018,
)
_PATIENT_NAME, _PATIENT_ID, _STUDY_UID = 0x00100010, 0x00100020, 0x0020000D
_CONVERSION, _SAMPLES, _PHOTOMETRIC, _BURNED_IN = 0x00080064, 0x00280002, 0x00280004, 0x00280301
_FRAMES, _ROWS, _COLUMNS, _BITS, _OVERLAY_BITS = 0x00280008, 0x00280010, 0x00280011, 0x00280100, 0x0100
#: Values of ImageType of what a workstation made: results as pictures, screenshots, logs.
_NOT_ACQUIRED = frozenset(
    {"SECONDARY", "SCREEN SAVE", "SCREENSAVE", "CSA REPORT", "REPORT", "PHYSIO", "RAWDATA"}
)
# DICOM PS3.16, CID 7050.
_PROFILE = ("113100", "Basic Application Confidentiality Profile")
_CLEAN_DESCRIPTORS = ("113105", "Clean Descriptors Option")
_FULL_DATES = ("113106", "Retain Longitudinal Temporal Information Full Dates Option")
_MODIFIED_DATES = ("113107", "Retain Longitudinal Temporal Information Modified Dates Option")
_SAFE_PRIVATE = ("113111", "Retain Safe Private Option")


def deidentify(
    data: bytes, key: bytes, *, dates: Dates = "kept", descriptions: Descriptions = "cleaned"
) -> bytes:
    """Take out of an MR image what identifies people, places and the scanner.

    Kept are the transfer syntax, the pixel data byte for byte, geometry, what the scan was like, and the
    listed private elements; Siemens and GE headers are written anew with the few numbers that are used. UIDs
    become keyed hashes, the same one for the same UID in all files. Names, numbers and birth dates that the
    object holds are cut out of all texts that are kept. What was done is recorded in the object
    (PatientIdentityRemoved, DeidentificationMethod, DeidentificationMethodCodeSequence,
    LongitudinalTemporalInformationModified).

    Parameters
    ----------
    data
        The file's bytes.
    key
        The site's secret, 16 bytes or more: without it new UIDs cannot be led back to old ones.
    dates
        ``kept``: dates and times of the acquisition stay, which are known anyway to whoever receives the
        image as it is acquired. ``moved``: dates go back by a number of days that is the same for all of a
        patient's objects and known with the key only; the time of day stays.
    descriptions
        ``cleaned``: SeriesDescription and ProtocolName stay, which tell the task. ``removed``: they do not,
        which is the safe choice where people write names into them that stand nowhere else in the object.

    Returns
    -------
    bytes
        The file that may leave.

    Raises
    ------
    IncompleteError
        If the file is not whole yet.
    DicomError
        If it is damaged, or of a kind that cannot be made safe: no MR image, or one that names may be drawn
        into. Such a file must not leave.
    UsageError
        If the key is too short.
    """
    if len(key) < KEY_BYTES:
        raise UsageError(f"the key has {len(key)} bytes; give {KEY_BYTES} random ones or more")
    from rtflow.dicom.deidentifying.parsing import Coding
    from rtflow.dicom.deidentifying.pseudonyms import days_back, new_uid

    syntax, body = _body(data)
    coding = Coding(">" if syntax == _BIG else "<", explicit=syntax != _IMPLICIT)
    level = coding.read(body)
    values = {element.tag: element.value for element in level}
    order = coding.order
    _refuse_unsafe(values, order)
    level = _with_pixels(level, values, syntax, order)
    encodings = _encodings(values.get(_CHARACTER_SET, b""))
    patient = _text(values, _PATIENT_ID) or _text(values, _PATIENT_NAME) or _text(values, _STUDY_UID)
    days = days_back(patient, key) if dates == "moved" else 0
    rewriting = _rewriting(key, _gather(level), encodings or (), days, descriptions)
    kept = {element.tag: element for element in rewriting.level(level, outermost=True)}
    if encodings is None:  # damaged: the texts are Latin for want of better, and nobody shall stumble over it
        kept.pop(_CHARACTER_SET, None)
    # Over what an earlier de-identification may have recorded.
    kept |= {element.tag: element for element in _record(dates)}
    written = coding.write([kept[tag] for tag in sorted(kept)])
    if syntax == _DEFLATED:
        packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        written = packer.compress(written) + packer.flush()
        written += b"\0" * (len(written) % 2)
    return _meta(_text(values, _CLASS), new_uid(_text(values, _INSTANCE), key), syntax) + written


def written_uid(data: bytes) -> str:
    """SOPInstanceUID of what `deidentify` has written: a name that tells nothing of the old one."""
    at = data.index(b"\2\0\3\0UI", 132)  # MediaStorageSOPInstanceUID
    length = int.from_bytes(data[at + 6 : at + 8], "little")
    return data[at + 8 : at + 8 + length].rstrip(b"\0").decode("ascii")


def prepare() -> None:
    """Load the profile's table and the dictionary, a quarter of a second, before the first image comes."""
    from rtflow.dicom.deidentifying.profile import fate_of

    fate_of(_PATIENT_NAME)


def _body(data: bytes) -> tuple[str, bytes]:
    """Transfer syntax, and the data set in it, inflated."""
    from rtflow.dicom.deidentifying.parsing import Coding

    if len(data) < 132:
        raise IncompleteError(f"only {len(data)} bytes, a DICOM file has more than 132")
    if data[128:132] != b"DICM":
        raise DicomError("not a DICOM file: no 'DICM' after 128 bytes")
    at = 132
    while data[at : at + 2] == b"\2\0":
        kind, length = data[at + 4 : at + 6], int.from_bytes(data[at + 6 : at + 8], "little")
        start = at + 8
        if kind in (b"OB", b"UN", b"UT", b"UR", b"UC", b"SQ"):
            length, start = int.from_bytes(data[at + 8 : at + 12], "little"), at + 12
        at = start + length
    meta = {element.tag: element.value for element in Coding("<", explicit=True).read(data[132:at])}
    syntax = _text(meta, _SYNTAX)
    if not syntax or not set(syntax) <= set("0123456789."):
        raise DicomError("damaged: the DICOM file does not name its transfer syntax")
    if syntax != _DEFLATED:
        return syntax, data[at:]
    try:
        return syntax, zlib.decompressobj(-zlib.MAX_WBITS).decompress(data[at:])
    except zlib.error as error:
        raise DicomError(f"damaged: the deflated DICOM data cannot be inflated ({error})") from None


def _refuse_unsafe(values: dict[int, bytes], order: str) -> None:
    """Refuse what cannot be made safe by its header alone."""
    kind = _text(values, _CLASS)
    if kind not in IMAGES:
        raise DicomError(
            f"not an MR image, but a DICOM object of class {kind or 'unknown'}: reports, screenshots and "
            "logs may hold names where nobody looks, so it must not leave this host"
        )
    if not _text(values, _INSTANCE):
        raise DicomError("damaged: the DICOM header lacks SOPInstanceUID")
    types = [part.strip() for part in _text(values, _IMAGE_TYPE).upper().split("\\")]
    burned = _text(values, _BURNED_IN).upper()
    drawn = ""
    if burned == "YES":
        drawn = "its BurnedInAnnotation says so"
    elif _text(values, _CONVERSION):
        drawn = f"it was captured from elsewhere (ConversionType {_text(values, _CONVERSION)})"
    elif _short(values, _SAMPLES, order, 1) != 1 or not _text(values, _PHOTOMETRIC).startswith("MONOCHROME"):
        drawn = "it has colours"
    elif set(types) & _NOT_ACQUIRED and burned != "NO":
        drawn = f"its ImageType is {'/'.join(types)}"
    if drawn:
        raise DicomError(
            f"names may be drawn into this image ({drawn}), so it must not leave this host; "
            "only images as they were acquired can be de-identified"
        )
    for tag in values:
        # Overlays of old software lie in bits of the pixels that are not used otherwise.
        if tag >> 24 == 0x60 and tag & 0xFFFF == _OVERLAY_BITS and _short(values, tag, order, 1) != 1:
            raise DicomError(
                "an overlay lies within the pixels: names may be in it, so it must not leave this host"
            )


def _with_pixels(level: Level, values: dict[int, bytes], syntax: str, order: str) -> Level:
    """The level with as many bytes of pixel data as its header announces."""
    pixels = level[-1] if level else None
    if pixels is None or pixels.tag != PIXEL_DATA:
        raise IncompleteError("no pixel data: the file is not whole, or no image")
    if pixels.items is not None:
        raise DicomError("damaged: the pixel data are a sequence")
    if syntax not in UNCOMPRESSED:
        if not pixels.encapsulated:
            raise DicomError(f"damaged: the pixel data are not in fragments, in transfer syntax {syntax}")
        return level
    if pixels.encapsulated:
        raise DicomError(f"damaged: the pixel data are in fragments, in transfer syntax {syntax}")
    try:
        frames = int(_text(values, _FRAMES).partition("\\")[0] or 1)
    except ValueError:
        raise DicomError("damaged: NumberOfFrames should be a number") from None
    sizes = [_short(values, tag, order, 0) for tag in (_ROWS, _COLUMNS, _BITS)]
    length = sizes[0] * sizes[1] * sizes[2] * frames // 8
    if length <= 0:
        raise DicomError(
            "damaged: Rows, Columns, BitsAllocated and NumberOfFrames do not tell the size of the image"
        )
    if len(pixels.value) < length:
        raise IncompleteError(f"{len(pixels.value)} of {length} bytes of pixel data")
    # What lies behind the last pixel is nobody's.
    return [*level[:-1], pixels._replace(value=pixels.value[:length])]


def _gather(level: Level) -> Names:
    """Names of people, numbers and places, and birth dates, at every depth."""
    from rtflow.dicom.deidentifying.identity import DATES, WHOLE
    from rtflow.dicom.deidentifying.profile import representation

    names, whole, dates = set(), set(), set()
    levels = [level]
    while levels:
        for tag, kind, value, items, _ in levels.pop():
            if items is not None:
                levels += items
            elif not value:
                continue
            elif kind == b"PN" or representation(tag) == b"PN":
                names.add(value)
            elif tag in WHOLE:
                whole.add(value)
            elif tag in DATES:
                dates.add(value)
    return frozenset(names), frozenset(whole), frozenset(dates)


@lru_cache(maxsize=8)
def _rewriting(
    key: bytes, identity: Names, encodings: tuple[str, ...], days: int, descriptions: Descriptions
) -> Rewriting:
    """The same for all objects of a run."""
    from rtflow.dicom.deidentifying.identity import Identity
    from rtflow.dicom.deidentifying.rewriting import Rewriting, decoded

    texts = [[decoded(value, encodings) for value in sorted(values)] for values in identity]
    return Rewriting(key, Identity(*texts), encodings, days, descriptions == "cleaned")


@lru_cache(maxsize=8)
def _encodings(declared: bytes) -> tuple[str, ...] | None:
    """Python's names of the character sets that are declared; None if no reader could know them."""
    terms = declared.decode("latin-1").rstrip(" \0")
    if not terms:
        return ()
    import codecs
    import warnings

    from pydicom.charset import convert_encodings, python_encoding

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a term that is misspelt
        try:
            found = convert_encodings(terms.split("\\"))
        except (LookupError, ValueError):
            return None
    known = {codecs.lookup(name).name for name in python_encoding.values()}
    return tuple(found) if known.issuperset(codecs.lookup(name).name for name in found) else None


def _record(dates: Dates) -> Level:
    """What was done, as elements."""
    from rtflow.dicom.deidentifying.parsing import Element
    from rtflow.dicom.deidentifying.profile import EDITION

    options = (
        _PROFILE,
        _CLEAN_DESCRIPTORS,
        _FULL_DATES if dates == "kept" else _MODIFIED_DATES,
        _SAFE_PRIVATE,
    )
    codes = [
        [
            Element(0x00080100, b"SH", code.encode("ascii")),
            Element(0x00080102, b"SH", b"DCM"),
            Element(0x00080104, b"LO", meaning.encode("ascii")),
        ]
        for code, meaning in options
    ]
    return [
        Element(0x00120062, b"CS", b"YES"),
        Element(0x00120063, b"LO", f"rtflow, DICOM PS3.15 {EDITION} Annex E".encode("ascii")),
        Element(0x00120064, b"SQ", b"", codes),
        Element(0x00280303, b"CS", b"UNMODIFIED" if dates == "kept" else b"MODIFIED"),
    ]


def _meta(kind: str, instance: str, syntax: str) -> bytes:
    """Preamble and file meta information."""
    from rtflow.dicom.deidentifying.parsing import Coding, Element

    coding = Coding("<", explicit=True)
    meta = coding.write(
        [
            Element(0x00020001, b"OB", b"\0\1"),
            Element(0x00020002, b"UI", kind.encode("ascii")),
            Element(0x00020003, b"UI", instance.encode("ascii")),
            Element(_SYNTAX, b"UI", syntax.encode("ascii")),
            Element(0x00020012, b"UI", _IMPLEMENTATION.encode("ascii")),
            Element(0x00020013, b"SH", b"RTFLOW"),
        ]
    )
    return (
        bytes(128) + b"DICM" + coding.write([Element(0x00020000, b"UL", struct.pack("<I", len(meta)))]) + meta
    )


def _text(values: dict[int, bytes], tag: int) -> str:
    return values.get(tag, b"").decode("latin-1").strip(" \0")


def _short(values: dict[int, bytes], tag: int, order: str, default: int) -> int:
    value = values.get(tag, b"")
    return struct.unpack_from(order + "H", value)[0] if len(value) >= 2 else default
