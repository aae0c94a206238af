"""Bytes to a header: is it DICOM, and is it all there?

Values stay the bytes they are until they are asked for: most of the time of reading a volume would
otherwise go into values that nobody wants.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, field
from functools import lru_cache

from rtflow.dicom.beginning import begins
from rtflow.dicom.elements import PIXEL_DATA, UNCOMPRESSED, IncompleteError, Level, walk
from rtflow.dicom.tags import (
    BINARY,
    BY_REPRESENTATION,
    FRAME_GROUPS,
    NAMES,
    PRIVATE,
    PRIVATE_GROUPS,
    SHARED_GROUPS,
    TAGS,
)
from rtflow.errors import DicomError

# SOP classes of images: MR, enhanced MR (plain, colour, converted), secondary captures. What is none of them
# and has no pixels (a report, a physiological log) is whole without.
_IMAGES = frozenset(
    f"1.2.840.10008.5.1.4.1.1.{number}"
    for number in ("4", "4.1", "4.3", "4.4", "7", "7.1", "7.2", "7.3", "7.4")
)
# More than any run in one object: 2000 volumes of 128 x 128 x 72.
_LARGEST = 2**33
#: Where the creators of private blocks are named.
_BLOCKS = range(0x10, 0x100)
_CREATORS = frozenset(group << 16 | block for group in PRIVATE_GROUPS for block in _BLOCKS)
# Private elements too, in whichever block their creator may have taken.
_WANTED = _CREATORS.union(
    TAGS.values(),
    (group << 16 | block << 8 | last for group, _, last in PRIVATE.values() for block in _BLOCKS),
)
Blocks = tuple[tuple[tuple[int, bytes], int], ...]
"""Group and creator, and the block that it took."""
_SEQUENCES = frozenset({SHARED_GROUPS, FRAME_GROUPS, TAGS["RelatedSeries"]})


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


class NoImageError(DicomError):
    """A DICOM object that is no image: a report, a physiological log."""


@dataclass(frozen=True, slots=True)
class Header:
    """The elements of `TAGS` that a DICOM object has, as the bytes they are stored as.

    Of an object of several frames these are what all have in common; `frame` has all that holds for one.

    Parameters
    ----------
    level
        The elements.
    order
        Byte order of binary values: ``<`` or ``>``.
    syntax
        UID of the transfer syntax.
    frames
        What is said frame by frame; empty for an object of one plane.
    common
        Of the header of a frame, what all frames have in common: it holds where the frame says nothing.
    """

    level: Level
    order: str
    syntax: str
    frames: tuple[Level, ...] = field(default=(), repr=False)
    common: Level | None = field(default=None, repr=False)
    _frames: dict[int, Header] = field(default_factory=dict, init=False, repr=False, compare=False)

    def frame(self, number: int) -> Header:
        """The header of one frame (from 0), as if it were an object of its own."""
        if not self.frames:
            return self
        found = self._frames.get(number)
        if found is None:
            found = Header(self.frames[number], self.order, self.syntax, common=self.level)
            self._frames[number] = found
        return found

    def raw(self, name: str) -> bytes:
        """The stored bytes; empty if there are none."""
        tag = TAGS[name]
        value = self.level.values.get(tag)
        if value is None:
            value = self.common.values.get(tag, b"") if self.common is not None else b""
        return value

    def text(self, name: str) -> str:
        """A text, on one line; empty if there is none."""
        raw = self.raw(name)
        # Escape sequences, of character sets that change within a text, are ASCII too.
        if raw.isascii() and b"\x1b" not in raw:
            return _on_one_line(raw.decode("ascii"))
        return _on_one_line(_decode(raw, self.raw("SpecificCharacterSet")))

    def texts(self, name: str) -> list[str]:
        """The values of a text element that holds several."""
        text = self.text(name)
        return [part.strip() for part in text.split("\\")] if text else []

    def numbers(self, name: str) -> list[float]:
        """Numbers, however they are stored.

        Raises
        ------
        DicomError
            If one is no finite number.
        """
        raw = self.raw(name)
        if not raw:
            return []
        tag = TAGS[name]
        kind = self.level.representations.get(tag)
        if kind is None and self.common is not None:
            kind = self.common.representations.get(tag)
        letter = BY_REPRESENTATION.get(kind or b"")
        if letter is None:
            letter = BINARY.get(name, "")
        values = _numbers(raw, self.order, letter)
        if values is None:
            raise DicomError(f"damaged: {name} should be numbers, got {self.text(name)!r}")
        return list(values)

    def number(self, name: str) -> float | None:
        """The first number, or None."""
        return next(iter(self.numbers(name)), None)

    def integer(self, name: str) -> int | None:
        """A whole number, or None."""
        value = self.number(name)
        return None if value is None else int(value)

    def required(self, name: str) -> int:
        """A whole number.

        Raises
        ------
        DicomError
            If it is absent.
        """
        value = self.integer(name)
        if value is None:
            raise DicomError(f"damaged: the DICOM header lacks {name}")
        return value

    def vector(self, name: str, count: int) -> list[float]:
        """So many numbers.

        Raises
        ------
        DicomError
            If there are more or fewer.
        """
        values = self.numbers(name)
        if len(values) != count:
            raise DicomError(f"damaged: {name} should hold {count} numbers, got {self.text(name)!r}")
        return values


# The same places and orientations come with every volume, and are asked for several times.
@lru_cache(maxsize=4096)
def _numbers(raw: bytes, order: str, letter: str) -> tuple[float, ...] | None:
    """Numbers of a value: binary ones by the letter of their kind, else texts; None if one is not finite."""
    try:
        if letter:
            values = tuple(map(float, _unpack(raw, order, letter)))
        else:
            parts = _on_one_line(raw.decode("latin-1")).split("\\")
            values = tuple(float(part) for part in parts if part.strip())
    except ValueError:
        return None
    return values if all(map(math.isfinite, values)) else None


def _unpack(raw: bytes, order: str, letter: str) -> tuple[float, ...]:
    size = struct.calcsize(letter)
    count = len(raw) // size
    return struct.unpack(f"{order}{count}{letter}", raw[: count * size])


def _decode(raw: bytes, character_sets: bytes) -> str:
    from pydicom.charset import convert_encodings, decode_bytes, python_encoding

    declared = [name.strip() for name in character_sets.decode("latin-1").strip(" \0").split("\\")]
    # The first may be empty where more follow; one that nobody knows is as good as none.
    known = [name for name in declared if name in python_encoding]
    encodings = convert_encodings(known or ["ISO_IR 100"])
    if len(encodings) == 1:
        return raw.decode(encodings[0], errors="replace")
    return decode_bytes(raw, encodings, {0x5C})


def _on_one_line(text: str) -> str:
    text = text.strip(" \0")
    return text if text.isprintable() else "".join(c if c.isprintable() else " " for c in text)


def looks_like_dicom(start: bytes) -> bool:
    """Whether the first 132 bytes of a file are those of a DICOM file."""
    return begins(start) is not None


def read_header(data: bytes) -> Header:
    """Find what fMRI needs of a DICOM file; its pixel data are there to the last byte.

    Raises
    ------
    NotDicomError
        If it is no DICOM file.
    NoImageError
        If it is one of something else than an image.
    IncompleteError
        If it ends too early.
    DicomError
        If it is damaged.
    """
    if len(data) < 132:
        raise IncompleteError(f"only {len(data)} bytes, a DICOM file has more than 132")
    if not looks_like_dicom(data):
        raise NotDicomError("not a DICOM file: neither 'DICM' after 128 bytes nor a bare data set")
    elements = walk(data, _WANTED, _SEQUENCES)
    header = _header(elements.top, elements.order, elements.syntax)
    pixels = header.level.values.get(PIXEL_DATA)
    if pixels is None:
        kind = header.text("SOPClassUID")
        # Logs of physiology are MR images without an image: what they hold stands behind where it would be.
        if elements.passed or (kind and kind not in _IMAGES):
            raise NoImageError(
                f"{header.text('Modality') or 'an object'} without an image (SOP class {kind})"
            )
        raise IncompleteError(f"no pixel data within {len(data)} bytes")
    _check(header)
    if header.syntax in UNCOMPRESSED and len(pixels) < pixel_bytes(header):
        raise TruncatedError(f"{len(pixels)} of {pixel_bytes(header)} bytes of pixel data", header)
    if not elements.whole:
        raise TruncatedError(f"compressed pixel data without their end, after {len(data)} bytes", header)
    return header


def _check(header: Header) -> None:
    """Refuse sizes that no image has, before anything is made by them."""
    for name in ("Rows", "Columns"):
        if header.required(name) < 1:
            raise DicomError(f"damaged: {name} is {header.required(name)}")
    stated = header.integer("NumberOfFrames")
    frames = 1 if stated is None else stated
    if frames < 1 or (header.frames and frames != len(header.frames)):
        raise DicomError(
            f"damaged: NumberOfFrames is {frames}, and {len(header.frames)} frames are described"
        )
    if pixel_bytes(header) > _LARGEST:
        raise DicomError(f"damaged: {pixel_bytes(header)} bytes of pixel data announced")


def _header(top: Level, order: str, syntax: str) -> Header:
    values = {**top.values}
    representations = {**top.representations}
    for shared in top.items.get(SHARED_GROUPS, ()):
        values |= shared.values
        representations |= shared.representations
    related = top.items.get(TAGS["RelatedSeries"])
    if related:
        # Only which series it is: the rest is about that one.
        values[TAGS["RelatedSeries"]] = related[0].values.get(TAGS["SeriesInstanceUID"], b"")
    common = _in_first_block(Level(values, representations))
    blocks = tuple(_blocks(values).items())
    frames = tuple(_in_first_block(level, blocks) for level in top.items.get(FRAME_GROUPS, ()))
    return Header(common, order, syntax, frames)


def _blocks(values: dict[int, bytes]) -> dict[tuple[int, bytes], int]:
    """Which block of a private group each creator has taken."""
    blocks: dict[tuple[int, bytes], int] = {}
    for tag, value in values.items():
        if tag >> 16 in PRIVATE_GROUPS and 0x10 <= tag & 0xFFFF <= 0xFF:
            blocks.setdefault((tag >> 16, value.strip(b" \0")), tag & 0xFFFF)
    return blocks


def _in_first_block(level: Level, outer: Blocks = ()) -> Level:
    """Private elements under the tags that `TAGS` has for them, whichever block their creator took."""
    own = () if _CREATORS.isdisjoint(level.values) else tuple(_blocks(level.values).items())
    # A file that was handed on may hold elements of other private groups, or of blocks that nobody took.
    places = _places((*outer, *own))
    kinds, found = level.representations, Level()
    for tag, value in level.values.items():
        place = places.get(tag) if tag >> 16 in PRIVATE_GROUPS else tag
        if place in NAMES:
            found.values[place] = value
            found.representations[place] = kinds.get(tag, b"")
    return found


@lru_cache(maxsize=16)
def _places(blocks: Blocks) -> dict[int, int]:
    """Where a private element stands, to the tag that `TAGS` has for it; the same throughout a series."""
    taken = dict(blocks)
    return {
        group << 16 | taken[group, creator] << 8 | element: TAGS[name]
        for name, (group, creator, element) in PRIVATE.items()
        if (group, creator) in taken
    }


def pixel_bytes(header: Header) -> int:
    """How many bytes of uncompressed pixel data the header announces."""
    frames = header.integer("NumberOfFrames") or 1
    samples = header.integer("SamplesPerPixel") or 1
    return (
        header.required("Rows")
        * header.required("Columns")
        * frames
        * samples
        * header.required("BitsAllocated")
        // 8
    )
