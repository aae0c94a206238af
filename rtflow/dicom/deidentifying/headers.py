"""The headers that vendors put into one private element, reduced to the few fields that are used."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Mapping, Sequence
from functools import lru_cache

from rtflow.dicom.csa import read_csa, read_protocol

#: Fields of the CSA image header: numbers that a mosaic cannot be read without, or that tell its read-out.
CSA_FIELDS = frozenset(
    {
        *("NumberOfImagesInMosaic", "SliceNormalVector", "ProtocolSliceNumber", "MosaicRefAcqTimes"),
        *("BandwidthPerPixelPhaseEncode", "PhaseEncodingDirectionPositive", "RealDwellTime"),
    }
)
#: Lines of the Siemens protocol, all of them numbers.
PROTOCOL_LINES = re.compile(
    r"lRepetitions|lAverages|lContrasts|alT[ER]\[\d+\]|ucReadOutMode"
    r"|sSliceArray\.(?:lSize|lConc|ucMode|ucImageNumb\w*)"
    r"|(?:sKSpace|sFastImaging|sPat|sSliceAcceleration)\.\w+"
    r"|sW[iI][pP]MemBlock\.(?:al|ad)Free\[\d+\]"
)
#: Lines of the GE protocol, all of them numbers.
GE_LINES = frozenset({"SLICEORDER", "VIEWORDER", "MBACCEL", "NOSLC", "NECHO"})

_NUMBER = re.compile(r"[-+]?(?:0x[0-9a-fA-F]+|\d+\.?\d*(?:[eE][-+]?\d+)?)")
_CSA_TAG, _CSA_ITEM = struct.Struct("<64si4siii"), struct.Struct("<4i")
_CSA_END = 77
_GE_LARGEST = 1 << 20


@lru_cache(maxsize=16)
def reduced_csa_image(header: bytes) -> bytes:
    """A CSA image header with the fields of `CSA_FIELDS` only.

    Raises
    ------
    DicomError
        If it cannot be read.
    """
    fields = read_csa(header, CSA_FIELDS)
    return _csa({name: [value for value in values if _is_number(value)] for name, values in fields.items()})


@lru_cache(maxsize=4)
def reduced_csa_series(header: bytes) -> bytes:
    """A CSA series header with nothing but the protocol's lines of `PROTOCOL_LINES`.

    Raises
    ------
    DicomError
        If it cannot be read.
    """
    read_csa(header, ())
    return _csa({"MrPhoenixProtocol": [_protocol(header)]})


@lru_cache(maxsize=4)
def reduced_protocol(text: bytes) -> bytes:
    """A Siemens protocol with nothing but the lines of `PROTOCOL_LINES`."""
    return _protocol(text).encode("ascii")


@lru_cache(maxsize=4)
def reduced_ge_protocol(block: bytes) -> bytes:
    """A GE protocol with the lines of `GE_LINES` only; empty if it is of a kind that is not known.

    It is a length and a gzip file of lines ``NAME "value"``; the name of the file that was packed goes, too.
    """
    try:
        text = zlib.decompressobj(31).decompress(block[4:], _GE_LARGEST).decode("latin-1")
    except zlib.error:
        return b""
    lines = []
    for line in text.splitlines():
        words = line.removeprefix("set ").split(maxsplit=1)
        if len(words) == 2 and words[0] in GE_LINES and _is_number(words[1].strip('" ')):
            lines.append(f'{words[0]} "{words[1].strip(chr(34) + " ")}"\n')
    if not lines:
        return b""
    packer = zlib.compressobj(wbits=31)
    packed = packer.compress("".join(lines).encode("ascii")) + packer.flush()
    return struct.pack("<I", len(packed)) + packed


def _is_number(text: str) -> bool:
    return _NUMBER.fullmatch(text) is not None


def _protocol(header: bytes) -> str:
    lines = [
        f"{name}\t = \t{value}\n"
        for name, value in read_protocol(header).items()
        if PROTOCOL_LINES.fullmatch(name) and _is_number(value)
    ]
    return "### ASCCONV BEGIN ###\n" + "".join(lines) + "### ASCCONV END ###"


def _csa(fields: Mapping[str, Sequence[str]]) -> bytes:
    """A CSA header of version 2, written anew: the original has remains of memory behind names and values."""
    pieces = [b"SV10\4\3\2\1", struct.pack("<2i", len(fields), _CSA_END)]
    for name, values in fields.items():
        encoded = [value.encode("ascii") + b"\0" for value in values]
        # Scanners write six items at least.
        encoded += [b""] * (6 - len(encoded))
        pieces.append(_CSA_TAG.pack(name.encode("ascii"), len(values), b"DS\0\0", 3, len(encoded), _CSA_END))
        for value in encoded:
            size = len(value)
            pieces += (_CSA_ITEM.pack(size, size, _CSA_END, size), value, b"\0" * (-size % 4))
    return b"".join(pieces)

