"""Rigid registration from afar, of images that may have another contrast: where a head lies on another day.

Mutual information (`comparison`) has many optima, so the search has many starts: as the headers say, and
with the middles of the two heads brought together, each turned and shifted to either side. All are judged on
coarse images, the best ones improved there, and the best of those on finer and finer ones; ANTs may take the
last round.

Everything runs on one thread, and nothing is drawn at random: the same two images give the same transform,
bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from rtflow.errors import VolumeError
from rtflow.nodes.images.brain import brain_mask, otsu_threshold
from rtflow.nodes.motion.ants import AntsError
from rtflow.nodes.motion.comparison import Comparison, coarser, near
from rtflow.nodes.motion.itk import one_thread_of_itk
from rtflow.nodes.motion.reference import RADIUS
from rtflow.nodes.motion.rigid import parameters_of, transform_of

#: Voxels of the images that are compared, mm: one round of the search each.
LEVELS = (8.0, 4.0, 2.5)

# How many candidates are improved in each round.
_KEPT = (5, 2, 1)

# Starts are turned and shifted by this, to either side of each axis: rad, mm.
_TURN = np.deg2rad(12.0)
_SHIFT = 16.0

# Places farther apart than this at the surface of a head are two, mm.
_ELSEWHERE = 10.0

# Mutual information where ANTs has come to, as a fraction of that where it began: what it makes most of is
# not quite the same.
_LEAST_KEPT = 0.98

# What a registration must reach to be trusted.
_LEAST_INFORMATION = 0.1
_LEAST_OVERLAP = 0.5
_LEAST_INSIDE = 0.8
_LEAST_LOST = 0.2
_MOST_RIVAL = 0.9


#: Voxels, shape (i, j, k), and 4x4 to RAS+ mm.
Image = tuple[NDArray[Any], NDArray[np.float64]]

#: `rtflow.nodes.motion.ants.Ants.register`: fixed image, mask in it and moving image to a 4x4.
ByAnts = Callable[[Image, NDArray[np.bool_], Image], NDArray[np.float64]]


@dataclass(frozen=True, eq=False)
class Found:
    """How an image lies against the fixed one.

    Parameters
    ----------
    transform
        4x4, RAS+ mm, positions in the fixed image to positions in the moving one.
    information
        Mutual information of the two there, in nats.
    lost
        Which fraction of it is lost if the moving image is shifted by 10 mm: the mean over six directions.
    overlap
        Fraction of the fixed image's brain that lies in the moving image's field of view.
    inside
        Fraction of the fixed image's brain, as far as it is in that field of view, that lies in the moving
        image's head.
    rival
        Mutual information at the best other place that the search has come to, as a fraction of that of the
        best one, on the middle images; 0 if there is no other.
    centre
        Shape (3,), RAS+ mm: the middle of the fixed image's brain.
    """

    transform: NDArray[np.float64]
    information: float
    lost: float
    overlap: float
    inside: float
    rival: float
    centre: NDArray[np.float64]


def register(
    fixed: NDArray[Any],
    fixed_affine: NDArray[Any],
    moving: NDArray[Any],
    moving_affine: NDArray[Any],
    *,
    brain: NDArray[np.bool_] | None = None,
    ants: ByAnts | None = None,
) -> Found:
    """Find the rigid transform from one image to another, from up to about 20 mm and 15 degrees away.

    Parameters
    ----------
    fixed
        An echo-planar volume, shape (i, j, k), finite.
    fixed_affine, moving_affine
        4x4, voxel indices to RAS+ mm; any handedness.
    moving
        The same head in any contrast, shape (l, m, n), finite.
    brain
        Where the brain is in ``moving``, shape (l, m, n); without, the whole head is compared.
    ants
        What takes the place of the last round, on images as fine as they are; None for one like the others.

    Returns
    -------
    A place that is as good as its fit: judge it by `distrust`.

    Raises
    ------
    VolumeError
        If there is no brain in the fixed image, or the two cannot be compared anywhere; as AntsError if ANTs
        fails or goes astray.
    """
    found_brain = brain_mask(fixed)
    head = _head(moving) if brain is None else np.asarray(brain, dtype=bool)
    if not head.any():
        raise VolumeError("the image to register with has no head in it; every voxel is alike")
    # Beyond the brain there is skull in one image and, often, nothing in the other.
    shown = moving if brain is None else np.where(head, moving, 0)
    centre = _middle(found_brain, fixed_affine)
    search = [np.zeros(6), np.r_[_middle(head, moving_affine) - centre, np.zeros(3)]]
    search = [start + offset for start in search for offset in _offsets()]
    with one_thread_of_itk():
        rival = 0.0
        for size, kept in zip(LEVELS, _KEPT, strict=True):
            comparison = Comparison(
                coarser(fixed, fixed_affine, size),
                coarser(found_brain.astype(np.float32), fixed_affine, size),
                coarser(shown, moving_affine, size),
                centre,
            )
            ranked = comparison.ranked(search)[:kept]
            # What tells nothing of each other will be refused, by whatever improved.
            if ants is not None and size == LEVELS[-1] and -ranked[0][0] > _LEAST_INFORMATION:
                images = (fixed, fixed_affine), (shown, moving_affine)
                ranked = [_by_ants(ants, *images, found_brain, comparison, *ranked[0])]
            else:
                ranked = comparison.ranked([comparison.improved(pose, size) for _, pose in ranked])
            search = _distinct([pose for _, pose in ranked])
            if kept > 1:
                rival = comparison.cost(search[1]) / ranked[0][0] if len(search) > 1 else 0.0
        here, best = -ranked[0][0], search[0]
        shifts = 10.0 * np.eye(3, 6)
        away = [-comparison.cost(best + shift) for shift in (*shifts, *-shifts)]
    transform = transform_of(best, centre)
    overlap, inside = _coverage(found_brain, fixed_affine, head, moving_affine, transform)
    return Found(
        transform=transform,
        information=here,
        lost=1.0 - float(np.mean(away)) / here if here > 0.0 else 0.0,
        overlap=overlap,
        inside=inside,
        rival=rival,
        centre=centre,
    )


def distrust(found: Found) -> str:
    """Why a registration cannot be trusted; empty if nothing speaks against it.

    It tells what is no image of this head from what is. It does not tell a place from one two millimetres
    away: the overlay is there to be looked at.
    """
    if not np.isfinite(found.transform).all() or not found.information > _LEAST_INFORMATION:
        return f"neither tells anything of the other (mutual information {found.information:.3f} nats)"
    if found.overlap < _LEAST_OVERLAP:
        return f"only {found.overlap:.0%} of the brain lie in its field of view"
    if found.inside < _LEAST_INSIDE:
        return f"only {found.inside:.0%} of the brain lie in its head"
    if found.lost < _LEAST_LOST:
        return f"it fits as well 10 mm away ({found.lost:.0%} less of mutual information)"
    if found.rival > _MOST_RIVAL:
        return f"it fits as well elsewhere ({found.rival:.0%} of the mutual information)"
    return ""


def _by_ants(
    ants: ByAnts,
    fixed: Image,
    moving: Image,
    brain: NDArray[np.bool_],
    comparison: Comparison,
    cost: float,
    pose: NDArray[np.float64],
) -> tuple[float, NDArray[np.float64]]:
    """Cost and pose that ANTs comes to from those of a comparison."""
    # ANTs sees the middle of the head at the origin, about which it turns, and the images where they meet.
    home = np.eye(4)
    home[:3, 3] = -comparison.centre
    start = transform_of(pose, comparison.centre)
    voxel = np.sqrt((fixed[1][:3, :3] ** 2).sum(axis=0))
    found = ants(
        (fixed[0], home @ fixed[1]), near(brain, voxel), (moving[0], home @ np.linalg.inv(start) @ moving[1])
    )
    better = parameters_of(start @ np.linalg.inv(home) @ found @ home, comparison.centre)
    then = comparison.cost(better)
    if not then < _LEAST_KEPT * cost:
        raise AntsError(f"ANTs went astray: mutual information fell from {-cost:.3f} to {-then:.3f} nats")
    return then, better


def _offsets() -> list[NDArray[np.float64]]:
    """Around a start: shifts along all axes at once, and turns about one at a time."""
    steps = (-1.0, 0.0, 1.0)
    shifts = [_SHIFT * np.array([x, y, z, 0.0, 0.0, 0.0]) for x in steps for y in steps for z in steps]
    turns = _TURN * np.vstack([np.zeros(6), np.eye(3, 6, 3), -np.eye(3, 6, 3)])
    return [shift + turn for shift in shifts for turn in turns]


def _distinct(poses: list[NDArray[np.float64]]) -> list[NDArray[np.float64]]:
    """Those that lie elsewhere than all before them."""
    found: list[NDArray[np.float64]] = []
    for pose in poses:
        if all(_apart(pose, other) > _ELSEWHERE for other in found):
            found.append(pose)
    return found


def _apart(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """How far apart two poses put the surface of a head, about, mm."""
    change = np.abs(one - other)
    return float(np.linalg.norm(change[:3]) + RADIUS * np.linalg.norm(change[3:]))


def _head(data: NDArray[Any]) -> NDArray[np.bool_]:
    """What is brighter than air, and what it encloses in any slice: a head is open at the neck."""
    smooth = ndimage.gaussian_filter(np.asarray(data, dtype=np.float32), 1.0)
    labels, pieces = ndimage.label(smooth > 0.5 * otsu_threshold(smooth))
    if not pieces:
        return np.zeros(data.shape, dtype=bool)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    head: NDArray[np.bool_] = (sizes > 0.05 * sizes.max())[labels]  # scalp and brain may be apart
    filled = head.copy()
    for axis in range(3):
        for place in range(data.shape[axis]):
            at = (slice(None),) * axis + (place,)
            filled[at] |= ndimage.binary_fill_holes(head[at])
    return filled


def _middle(mask: NDArray[np.bool_], affine: NDArray[Any]) -> NDArray[np.float64]:
    """The centre of a mask, RAS+ mm."""
    middle: NDArray[np.float64] = affine[:3, :3] @ np.argwhere(mask).mean(axis=0) + affine[:3, 3]
    return middle


def _coverage(
    brain: NDArray[np.bool_],
    affine: NDArray[Any],
    head: NDArray[np.bool_],
    head_affine: NDArray[Any],
    transform: NDArray[np.float64],
) -> tuple[float, float]:
    """Fraction of a brain in the other image's field of view, and of that, in its head."""
    move = np.linalg.inv(head_affine) @ transform @ affine
    voxels = np.rint(np.argwhere(brain) @ move[:3, :3].T + move[:3, 3]).astype(int)
    seen = ((voxels >= 0) & (voxels < head.shape)).all(axis=1)
    if not seen.any():
        return 0.0, 0.0
    return float(seen.mean()), float(head[tuple(voxels[seen].T)].mean())
