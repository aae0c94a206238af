"""The headers that vendors put into one private element, reduced to the few fields that are used."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

from rtflow.dicom.csa import read_csa, read_protocol

#: Fields of the CSA image header: numbers that a mosaic cannot be read without, or that tell its read-out.
CSA_FIELDS = frozenset(
    {
        *("NumberOfImagesInMosaic", "SliceNormalVector", "ProtocolSliceNumber", "MosaicRefAcqTimes"),
        *("BandwidthPerPixelPhaseEncode", "PhaseEncodingDirectionPositive", "RealDwellTime"),
    }
)
#: Lines of the Siemens protocol that hold numbers.
PROTOCOL_LINES = re.compile(
    r"lRepetitions|lAverages|lContrasts|alT[ER]\[\d+\]|lDelayTimeInTR|ucReadOutMode|ucCoilCombineMode"
    r"|sSliceArray\.(?:lSize|lConc|ucMode|ucImageNumb\w*)"
    r"|(?:sKSpace|sFastImaging|sPat|sSliceAcceleration)\.\w+"
    r"|sW[iI][pP]MemBlock\.(?:al|ad)Free\[\d+\]",
    re.ASCII,
)
#: Lines of the Siemens protocol that hold names which software gave: of the sequence, and of coils.
PROTOCOL_NAMES = re.compile(
    r"tSequenceFileName|(?:as|s)CoilSelectMeas[\w.\[\]]*\.(?:tCoilID|tElement)"
    r"|sCoilSelectMeas\.sCoilStringForConversion",
    re.ASCII,
)
#: Lines of the GE protocol that hold numbers, and those with words of the vendor's own.
GE_LINES = frozenset({"SLICEORDER", "VIEWORDER", "MBACCEL", "NOSLC", "NECHO"})
GE_NAMES = frozenset({"IOPT"})

#: Cleans a text that software wrote.
Clean = Callable[[str], str]

_NUMBER = re.compile(r"[-+]?(?:0x[0-9a-fA-F]+|\d+\.?\d*(?:[eE][-+]?\d+)?)", re.ASCII)
# One file in one of the scanner's own folders, or a word or two.
_NAME = re.compile(r"(?:%\w{1,16}%\\)?[\w.;,:+ -]{1,64}", re.ASCII)
_CSA_TAG, _CSA_ITEM = struct.Struct("<64si4siii"), struct.Struct("<4i")
_CSA_END = 77
_GE_LARGEST = 1 << 20


@lru_cache(maxsize=16)
def reduced_csa_image(header: bytes, clean: Clean) -> bytes:
    """A CSA image header with the fields of `CSA_FIELDS` only.

    Raises
    ------
    DicomError
        If it cannot be read.
    """
    del clean  # numbers only
    fields = read_csa(header, CSA_FIELDS)
    return _csa({name: [value for value in values if _is_number(value)] for name, values in fields.items()})


@lru_cache(maxsize=4)
def reduced_csa_series(header: bytes, clean: Clean) -> bytes:
    """A CSA series header with nothing but the few lines of the protocol.

    Raises
    ------
    DicomError
        If it cannot be read.
    """
    read_csa(header, ())
    return _csa({"MrPhoenixProtocol": [_protocol(header, clean)]})


@lru_cache(maxsize=4)
def reduced_protocol(text: bytes, clean: Clean) -> bytes:
    """A Siemens protocol with nothing but the lines of `PROTOCOL_LINES` and `PROTOCOL_NAMES`."""
    # Readers know it by what stands before the lines.
    return b"<XProtocol> \n{\n}\n" + _protocol(text, clean).encode("ascii") + b"\n"


@lru_cache(maxsize=4)
def reduced_ge_protocol(block: bytes, clean: Clean) -> bytes:
    """A GE protocol with the lines of `GE_LINES` and `GE_NAMES` only; empty if it is not of the known kind.

    It is a length and a gzip file of lines ``NAME "value"``; the name of the file that was packed goes, too.
    """
    try:
        text = zlib.decompressobj(31).decompress(block[4:], _GE_LARGEST).decode("latin-1")
    except zlib.error:
        return b""
    lines = []
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        value = value.strip(' "')
        if (name in GE_LINES and _is_number(value)) or (name in GE_NAMES and _is_name(value, clean)):
            lines.append(f'{name} "{value}"\n')
    if not lines:
        return b""
    packer = zlib.compressobj(wbits=31)
    packed = packer.compress("".join(lines).encode("ascii")) + packer.flush()
    return struct.pack("<I", len(packed)) + packed


@lru_cache(maxsize=4)
def reduced_ge_variables(block: bytes, clean: Clean) -> bytes:
    """The variables of a GE pulse sequence with nothing but those that tell the polarity; empty if unknown.

    Places as in `rtflow.dicom.ge`; what else the scanner has put there is not described anywhere.
    """
    del clean  # numbers only
    kept = bytearray(len(block))
    try:
        (start,) = struct.unpack_from("<H", block, 24)
        (version,) = struct.unpack_from("<f", block, start)
    except struct.error:
        return b""
    if not 5 <= version <= 40:
        return b""
    newer = version >= 25.002
    polarity, order = start + 0x30 + 0x4C * newer, start + 0x394 + (0x4C - 0x8C) * newer
    for at, size in ((24, 2), (start, 4), (polarity, 2), (polarity + 10, 2), (order, 2)):
        kept[at : at + size] = block[at : at + size]
    return bytes(kept)


def _is_number(text: str) -> bool:
    return _NUMBER.fullmatch(text) is not None


def _is_name(text: str, clean: Clean) -> bool:
    return _NAME.fullmatch(text) is not None and clean(text) == text


def _protocol(header: bytes, clean: Clean) -> str:
    lines = []
    for name, value in read_protocol(header).items():
        if PROTOCOL_LINES.fullmatch(name) and _is_number(value):
            lines.append(f"{name}\t = \t{value}\n")
        elif PROTOCOL_NAMES.fullmatch(name) and _is_name(value, clean):
            lines.append(f'{name}\t = \t""{value}""\n')
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
