"""Spatial smoothing of each volume."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from nipype.interfaces.base import BaseInterfaceInputSpec, TraitedSpec, traits
from numpy.typing import NDArray
from scipy import ndimage

from rtflow.bids.incremental import BidsIncremental
from rtflow.errors import VolumeError
from rtflow.stream.interface import StreamInterface

#: Full width at half maximum of a normal distribution of standard deviation 1.
_FWHM = np.sqrt(8.0 * np.log(2.0))


def smooth(data: NDArray[Any], voxel_size: Sequence[float], fwhm: float) -> NDArray[np.float32]:
    """Convolve with a Gaussian that is as wide along each axis of the grid, in millimetres.

    The kernel is cut at four standard deviations. At the edges of the volume the image is continued by its
    mirror image, the outermost voxel repeated (``d c b a | a b c d``), as `nilearn.image.smooth_img` does it,
    with which it agrees to the precision of float32.

    Parameters
    ----------
    data
        Shape (i, j, k).
    voxel_size
        Millimetres along i, j, k.
    fwhm
        Full width at half maximum of the kernel, mm; 0 only makes floats of the data.

    Returns
    -------
    Shape (i, j, k), float32, C order.
    """
    smoothed: NDArray[np.float32] = np.array(data, dtype=np.float32, order="C")
    if fwhm > 0:
        sigma = [fwhm / _FWHM / size for size in voxel_size]
        ndimage.gaussian_filter(smoothed, sigma, output=smoothed, mode="reflect", truncate=4.0)
    return smoothed


class SmoothInput(BaseInterfaceInputSpec):  # type: ignore[misc]
    """Inputs of `Smooth`."""

    incremental = traits.Any(mandatory=True, desc="the volume: a BidsIncremental")
    fwhm = traits.Range(
        low=0.0, value=5.0, usedefault=True, desc="full width at half maximum of the kernel, mm"
    )


class SmoothOutput(TraitedSpec):  # type: ignore[misc]
    """Outputs of `Smooth`."""

    incremental = traits.Any(desc="the smoothed volume, float32")


class Smooth(StreamInterface):
    """Smooth each volume with a Gaussian of ``fwhm`` millimetres; see `smooth`.

    What lies outside the field of view (exactly 0 after motion correction) stays 0, so that whoever uses
    the volume can tell that it was not seen. Next to that border, values fall.

    Raises
    ------
    VolumeError
        If a voxel is not finite: it would spread.
    """

    input_spec = SmoothInput
    output_spec = SmoothOutput

    def _run_interface(self, runtime: Any) -> Any:
        incremental: BidsIncremental = self.inputs.incremental
        if not np.isfinite(incremental.data).all():
            raise VolumeError(
                f"volume {incremental.volume} has voxels that are not finite; smoothing spreads them"
            )
        smoothed = smooth(incremental.data, incremental.voxel_size, self.inputs.fwhm)
        if incremental.reference:
            smoothed[incremental.data == 0] = 0.0
        self._results = {"incremental": incremental.with_data(smoothed)}
        return runtime
