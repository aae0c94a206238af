"""Rigid registration from afar, of images that may have another contrast: where a head lies on another day.

Mutual information of two images (Mattes et al., IEEE Trans Med Imaging 2003; 22:120-128) tells how well one
predicts the other, whatever the contrasts. It has many optima, so the search has many starts: as the headers
say, and with the middles of the two heads brought together, each turned and shifted to either side. All are
judged on coarse images, the best ones improved there, and the best of those on finer and finer ones.

Everything runs on one thread over all points of the fixed image's brain, none drawn at random: the same two
images give the same transform, bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from rtflow.errors import VolumeError
from rtflow.nodes.images.brain import brain_mask, otsu_threshold
from rtflow.nodes.motion.itk import itk_image, one_thread_of_itk
from rtflow.nodes.motion.reference import RADIUS
from rtflow.nodes.motion.rigid import parameters_of, transform_of

#: Voxels of the images that are compared, mm: one round of the search each.
LEVELS = (8.0, 4.0, 2.5)

# How many candidates are improved in each round.
_KEPT = (5, 2, 1)

# Starts are turned and shifted by this, to either side of each axis: rad, mm.
_TURN = np.deg2rad(12.0)
_SHIFT = 16.0

_BINS = 32
_ITERATIONS = 6

# What is beyond the brain of the fixed image is compared too, so far, mm: its surface says most.
_MARGIN = 8.0

# Places farther apart than this at the surface of a head are two, mm.
_ELSEWHERE = 10.0

# What a registration must reach to be trusted.
_LEAST_INFORMATION = 0.1
_LEAST_OVERLAP = 0.5
_LEAST_INSIDE = 0.8
_LEAST_LOST = 0.2
_MOST_RIVAL = 0.9


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

    Returns
    -------
    A place that is as good as its fit: judge it by `distrust`.

    Raises
    ------
    VolumeError
        If there is no brain in the fixed image, or the two cannot be compared anywhere.
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
            comparison = _Comparison(
                coarser(fixed, fixed_affine, size),
                coarser(found_brain.astype(np.float32), fixed_affine, size),
                coarser(shown, moving_affine, size),
                centre,
            )
            ranked = comparison.ranked(search)[:kept]
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


def coarser(
    data: NDArray[Any], affine: NDArray[Any], size: float
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """An image on voxels of about a size, smoothed to match: data, float32, and 4x4 affine.

    Axes whose voxels are that large already stay as they are.
    """
    voxel = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    factors = np.maximum(size / voxel, 1.0)
    # The Gaussian that takes a box of one width to one of another, by their variances.
    sigma = np.sqrt((factors**2 - 1.0) / 12.0)
    smooth = ndimage.gaussian_filter(np.asarray(data, dtype=np.float32), sigma)
    shape = tuple(np.maximum(1, np.floor(np.array(data.shape) / factors + 1e-6)).astype(int).tolist())
    first = (np.array(data.shape) - 1 - (np.array(shape) - 1) * factors) / 2.0
    sampled = ndimage.affine_transform(smooth, factors, first, output_shape=shape, order=1, mode="nearest")
    made = np.array(affine, dtype=np.float64)
    made[:3, :3] = affine[:3, :3] * factors
    made[:3, 3] = affine[:3, :3] @ first + affine[:3, 3]
    return sampled, made


class _Comparison:
    """Two images of one size of voxels, and how much they tell of each other at a pose.

    A pose is the six parameters of `rtflow.nodes.motion.rigid`, fixed to moving, about ``centre`` (RAS+ mm).
    """

    def __init__(self, fixed: Any, brain: Any, moving: Any, centre: NDArray[np.float64]) -> None:
        import SimpleITK as sitk

        self._centre = centre
        self._fixed = itk_image(*fixed)
        self._moving = itk_image(*moving)
        voxel = np.sqrt((brain[1][:3, :3] ** 2).sum(axis=0))
        far = ndimage.distance_transform_edt(brain[0] < 0.5, sampling=voxel)
        self._mask = itk_image((far <= _MARGIN).astype(np.uint8), brain[1])
        self._sitk: Any = sitk

    def _method(self) -> Any:
        sitk = self._sitk
        method = sitk.ImageRegistrationMethod()
        method.SetMetricAsMattesMutualInformation(_BINS)
        method.SetMetricSamplingStrategy(method.NONE)
        method.SetMetricFixedMask(self._mask)
        method.SetInterpolator(sitk.sitkLinear)
        return method

    def _itk(self, pose: NDArray[np.float64]) -> Any:
        transform = self._sitk.Euler3DTransform()
        transform.SetComputeZYX(False)
        flip = np.diag([-1.0, -1.0, 1.0])
        ras = transform_of(pose, self._centre)
        transform.SetCenter((flip @ self._centre).tolist())
        transform.SetMatrix((flip @ ras[:3, :3] @ flip).ravel().tolist())
        transform.SetTranslation((flip @ pose[:3]).tolist())
        return transform

    def _pose(self, transform: Any) -> NDArray[np.float64]:
        flip = np.diag([-1.0, -1.0, 1.0])
        ras = np.eye(4)
        ras[:3, :3] = flip @ np.array(transform.GetMatrix()).reshape(3, 3) @ flip
        shift = flip @ np.array(transform.GetTranslation())
        ras[:3, 3] = self._centre + shift - ras[:3, :3] @ self._centre
        return parameters_of(ras, self._centre)

    def cost(self, pose: NDArray[np.float64]) -> float:
        """Minus the mutual information in nats; infinite where the images do not meet."""
        method = self._method()
        method.SetInitialTransform(self._itk(pose))
        try:
            return float(method.MetricEvaluate(self._fixed, self._moving))
        except RuntimeError:  # too few points in the field of view
            return np.inf

    def ranked(self, poses: list[NDArray[np.float64]]) -> list[tuple[float, NDArray[np.float64]]]:
        """Poses with their costs, the best first."""
        return sorted(((self.cost(pose), pose) for pose in poses), key=lambda pair: pair[0])

    def improved(self, pose: NDArray[np.float64], size: float) -> NDArray[np.float64]:
        """The pose at the next optimum, by Powell's method (Comput J 1964; 7:155-162): only downhill.

        Descent along the gradient, in fixed steps, wanders away where a bright scalp is near.
        """
        method = self._method()
        method.SetOptimizerAsPowell(
            numberOfIterations=_ITERATIONS,
            maximumLineIterations=12,
            stepLength=size / 2.0,
            stepTolerance=size / 100.0,
            valueTolerance=1e-4,
        )
        method.SetOptimizerScalesFromPhysicalShift()
        transform = self._itk(pose)
        method.SetInitialTransform(transform, inPlace=True)
        try:
            method.Execute(self._fixed, self._moving)
        except RuntimeError:
            return pose
        better = self._pose(transform)
        return better if np.isfinite(better).all() else pose


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
