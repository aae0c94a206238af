"""What a receiver writes itself, element by element: the head of a file, and the answer to an object."""

from __future__ import annotations

import struct

_IMPLEMENTATION = "2.25.281765078669063909891472140144639892824"
_VERSION = "RTFLOW"


def file_head(sop_class: str, sop_instance: str, transfer_syntax: str, sender: str) -> bytes:
    """Preamble and file meta information (PS3.10 7.1), explicit VR little endian.

    Parameters
    ----------
    sop_class, sop_instance, transfer_syntax
        UIDs of the data set that follows.
    sender
        AE title that it came from.
    """
    elements = b"".join(
        struct.pack("<HH2sH", 0x0002, element, kind, len(value)) + value
        for element, kind, value in (
            (0x0002, b"UI", _even(sop_class)),
            (0x0003, b"UI", _even(sop_instance)),
            (0x0010, b"UI", _even(transfer_syntax)),
            (0x0012, b"UI", _even(_IMPLEMENTATION)),
            (0x0013, b"SH", _even(_VERSION, b" ")),
            (0x0016, b"AE", _even(sender, b" ")),
        )
    )
    version = struct.pack("<HH2sHI", 0x0002, 0x0001, b"OB", 0, 2) + b"\0\1"
    length = struct.pack("<HH2sHI", 0x0002, 0x0000, b"UL", 4, len(version) + len(elements))
    return bytes(128) + b"DICM" + length + version + elements


def store_response(sop_class: str, sop_instance: str, message: int, status: int) -> bytes:
    """Command set of a C-STORE response (PS3.7 9.3.1.2), implicit VR little endian.

    Parameters
    ----------
    sop_class, sop_instance
        UIDs of the object that is answered.
    message
        Number of the request.
    status
        What became of the object (PS3.4 B.2.3).
    """
    fields = (
        (0x0002, _even(sop_class)),
        (0x0100, struct.pack("<H", 0x8001)),  # this is a C-STORE response
        (0x0120, struct.pack("<H", message)),
        (0x0800, struct.pack("<H", 0x0101)),  # no data set follows
        (0x0900, struct.pack("<H", status)),
        (0x1000, _even(sop_instance)),
    )
    body = b"".join(struct.pack("<HHI", 0, element, len(value)) + value for element, value in fields)
    return struct.pack("<HHII", 0, 0, 4, len(body)) + body


def _even(value: str, pad: bytes = b"\0") -> bytes:
    raw = value.encode("ascii", "replace")
    return raw + pad * (len(raw) % 2)
