"""Masks and regions of other images, brought to the reference of a run.

The way of a position leads from the grid of the reference to that of the mask: by a rigid transform, found
today, into an image of an earlier session, and from there by that session's own transforms into the space of
the mask. The mask is sampled there, so nothing is interpolated twice, and no transform but a rigid one ever
has to be inverted.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from rtflow.bids.entities import parse_name
from rtflow.bids.grid import Grid
from rtflow.errors import GridError, UsageError
from rtflow.nodes.images.brain import LEAST_IN_BRAIN, read_volume, share_in_brain
from rtflow.nodes.masks.fmriprep import Step

#: A voxel of the reference is sampled at points that lie no farther apart than this, mm.
FINENESS = 1.0

# A head is no larger than this, mm: so far beyond the reference's field of view a mask is looked for.
_HEAD = 260.0

# The mask is looked for in blocks of voxels of this size first, mm.
_BLOCK = 6.0

# Points that are sampled at once.
_AT_ONCE = 6_000_000


@dataclass(frozen=True, eq=False)
class Roi:
    """A mask in a space of its own.

    Parameters
    ----------
    data
        Shape (i, j, k), float32, 0 to 1: the probability that a voxel belongs.
    affine
        4x4, voxel indices to RAS+ mm.
    name
        For messages: its path.
    """

    data: NDArray[np.float32]
    affine: NDArray[np.float64]
    name: str


@dataclass(frozen=True, eq=False)
class Brought:
    """A mask on the grid of the reference.

    Parameters
    ----------
    data
        Booleans, shape (i, j, k).
    covered
        Fraction of the mask that lies in the reference's field of view.
    millilitres
        Volume of that part.
    """

    data: NDArray[np.bool_]
    covered: float
    millilitres: float


def read_roi(path: str | Path, labels: Sequence[int] = ()) -> Roi:
    """A mask, a probability map, or regions of a map of labels.

    Parameters
    ----------
    path
        Of an image. Without labels its values must be probabilities (0 to 1), or 0 and one other value.
    labels
        Which values belong.

    Raises
    ------
    UsageError
        If it is no such image, or nothing in it belongs.
    """
    data, affine = read_volume(path, "mask")
    known = np.where(np.isfinite(data), data, 0)
    if labels:
        belongs = np.isin(known, list(labels)).astype(np.float32)
        if not belongs.any():
            raise UsageError(f"mask {path} has no voxel with label {', '.join(map(str, labels))}")
        return Roi(belongs, affine, str(path))
    values = np.unique(known)
    if not known.any():
        raise UsageError(f"mask {path} is empty: every voxel is zero; give a mask with voxels that are not")
    if values.size == 2 and values[0] == 0:
        return Roi((known != 0).astype(np.float32), affine, str(path))
    if values[0] < 0.0 or values[-1] > 1.0 + 1e-4:
        raise UsageError(
            f"mask {path} has values from {values[0]:g} to {values[-1]:g}: it is neither a mask nor a map of "
            "probabilities; name the labels that belong, or make a mask of it"
        )
    return Roi(np.clip(known, 0, 1).astype(np.float32), affine, str(path))


def check_steps(files: Iterable[Path]) -> tuple[Step, ...]:
    """The way of a position through transforms that are given in the order of the mask's way.

    Parameters
    ----------
    files
        The first one takes the mask out of its space, the last one into that of the image: the order in
        which the names say ``from-A_to-B``, ``from-B_to-C``.

    Raises
    ------
    UsageError
        If a file is missing, or the names contradict the order.
    """
    files = list(files)
    for file in files:
        if not file.is_file():
            raise UsageError(f"transform {file} does not exist; give the path of an ITK transform")
    for before, after in pairwise(files):
        ours, theirs = parse_name(before.name)[0].get("to"), parse_name(after.name)[0].get("from")
        if ours and theirs and ours != theirs:
            raise UsageError(
                f"transform {before.name} leads to {ours}, but {after.name} comes from {theirs}; name them "
                "in the order of the mask's way to the image"
            )
    return tuple(Step(file) for file in reversed(files))


def read_steps(steps: Iterable[Step]) -> list[Any]:
    """Transforms of nitransforms, to be applied to positions in that order.

    Raises
    ------
    UsageError
        If a file is no transform of ITK, or should be inverted and is not linear.
    """
    return [_read_step(step) for step in steps]


def _read_step(step: Step) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own imports and of vector images
        from nitransforms.linear import Affine
        from nitransforms.manip import TransformChain
        from nitransforms.nonlinear import DenseFieldTransform

        path = str(step.file)
        try:
            if path.endswith(".h5"):
                # Nothing reads only a part of it.
                found: Any = TransformChain.from_filename(path, fmt="itk")
            elif path.endswith((".nii", ".nii.gz")):
                found = DenseFieldTransform.from_filename(path, fmt="itk")
            else:
                found = Affine.from_filename(path, fmt="itk")
            if step.inverse:
                matrix = found.asaffine().matrix if path.endswith(".h5") else found.matrix
                found = Affine(np.linalg.inv(matrix))
        except OSError as error:
            raise UsageError(f"transform {step.file} cannot be read: {error}") from None
        except Exception as error:  # whatever a parser of others says of a file that is none
            turned = " the other way round" if step.inverse else ""
            raise UsageError(
                f"transform {step.file} is no transform of ITK that can be used{turned}: "
                f"{type(error).__name__}: {error}"
            ) from None
    return found


def map_points(transforms: Iterable[Any], points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Take positions, shape (n, 3), RAS+ mm, through transforms in turn."""
    for transform in transforms:
        # A chain of affine transforms, or one alone: nitransforms gives (n, 3).
        points = np.asarray(transform.map(points), dtype=np.float64).reshape(-1, 3)
    return points


def bring(
    roi: Roi,
    transforms: Sequence[Any],
    alignment: NDArray[np.float64],
    onto: Grid,
    *,
    threshold: float = 0.5,
) -> Brought:
    """Resample a mask onto the grid of the reference.

    Every voxel of the reference is sampled at points a millimetre apart or less, linearly, and belongs if the
    mean over them reaches the threshold: at one half, a voxel of which the mask fills half, so that volumes
    are kept on average.

    Parameters
    ----------
    roi
        The mask.
    transforms
        What takes positions in the registered image to those in the mask's space, of nitransforms.
    alignment
        4x4, RAS+ mm, positions in the reference to positions in the registered image.
    onto
        Grid of the reference.
    threshold
        Least mean probability, more than 0, at most 1.

    Raises
    ------
    GridError
        If nothing of the mask is left on that grid.
    """
    grid = onto.matrix()
    voxel = np.sqrt((grid[:3, :3] ** 2).sum(axis=0))
    to_image, to_roi = alignment @ grid, np.linalg.inv(roi.affine)

    def to_mask(points: NDArray[Any]) -> NDArray[np.float64]:
        """Voxels of the reference to those of the mask, both of shape (n, 3)."""
        there = map_points(transforms, points @ to_image[:3, :3].T + to_image[:3, 3])
        voxels_there: NDArray[np.float64] = there @ to_roi[:3, :3].T + to_roi[:3, 3]
        return voxels_there

    voxels = _candidates(roi, to_mask, onto.shape, voxel)
    offsets = [(np.arange(n) + 0.5) / n - 0.5 for n in np.ceil(voxel / FINENESS).astype(int).tolist()]
    within = np.stack(np.meshgrid(*offsets, indexing="ij"), axis=-1).reshape(-1, 3)
    mean = np.zeros(len(voxels))
    # As many points at once as memory allows: a field of displacements is filtered anew with each call.
    for some in np.array_split(np.arange(len(voxels)), 1 + len(voxels) * len(within) // _AT_ONCE):
        points = (voxels[some, None, :] + within).reshape(-1, 3)
        sampled = ndimage.map_coordinates(roi.data, to_mask(points).T, order=1, output=np.float64)
        mean[some] = sampled.reshape(len(some), -1).mean(axis=1)
    belong = voxels[mean >= threshold]
    inside = belong[((belong >= 0) & (belong < onto.shape)).all(axis=1)]
    brought = np.zeros(onto.shape, dtype=bool)
    brought[tuple(inside.T)] = True
    everywhere, here = len(belong), len(inside)
    if not here:
        where = (
            f"all {everywhere} voxels of it lie outside the field of view"
            if everywhere
            else "no voxel of the reference belongs to it by at least the threshold "
            f"({threshold:g}; the most is {mean.max(initial=0.0):.2f})"
        )
        raise GridError(
            f"mask {roi.name} is empty on the grid of the reference: {where}; check the space that it is "
            "said to be in, or lower the threshold"
        )
    size = abs(float(np.linalg.det(grid[:3, :3]))) / 1000.0
    return Brought(brought, here / everywhere, here * size)


def _candidates(
    roi: Roi,
    to_mask: Callable[[NDArray[Any]], NDArray[np.float64]],
    shape: tuple[int, ...],
    voxel: NDArray[np.float64],
) -> NDArray[np.int64]:
    """Voxels of a grid, in its field of view and beyond, that may belong; shape (n, 3).

    They are those of blocks of voxels that come near the box about the mask.
    """
    margin = np.maximum(0, np.ceil((_HEAD / voxel - shape) / 2)).astype(int)
    block = np.maximum(1, np.rint(_BLOCK / voxel)).astype(int)
    axes = [np.arange(-m, n + m, b) for m, n, b in zip(margin.tolist(), shape, block.tolist(), strict=True)]
    first = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    there = to_mask(first + (block - 1) / 2)
    belongs = np.argwhere(roi.data > 0.0)
    own = np.sqrt((roi.affine[:3, :3] ** 2).sum(axis=0))
    # Half the diagonal of a block, and half of that for what a transform stretches.
    reach = 0.75 * float(np.linalg.norm(voxel * block)) / own + 1.0
    low, high = belongs.min(axis=0) - reach, belongs.max(axis=0) + reach
    near = first[((there >= low) & (there <= high)).all(axis=1)]
    of_block: NDArray[np.int64] = np.indices(tuple(block.tolist())).reshape(3, -1).T
    found: NDArray[np.int64] = (near[:, None, :] + of_block).reshape(-1, 3)
    return found


def require_in_brain(brought: Brought, data: NDArray[Any], onto: Grid, name: str) -> None:
    """Refuse a mask that lies for the most part outside the brain of the reference.

    Parameters
    ----------
    brought, onto
        The mask, and the grid of the reference.
    data
        The reference, shape (i, j, k).
    name
        Of the mask, for the message.

    Raises
    ------
    GridError
        If less than half of it lies in the brain, or up to 6 mm beside it, where signal drops out.
    """
    share = share_in_brain(brought.data, data, onto)
    if share < LEAST_IN_BRAIN:
        raise GridError(
            f"mask {name} lies to {share:.0%} in the brain of the reference, expected at "
            f"least {LEAST_IN_BRAIN:.0%}; is it in another space than is said, or does a transform lack?"
        )
