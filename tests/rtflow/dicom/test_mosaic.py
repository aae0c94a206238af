"""Mosaics against what dcm2niix makes of them, on synthetic series of every orientation and on real ones."""

import json
import subprocess
from collections.abc import Callable
from itertools import permutations, product
from pathlib import Path

import dcm2niix
import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scanning import mosaic_file
from scipy.spatial.transform import Rotation

from rtflow.bids.incremental import BidsIncremental
from rtflow.dicom.convert import to_incremental
from rtflow.dicom.identify import read_object
from rtflow.dicom.writing import ScanSeries

# The native program: the package's console script is a launcher around it.
NATIVE = Path(dcm2niix.__file__).with_name("dcm2niix")

REAL = [
    "siemens_E11_mosaic_rtcloud",
    "siemens_Trio_mosaic_opennft155",
    "siemens_D13_mosaic_ep2dInt",
    "siemens_D13_mosaic_multiecho",
    "siemens_E11_mosaic_nihAP",
    "siemens_E11_mosaic_nihRL",
]


def offline(dicom: Path, out: Path) -> dict[int, tuple[nib.Nifti1Image, dict]]:
    """What dcm2niix makes of a folder: echo to image and sidecar."""
    out.mkdir()
    command = [NATIVE, "-b", "y", "-ba", "n", "-z", "n", "-f", "%e", "-o", out, dicom]
    subprocess.run(command, check=True, capture_output=True)
    return {
        int(path.stem): (nib.load(path), json.loads(path.with_suffix(".json").read_text()))
        for path in out.glob("*.nii")
    }


def read(path: Path) -> BidsIncremental:
    return to_incremental(read_object(path.read_bytes()))


@pytest.mark.realdata
@pytest.mark.parametrize("name", REAL)
def test_real_series_equal_dcm2niix(name: str, series: Callable[[str], Path], tmp_path: Path) -> None:
    dicom = series(name) / "dicom"
    reference = offline(dicom, tmp_path / "offline")
    seen: dict[int, set[int]] = {}
    for path in sorted(dicom.iterdir()):
        incremental = read(path)
        echo = int(incremental.entities.get("echo", 1))
        image, _ = reference[echo]
        stored = np.asanyarray(image.dataobj)[..., incremental.volume - 1]
        assert incremental.data.dtype == stored.dtype
        np.testing.assert_array_equal(incremental.data, stored)
        np.testing.assert_allclose(incremental.affine, image.affine, atol=1e-3)
        seen.setdefault(echo, set()).add(incremental.volume)
    assert seen == {echo: set(range(1, image.shape[3] + 1)) for echo, (image, _) in reference.items()}


@pytest.mark.realdata
@pytest.mark.parametrize("name", REAL)
def test_metadata_of_real_series_agree_with_dcm2niix(
    name: str, series: Callable[[str], Path], tmp_path: Path
) -> None:
    dicom = series(name) / "dicom"
    reference = offline(dicom, tmp_path / "offline")
    compared = 0
    for path in dicom.iterdir():
        incremental = read(path)
        # dcm2niix describes a series by its first volume; slice times may differ by a tick in others.
        if incremental.volume != 1:
            continue
        _, sidecar = reference[int(incremental.entities.get("echo", 1))]
        ours = dict(incremental.metadata)
        assert json.loads(json.dumps(ours)) == ours
        # Two in which dcm2niix joins or adds words.
        for key in set(ours) & set(sidecar) - {"ImageType", "SequenceVariant"}:
            if isinstance(ours[key], str):
                assert ours[key] == sidecar[key], key
            else:
                # dcm2niix prints six digits.
                np.testing.assert_allclose(ours[key], sidecar[key], rtol=1e-5, atol=1e-6, err_msg=key)
            compared += 1
        assert {"RepetitionTime", "EchoTime", "FlipAngle", "SliceTiming", "MagneticFieldStrength"} <= set(
            ours
        )
        assert ours["PhaseEncodingDirection"] == sidecar["PhaseEncodingDirection"]
        assert len(ours["SliceTiming"]) == incremental.data.shape[2]
        assert not {"PatientName", "PatientID", "InstitutionName", "DeviceSerialNumber"} & set(ours)
    assert compared >= 20


ORIENTATIONS = [
    np.array(rows)[list(order)]
    for rows in ([[-1, 0, 0], [0, 1, 0], [0, 0, 1]], [[1, 0, 0], [0, 1, 0], [0, 0, 1]])
    for order in permutations(range(3))
]


def synthetic(rotation: np.ndarray, sizes: tuple[float, float, float], shape: tuple[int, ...]) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = rotation * sizes
    affine[:3, 3] = -affine[:3, :3] @ (np.array(shape) - 1) / 2 + [3.0, -8.0, 11.0]
    return affine


@pytest.mark.parametrize(("number", "backwards"), list(product(range(len(ORIENTATIONS)), (False, True))))
def test_every_orientation_equals_dcm2niix(number: int, backwards: bool, tmp_path: Path) -> None:
    """Axial, coronal and sagittal slices of both directions, in-plane turns, slices numbered backwards."""
    rng = np.random.default_rng(number)
    shape = (16, 12, 7)
    tilt = Rotation.from_euler("xyz", rng.uniform(-20, 20, 3), degrees=True).as_matrix()
    # Rows are turned over on conversion: what the file holds is left-handed where the slices' normal is not.
    affine = synthetic(tilt @ ORIENTATIONS[number].T, (3.0, 3.5, 4.0), shape)
    times = [0.25 * ((3 * k) % 7) for k in range(7)]
    series = ScanSeries(affine, slice_times=times, reversed_slices=backwards)
    data = rng.integers(0, 4000, shape, dtype=np.int16)
    (tmp_path / "dicom").mkdir()
    for volume in (1, 2):
        (tmp_path / "dicom" / f"{volume}.dcm").write_bytes(mosaic_file(series, data + volume, volume))
    (image, sidecar), *_ = offline(tmp_path / "dicom", tmp_path / "offline").values()
    for volume in (1, 2):
        incremental = read(tmp_path / "dicom" / f"{volume}.dcm")
        np.testing.assert_array_equal(incremental.data, np.asanyarray(image.dataobj)[..., volume - 1])
        np.testing.assert_array_equal(incremental.data, data + volume)
        np.testing.assert_allclose(incremental.affine, image.affine, atol=1e-3)
        np.testing.assert_allclose(incremental.affine, affine, atol=1e-3)
        np.testing.assert_allclose(incremental.metadata["SliceTiming"], times, atol=1e-6)
        np.testing.assert_allclose(sidecar["SliceTiming"], times, atol=1e-5)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    # Of two slices nobody can tell in which order they were numbered: the second has number 1 either way.
    shape=st.tuples(st.integers(2, 20), st.integers(2, 20), st.integers(3, 40)),
    unsigned=st.booleans(),
    backwards=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_what_is_written_is_read_back(
    shape: tuple[int, int, int], unsigned: bool, backwards: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    rotation = Rotation.random(random_state=seed % 1000).as_matrix()
    affine = synthetic(rotation, tuple(rng.uniform(1, 5, 3)), shape)
    dtype, top = (np.uint16, 65535) if unsigned else (np.int16, 4095)
    data = rng.integers(0, top, shape, dtype=dtype, endpoint=True)
    series = ScanSeries(affine, tr=1.97, reversed_slices=backwards, planned=9)
    item = read_object(mosaic_file(series, data, 7))
    incremental = to_incremental(item)
    assert (item.instance.volume, item.instance.planned, item.instance.tr) == (7, 9, 1.97)
    assert incremental.data.dtype == data.dtype
    np.testing.assert_array_equal(incremental.data, data)
    np.testing.assert_allclose(incremental.affine, affine, atol=1e-3)
    # The affine is one that a NIfTI file can hold to the bit.
    np.testing.assert_array_equal(incremental.affine, incremental.image.affine)


@pytest.mark.parametrize("direction", ["i", "i-", "j", "j-"])
def test_phase_encoding_direction(direction: str, tmp_path: Path) -> None:
    affine = synthetic(np.diag([-1.0, 1.0, 1.0]), (3, 3, 3), (8, 8, 4))
    series = ScanSeries(affine, phase_encoding=direction)
    (tmp_path / "dicom").mkdir()
    for volume in (1, 2):
        data = np.full((8, 8, 4), volume, np.int16)
        (tmp_path / "dicom" / f"{volume}.dcm").write_bytes(mosaic_file(series, data, volume))
    (_, sidecar), *_ = offline(tmp_path / "dicom", tmp_path / "offline").values()
    ours = read(tmp_path / "dicom" / "1.dcm").metadata
    assert ours["PhaseEncodingDirection"] == sidecar["PhaseEncodingDirection"] == direction
    np.testing.assert_allclose(ours["TotalReadoutTime"], sidecar["TotalReadoutTime"], rtol=1e-5)


def test_a_marker_on_the_left_stays_on_the_left(tmp_path: Path) -> None:
    """The head's left is at negative x, whatever way the rows run."""
    for sign in (1.0, -1.0):
        affine = synthetic(np.diag([sign, 1.0, 1.0]), (3, 3, 3), (16, 16, 5))
        data = np.zeros((16, 16, 5), np.int16)
        voxel = np.rint(np.linalg.inv(affine) @ [-15.0, 4.0, 11.0, 1.0]).astype(int)[:3]
        data[tuple(voxel)] = 100
        incremental = to_incremental(read_object(mosaic_file(ScanSeries(affine), data, 1)))
        where = incremental.affine @ [*np.argwhere(incremental.data == 100)[0], 1.0]
        np.testing.assert_allclose(where[:3], [-15.0, 4.0, 11.0], atol=1.6)
