"""Spatial smoothing of each volume."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from nipype.interfaces.base import BaseInterfaceInputSpec, TraitedSpec, traits
from numpy.typing import NDArray

from rtflow.bids.incremental import BidsIncremental
from rtflow.errors import VolumeError
from rtflow.nodes.images.gaussian import gaussian, warm_up
from rtflow.stream.interface import RunContext, StreamInterface

#: Full width at half maximum of a normal distribution of standard deviation 1.
_FWHM = np.sqrt(8.0 * np.log(2.0))


def smooth(
    data: NDArray[Any], voxel_size: Sequence[float], fwhm: float, *, keep_zeros: bool = False
) -> NDArray[np.float32]:
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
    keep_zeros
        Whether voxels that are exactly 0 stay 0.

    Returns
    -------
    Shape (i, j, k), float32, C order.
    """
    if fwhm <= 0:
        return np.array(data, dtype=np.float32, order="C")
    sigma = [fwhm / _FWHM / size for size in voxel_size]
    return gaussian(np.ascontiguousarray(data, dtype=np.float32), sigma, keep_zeros)


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

    def start_run(self, context: RunContext) -> None:
        """Compile, or load what was compiled."""
        del context
        warm_up()

    def _run_interface(self, runtime: Any) -> Any:
        incremental: BidsIncremental = self.inputs.incremental
        smoothed = smooth(
            incremental.data,
            incremental.voxel_size,
            self.inputs.fwhm,
            keep_zeros=bool(incremental.reference),
        )
        # What is not finite is so in the smoothed volume, too.
        if not np.isfinite(smoothed.sum()):
            raise VolumeError(
                f"volume {incremental.volume} has voxels that are not finite; smoothing spreads them"
            )
        self._results = {"incremental": incremental.with_data(smoothed)}
        return runtime
