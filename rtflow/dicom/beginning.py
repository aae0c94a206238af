"""How a DICOM file begins: with its preamble, or as archives and old exports hand it on, without."""

from __future__ import annotations

import struct

IMPLICIT_LITTLE = "1.2.840.10008.1.2"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"

_PREAMBLE = 132
# The length of the meta information, which is always its first element.
_META = b"\x02\x00\x00\x00UL\x04\x00"
# What the data set of an image may begin with: a length, character set, type, times and class of the object.
_FIRST = frozenset({0x0000, 0x0001, 0x0005, 0x0008, 0x0012, 0x0013, 0x0014, 0x0016, 0x0018})
_TEXTS = frozenset({b"CS", b"DA", b"TM", b"UI"})
_GROUP = 0x0008
_HEAD = struct.Struct("<HHI")


def begins(data: bytes) -> tuple[int, str] | None:
    """Where the elements of a DICOM file begin, by its first 132 bytes; None if it is none.

    Parameters
    ----------
    data
        The file's bytes; the first 132 are looked at.

    Returns
    -------
    tuple or None
        First byte; and of a bare data set, which names none, its transfer syntax, else an empty text.
    """
    if data[128:_PREAMBLE] == b"DICM":
        return _PREAMBLE, ""
    if data.startswith(_META):
        return 0, ""
    start = data[:_PREAMBLE]
    if len(start) < _PREAMBLE:
        return None
    group, element, length = _HEAD.unpack_from(start)
    if group != _GROUP or element not in _FIRST:
        return None
    if start[4:6] in _TEXTS or (element in (0x0000, 0x0001) and start[4:8] == b"UL\x04\x00"):
        size, syntax = struct.unpack_from("<H", start, 6)[0], EXPLICIT_LITTLE
    else:
        size, syntax = length, IMPLICIT_LITTLE
    # Two elements in their order: eight bytes alone might be those of anything.
    if size % 2 or _HEAD.size + size + 4 > len(start):
        return None
    following, second = struct.unpack_from("<HH", start, _HEAD.size + size)
    return (0, syntax) if following == _GROUP and second > element else None
