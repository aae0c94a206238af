"""The header that Siemens scanners hide in private elements: CSA, version 2, and the protocol within.

The layout is not published; it is described at https://nipy.org/nibabel/dicom/siemens_csa.html.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Mapping
from functools import lru_cache

from rtflow.errors import DicomError

#: What version 2 begins with.
CSA_MARK = b"SV10"
_TAG = struct.Struct("<64si4siii")
_ITEM = struct.Struct("<4i")


def read_csa(header: bytes, wanted: Collection[str]) -> dict[str, list[str]]:
    """Values of the wanted fields, as the texts they are stored as; empty fields are left out.

    Parameters
    ----------
    header
        Value of element (0029,1010) or (0029,1020).
    wanted
        Names of fields.

    Raises
    ------
    DicomError
        If the header is cut off or not of version 2.
    """
    if not header.startswith(CSA_MARK):
        raise DicomError("the Siemens CSA header is not of version 2 ('SV10'); export the images anew")
    fields: dict[str, list[str]] = {}
    try:
        (count,) = struct.unpack_from("<i", header, 8)
        at = 16
        for _ in range(count):
            raw_name, _, _, _, items, _ = _TAG.unpack_from(header, at)
            at += _TAG.size
            name = raw_name.partition(b"\0")[0].decode("latin-1")
            values = []
            for _ in range(items):
                length = _ITEM.unpack_from(header, at)[1]
                at += _ITEM.size
                if length < 0 or at + length > len(header):
                    raise DicomError(f"the Siemens CSA header is damaged at field {name!r}")
                if length and name in wanted:
                    text = header[at : at + length].partition(b"\0")[0].decode("latin-1").strip()
                    if text:
                        values.append(text)
                at += (length + 3) // 4 * 4
            if values:
                fields[name] = values
    except struct.error:
        raise DicomError("the Siemens CSA header is cut off") from None
    return fields


@lru_cache(maxsize=4)
def read_protocol(header: bytes) -> dict[str, str]:
    """The scan protocol (the ASCCONV part), name to value as text; empty if there is none.

    Parameters
    ----------
    header
        Value of element (0029,1020). It is the same for all volumes of a series, so it is parsed once.
    """
    begin = header.find(b"### ASCCONV BEGIN")
    end = header.find(b"### ASCCONV END", begin)
    if begin < 0 or end < 0:
        return {}
    protocol = {}
    for line in header[begin:end].decode("latin-1").splitlines()[1:]:
        name, equals, value = line.partition("=")
        if equals:
            protocol[name.strip()] = value.partition("#")[0].strip().strip('"')
    return protocol


def protocol_count(protocol: Mapping[str, str], name: str) -> int:
    """A whole number of the protocol, decimal or hexadecimal; 0 if it is absent, as the protocol means it.

    >>> protocol_count({"ucImageNumbTra": "0x1"}, "ucImageNumbTra")
    1
    """
    try:
        return int(protocol.get(name, "0"), 0)
    except ValueError:
        return 0
