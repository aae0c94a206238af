"""Where the brain is in one echo-planar volume, and masks from files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from rtflow.bids.grid import Grid
from rtflow.bids.masked import Mask
from rtflow.errors import UsageError, VolumeError

#: The least fraction of the brain, or of a mask, that a volume beyond doubt shows.
COVERAGE = 0.95

#: The least fraction of a region that lies in the brain, or near it.
LEAST_IN_BRAIN = 0.5
# Signal drops out at the edge, mm.
_NEAR = 6.0


def otsu_threshold(values: NDArray[Any], bins: int = 256) -> float:
    """The threshold that parts values into two classes with the least variance within (Otsu 1979).

    Parameters
    ----------
    values
        Any shape, finite.
    bins
        Of the histogram; it ends at the 99.5th percentile, so that a few bright vessels or eyes do not
        stretch it.
    """
    top = float(np.percentile(values, 99.5))
    if top <= values.min():
        top = float(values.max())
    counts, edges = np.histogram(np.minimum(values, top), bins=bins)
    middles = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)
    above = below[-1] - below
    sum_below = np.cumsum(counts * middles)
    with np.errstate(invalid="ignore", divide="ignore"):
        apart = sum_below / below - (sum_below[-1] - sum_below) / above
        between = below * above * apart**2
    return float(edges[1 + int(np.argmax(np.nan_to_num(between)))])


def brain_mask(data: NDArray[Any], *, threshold: float | None = None, erode: int = 0) -> NDArray[np.bool_]:
    """The brain in an echo-planar volume: the largest bright piece, without holes.

    Slightly smoothed voxels above a threshold are opened by one voxel, which cuts what hangs on by a
    thread (eyes, scalp); the largest connected piece stays, its holes are filled.

    Parameters
    ----------
    data
        Shape (i, j, k), finite.
    threshold
        As a fraction of the 98th percentile of the volume; None for `otsu_threshold`.
    erode
        Voxels to take off the surface at the end.

    Returns
    -------
    Booleans, shape (i, j, k).

    Raises
    ------
    VolumeError
        If nothing is left.
    """
    smoothed = ndimage.gaussian_filter(data.astype(np.float32), 0.7)
    level = otsu_threshold(smoothed) if threshold is None else threshold * np.percentile(smoothed, 98)
    # A volume that is the same everywhere has no threshold.
    bright = smoothed > max(level, float(smoothed.min()))
    # A volume of one or two slices has nothing to open along the slices.
    flat = ndimage.generate_binary_structure(3, 1)
    flat[:, :, [0, 2]] &= data.shape[2] > 2
    opened = ndimage.binary_opening(bright, flat)
    labels, pieces = ndimage.label(opened)
    if pieces:
        sizes = np.bincount(labels.ravel())
        sizes[0] = 0
        bright = ndimage.binary_dilation(labels == sizes.argmax(), flat, mask=bright)
    mask = ndimage.binary_fill_holes(bright)
    if erode:
        mask = ndimage.binary_erosion(mask, flat, iterations=erode, border_value=1)
    if not pieces or not mask.any():
        raise VolumeError(
            f"no brain found in a volume with values from {data.min():g} to {data.max():g}; "
            "give the mask as a file, or another threshold"
        )
    return np.ascontiguousarray(mask, dtype=bool)


def share_in_brain(region: NDArray[np.bool_], data: NDArray[Any], onto: Grid) -> float:
    """Fraction of a region in the brain of a volume, or up to 6 mm beside it, where signal drops out.

    Parameters
    ----------
    region
        Booleans, shape (i, j, k).
    data, onto
        The volume, shape (i, j, k), and its grid.

    Raises
    ------
    VolumeError
        If no brain is found.
    """
    voxel = np.sqrt((onto.matrix()[:3, :3] ** 2).sum(axis=0))
    near = ndimage.distance_transform_edt(~brain_mask(data), sampling=voxel) <= _NEAR
    return float(near[region].mean())


def read_mask(path: str | Path) -> Mask:
    """A mask from an image file: what is not zero belongs.

    Raises
    ------
    UsageError
        If the file is missing, is no three-dimensional image, holds nothing but zeros, or has values of many
        kinds as maps of t or of probability do: where such a map is not zero says nothing.
    """
    data, affine = read_volume(path, "mask")
    chosen = np.ascontiguousarray(data != 0) & np.isfinite(data)
    if not chosen.any():
        raise UsageError(f"mask {path} is empty: every voxel is zero; give a mask with voxels that are not")
    low, high = float(data[chosen].min()), float(data[chosen].max())
    if not np.isclose(low, high, rtol=1e-3):
        raise UsageError(
            f"mask {path} has values from {low:g} to {high:g} beside zero: it is a map or an atlas; make a "
            "mask of it, 1 where the region is and 0 elsewhere"
        )
    return Mask(chosen, Grid.of(chosen.shape, affine))


def read_volume(path: str | Path, what: str) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Voxels and affine of a three-dimensional image (or of a series of one volume).

    Parameters
    ----------
    path
        Of a file that nibabel reads.
    what
        What it is for, for the messages.

    Raises
    ------
    UsageError
        If the file is missing, or is something else.
    """
    import nibabel as nib

    try:
        image: Any = nib.load(path)
        data = np.asanyarray(image.dataobj)
    except FileNotFoundError:
        raise UsageError(f"{what} {path} does not exist; give the path of an image") from None
    except (nib.filebasedimages.ImageFileError, OSError, ValueError, EOFError) as error:
        raise UsageError(f"{what} {path} is not an image that can be read: {error}") from None
    if data.ndim == 4 and data.shape[3] == 1:
        data = data[..., 0]
    if data.ndim != 3:
        raise UsageError(f"{what} {path} has shape {data.shape}; give an image of one volume")
    return data, np.asarray(image.affine, dtype=np.float64)
