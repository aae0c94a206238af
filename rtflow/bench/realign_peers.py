"""The peers of motion correction: each estimates and reslices, by its own library, on one thread.

None is needed to run rtflow: one that is not installed is left out.
"""

from __future__ import annotations

import importlib
import importlib.util
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtflow.bids.grid import Grid
from rtflow.nodes.transform_files import read_transforms

Floats = NDArray[np.float64]

#: From a volume to its transform (4x4, RAS+ mm, reference to moved volume); the resliced volume is dropped.
Correct = Callable[[NDArray[Any]], Floats]

#: What turns RAS+ into LPS+, and back.
_FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])


def available() -> dict[str, Callable[[NDArray[Any], Floats], Correct]]:
    """Name to constructor, of reference and affine, of the peers that are installed."""
    peers: dict[str, Callable[[NDArray[Any], Floats], Correct]] = {}
    if importlib.util.find_spec("rtspm"):
        peers["python-rtspm"] = Rtspm
    if importlib.util.find_spec("SimpleITK"):
        peers["SimpleITK correlation"] = SimpleItk
    if shutil.which("3dvolreg"):
        peers["3dvolreg"] = Volreg
    return peers


class Rtspm:
    """python-rtspm with the settings that OpenNFT gives it: quality .9, FWHM 5 mm, every 4 mm, 4th order."""

    def __init__(self, reference: NDArray[Any], affine: Floats) -> None:
        import rtspm

        self._spm = rtspm
        # SPM counts voxels from 1.
        self._mat = affine @ np.array([[1, 0, 0, -1], [0, 1, 0, -1], [0, 0, 1, -1], [0, 0, 0, 1.0]])
        self._reference = np.asfortranarray(reference, dtype=np.float64)
        common = {"quality": 0.9, "fwhm": 5, "sep": 4, "interp": 4, "wrap": np.zeros((3, 1))}
        self._realign = {**common, "rtm": 0, "PW": "", "lkp": np.arange(6)}
        self._reslice = {**common, "mask": 1, "mean": 0, "which": 2}
        self._kept: list[Any] = [[], [], [], [], [], []]
        self._count = 0
        self(reference)

    def __call__(self, volume: NDArray[Any]) -> Floats:
        """Estimate and reslice."""
        images = [
            {"mat": self._mat.copy(), "dim": np.array(volume.shape), "Vol": data}
            for data in (self._reference, np.asfortranarray(volume, dtype=np.float64))
        ]
        self._count += 1
        images, *kept, _ = self._spm.spm_realign_rt(images, self._realign, self._count, 1, *self._kept)
        self._kept = kept
        self._spm.spm_reslice_rt(images, self._reslice)
        found: Floats = self._mat @ np.linalg.inv(images[1]["mat"])
        return found


class SimpleItk:
    """SimpleITK's registration: correlation, regular step descent from the identity, B-spline reslice."""

    def __init__(self, reference: NDArray[Any], affine: Floats) -> None:
        sitk: Any = importlib.import_module("SimpleITK")
        self._sitk = sitk
        self._affine = affine
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
        self._fixed = self._image(reference)
        start = sitk.CenteredTransformInitializer(
            self._fixed,
            self._fixed,
            sitk.Euler3DTransform(),
            sitk.CenteredTransformInitializerFilter.GEOMETRY,
        )
        method = sitk.ImageRegistrationMethod()
        method.SetMetricAsCorrelation()
        method.SetMetricSamplingStrategy(method.REGULAR)
        method.SetMetricSamplingPercentage(0.2)
        method.SetInterpolator(sitk.sitkLinear)
        method.SetOptimizerAsRegularStepGradientDescent(
            learningRate=1.0, minStep=1e-4, numberOfIterations=100
        )
        method.SetOptimizerScalesFromPhysicalShift()
        method.SetShrinkFactorsPerLevel([2, 1])
        method.SetSmoothingSigmasPerLevel([2.0, 0.0])
        method.SetNumberOfThreads(1)
        self._method, self._start = method, start

    def _image(self, data: NDArray[Any]) -> Any:
        image = self._sitk.GetImageFromArray(np.ascontiguousarray(data.T, dtype=np.float32))
        spaced = _FLIP @ self._affine
        spacing = np.sqrt((spaced[:3, :3] ** 2).sum(axis=0))
        image.SetSpacing(spacing.tolist())
        image.SetOrigin(spaced[:3, 3].tolist())
        image.SetDirection((spaced[:3, :3] / spacing).ravel().tolist())
        return image

    def __call__(self, volume: NDArray[Any]) -> Floats:
        """Estimate and reslice."""
        moving = self._image(volume)
        self._method.SetInitialTransform(self._sitk.Euler3DTransform(self._start), inPlace=False)
        found = self._method.Execute(self._fixed, moving)
        self._sitk.Resample(moving, self._fixed, found, self._sitk.sitkBSpline, 0.0)
        matrix = np.eye(4)
        matrix[:3, 3] = found.TransformPoint((0.0, 0.0, 0.0))
        for axis in range(3):
            unit = [0.0, 0.0, 0.0]
            unit[axis] = 1.0
            matrix[:3, axis] = np.subtract(found.TransformPoint(unit), matrix[:3, 3])
        found_ras: Floats = _FLIP @ matrix @ _FLIP
        return found_ras


class Volreg:
    """AFNI's 3dvolreg with its defaults; its time holds the start of a program and files, too."""

    def __init__(self, reference: NDArray[Any], affine: Floats) -> None:
        self._affine = affine
        self._folder = tempfile.TemporaryDirectory()
        self._path = Path(self._folder.name)
        self._save("base.nii", reference)

    def _save(self, name: str, data: NDArray[Any]) -> None:
        import nibabel as nib

        nib.save(nib.Nifti1Image(data, self._affine), self._path / name)

    def __call__(self, volume: NDArray[Any]) -> Floats:
        """Estimate and reslice."""
        self._save("moved.nii", volume)
        command = "3dvolreg -overwrite -base base.nii -1Dmatrix_save found -prefix out.nii moved.nii"
        subprocess.run(command.split(), cwd=self._path, check=True, capture_output=True)
        grid = Grid.of(volume.shape, self._affine)
        found: Floats = read_transforms(self._path / "found", grid, grid, "afni")[0]
        return found
