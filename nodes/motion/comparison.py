"""How much two images of a head tell of each other, whatever their contrasts, and where they tell more.

Mutual information (Mattes et al., IEEE Trans Med Imaging 2003; 22:120-128) of all points of the fixed image's
brain, none drawn at random.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from rtflow.nodes.motion.itk import itk_image, ras_of
from rtflow.nodes.motion.rigid import parameters_of, transform_of

_BINS = 32
_ITERATIONS = 6

# What is beyond the brain of the fixed image is compared too, so far, mm: its surface says most.
_MARGIN = 8.0


class Comparison:
    """Two images of one size of voxels, and how much they tell of each other at a pose.

    A pose is the six parameters of `rtflow.nodes.motion.rigid`, fixed to moving, about ``centre`` (RAS+ mm).
    """

    def __init__(self, fixed: Any, brain: Any, moving: Any, centre: NDArray[np.float64]) -> None:
        import SimpleITK as sitk

        self.centre = centre
        self._fixed = itk_image(*fixed)
        self._moving = itk_image(*moving)
        voxel = np.sqrt((brain[1][:3, :3] ** 2).sum(axis=0))
        self._mask = itk_image(near(brain[0] >= 0.5, voxel).astype(np.uint8), brain[1])
        self._sitk: Any = sitk

    def _method(self) -> Any:
        sitk = self._sitk
        method = sitk.ImageRegistrationMethod()
        method.SetMetricAsMattesMutualInformation(_BINS)
        method.SetMetricSamplingStrategy(method.NONE)
        method.SetMetricFixedMask(self._mask)
        # Nothing here goes along a gradient; to filter a whole image for it takes longer than to compare.
        method.SetMetricUseMovingImageGradientFilter(False)
        method.SetMetricUseFixedImageGradientFilter(False)
        method.SetInterpolator(sitk.sitkLinear)
        return method

    def _itk(self, pose: NDArray[np.float64]) -> Any:
        transform = self._sitk.Euler3DTransform()
        transform.SetComputeZYX(False)
        flip = np.diag([-1.0, -1.0, 1.0])
        ras = transform_of(pose, self.centre)
        transform.SetCenter((flip @ self.centre).tolist())
        transform.SetMatrix((flip @ ras[:3, :3] @ flip).ravel().tolist())
        transform.SetTranslation((flip @ pose[:3]).tolist())
        return transform

    def _pose(self, transform: Any) -> NDArray[np.float64]:
        return parameters_of(ras_of(transform.TransformPoint), self.centre)

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


def near(brain: NDArray[np.bool_], voxel: NDArray[np.float64]) -> NDArray[np.bool_]:
    """What is compared: a brain and what lies up to 8 mm beside it, on voxels of a size in mm."""
    inside: NDArray[np.bool_] = ndimage.distance_transform_edt(~brain, sampling=voxel) <= _MARGIN
    return inside


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
