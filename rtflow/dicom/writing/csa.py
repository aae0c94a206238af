"""The header that Siemens scanners hide in private elements, CSA version 2; `rtflow.dicom.csa` reads it."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

_TAG = struct.Struct("<64si4siii")
_ITEM = struct.Struct("<4i")


def write_csa(fields: Mapping[str, Sequence[str]]) -> bytes:
    """A CSA header with these fields.

    >>> from rtflow.dicom.csa import read_csa
    >>> read_csa(write_csa({"A": ["1", "2"], "B": []}), {"A", "B"})
    {'A': ['1', '2']}
    """
    pieces = [b"SV10\4\3\2\1", struct.pack("<2i", len(fields), 77)]
    for name, values in fields.items():
        # Scanners write six items for every field, with the values first.
        items = max(6, len(values))
        pieces.append(_TAG.pack(name.encode("ascii"), len(values), b"FD\0\0", 4, items, 77))
        for number in range(items):
            value = values[number].encode("latin-1") + b"\0" if number < len(values) else b""
            pieces.append(_ITEM.pack(len(value), len(value), 77, len(value)))
            pieces.append(value + b"\0" * (-len(value) % 4))
    joined = b"".join(pieces)
    return joined + b"\0" * (len(joined) % 2)
