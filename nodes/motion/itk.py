"""Images as ITK sees them, and ITK on one thread."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray


def itk_image(data: NDArray[Any], affine: NDArray[Any]) -> Any:
    """A SimpleITK image of voxels (i, j, k) and a 4x4 to RAS+ mm; ITK's millimetres are LPS."""
    import SimpleITK as sitk

    image: Any = sitk.GetImageFromArray(np.ascontiguousarray(data.transpose()))
    to_lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    voxel = np.sqrt((to_lps[:3, :3] ** 2).sum(axis=0))
    image.SetSpacing(voxel.tolist())
    image.SetDirection((to_lps[:3, :3] / voxel).ravel().tolist())
    image.SetOrigin(to_lps[:3, 3].tolist())
    return image


def ras_of(point: Callable[[NDArray[np.float64]], Any]) -> NDArray[np.float64]:
    """The 4x4 in RAS+ mm of a linear function that takes points in LPS+ mm to points in LPS+ mm."""
    flip = np.diag([-1.0, -1.0, 1.0, 1.0])
    matrix = np.eye(4)
    matrix[:3, 3] = point(np.zeros(3))
    for axis in range(3):
        matrix[:3, axis] = np.asarray(point(np.eye(3)[axis])) - matrix[:3, 3]
    return flip @ matrix @ flip


@contextlib.contextmanager
def one_thread_of_itk() -> Iterator[None]:
    """While in here, ITK sums in one order, whatever cores are free: what a method is told does not do."""
    import SimpleITK

    every: Any = SimpleITK.ProcessObject
    before = every.GetGlobalDefaultNumberOfThreads()
    every.SetGlobalDefaultNumberOfThreads(1)
    try:
        yield
    finally:
        every.SetGlobalDefaultNumberOfThreads(before)
