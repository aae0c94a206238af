"""A walk over the elements of a DICOM file that takes a few along and steps over the rest.

pydicom makes an object of every element, also within the long sequences that Siemens scanners put into
each image, which takes most of the time of reading a volume. Here nothing but lengths is read. The structure
is that of PS3.5, chapter 7: tag, value representation (if explicit), length, value.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Container
from dataclasses import dataclass, field

from rtflow.dicom.beginning import EXPLICIT_LITTLE, IMPLICIT_LITTLE, begins
from rtflow.dicom.tags import FRAME_GROUPS, MACROS, PRIVATE_MACROS, SHARED_GROUPS
from rtflow.errors import DicomError

PIXEL_DATA = 0x7FE00010
_DEFLATED = "1.2.840.10008.1.2.1.99"
_EXPLICIT_BIG = "1.2.840.10008.1.2.2"
#: GE's own of old: as implicit little-endian, but for the pixel data.
GE_PRIVATE = "1.2.840.113619.5.2"
UNCOMPRESSED = frozenset({IMPLICIT_LITTLE, EXPLICIT_LITTLE, _DEFLATED, _EXPLICIT_BIG, GE_PRIVATE})

_SYNTAX = 0x00020010
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_ITEM_BYTES = (b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00")
_UNDEFINED = 0xFFFFFFFF
_LONG = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})
_SHORT = frozenset(
    {
        *(b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT", b"PN"),
        *(b"SH", b"SL", b"SS", b"ST", b"TM", b"UI", b"UL", b"US"),
    }
)
_DEEPEST = 32
# What a deflated object may become: far more than a whole run.
_INFLATED = 2**31


class IncompleteError(DicomError):
    """A DICOM object whose end is not there yet."""


@dataclass(slots=True)
class Level:
    """Elements of one level of a data set: of the outermost one, or of one item with its macros.

    Parameters
    ----------
    values
        Tag to stored bytes; pixel data may be fewer than they should.
    representations
        Tag to value representation, where the file says it.
    items
        Levels of the items of sequences that were asked for.
    """

    values: dict[int, bytes] = field(default_factory=dict)
    representations: dict[int, bytes] = field(default_factory=dict)
    items: dict[int, list[Level]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Elements:
    """What a walk took along.

    Parameters
    ----------
    top
        The outermost level.
    order
        Byte order of binary values: ``<`` or ``>``.
    syntax
        UID of the transfer syntax.
    whole
        Whether encapsulated pixel data have their end.
    passed
        Whether elements that come after pixel data were met before any: there are none.
    """

    top: Level
    order: str
    syntax: str
    whole: bool = True
    passed: bool = False


def walk(
    data: bytes,
    wanted: Container[int],
    sequences: Container[int] = (SHARED_GROUPS, FRAME_GROUPS),
) -> Elements:
    """The wanted elements of a DICOM file, up to and with the pixel data.

    Parameters
    ----------
    data
        The file's bytes, which begin as those of a DICOM file do.
    wanted
        Tags.
    sequences
        Sequences of the outermost level whose items are gone into.

    Raises
    ------
    IncompleteError
        If the file ends before the pixel data begin.
    DicomError
        If it is damaged.
    """
    at, syntax = begins(data) or (132, "")
    if not syntax:
        meta = _Walker(data, "<", True, {_SYNTAX}, ())
        at = meta.top(at, last_group=0x0002)
        syntax = meta.found.values.get(_SYNTAX, b"").decode("latin-1").strip(" \0")
    if not syntax and at >= len(data):
        raise _cut_off(len(data))
    if not syntax or not set(syntax) <= set("0123456789."):
        raise DicomError("damaged: the DICOM file does not name its transfer syntax")
    if syntax == _DEFLATED:
        try:
            data, at = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data[at:], _INFLATED), 0
        except zlib.error as error:
            raise DicomError(f"damaged: the deflated DICOM data cannot be inflated ({error})") from None
    order = ">" if syntax == _EXPLICIT_BIG else "<"
    walker = _Walker(data, order, syntax not in (IMPLICIT_LITTLE, GE_PRIVATE), wanted, sequences)
    walker.top(at)
    if walker.encapsulated is not None and walker.encapsulated == (syntax in UNCOMPRESSED):
        raise DicomError(
            f"damaged: the pixel data are {'' if walker.encapsulated else 'not '}in the form of compressed "
            f"ones, against the transfer syntax ({syntax})"
        )
    return Elements(walker.found, order, syntax, walker.whole, walker.passed)


class _Walker:
    """Steps from element to element in one byte order and one kind of value representation."""

    def __init__(
        self,
        data: bytes,
        order: str,
        explicit: bool,
        wanted: Container[int],
        sequences: Container[int],
    ) -> None:
        self.found = Level()
        self.whole = True
        self.encapsulated: bool | None = None
        self.passed = False
        # After which macro (0 for none) the last one came that was walked: its tag, bytes and elements.
        self._macros: dict[int, tuple[int, bytes, Level]] = {}
        self._data = data
        self._end = len(data)
        self._order = order
        self._explicit = explicit
        self._wanted = wanted
        self._sequences = sequences
        self._short = struct.Struct(order + "HH2sH").unpack_from
        self._long = struct.Struct(order + "I").unpack_from
        self._plain = struct.Struct(order + "HHI").unpack_from

    def top(self, at: int, last_group: int = 0xFFFF) -> int:
        """Take along the outermost level from byte ``at`` on; where the walk ended."""
        data, end, header = self._data, self._end, self._header
        wanted, sequences = self._wanted, self._sequences
        explicit, short = self._explicit, self._short
        try:
            while at < end:
                if last_group < 0xFFFF and self._plain(data, at)[0] > last_group:
                    break
                # Written out for most elements, explicit and short: reading is this loop for the most part.
                group, element, kind, length = short(data, at)
                if explicit and kind in _SHORT:
                    tag, start = group << 16 | element, at + 8
                else:
                    tag, start, length, kind = header(at)
                    if tag in sequences or self._is_macro(tag, start):
                        at = self._within(at)._gather(tag, start, length, self.found)
                        continue
                if tag > PIXEL_DATA:
                    self.passed = True
                    break
                if length == _UNDEFINED:
                    stop = self._pixels(at, start) if tag == PIXEL_DATA else self._within(at)._skip(start, 0)
                else:
                    stop = start + length
                    if stop > end and tag != PIXEL_DATA:
                        raise _cut_off(end)
                if tag in wanted:
                    self.found.values[tag] = data[start:stop]
                    self.found.representations[tag] = kind
                if tag == PIXEL_DATA:
                    self.encapsulated = length == _UNDEFINED
                    break
                at = stop
        except struct.error:
            raise _cut_off(end) from None
        return at

    def _header(self, at: int) -> tuple[int, int, int, bytes]:
        """Tag, first byte of the value, its length, and its representation as far as it is said."""
        if self._explicit:
            group, element, kind, length = self._short(self._data, at)
            if kind in _SHORT:
                return group << 16 | element, at + 8, length, kind
            if kind in _LONG:
                return group << 16 | element, at + 12, self._long(self._data, at + 8)[0], kind
            if group != 0xFFFE:
                raise DicomError(f"damaged: no DICOM element at byte {at}")
        group, element, length = self._plain(self._data, at)
        return group << 16 | element, at + 8, length, b""

    def _pixels(self, at: int, start: int) -> int:
        """Where encapsulated pixel data end; where the file does, if they are cut off."""
        try:
            stop = self._within(at)._skip(start, 0)
        except struct.error:
            stop = self._end + 1
        if stop > self._end:
            self.whole, stop = False, self._end
        return stop

    def _gather(self, tag: int, at: int, length: int, into: Level) -> int:
        """Go into a sequence: the levels of its items, or for a macro the first item's elements."""
        end = at + length if length != _UNDEFINED else _UNDEFINED
        macro = tag not in self._sequences
        if end != _UNDEFINED and end > self._end:
            raise _cut_off(self._end)
        count = 0
        while at < end:
            group, element, size = self._plain(self._data, at)
            marker, at = group << 16 | element, at + 8
            if marker == _SEQUENCE_END:
                break
            if marker != _ITEM:
                raise DicomError(f"damaged: no DICOM item at byte {at - 8}")
            level = into if macro and count == 0 else Level()
            at = self._gather_item(at, size, level)
            if not macro:
                into.items.setdefault(tag, []).append(level)
            count += 1
        return at

    def _gather_item(self, at: int, length: int, into: Level) -> int:
        end = at + length if length != _UNDEFINED else _UNDEFINED
        data, wanted, header = self._data, self._wanted, self._header
        explicit, short, macros = self._explicit, self._short, self._macros
        values, kinds = into.values, into.representations
        macro = 0
        while at < end:
            # Most macros of a frame are those of the frame before, byte for byte: they need no second walk.
            if (again := macros.get(macro)) is not None and data.startswith(again[1], at):
                macro, chunk, level = again
                _add(level, into)
                at += len(chunk)
                continue
            group, element, kind, size = short(data, at)
            if explicit and kind in _SHORT:
                tag, start = group << 16 | element, at + 8
                stop = start + size
            else:
                tag, start, size, kind = header(at)
                if tag == _ITEM_END:
                    at = start
                    break
                if self._is_macro(tag, start):
                    level = Level()
                    stop = self._within(at)._gather(tag, start, size, level)
                    _add(level, into)
                    macros[macro] = tag, data[at:stop], level
                    macro, at = tag, stop
                    continue
                stop = start + size
                if size == _UNDEFINED:
                    stop = self._within(at)._skip(start, 0)
                    if tag not in wanted:
                        macros[macro] = tag, data[at:stop], Level()
                        macro, at = tag, stop
                        continue
            # As in `_add`: what stands first counts.
            if tag in wanted and tag not in values:
                values[tag] = data[start:stop]
                kinds[tag] = kind
            at = stop
        return at

    def _is_macro(self, tag: int, start: int) -> bool:
        if tag >> 16 & 1 == 0:
            return tag in MACROS
        # Other private elements may have the same number: a sequence begins with an item.
        return (tag >> 16, tag & 0xFF) in PRIVATE_MACROS and self._data[start : start + 4] in _ITEM_BYTES

    def _skip(self, at: int, depth: int) -> int:
        """Where a sequence of undefined length ends, its first item beginning at ``at``."""
        if depth > _DEEPEST:
            raise DicomError("damaged: DICOM sequences nested without end")
        while True:
            group, element, length = self._plain(self._data, at)
            tag, at = group << 16 | element, at + 8
            if tag == _SEQUENCE_END:
                return at
            if tag != _ITEM:
                raise DicomError(f"damaged: no DICOM item at byte {at - 8}")
            at = self._skip_item(at, depth) if length == _UNDEFINED else at + length

    def _skip_item(self, at: int, depth: int) -> int:
        """Where an item of undefined length ends, its first element beginning at ``at``."""
        while True:
            tag, start, length, _ = self._header(at)
            if tag == _ITEM_END:
                return start
            at = self._within(at)._skip(start, depth + 1) if length == _UNDEFINED else start + length

    def _within(self, at: int) -> _Walker:
        """The walker for what lies in the element at byte ``at``."""
        # In a sequence of unknown representation the elements are implicit (PS3.5, 6.2.2, note 4).
        if self._explicit and self._data[at + 4 : at + 6] == b"UN":
            return _Walker(self._data, "<", False, self._wanted, self._sequences)
        return self


def _add(level: Level, into: Level) -> None:
    """Take a macro's elements along, but for those that are there: what stands before it counts."""
    if into.values.keys().isdisjoint(level.values):
        into.values.update(level.values)
        into.representations.update(level.representations)
        return
    for tag, value in level.values.items():
        if tag not in into.values:
            into.values[tag] = value
            into.representations[tag] = level.representations[tag]


def _cut_off(length: int) -> IncompleteError:
    return IncompleteError(f"cut off within the header, after {length} bytes")
