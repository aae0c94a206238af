"""Pixel data to planes of stored values, whatever the transfer syntax."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtflow.dicom.codestreams import stated_sizes
from rtflow.dicom.elements import GE_PRIVATE, UNCOMPRESSED
from rtflow.dicom.read import Header, pixel_bytes
from rtflow.errors import DicomError

#: Transfer syntaxes of compressed pixel data that give back the stored values: RLE, JPEG, JPEG-LS, JPEG 2000
#: and its high-throughput kind. Those of JPEG that never do are not among them.
COMPRESSED = frozenset(
    {
        "1.2.840.10008.1.2.5",
        *(f"1.2.840.10008.1.2.4.{number}" for number in (57, 70, 80, 81, 90, 91, 201, 202, 203)),
    }
)


def read_planes(header: Header) -> NDArray[Any]:
    """All planes of an object, as they are stored.

    Returns
    -------
    NDArray
        Shape (frames, rows, columns), rows from the top of the image downwards; int16 unless all 16 bits
        are used unsigned, or uint8. Uncompressed planes are a view of the header's bytes, read-only.

    Raises
    ------
    DicomError
        If they are neither of 8 nor of 16 bits, or in colours, or cannot be decompressed.
    """
    bits, samples = header.required("BitsAllocated"), header.integer("SamplesPerPixel") or 1
    if bits not in (8, 16):
        raise DicomError(f"pixels of {bits} bits; supported: 8 and 16")
    if samples != 1:
        raise DicomError(f"a colour image ({samples} samples a pixel); supported: grey values")
    frames = header.integer("NumberOfFrames") or 1
    rows, columns = header.required("Rows"), header.required("Columns")
    signed = header.integer("PixelRepresentation") == 1
    if header.syntax in UNCOMPRESSED:
        order = ">" if header.syntax == GE_PRIVATE else header.order
        code = f"{order}u2" if bits == 16 else "u1"
        stored = np.frombuffer(header.raw("PixelData")[: pixel_bytes(header)], dtype=code)
    else:
        stored = np.frombuffer(_decompressed(header, rows, columns, frames, signed), f"<u{bits // 8}")
    if bits == 8:
        return stored.reshape(frames, rows, columns)
    # Fewer than 16 bits fit a signed integer, which more programs read; dcm2niix chooses likewise.
    used = header.required("BitsStored")
    kind = np.int16 if signed or used < 16 else np.uint16
    values = stored.astype(np.uint16, copy=False).view(kind)
    return _without_unused_bits(values, used, signed).reshape(frames, rows, columns)


def _without_unused_bits(values: NDArray[Any], used: int, signed: bool) -> NDArray[Any]:
    """The values of the lower bits alone: the standard leaves open what the others hold (PS3.5, 8.1.1)."""
    unused = 16 - used
    if not 0 < unused < 16 or not values.size:
        return values
    least, most = (-(2 ** (used - 1)), 2 ** (used - 1) - 1) if signed else (0, 2**used - 1)
    if least <= values.min() and values.max() <= most:
        return values
    # Up and down again: the sign comes from the highest bit that is used.
    shifted: NDArray[Any] = np.left_shift(values, unused) >> unused if signed else values & np.int16(most)
    return shifted


def _decompressed(header: Header, rows: int, columns: int, frames: int, signed: bool) -> bytes:
    if header.syntax not in COMPRESSED:
        raise DicomError(
            f"pixel data in transfer syntax {syntax_name(header.syntax)}; supported: uncompressed, deflated, "
            "and RLE, JPEG, JPEG-LS and JPEG 2000 without loss. Switch compression off in the scanner's "
            "export"
        )
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import UID

    layout: dict[str, Any] = {
        "rows": rows,
        "columns": columns,
        "number_of_frames": frames,
        "samples_per_pixel": 1,
        "photometric_interpretation": header.text("PhotometricInterpretation") or "MONOCHROME2",
        "pixel_representation": int(signed),
        "bits_allocated": header.required("BitsAllocated"),
        "bits_stored": header.required("BitsStored"),
        "pixel_keyword": "PixelData",
    }
    decoder = get_decoder(UID(header.syntax))
    if not decoder.is_available:
        raise DicomError(
            f"pixel data in transfer syntax {syntax_name(header.syntax)} need a decoder: "
            f"{'; '.join(decoder.missing_dependencies)}; install one, or switch compression off in the "
            "scanner's export"
        )
    try:
        for size in stated_sizes(header.raw("PixelData")):
            if size != (rows, columns):
                raise ValueError(f"{size[1]}x{size[0]} pixels instead of {columns}x{rows}")
        array, _ = decoder.as_array(header.raw("PixelData"), raw=True, **layout)
    except BaseException as error:
        # Decoders raise whatever a damaged stream makes them: those in Rust a panic, which is no Exception.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        said = " ".join(str(error).split())
        raise DicomError(f"damaged: the compressed pixel data cannot be decoded ({said})") from None
    return array.astype(f"<u{layout['bits_allocated'] // 8}", copy=False).tobytes()


def syntax_name(uid: str) -> str:
    """What the standard calls a transfer syntax, with its UID."""
    from pydicom.config import IGNORE
    from pydicom.uid import UID

    name = UID(uid, IGNORE).name
    return uid if name == uid else f"{name} ({uid})"
