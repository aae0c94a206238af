"""A walk over the elements of a DICOM file that takes a few along and steps over the rest.

pydicom makes an object of every element, also within the long sequences that Siemens scanners put into
each image, which takes most of the time of reading a volume. Here nothing but lengths is read. The structure
is that of PS3.5, chapter 7: tag, value representation (if explicit), length, value.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Container
from dataclasses import dataclass

from rtflow.errors import DicomError

PIXEL_DATA = 0x7FE00010
_IMPLICIT_LITTLE = "1.2.840.10008.1.2"
_EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
_DEFLATED = "1.2.840.10008.1.2.1.99"
_EXPLICIT_BIG = "1.2.840.10008.1.2.2"
UNCOMPRESSED = frozenset({_IMPLICIT_LITTLE, _EXPLICIT_LITTLE, _DEFLATED, _EXPLICIT_BIG})

_SYNTAX = 0x00020010
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_UNDEFINED = 0xFFFFFFFF
_LONG = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})
_SHORT = frozenset(
    {
        *(b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT", b"PN"),
        *(b"SH", b"SL", b"SS", b"ST", b"TM", b"UI", b"UL", b"US"),
    }
)
_DEEPEST = 32


class IncompleteError(DicomError):
    """A DICOM object whose end is not there yet."""


@dataclass(frozen=True)
class Elements:
    """What a walk took along.

    Parameters
    ----------
    values
        Tag to stored bytes; pixel data may be fewer than they should.
    order
        Byte order of binary values: ``<`` or ``>``.
    syntax
        UID of the transfer syntax.
    """

    values: dict[int, bytes]
    order: str
    syntax: str


def walk(data: bytes, wanted: Container[int], private: Container[int] = ()) -> Elements:
    """The wanted elements of a DICOM file (one with its preamble), up to and with the pixel data.

    Parameters
    ----------
    data
        The file's bytes.
    wanted
        Tags.
    private
        Groups of which all elements are taken along.

    Raises
    ------
    IncompleteError
        If the file ends before the pixel data begin.
    DicomError
        If it is damaged.
    """
    meta, at = _Walker(data, "<", explicit=True).top(132, {_SYNTAX}, (), last_group=0x0002)
    syntax = meta.get(_SYNTAX, b"").decode("latin-1").strip(" \0")
    if not syntax or not set(syntax) <= set("0123456789."):
        raise DicomError("damaged: the DICOM file does not name its transfer syntax")
    if syntax == _DEFLATED:
        try:
            data, at = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data[at:]), 0
        except zlib.error as error:
            raise DicomError(f"damaged: the deflated DICOM data cannot be inflated ({error})") from None
    order = ">" if syntax == _EXPLICIT_BIG else "<"
    values, _ = _Walker(data, order, explicit=syntax != _IMPLICIT_LITTLE).top(at, wanted, private)
    return Elements(values, order, syntax)


class _Walker:
    """Steps from element to element in one byte order and one kind of value representation."""

    def __init__(self, data: bytes, order: str, *, explicit: bool) -> None:
        self._data = data
        self._order = order
        self._explicit = explicit
        self._short = struct.Struct(order + "HH2sH").unpack_from
        self._long = struct.Struct(order + "I").unpack_from
        self._plain = struct.Struct(order + "HHI").unpack_from

    def top(
        self, at: int, wanted: Container[int], private: Container[int], last_group: int = 0xFFFF
    ) -> tuple[dict[int, bytes], int]:
        """The elements of the outermost level from byte ``at`` on, and where the walk ended."""
        data, values, end = self._data, {}, len(self._data)
        header = self._header
        try:
            while at < end:
                if last_group < 0xFFFF and self._plain(data, at)[0] > last_group:
                    break
                tag, start, length = header(at)
                if length == _UNDEFINED:
                    stop = self._within(at)._sequence(start, 0)
                else:
                    stop = start + length
                    if stop > end and tag != PIXEL_DATA:
                        raise _cut_off(end)
                if tag in wanted or tag >> 16 in private:
                    values[tag] = data[start:stop]
                if tag == PIXEL_DATA:
                    break
                at = stop
        except struct.error:
            raise _cut_off(end) from None
        return values, at

    def _header(self, at: int) -> tuple[int, int, int]:
        """Tag, first byte of the value, and its length."""
        if self._explicit:
            group, element, kind, length = self._short(self._data, at)
            if kind in _SHORT:
                return group << 16 | element, at + 8, length
            if kind in _LONG:
                return group << 16 | element, at + 12, self._long(self._data, at + 8)[0]
            if group != 0xFFFE:
                raise DicomError(f"damaged: no DICOM element at byte {at}")
        group, element, length = self._plain(self._data, at)
        return group << 16 | element, at + 8, length

    def _sequence(self, at: int, depth: int) -> int:
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
            at = self._item(at, depth) if length == _UNDEFINED else at + length

    def _item(self, at: int, depth: int) -> int:
        """Where an item of undefined length ends, its first element beginning at ``at``."""
        while True:
            tag, start, length = self._header(at)
            if tag == _ITEM_END:
                return start
            at = self._within(at)._sequence(start, depth + 1) if length == _UNDEFINED else start + length

    def _within(self, at: int) -> _Walker:
        """The walker for what lies in the element at byte ``at``."""
        # In a sequence of unknown representation the elements are implicit (PS3.5, 6.2.2, note 4).
        if self._explicit and self._data[at + 4 : at + 6] == b"UN":
            return _Walker(self._data, "<", explicit=False)
        return self


def _cut_off(length: int) -> IncompleteError:
    return IncompleteError(f"cut off within the header, after {length} bytes")
