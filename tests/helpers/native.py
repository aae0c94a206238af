"""What the native dcm2niix makes of a folder of DICOM."""

import json
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dcm2niix
import nibabel as nib
import numpy as np

# The native program: the package's console script is a launcher around it.
NATIVE = Path(dcm2niix.__file__).with_name("dcm2niix")


@dataclass(frozen=True)
class Native:
    """One image that dcm2niix wrote: stored values, affine, and the JSON beside it."""

    image: nib.Nifti1Image
    sidecar: dict[str, Any]

    @property
    def stored(self) -> np.ndarray:
        """Stored values without scaling, shape (i, j, k, volumes)."""
        stored = self.image.dataobj.get_unscaled()
        return stored if stored.ndim == 4 else stored[..., None]

    @property
    def echo(self) -> int:
        """Number of its echo, from 1."""
        return int(self.sidecar.get("EchoNumber", 1))


def native(dicom: Path, out: Path) -> list[Native]:
    """Every image that dcm2niix makes of a folder, with all that it can tell of it."""
    out.mkdir()
    command = [NATIVE, "-b", "y", "-ba", "n", "-z", "n", "-f", "%s_%e", "-o", out, dicom]
    subprocess.run(command, check=True, capture_output=True)
    return [
        Native(nib.load(path), json.loads(path.with_suffix(".json").read_text()))
        for path in sorted(out.glob("*.nii"))
    ]


def canonical(stored: np.ndarray, affine: np.ndarray) -> nib.Nifti1Image:
    """One volume turned to the closest RAS+ orientation, values as they were."""
    return nib.as_closest_canonical(nib.Nifti1Image(stored, affine, dtype=stored.dtype))


def native_of(files: Iterable[bytes], folder: Path) -> Native:
    """The one image that dcm2niix makes of files of these bytes."""
    (folder / "dicom").mkdir()
    for number, data in enumerate(files):
        (folder / "dicom" / f"{number}.dcm").write_bytes(data)
    (image,) = native(folder / "dicom", folder / "nifti")
    return image
