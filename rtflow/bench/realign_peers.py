"""The peers of motion correction: each estimates and reslices, by its own library, on one thread.

None is needed to run rtflow: one that is not installed is left out.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from rtflow.bids.grid import Grid
from rtflow.nodes.motion.ants import installed
from rtflow.nodes.motion.itk import itk_image, ras_of
from rtflow.nodes.motion.transform_files import read_transforms

Floats = NDArray[np.float64]

#: From a volume to its transform (4x4, RAS+ mm, reference to moved volume); the resliced volume is dropped.
Correct = Callable[[NDArray[Any]], Floats]

#: What turns RAS+ into LPS+, and back.
_FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])


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
            learningRate=1.0, minStep=1e-4, numberOfIterations=100, gradientMagnitudeTolerance=1e-8
        )
        method.SetOptimizerScalesFromPhysicalShift()
        method.SetShrinkFactorsPerLevel([2, 1])
        method.SetSmoothingSigmasPerLevel([2.0, 0.0])
        method.SetNumberOfThreads(1)
        self._method, self._start = method, start

    def _image(self, data: NDArray[Any]) -> Any:
        return itk_image(np.asarray(data, np.float32), self._affine)

    def __call__(self, volume: NDArray[Any]) -> Floats:
        """Estimate and reslice."""
        moving = self._image(volume)
        self._method.SetInitialTransform(self._sitk.Euler3DTransform(self._start), inPlace=False)
        found = self._method.Execute(self._fixed, moving)
        self._sitk.Resample(moving, self._fixed, found, self._sitk.sitkBSpline, 0.0)
        return ras_of(found.TransformPoint)


class Elastix:
    """elastix by itk-elastix: rigid, mean squares, its default schedule for the rest, its own reslice."""

    def __init__(self, reference: NDArray[Any], affine: Floats) -> None:
        itk: Any = importlib.import_module("itk")
        self._itk = itk
        self._affine = affine
        itk.MultiThreaderBase.SetGlobalDefaultNumberOfThreads(1)
        self._fixed = self._image(reference)
        chosen = itk.ParameterObject.New()
        schedule = chosen.GetDefaultParameterMap("rigid", 2)
        schedule["Metric"] = ["AdvancedMeanSquares"]
        schedule["AutomaticTransformInitialization"] = ["false"]
        chosen.AddParameterMap(schedule)
        self._schedule = chosen

    def _image(self, data: NDArray[Any]) -> Any:
        image = self._itk.image_from_array(np.ascontiguousarray(data.T, dtype=np.float32))
        spacing, origin, direction = _geometry(self._affine)
        image.SetSpacing(spacing.tolist())
        image.SetOrigin(origin.tolist())
        image.SetDirection(self._itk.matrix_from_array(np.ascontiguousarray(direction)))
        return image

    def __call__(self, volume: NDArray[Any]) -> Floats:
        """Estimate and reslice."""
        _, found = self._itk.elastix_registration_method(
            self._fixed,
            self._image(volume),
            parameter_object=self._schedule,
            number_of_threads=1,
            log_to_console=False,
        )
        numbers = found.GetParameterMap(0)
        parameters = np.array([float(number) for number in numbers["TransformParameters"]])
        centre = np.array([float(number) for number in numbers["CenterOfRotationPoint"]])
        turn = Rotation.from_euler("ZXY", parameters[[2, 0, 1]]).as_matrix()
        return ras_of(lambda point: turn @ (point - centre) + centre + parameters[3:])


class AntsRigid:
    """ANTs as antspyx calls it for ``type_of_transform="Rigid"``; its time holds a program and files, too."""

    def __init__(self, reference: NDArray[Any], affine: Floats) -> None:
        ants = installed()
        assert ants is not None
        self._ants = ants
        self._affine = affine
        self._folder = tempfile.TemporaryDirectory()
        self._path = Path(self._folder.name)
        self._save("fixed", reference)

    def _save(self, name: str, data: NDArray[Any]) -> None:
        sitk: Any = importlib.import_module("SimpleITK")
        image = itk_image(np.asarray(data, np.float32), self._affine)
        sitk.WriteImage(image, str(self._path / f"{name}.nrrd"))

    def __call__(self, volume: NDArray[Any]) -> Floats:
        """Estimate and reslice."""
        self._save("moving", volume)
        self._ants.run(
            (
                *("--dimensionality", "3", "--float", "1"),
                *("--initial-moving-transform", "[fixed.nrrd,moving.nrrd,1]"),
                *("--metric", "mattes[fixed.nrrd,moving.nrrd,1,32,regular,0.2]"),
                *("--transform", "Rigid[0.25]"),
                *("--convergence", "[2100x1200x1200x10,1e-6,10]"),
                *("--smoothing-sigmas", "3x2x1x0", "--shrink-factors", "6x4x2x1"),
                *("--output", "[found,resliced.nrrd]"),
            ),
            self._path,
        )
        sitk: Any = importlib.import_module("SimpleITK")
        return ras_of(sitk.ReadTransform(str(self._path / "found0GenericAffine.mat")).TransformPoint)


def _geometry(affine: Floats) -> tuple[Floats, Floats, Floats]:
    """Spacing, origin and direction of an affine, as ITK has them (LPS+)."""
    spaced = _FLIP @ affine
    spacing = np.sqrt((spaced[:3, :3] ** 2).sum(axis=0))
    return spacing, spaced[:3, 3], spaced[:3, :3] / spacing


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


#: Name to constructor, of reference and affine.
PEERS: dict[str, Callable[[NDArray[Any], Floats], Correct]] = {
    "python-rtspm": Rtspm,
    "SimpleITK correlation": SimpleItk,
    "elastix mean squares": Elastix,
    "ANTs Rigid": AntsRigid,
    "3dvolreg": Volreg,
}

#: Name to the Python package that it is; the others are programs.
PACKAGES = {
    "python-rtspm": "python-rtspm",
    "SimpleITK correlation": "SimpleITK",
    "elastix mean squares": "itk-elastix",
}


def available() -> dict[str, Callable[[NDArray[Any], Floats], Correct]]:
    """Name to constructor, of reference and affine, of the peers that are installed."""
    return {name: peer for name, peer in PEERS.items() if _has(name)}


def _has(name: str) -> bool:
    if PEERS[name] is AntsRigid:
        return installed() is not None
    if name not in PACKAGES:
        return shutil.which(name) is not None
    try:
        return bool(importlib.metadata.version(PACKAGES[name]))
    except importlib.metadata.PackageNotFoundError:
        return False
