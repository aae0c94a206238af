"""The peers: dcmtk's programs, and the native dcm2niix, as fast as it can be asked to be."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import subprocess
import sysconfig
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtflow.errors import RunError, UsageError

VARIABLE = "RTFLOW_DCM2NIIX"
"""Environment variable with the path of the program, for one that is not found by itself."""

# No gzip, a sidecar, short names, and nobody's defaults.
_OPTIONS = ("-g", "i", "-z", "n", "-b", "y", "-f", "v")


def find_dcmtk(program: str) -> str | None:
    """Path of one of dcmtk's programs, None if it is not installed.

    pynetdicom puts programs of the same names beside Python's own: those are passed over.
    """
    scripts = Path(sysconfig.get_path("scripts"))
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return shutil.which(program, path=os.pathsep.join(f for f in folders if f and Path(f) != scripts))


@dataclass(frozen=True)
class Dcm2niix:
    """A native dcm2niix.

    Parameters
    ----------
    path
        The program itself, not a script around it: starting an interpreter takes longer than converting.
    """

    path: Path

    @classmethod
    def find(cls) -> Dcm2niix:
        """The one that `VARIABLE` names, that of the Python package, or the first on the path.

        Raises
        ------
        UsageError
            If there is none.
        """
        chosen = os.environ.get(VARIABLE)
        if chosen:
            if not os.access(chosen, os.X_OK):
                raise UsageError(f"{VARIABLE} names {chosen}, which is no program; correct or unset it")
            return cls(Path(chosen))
        package = importlib.util.find_spec("dcm2niix")
        if package is not None and package.origin is not None:
            native = Path(package.origin).with_name("dcm2niix")
            if os.access(native, os.X_OK):
                return cls(native)
        found = shutil.which("dcm2niix")
        if found is None or Path(found).read_bytes()[:2] == b"#!":
            raise UsageError(
                "cannot measure: the bars are ratios to native dcm2niix, which is not here; "
                f"pip install dcm2niix, or name the program in {VARIABLE}"
            )
        return cls(Path(found))

    @property
    def version(self) -> str:
        """What it calls itself, such as v1.0.20260724; empty if it does not say."""
        said = subprocess.run([self.path, "--version"], capture_output=True, text=True, check=False).stdout
        return next((word for word in said.split() if word.startswith("v1.")), "")

    def start_time(self) -> float:
        """Seconds from starting it until it has ended without work: its help is asked for."""
        return self._run("-h")

    def convert_time(self, folder: Path, out: Path) -> float:
        """Seconds from starting it until its images of the files of a folder are written.

        Parameters
        ----------
        folder
            The DICOM files of one volume, and nothing else.
        out
            Where its files go; what is there is removed before.

        Raises
        ------
        RunError
            If it writes no image.
        """
        for path in out.iterdir():
            path.unlink()
        seconds = self._run(*_OPTIONS, "-o", str(out), str(folder))
        if not any(out.glob("*.nii")):
            raise RunError(
                f"{self.path} made no image of {len(list(folder.iterdir()))} files; run it by hand"
            )
        return seconds

    def _run(self, *arguments: str) -> float:
        nowhere = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in (0, 1, 2)]
        began = time.perf_counter()
        # The shortest way to another program: this process is not copied for it.
        process = os.posix_spawn(self.path, [str(self.path), *arguments], os.environ, file_actions=nowhere)
        try:
            _, status = os.waitpid(process, 0)
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, 9)
            os.waitpid(process, 0)
            raise
        seconds = time.perf_counter() - began
        if status != 0:
            ended = os.waitstatus_to_exitcode(status)
            raise RunError(f"{self.path} ended with status {ended}; run it by hand")
        return seconds


def images_in(out: Path) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    """Stored values along RAS axes, shape (i, j, k, volumes), and affine of each image, by file name."""
    import nibabel as nib

    found = []
    for path in sorted(out.glob("*.nii")):
        image: Any = nib.load(path)
        stored = np.asanyarray(image.dataobj.get_unscaled())
        found.append(canonical(stored, image.affine))
    return found


def canonical(stored: NDArray[Any], affine: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """An image turned to the nearest RAS axes, with a fourth one of volumes."""
    import nibabel as nib

    # Copied: what is compared later must not be a view of a file that is written anew.
    turned: Any = nib.as_closest_canonical(nib.Nifti1Image(np.array(stored), affine))
    data = np.asanyarray(turned.dataobj)
    return data.reshape(*data.shape[:3], -1), turned.affine


def differing(
    ours: Sequence[tuple[NDArray[Any], NDArray[Any]]], theirs: Sequence[tuple[NDArray[Any], NDArray[Any]]]
) -> str:
    """How images differ, in words; empty if they have the same voxels at the same places."""
    if len(ours) != len(theirs):
        return f"{len(theirs)} images instead of {len(ours)}"
    for (mine, affine), (other, place) in zip(ours, theirs, strict=True):
        if mine.shape != other.shape or not np.array_equal(mine, other):
            return "other voxels"
        if not np.allclose(affine, place, atol=1e-3):
            return "another affine"
    return ""
