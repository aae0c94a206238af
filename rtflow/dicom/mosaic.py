"""Siemens mosaics: all slices of a volume side by side in one two-dimensional image.

Tiles run from left to right and from top to bottom, in a square just large enough; the rest is zero.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtflow.dicom.csa import read_csa
from rtflow.dicom.geometry import ras_affine, thickness
from rtflow.dicom.read import Header
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


def mosaic_voxels(plane: NDArray[Any], csa: Csa) -> NDArray[Any]:
    """The volume's stored values.

    Parameters
    ----------
    plane
        The mosaic, shape (rows, columns).
    csa
        What `mosaic_csa` found.

    Returns
    -------
    NDArray
        Shape (columns, rows, slices), rows from the bottom of the image upwards, in Fortran order, as
        they lie in a NIfTI file.

    Raises
    ------
    DicomError
        If the mosaic does not hold so many slices.
    """
    (rows, columns), slices = plane.shape, mosaic_slices(csa)
    across = math.ceil(math.sqrt(slices))
    if rows % across or columns % across:
        raise DicomError(f"damaged: {slices} slices do not fit a mosaic of {columns}x{rows} pixels")
    image = plane.reshape(across, rows // across, across, columns // across)
    stack = image.transpose(0, 2, 1, 3).reshape(across * across, rows // across, columns // across)[:slices]
    stack = stack[:: -1 if slices_reversed(csa) else 1, ::-1]
    return np.ascontiguousarray(stack).T


def mosaic_affine(header: Header, csa: Csa) -> NDArray[np.float64]:
    """The affine of what `mosaic_voxels` gives: voxel indices to RAS+ millimetres, 4x4.

    Siemens states the position of the mosaic's corner as if the whole mosaic were one slice around the
    centre of the first one, so the first tile's corner lies half the difference in size further in.
    """
    rows, columns, slices = header.required("Rows"), header.required("Columns"), mosaic_slices(csa)
    across = math.ceil(math.sqrt(slices))
    cosines = np.array(header.vector("ImageOrientationPatient", 6)).reshape(2, 3)
    between_rows, between_columns = header.vector("PixelSpacing", 2)
    normal = np.cross(cosines[0], cosines[1])
    if np.dot(normal, _floats(csa, "SliceNormalVector", 3)) < 0:
        # Sagittal series: slices run against the right-handed normal.
        normal = -normal
    step_i, step_j, step_k = (
        cosines[0] * between_columns,
        cosines[1] * between_rows,
        normal * thickness(header),
    )
    height = rows // across
    corner = np.array(header.vector("ImagePositionPatient", 3))
    corner += step_i * (columns - columns // across) / 2 + step_j * (rows - height) / 2
    if slices_reversed(csa):
        corner, step_k = corner + step_k * (slices - 1), -step_k
    return ras_affine(step_i, step_j, step_k, corner, height)


def mosaic_times(header: Header, csa: Csa) -> list[float]:
    """When each slice was acquired, seconds from the first one, in the order of `mosaic_voxels`.

    Empty if the header does not say.
    """
    slices = mosaic_slices(csa)
    times = _floats(csa, "MosaicRefAcqTimes", slices, default=math.nan)
    raw = header.raw("MosaicSliceTimes")
    if not math.isfinite(times[0]) and len(raw) == 8 * slices:
        times = np.frombuffer(raw, dtype=f"{header.order}f8").tolist()
    if not all(map(math.isfinite, times)):
        return []
    if slices > 1 and max(times) == min(times):
        return []  # a 3D sequence, whose slices have no times of their own
    if slices_reversed(csa):
        times = times[::-1]
    # Milliseconds, with the noise of a conversion in the last digits. Some versions count from midnight.
    first = min(times)
    return [round((time - first) / 1000, 6) for time in times]


def mosaic_slices(csa: Csa) -> int:
    """How many slices the mosaic has.

    Raises
    ------
    DicomError
        If the CSA header does not say.
    """
    count = int(_floats(csa, "NumberOfImagesInMosaic", 1, default=0.0)[0])
    if count < 1:
        raise DicomError("damaged: the Siemens CSA header lacks NumberOfImagesInMosaic")
    return count


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
