"""Elements to bytes, as PS3.5 and PS3.10 lay them out: explicit VR, little endian.

Most elements of a series are the same in all of its files. They are encoded once and kept, so that a file
costs no more than the few that differ, a sort and a join: pydicom would encode each anew.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

Elements = dict[int, bytes]
"""Tag to encoded element: tag, VR, length and value."""

PIXEL_DATA = 0x7FE00010

_SYNTAX = "1.2.840.10008.1.2.1"
_LONG = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"})
_BINARY = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "FL": "f", "FD": "d"}
_UNDEFINED = 0xFFFFFFFF


def public(**values: Any) -> Elements:
    """Standard elements by their keywords; None leaves one away.

    >>> public(SeriesNumber=5, EchoTime=30.0)
    {2097169: b' \\x00\\x11\\x00IS\\x02\\x005 ', 1572993: b'\\x18\\x00\\x81\\x00DS\\x02\\x0030'}
    """
    encoded = {}
    for keyword, value in values.items():
        if value is not None:
            tag, kind = _known(keyword)
            encoded[tag] = _element(tag, kind, value)
    return encoded


def private(group: int, creator: str, values: Mapping[int, tuple[str, Any]], block: int = 0x10) -> Elements:
    """Private elements in a block, and the element that names its creator.

    Parameters
    ----------
    group
        An odd number.
    creator
        Who defined them.
    values
        Last byte of the element's number to VR and value; a value of None leaves one away.
    block
        Where the block lies.
    """
    encoded = {group << 16 | block: _element(group << 16 | block, "LO", creator)}
    for number, (kind, value) in values.items():
        if value is not None:
            tag = group << 16 | block << 8 | number
            encoded[tag] = _element(tag, kind, value)
    return encoded


def sequence_of(keyword: str, items: Iterable[Elements]) -> Elements:
    """A standard sequence."""
    return public(**{keyword: list(items)})


def pixels(data: bytes) -> Elements:
    """The pixel data."""
    return {PIXEL_DATA: _element(PIXEL_DATA, "OW", data)}


def dicom_file(class_uid: str, uid: str, *layers: Elements) -> bytes:
    """A DICOM file of these elements; of an element that is in several layers, the last one's.

    Parameters
    ----------
    class_uid
        SOPClassUID.
    uid
        SOPInstanceUID.
    layers
        All others.
    """
    head = b"".join(
        (
            _element(0x00020001, "OB", b"\0\1"),
            _element(0x00020002, "UI", class_uid),
            _element(0x00020003, "UI", uid),
            _element(0x00020010, "UI", _SYNTAX),
            _element(0x00020012, "UI", "1.2.826.0.1.3680043.8.498.1"),
        )
    )
    identity = public(SOPClassUID=class_uid, SOPInstanceUID=uid)
    length = _element(0x00020000, "UL", len(head))
    return b"".join((bytes(128), b"DICM", length, head, joined(*layers, identity)))


def joined(*layers: Elements) -> bytes:
    """Elements in the order of their tags."""
    together: Elements = {}
    for layer in layers:
        together.update(layer)
    return b"".join([together[tag] for tag in sorted(together)])


@cache
def _known(keyword: str) -> tuple[int, str]:
    from pydicom.datadict import dictionary_VR, tag_for_keyword

    tag = tag_for_keyword(keyword)
    if tag is None:
        raise KeyError(keyword)
    return tag, dictionary_VR(tag).partition(" or ")[0]


def _element(tag: int, kind: str, value: Any) -> bytes:
    if kind == "SQ":
        return _sequence(tag, value)
    if kind == "AT":
        content = struct.pack("<HH", value >> 16, value & 0xFFFF)
    elif kind in _BINARY:
        numbers = value if isinstance(value, (list, tuple)) else (value,)
        content = struct.pack(f"<{len(numbers)}{_BINARY[kind]}", *numbers)
    elif isinstance(value, bytes):
        content = value
    else:
        parts = value if isinstance(value, (list, tuple)) else (value,)
        write = decimal if kind == "DS" else str
        content = "\\".join(map(write, parts)).encode("latin-1")
    if len(content) % 2:
        content += b"\0" if kind in ("UI", "OB", "UN") else b" "
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, kind.encode())
    if kind in _LONG:
        return head + struct.pack("<HI", 0, len(content)) + content
    return head + struct.pack("<H", len(content)) + content


def _sequence(tag: int, items: Iterable[Elements]) -> bytes:
    # Of undefined length, as scanners write them.
    begin = struct.pack("<HHI", 0xFFFE, 0xE000, _UNDEFINED)
    end = struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
    inner = b"".join([begin + joined(item) + end for item in items])
    head = struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, b"SQ", 0, _UNDEFINED)
    return head + inner + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


def decimal(value: float | str) -> str:
    """A number as a DICOM decimal string, which has room for 16 characters.

    >>> decimal(2000.0), decimal(-0.055821505276), decimal(1 / 3e7)
    ('2000', '-0.05582150528', '3.333333333e-08')
    """
    if isinstance(value, str):
        return value
    text = f"{value:.10g}"
    return text if len(text) <= 16 else f"{value:.8g}"
