"""Mosaics against what dcm2niix makes of them, on synthetic series of every orientation."""

from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from native import native
from scanning import mosaic_file
from scipy.spatial.transform import Rotation

from rtflow.bids.incremental import BidsIncremental
from rtflow.dicom.convert import to_incrementals
from rtflow.dicom.identify import read_object
from rtflow.dicom.writing import ScanSeries


def read(path: Path) -> BidsIncremental:
    return convert(path.read_bytes())


def convert(data: bytes) -> BidsIncremental:
    item = read_object(data)
    (incremental,) = to_incrementals([item], item.instance.volume)
    return incremental


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
    (reference,) = native(tmp_path / "dicom", tmp_path / "offline")
    for volume in (1, 2):
        incremental = read(tmp_path / "dicom" / f"{volume}.dcm")
        np.testing.assert_array_equal(incremental.data, reference.stored[..., volume - 1])
        np.testing.assert_array_equal(incremental.data, data + volume)
        np.testing.assert_allclose(incremental.affine, reference.image.affine, atol=1e-3)
        np.testing.assert_allclose(incremental.affine, affine, atol=1e-3)
        np.testing.assert_allclose(incremental.metadata["SliceTiming"], times, atol=1e-6)
        np.testing.assert_allclose(reference.sidecar["SliceTiming"], times, atol=1e-5)


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
    (incremental,) = to_incrementals([item], 7)
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
    (reference,) = native(tmp_path / "dicom", tmp_path / "offline")
    ours = read(tmp_path / "dicom" / "1.dcm").metadata
    assert ours["PhaseEncodingDirection"] == reference.sidecar["PhaseEncodingDirection"] == direction
    np.testing.assert_allclose(ours["TotalReadoutTime"], reference.sidecar["TotalReadoutTime"], rtol=1e-5)


def test_a_marker_on_the_left_stays_on_the_left(tmp_path: Path) -> None:
    """The head's left is at negative x, whatever way the rows run."""
    for sign in (1.0, -1.0):
        affine = synthetic(np.diag([sign, 1.0, 1.0]), (3, 3, 3), (16, 16, 5))
        data = np.zeros((16, 16, 5), np.int16)
        voxel = np.rint(np.linalg.inv(affine) @ [-15.0, 4.0, 11.0, 1.0]).astype(int)[:3]
        data[tuple(voxel)] = 100
        incremental = convert(mosaic_file(ScanSeries(affine), data, 1))
        where = incremental.affine @ [*np.argwhere(incremental.data == 100)[0], 1.0]
        np.testing.assert_allclose(where[:3], [-15.0, 4.0, 11.0], atol=1.6)
