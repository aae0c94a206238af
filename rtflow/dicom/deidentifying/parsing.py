"""A DICOM file to its elements at every depth, as the bytes they are stored as, and back."""

from __future__ import annotations

import struct
from typing import NamedTuple

from rtflow.dicom.deidentifying.profile import representation
from rtflow.dicom.elements import PIXEL_DATA, IncompleteError
from rtflow.errors import DicomError

_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_UNDEFINED = 0xFFFFFFFF
_LONG = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})
_SHORT = frozenset(
    {
        *(b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT", b"PN"),
        *(b"SH", b"SL", b"SS", b"ST", b"TM", b"UI", b"UL", b"US"),
    }
)
#: Representations whose values are filled up to an even length with a blank, not with a zero.
_BLANK = frozenset(_SHORT - {b"AT", b"FD", b"FL", b"SL", b"SS", b"UI", b"UL", b"US"}) | {b"UC", b"UR", b"UT"}
_DEEPEST = 32


class Element(NamedTuple):
    """An element as it is stored.

    Parameters
    ----------
    tag
        Group and element number.
    kind
        Value representation as the file says it; empty where it does not say it.
    value
        Its bytes; empty for a sequence. Encapsulated pixel data with all its items and its end.
    items
        The items of a sequence.
    encapsulated
        Whether these are pixel data in fragments.
    """

    tag: int
    kind: bytes
    value: bytes
    items: list[Level] | None = None
    encapsulated: bool = False


Level = list[Element]


class Coding:
    """A byte order and a way to write value representations: reads and writes elements.

    Parameters
    ----------
    order
        ``<`` or ``>``.
    explicit
        Whether each element says its representation.
    """

    def __init__(self, order: str, *, explicit: bool) -> None:
        self.order = order
        self.explicit = explicit
        self._short = struct.Struct(order + "HH2sH")
        self._long = struct.Struct(order + "HH2sHI")
        self._plain = struct.Struct(order + "HHI")
        self._length = struct.Struct(order + "I")

    def read(self, data: bytes, at: int = 0) -> Level:
        """The outermost level from byte ``at`` on, up to and with the pixel data; what follows is left out.

        Raises
        ------
        IncompleteError
            If the file ends too early.
        DicomError
            If it is damaged.
        """
        try:
            return self._level(data, at, len(data), 0)[0]
        except struct.error:
            raise IncompleteError(f"cut off within the header, after {len(data)} bytes") from None

    def _level(self, data: bytes, at: int, end: int, depth: int) -> tuple[Level, int]:
        """Elements from ``at`` to ``end``, or to the end of an item of undefined length."""
        if depth > _DEEPEST:
            raise DicomError("damaged: DICOM sequences nested without end")
        level: Level = []
        short, long, plain = self._short.unpack_from, self._length.unpack_from, self._plain.unpack_from
        explicit = self.explicit
        while at < end:
            kind = b""
            if explicit:
                group, number, kind, length = short(data, at)
                if kind in _SHORT:
                    start = at + 8
                elif kind in _LONG:
                    length, start = long(data, at + 8)[0], at + 12
                elif group == 0xFFFE:
                    kind, start = b"", at + 8
                    length = long(data, at + 4)[0]
                else:
                    raise DicomError(f"damaged: no DICOM element at byte {at}")
            else:
                group, number, length = plain(data, at)
                start = at + 8
            tag = group << 16 | number
            if tag == _ITEM_END:
                return level, start
            if length == _UNDEFINED and tag != PIXEL_DATA:
                items, at = self._within(kind)._items(data, start, _UNDEFINED, depth)
                level.append(Element(tag, kind, b"", items))
                continue
            encapsulated = length == _UNDEFINED
            stop = self._encapsulated_end(data, start) if encapsulated else start + length
            if stop > end:
                if tag == PIXEL_DATA and depth == 0:
                    raise IncompleteError(f"{end - start} of {length} bytes of pixel data")
                raise _beyond(data, stop)
            if self._is_sequence(data, tag, kind, start, length):
                items, _ = self._within(kind)._items(data, start, stop, depth)
                level.append(Element(tag, kind, b"", items))
            else:
                level.append(Element(tag, kind, data[start:stop], None, encapsulated))
            at = stop
            if tag == PIXEL_DATA and depth == 0:
                break
        return level, at

    def _is_sequence(self, data: bytes, tag: int, kind: bytes, start: int, length: int) -> bool:
        if kind == b"SQ":
            return True
        if kind not in (b"", b"UN") or not length:
            return False
        if tag >> 16 & 1 == 0:
            return representation(tag) == b"SQ"
        # A private one says nothing: whatever begins with an item of sound length is taken for a sequence.
        order = "<" if kind == b"UN" else self.order
        if length < 8:
            return False
        group, number, size = struct.unpack_from(order + "HHI", data, start)
        return bool(group << 16 | number == _ITEM) and bool(size == _UNDEFINED or size + 8 <= length)

    def _items(self, data: bytes, at: int, end: int, depth: int) -> tuple[list[Level], int]:
        """The items of a sequence that ends at ``end``, or where it says so; and where that is."""
        items: list[Level] = []
        last = len(data) if end == _UNDEFINED else end
        while at < end:
            group, number, length = self._plain.unpack_from(data, at)
            tag, at = group << 16 | number, at + 8
            if tag == _SEQUENCE_END:
                break
            if tag != _ITEM:
                raise DicomError(f"damaged: no DICOM item at byte {at - 8}")
            stop = last if length == _UNDEFINED else at + length
            if stop > last:
                raise _beyond(data, stop)
            level, at = self._level(data, at, stop, depth + 1)
            if length != _UNDEFINED and at != stop:
                raise DicomError(f"damaged: a DICOM item ends at byte {at}, not at {stop}")
            items.append(level)
        return items, at

    def _encapsulated_end(self, data: bytes, at: int) -> int:
        while True:
            group, number, length = self._plain.unpack_from(data, at)
            at += 8
            if group << 16 | number == _SEQUENCE_END:
                return at
            if group << 16 | number != _ITEM or length == _UNDEFINED:
                raise DicomError(f"damaged: no DICOM item at byte {at - 8}")
            at += length

    def _within(self, kind: bytes) -> Coding:
        # In a sequence of unknown representation the elements are implicit (PS3.5, 6.2.2, note 4).
        return _IMPLICIT if kind == b"UN" and self.explicit else self

    def write(self, level: Level) -> bytes:
        """The bytes of a level."""
        pieces: list[bytes] = []
        for element in level:
            self._write(element, pieces)
        return b"".join(pieces)

    def _write(self, element: Element, pieces: list[bytes]) -> None:
        tag, kind, value, items, encapsulated = element
        group, number = tag >> 16, tag & 0xFFFF
        if items is not None:
            within = self._within(kind)
            value = b"".join(within._item(level) for level in items)
            if kind == b"UN":
                # Only by its undefined length it is known for a sequence.
                value += within._plain.pack(_SEQUENCE_END >> 16, _SEQUENCE_END & 0xFFFF, 0)
                pieces += (self._long.pack(group, number, kind, 0, _UNDEFINED), value)
                return
        elif len(value) % 2:
            value += b" " if (kind or representation(tag)) in _BLANK else b"\0"
        length = _UNDEFINED if encapsulated else len(value)
        if not self.explicit:
            header = self._plain.pack(group, number, length)
        elif kind in _SHORT:
            header = self._short.pack(group, number, kind, length)
        else:
            header = self._long.pack(group, number, kind, 0, length)
        pieces += (header, value)

    def _item(self, level: Level) -> bytes:
        value = self.write(level)
        return self._plain.pack(_ITEM >> 16, _ITEM & 0xFFFF, len(value)) + value


def _beyond(data: bytes, stop: int) -> DicomError:
    if stop > len(data):
        return IncompleteError(f"cut off within the header, after {len(data)} bytes")
    return DicomError("damaged: a DICOM element is longer than what it stands in")


_IMPLICIT = Coding("<", explicit=False)
