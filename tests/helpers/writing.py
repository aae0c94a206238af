"""Series of every vendor and orientation, and what dcm2niix makes of them."""

import json
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import dcm2niix
import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from rtflow.dicom.writing import ScanSeries, Written, write_run

# The native program: the package's console script is a launcher around it.
NATIVE = Path(dcm2niix.__file__).with_name("dcm2niix")

TILT = Rotation.from_euler("xyz", [12, -7, 20], degrees=True).as_matrix()
# Columns: directions of i, j and k.
ROTATIONS = {
    "axial": np.diag([-1.0, 1.0, 1.0]),
    "oblique": TILT @ np.diag([-1.0, 1.0, 1.0]),
    "coronal": np.array([[-1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0]]),
    "sagittal": np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]),
    "sagittal from the left": TILT @ np.array([[0.0, 0.0, -1.0], [-1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]),
}


def placed(
    rotation: NDArray[np.float64], sizes: Sequence[float], shape: Sequence[int]
) -> NDArray[np.float64]:
    """The affine of a box of voxels a little off the scanner's centre."""
    affine = np.eye(4)
    affine[:3, :3] = rotation * sizes
    affine[:3, 3] = [3.0, -8.0, 11.0] - affine[:3, :3] @ (np.array(shape) - 1) / 2
    return affine


def noise(shape: tuple[int, ...], series: ScanSeries, volumes: int, seed: int = 0) -> list[list[NDArray]]:
    """For each volume one array an echo, of stored values of 12 bits."""
    rng = np.random.default_rng(seed)
    return [[rng.integers(0, 4096, shape, dtype=np.int16) for _ in series.echo_times] for _ in range(volumes)]


@dataclass
class Offline:
    """What dcm2niix made of a folder.

    Parameters
    ----------
    images
        Stored values and affine of each NIfTI file.
    sidecars
        Its JSON file.
    said
        The lines that it printed, without those on its work.
    """

    images: list[tuple[NDArray, NDArray]]
    sidecars: list[dict]
    said: list[str]


def offline(files: Iterable[Written], folder: Path) -> Offline:
    """Write the files, in a folder of their own, and have dcm2niix read them; echoes by their time."""
    (folder / "dicom").mkdir(parents=True)
    (folder / "nifti").mkdir()
    for file in files:
        path = folder / "dicom" / file.name
        assert not path.exists()
        path.write_bytes(file.data)
    command = [
        NATIVE,
        "-b",
        "y",
        "-ba",
        "n",
        "-z",
        "n",
        "-f",
        "%s_%e",
        "-o",
        folder / "nifti",
        folder / "dicom",
    ]
    ran = subprocess.run(command, check=True, capture_output=True, text=True)
    assert not ran.stderr
    found = []
    for path in (folder / "nifti").glob("*.nii"):
        image = nib.load(path)
        stored = np.asanyarray(image.dataobj.get_unscaled())
        sidecar = json.loads(path.with_suffix(".json").read_text())
        found.append(((stored.reshape(*stored.shape[:3], -1), image.affine), sidecar))
    found.sort(key=lambda item: item[1]["EchoTime"])
    work = ("Chris Rorden", "Found", "Convert", "Conversion")
    said = [line for line in ran.stdout.splitlines() if line.strip() and not line.startswith(work)]
    return Offline([image for image, _ in found], [sidecar for _, sidecar in found], said)


def round_trip(vendor: str, series: ScanSeries, volumes: list[list[NDArray]], folder: Path) -> Offline:
    """Have dcm2niix read a series, and see that each echo has the written voxels at their places."""
    result = offline(write_run(vendor, series, volumes), folder)
    assert len(result.images) == len(series.echo_times)
    for echo, (stored, affine) in enumerate(result.images):
        written = np.stack([echoes[echo] for echoes in volumes], axis=-1)
        ours = nib.as_closest_canonical(nib.Nifti1Image(written, series.affine))
        theirs = nib.as_closest_canonical(nib.Nifti1Image(stored, affine))
        np.testing.assert_array_equal(ours.dataobj, theirs.dataobj)
        np.testing.assert_allclose(ours.affine, theirs.affine, atol=1e-3)
    return result


def along_k(sidecar: dict, affine: NDArray, series: ScanSeries) -> list[float]:
    """dcm2niix's slice times in the order of our slices: it may number them from the other end."""
    times: list[float] = sidecar["SliceTiming"]
    return times if np.dot(affine[:3, 2], np.asarray(series.affine)[:3, 2]) > 0 else times[::-1]
