"""Images as ITK sees them, and ITK on one thread."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
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
