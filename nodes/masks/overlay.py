"""A picture of a mask on the reference, for the operator to judge by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from rtflow.bids.grid import Grid
from rtflow.errors import OutputError

#: Millimetres of a pixel.
PIXEL = 1.0

#: Slices along each of the three axes.
SLICES = 5

MASK_COLOUR = (255, 64, 64)
BRAIN_COLOUR = (80, 200, 255)

# What the picture shows beyond the head, mm.
_ROOM = 8.0

# Letters of 5 x 7 pixels, one row a string.
_LETTERS = {
    "L": ("#....", "#....", "#....", "#....", "#....", "#....", "#####"),
    "R": ("####.", "#...#", "#...#", "####.", "#.#..", "#..#.", "#...#"),
}


def draw(
    data: NDArray[Any],
    onto: Grid,
    mask: NDArray[np.bool_],
    brain: NDArray[np.bool_] | None = None,
) -> NDArray[np.uint8]:
    """Draw the outline of a mask on the reference: a row of slices along each axis.

    Axial slices are seen from above and coronal ones from behind: the participant's left is on the left,
    marked L. Sagittal ones look at the left side, the face to the left. Slices are spread over the extent of
    the mask.

    Parameters
    ----------
    data
        The reference, shape (i, j, k).
    onto
        Its grid.
    mask
        Booleans, shape (i, j, k); outlined in red.
    brain
        Where the brain of the registered image has come to lie, likewise; outlined in blue: where the blue
        line leaves the brain that is seen, the registration is wrong.

    Returns
    -------
    Shape (rows, columns, 3).
    """
    upright = _Upright(data, onto, mask)
    shown = upright.sample(np.asarray(data, dtype=np.float32), order=1)
    low, high = np.percentile(data, 2), np.percentile(data, 99.5)
    grey = np.clip((shown - low) / max(float(high - low), 1e-9), 0, 1) * 255.0
    outlines = [(upright.sample(mask.astype(np.float32), order=0) > 0.5, MASK_COLOUR)]
    if brain is not None:
        outlines.insert(0, (upright.sample(brain.astype(np.float32), order=1) > 0.5, BRAIN_COLOUR))
    belongs = outlines[-1][0]
    rows = []
    for axis in (2, 1, 0):
        panels = []
        for place in _places(np.flatnonzero(belongs.any(axis=tuple({0, 1, 2} - {axis})))):
            panel = np.repeat(_turned(grey, axis, place)[..., None], 3, axis=2)
            for region, colour in outlines:
                panel[_outline(_turned(region, axis, place))] = colour
            if axis:
                _write(panel, "L", 2)
                _write(panel, "R", panel.shape[1] - 7)
            panels.append(panel)
        rows.append(np.concatenate(panels, axis=1))
    width = max(row.shape[1] for row in rows)
    padded = [np.pad(row, ((0, 2), (0, width - row.shape[1]), (0, 0))) for row in rows]
    return np.concatenate(padded).round().astype(np.uint8)


def write_png(picture: NDArray[np.uint8], path: Path) -> None:
    """Write a picture, shape (rows, columns, 3).

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    import SimpleITK as sitk

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sitk.WriteImage(sitk.GetImageFromArray(picture, isVector=True), str(path))
    except (OSError, RuntimeError) as error:
        raise OutputError(f"the overlay {path} cannot be written: {error}") from None


class _Upright:
    """A grid along right, front and up about the head in an image, whatever way that was scanned."""

    def __init__(self, data: NDArray[Any], onto: Grid, mask: NDArray[np.bool_]) -> None:
        affine = onto.matrix()
        head = (data > np.percentile(data, 60)) | mask
        corners = np.argwhere(ndimage.binary_opening(head) | mask) @ affine[:3, :3].T + affine[:3, 3]
        self._first = corners.min(axis=0) - _ROOM
        self._shape = tuple(np.ceil((corners.max(axis=0) + _ROOM - self._first) / PIXEL).astype(int).tolist())
        move = np.linalg.inv(affine)
        self._matrix = move[:3, :3] * PIXEL
        self._offset = move[:3, :3] @ self._first + move[:3, 3]

    def sample(self, data: NDArray[np.float32], order: int) -> NDArray[np.float32]:
        sampled: NDArray[np.float32] = ndimage.affine_transform(
            data, self._matrix, self._offset, output_shape=self._shape, order=order
        )
        return sampled


def _places(there: NDArray[np.intp]) -> list[int]:
    """Slices at even steps over those that a mask has, not its very ends."""
    at = (np.arange(SLICES) + 0.5) / SLICES * len(there)
    return [int(there[int(place)]) for place in at]


def _turned(volume: NDArray[Any], axis: int, place: int) -> NDArray[Any]:
    """A slice as rows and columns: up (or the front) at the top, left (or the front) on the left."""
    plane = np.take(volume, place, axis=axis)
    if axis == 0:
        plane = plane[::-1]  # the front is at the high end
    turned: NDArray[Any] = plane.T[::-1]
    return turned


def _outline(region: NDArray[np.bool_]) -> NDArray[np.bool_]:
    edge: NDArray[np.bool_] = region & ~ndimage.binary_erosion(region, border_value=1)
    return edge


def _write(panel: NDArray[Any], letter: str, column: int) -> None:
    for row, line in enumerate(_LETTERS[letter]):
        for offset, dot in enumerate(line):
            if dot == "#":
                panel[2 + row, column + offset] = 255
