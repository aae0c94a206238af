"""A head of which the motion is known: a fine template, sampled on any grid under any rigid transform.

It shares no code with what it is the truth for: rotations are SciPy's, the interpolation is of fifth order,
from 1 mm and never from the grid of the volumes.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

#: RAS+ mm; about it the phantom turns.
CENTRE = np.array([0.0, -18.0, 8.0])

SIGNAL = 1000.0
TSNR = 70.0

Floats = NDArray[np.float64]


def rigid(shift: ArrayLike, degrees: ArrayLike, centre: ArrayLike = CENTRE) -> Floats:
    """4x4, RAS+ mm: turn about the centre (axes x y z, the one about z first), then shift by millimetres."""
    transform = np.eye(4)
    transform[:3, :3] = Rotation.from_euler("XYZ", degrees, degrees=True).as_matrix()
    transform[:3, 3] = np.add(centre, shift) - transform[:3, :3] @ np.asarray(centre, dtype=float)
    return transform


def oblique(
    shape: tuple[int, int, int] = (64, 64, 36),
    voxel: Sequence[float] = (3.0, 3.0, 3.0),
    degrees: Sequence[float] = (12.0, 5.0, -3.0),
    left_handed: bool = False,
) -> tuple[tuple[int, int, int], Floats]:
    """Shape and affine of a grid about the centre of the head."""
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("XYZ", degrees, degrees=True).as_matrix() * np.array(voxel)
    if left_handed:
        affine[:3, 0] *= -1.0
    affine[:3, 3] = CENTRE - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return shape, affine


class Phantom:
    """An echo-planar image of a head at rest, known at every point.

    Parameters
    ----------
    width
        Of the voxels that are to be sampled, mm: each averages over its extent, and a box of that width has
        the standard deviation ``width / sqrt(12)``.
    """

    def __init__(self, width: float = 3.0) -> None:
        self.width = width

    @cached_property
    def _template(self) -> tuple[NDArray[np.float32], Floats]:
        from nilearn.datasets import load_mni152_template

        image = load_mni152_template(resolution=1)
        t1 = np.array(image.dataobj, dtype=np.float32)  # a copy: nilearn hands the same image to everyone
        t1 /= np.percentile(t1[t1 > 0], 98)
        # Room about the head, and no more: the template is 8 million voxels.
        t1 = np.pad(t1, 8)
        head = t1 > 0.05
        corners = np.argwhere(head)
        first, last = corners.min(axis=0) - 8, corners.max(axis=0) + 9
        box = tuple(slice(start, stop) for start, stop in zip(first, last, strict=True))
        # In an echo-planar image fluid is bright and white matter dark.
        epi = np.where(head[box], 1.55 - np.clip(t1[box], 0, 1.2), 0.0).astype(np.float32)
        affine = np.array(image.affine, dtype=float)
        affine[:3, 3] += affine[:3, :3] @ (first - 8)
        return ndimage.gaussian_filter(SIGNAL * epi, self.width / np.sqrt(12.0)), affine

    @cached_property
    def _coefficients(self) -> NDArray[np.float32]:
        filtered: NDArray[np.float32] = ndimage.spline_filter(self._template[0], 5, output=np.float32)
        return filtered

    @cached_property
    def points(self) -> Floats:
        """Shape (n, 3), RAS+ mm: some points all over the brain."""
        data, affine = self._template
        inside = ndimage.binary_erosion(data > 0.3 * SIGNAL, iterations=3)
        voxels: Floats = np.argwhere(inside)[::997] @ affine[:3, :3].T + affine[:3, 3]
        return voxels

    @cached_property
    def mean(self) -> float:
        """Mean signal of the brain."""
        data, _ = self._template
        return float(data[data > 0.3 * SIGNAL].mean())

    def sample(self, shape: tuple[int, int, int], affine: Floats, transform: Floats | None = None) -> Floats:
        """The head on a grid after it has moved by ``transform``, without noise."""
        _, own = self._template
        move = np.linalg.inv(own) @ np.linalg.inv(np.eye(4) if transform is None else transform) @ affine
        sampled: Floats = ndimage.affine_transform(
            self._coefficients,
            move[:3, :3],
            move[:3, 3],
            output_shape=shape,
            output=np.float64,
            order=5,
            prefilter=False,
        )
        return sampled

    def scan(
        self,
        shape: tuple[int, int, int],
        affine: Floats,
        transform: Floats | None = None,
        *,
        seed: int = 0,
        gain: float = 1.0,
    ) -> NDArray[np.int16]:
        """The same with noise, as the integers that a scanner stores."""
        return noisy(gain * self.sample(shape, affine, transform), seed)

    def worst(self, truth: Floats, found: Floats) -> float:
        """How far apart two transforms put any point of the brain, mm."""
        moved = [self.points @ t[:3, :3].T + t[:3, 3] for t in (truth, found)]
        return float(np.linalg.norm(moved[0] - moved[1], axis=1).max())


def noisy(clean: NDArray[Any], seed: int, deviation: float = SIGNAL / TSNR) -> NDArray[np.int16]:
    """Magnitudes of an image with complex noise of that standard deviation, as integers."""
    noise = np.random.default_rng(seed).normal(0.0, deviation, (2, *clean.shape))
    magnitudes: NDArray[np.int16] = np.hypot(clean + noise[0], noise[1]).round().astype(np.int16)
    return magnitudes
