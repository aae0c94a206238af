"""Where planes lie: positions along the normal, and the affine of a stack."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtflow.dicom.read import Header
from rtflow.errors import DicomError

# Positions are written with six digits or so; slices are a fraction of a millimetre thick at least.
_UNEVEN = 0.1


def place(header: Header) -> float:
    """Where a plane lies along its own normal, mm; the normal is rows x columns, right-handed.

    Raises
    ------
    DicomError
        If the header lacks position or orientation.
    """
    # Written out: this is asked for every slice that comes in.
    a, b, c, d, e, f = header.vector("ImageOrientationPatient", 6)
    x, y, z = header.vector("ImagePositionPatient", 3)
    return round((b * f - c * e) * x + (c * d - a * f) * y + (a * e - b * d) * z, 2)


def stack_order(headers: Sequence[Header]) -> list[int]:
    """Indices of the planes in ascending order along their normal.

    Raises
    ------
    DicomError
        If two planes lie at one place, if one is missing between the others, or if they are not parallel.
    """
    places = np.array([place(header) for header in headers])
    order = np.argsort(places, kind="stable")
    cosines = np.array([header.vector("ImageOrientationPatient", 6) for header in headers])
    if np.abs(cosines - cosines[0]).max() > 1e-3:
        raise DicomError("the planes of a volume are not parallel: its orientation changed")
    shapes = list(dict.fromkeys((header.required("Columns"), header.required("Rows")) for header in headers))
    if len(shapes) > 1:
        sizes = " and ".join(f"{columns}x{rows}" for columns, rows in shapes[:2])
        raise DicomError(f"the planes of a volume differ in size: {sizes} pixels")
    gaps = np.diff(places[order])
    if len(gaps):
        usual = float(np.median(gaps))
        if usual <= 0 or gaps.min() < usual * _UNEVEN:
            raise DicomError(f"two planes of a volume lie at one place ({usual:.3g} mm apart on the whole)")
        if gaps.max() > usual * (1 + _UNEVEN) + 0.02 or gaps.min() < usual * (1 - _UNEVEN) - 0.02:
            raise DicomError(
                f"the planes of a volume lie {gaps.min():.3g} to {gaps.max():.3g} mm apart: one is missing"
            )
    return [int(index) for index in order]


def stack_affine(headers: Sequence[Header]) -> NDArray[np.float64]:
    """The affine of planes in stack order with their rows turned over: voxels to RAS+ mm, 4x4.

    Raises
    ------
    DicomError
        If the header lacks what is needed.
    """
    first, count = headers[0], len(headers)
    cosines = np.array(first.vector("ImageOrientationPatient", 6)).reshape(2, 3)
    between_rows, between_columns = first.vector("PixelSpacing", 2)
    corner = np.array(first.vector("ImagePositionPatient", 3))
    if count > 1:
        step_k = (np.array(headers[-1].vector("ImagePositionPatient", 3)) - corner) / (count - 1)
    else:
        step_k = np.cross(cosines[0], cosines[1]) * thickness(first)
    return ras_affine(
        cosines[0] * between_columns, cosines[1] * between_rows, step_k, corner, first.required("Rows")
    )


def ras_affine(
    step_i: NDArray[Any], step_j: NDArray[Any], step_k: NDArray[Any], corner: NDArray[Any], rows: int
) -> NDArray[np.float64]:
    """The affine for rows from the bottom upwards, in RAS+, from DICOM's steps and corner in LPS+, mm."""
    affine = np.eye(4)
    affine[:3] = np.column_stack([step_i, -step_j, step_k, corner + step_j * (rows - 1)])
    affine[:2] *= -1  # DICOM's x and y point left and back, NIfTI's right and forward
    return affine


def thickness(header: Header) -> float:
    """From slice to slice, mm.

    Raises
    ------
    DicomError
        If the header does not say.
    """
    value = header.number("SpacingBetweenSlices") or header.number("SliceThickness")
    if not value:
        raise DicomError("damaged: the DICOM header lacks SpacingBetweenSlices and SliceThickness")
    return value
