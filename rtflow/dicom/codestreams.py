"""What size a compressed image says it has, before a decoder takes its word and the memory for it."""

from __future__ import annotations

import struct
from collections.abc import Iterator

_ITEM_LITTLE = b"\xfe\xff\x00\xe0"
_JPEG, _JPEG_2000 = b"\xff\xd8\xff", b"\xff\x4f\xff\x51"
# Start-of-frame segments of JPEG (all kinds but the three that are none) and of JPEG-LS.
_FRAMES = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}
_SCAN = 0xDA


def stated_sizes(encapsulated: bytes) -> Iterator[tuple[int, int]]:
    """Rows and columns of each image of JPEG, JPEG-LS or JPEG 2000 in encapsulated pixel data."""
    at = 0
    while encapsulated[at : at + 4] == _ITEM_LITTLE and at + 8 <= len(encapsulated):
        (length,) = struct.unpack_from("<I", encapsulated, at + 4)
        start, at = at + 8, at + 8 + length
        if encapsulated[start : start + 4] == _JPEG_2000:
            # The image's far corner less its near one (ISO 15444-1, A.5.1).
            right, bottom, left, top = struct.unpack_from(">4I", encapsulated, start + 8)
            yield bottom - top, right - left
        elif encapsulated[start : start + 3] == _JPEG:
            yield _jpeg_size(encapsulated, start + 2, at)


def _jpeg_size(data: bytes, at: int, end: int) -> tuple[int, int]:
    """Rows and columns by the first start-of-frame segment (ISO 10918-1, B.2.2); zeros if there is none."""
    while at + 9 <= end:
        mark, kind, length = struct.unpack_from(">BBH", data, at)
        if mark != 0xFF or kind == _SCAN:
            break
        if kind in _FRAMES:
            rows, columns = struct.unpack_from(">HH", data, at + 5)
            return rows, columns
        at += 2 + length
    return 0, 0
