"""Siemens mosaics: all slices of a volume side by side in one two-dimensional image.

Tiles run from left to right and from top to bottom, in a square just large enough; the rest is zero.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtflow.dicom.csa import read_csa
from rtflow.dicom.elements import UNCOMPRESSED
from rtflow.dicom.read import Header, pixel_bytes
from rtflow.errors import DicomError

CSA_FIELDS = frozenset(
    {
        *("NumberOfImagesInMosaic", "SliceNormalVector", "ProtocolSliceNumber", "MosaicRefAcqTimes"),
        *("BandwidthPerPixelPhaseEncode", "PhaseEncodingDirectionPositive"),
    }
)
Csa = dict[str, list[str]]


def mosaic_csa(header: Header) -> Csa:
    """The fields of the CSA image header that tell how a mosaic is to be read.

    Raises
    ------
    DicomError
        If there is none: without it the number and direction of the slices are not known.
    """
    raw = header.raw("CsaImage")
    if not raw:
        raise DicomError(
            "a mosaic without its Siemens CSA header (0029,1010), which holds the slices' number and "
            "direction; export it without removing private elements"
        )
    return read_csa(raw, CSA_FIELDS)


def slices_reversed(csa: Csa) -> bool:
    """Whether the protocol numbers its slices backwards; they are then stored against their normal."""
    return _floats(csa, "ProtocolSliceNumber", 1, default=0.0)[0] > 1


def mosaic_voxels(header: Header, csa: Csa) -> NDArray[Any]:
    """The volume's stored values.

    Returns
    -------
    NDArray
        Shape (columns, rows, slices), rows from the bottom of the image upwards, in Fortran order, as
        they lie in a NIfTI file; int16 unless all 16 bits are used unsigned.

    Raises
    ------
    DicomError
        If the pixel data are not 16 bit, or do not hold so many slices.
    """
    rows, columns, slices = header.short("Rows"), header.short("Columns"), _slices(csa)
    across = math.ceil(math.sqrt(slices))
    if rows % across or columns % across:
        raise DicomError(f"damaged: {slices} slices do not fit a mosaic of {columns}x{rows} pixels")
    image = _pixels(header).reshape(across, rows // across, across, columns // across)
    stack = image.transpose(0, 2, 1, 3).reshape(across * across, rows // across, columns // across)[:slices]
    stack = stack[:: -1 if slices_reversed(csa) else 1, ::-1]
    return np.ascontiguousarray(stack).T


def mosaic_affine(header: Header, csa: Csa) -> NDArray[np.float64]:
    """The affine of what `mosaic_voxels` gives: voxel indices to RAS+ millimetres, 4x4.

    Siemens states the position of the mosaic's corner as if the whole mosaic were one slice around the
    centre of the first one, so the first tile's corner lies half the difference in size further in.
    """
    rows, columns, slices = header.short("Rows"), header.short("Columns"), _slices(csa)
    across = math.ceil(math.sqrt(slices))
    cosines = np.array(_numbers(header, "ImageOrientationPatient", 6)).reshape(2, 3)
    between_rows, between_columns = _numbers(header, "PixelSpacing", 2)
    thickness = header.number("SpacingBetweenSlices") or header.number("SliceThickness")
    if not thickness:
        raise DicomError("damaged: the DICOM header lacks SpacingBetweenSlices and SliceThickness")
    normal = np.cross(cosines[0], cosines[1])
    if np.dot(normal, _floats(csa, "SliceNormalVector", 3)) < 0:
        # Sagittal series: slices run against the right-handed normal.
        normal = -normal
    step_i = cosines[0] * between_columns
    step_j = cosines[1] * between_rows
    step_k = normal * thickness
    height = rows // across
    corner = np.array(_numbers(header, "ImagePositionPatient", 3))
    corner += step_i * (columns - columns // across) / 2 + step_j * (rows - height) / 2
    affine = np.eye(4)
    # Rows are turned over, and so may the slices be: the corner moves to the other end.
    affine[:3] = np.column_stack([step_i, -step_j, step_k, corner + step_j * (height - 1)])
    if slices_reversed(csa):
        affine[:3, 3] += step_k * (slices - 1)
        affine[:3, 2] = -step_k
    affine[:2] *= -1  # DICOM's x and y point left and back, NIfTI's right and forward
    return affine


def slice_times(header: Header, csa: Csa) -> list[float]:
    """When each slice was acquired, seconds from the first one, in the order of `mosaic_voxels`.

    Empty if the header does not say.
    """
    slices = _slices(csa)
    times = _floats(csa, "MosaicRefAcqTimes", slices, default=math.nan)
    raw = header.raw("MosaicSliceTimes")
    if not math.isfinite(times[0]) and len(raw) == 8 * slices:
        times = np.frombuffer(raw, dtype=f"{header.order}f8").tolist()
    if not all(map(math.isfinite, times)):
        return []
    if slices_reversed(csa):
        times = times[::-1]
    # Milliseconds, with the noise of a conversion in the last digits. Some versions count from midnight.
    first = min(times)
    return [round((time - first) / 1000, 6) for time in times]


def _slices(csa: Csa) -> int:
    count = int(_floats(csa, "NumberOfImagesInMosaic", 1, default=0.0)[0])
    if count < 1:
        raise DicomError("damaged: the Siemens CSA header lacks NumberOfImagesInMosaic")
    return count


def _pixels(header: Header) -> NDArray[Any]:
    if header.short("BitsAllocated") != 16:
        raise DicomError(f"pixels of {header.short('BitsAllocated')} bits; supported: 16")
    if (header.shorts("SamplesPerPixel") or [1])[0] != 1 or (header.integer("NumberOfFrames") or 1) != 1:
        raise DicomError("a mosaic with colours or several frames; supported: one frame of grey values")
    signed = (header.shorts("PixelRepresentation") or [0])[0] == 1
    if header.syntax not in UNCOMPRESSED:
        raise DicomError(
            f"pixel data in transfer syntax {header.syntax}; supported: uncompressed. "
            "Switch compression off in the scanner's export"
        )
    stored = np.frombuffer(header.raw("PixelData")[: pixel_bytes(header)], dtype=f"{header.order}u2")
    # Fewer than 16 bits fit a signed integer, which more programs read; dcm2niix chooses likewise.
    kind = np.int16 if signed or header.short("BitsStored") < 16 else np.uint16
    return stored.astype(np.uint16, copy=False).view(kind)


def _numbers(header: Header, name: str, count: int) -> list[float]:
    values = header.numbers(name)
    if len(values) != count:
        raise DicomError(f"damaged: {name} should hold {count} numbers, got {header.text(name)!r}")
    return values


def _floats(csa: Csa, name: str, count: int, default: float | None = None) -> list[float]:
    try:
        values = [float(text) for text in csa.get(name, [])]
    except ValueError:
        values = []
    if len(values) < count:
        if default is None:
            raise DicomError(f"damaged: the Siemens CSA header lacks {name}")
        return [default] * count
    return values[:count]
