import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from rtflow.bids.incremental import BidsIncremental
from rtflow.bids.run_file import RunFile, volumes_in
from rtflow.errors import OutputError, VolumeError

SHAPE = (6, 5, 4)
# Left-handed, oblique, anisotropic.
TURN = np.array([[-0.96, 0.0, 0.28], [0.0, 1.0, 0.0], [0.28, 0.0, 0.96]])
AFFINE = np.eye(4)
AFFINE[:3, :3] = TURN @ np.diag([2.0, 2.5, 3.3])
AFFINE[:3, 3] = [90.1, -120.2, -60.3]


def voxels(volume: int, dtype: str = "int16") -> np.ndarray:
    data = np.random.default_rng(volume).normal(500, 200, SHAPE)
    return data.astype(dtype) if np.dtype(dtype).kind == "f" else np.abs(data).astype(dtype)


def incremental(volume: int, dtype: str = "int16", **changes) -> BidsIncremental:
    data = changes.pop("data", voxels(volume, dtype))
    affine = changes.pop("affine", AFFINE)
    return BidsIncremental(data, affine, volume=volume, metadata={"RepetitionTime": 1.5}, **changes)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32"])
def test_at_every_moment_the_file_holds_what_came_so_far(tmp_path, dtype) -> None:
    path = tmp_path / "run.nii"
    file = RunFile(path, incremental(1, dtype))
    for volume in range(1, 8):
        file.append(incremental(volume, dtype))
        image = nib.load(path)
        assert image.shape == (*SHAPE, volume)
        assert path.stat().st_size == 352 + image.get_data_dtype().itemsize * np.prod(image.shape)
        stored = np.asanyarray(image.dataobj.get_unscaled())
        assert stored.dtype == np.dtype(dtype)
        for number in range(volume):
            assert np.array_equal(stored[..., number], voxels(number + 1, dtype))
    file.close()


def test_the_header_says_where_and_how_often(tmp_path) -> None:
    path = tmp_path / "run.nii"
    file = RunFile(path, incremental(1, slope=2.5, intercept=-3.0))
    file.append(incremental(1, slope=2.5, intercept=-3.0))
    file.close()
    image = nib.load(path)
    header = image.header
    for affine, code in (header.get_sform(coded=True), header.get_qform(coded=True)):
        np.testing.assert_allclose(affine, AFFINE, atol=1e-4)
        assert code == 1
    assert np.array_equal(header.get_sform(), AFFINE.astype(np.float32).astype(float))
    assert header.get_zooms()[3] == 1.5
    assert header.get_xyzt_units() == ("mm", "sec")
    assert (image.dataobj.slope, image.dataobj.inter) == (2.5, -3.0)
    np.testing.assert_allclose(image.get_fdata()[..., 0], voxels(1) * 2.5 - 3.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        header.check_fix(error_level=10)


def test_volumes_that_never_came_are_zeros_and_are_listed(tmp_path) -> None:
    path = tmp_path / "run.nii"
    file = RunFile(path, incremental(3))
    file.append(incremental(3))
    file.skip_to(5)
    file.append(incremental(6))
    file.append(incremental(9))
    file.skip_to(10)
    file.close()
    data = np.asanyarray(nib.load(path).dataobj)
    assert file.missing == [1, 2, 4, 5, 7, 8, 10]
    for volume in range(1, 11):
        expected = np.zeros(SHAPE, np.int16) if volume in file.missing else voxels(volume)
        assert np.array_equal(data[..., volume - 1], expected)


@pytest.mark.parametrize(
    ("other", "named"),
    [
        ({"data": np.zeros((6, 5, 5), np.int16)}, r"shape \(6, 5, 5\), the run has \(6, 5, 4\)"),
        ({"dtype": "float32"}, "type float32, the run has int16"),
        ({"slope": 2.0}, r"scaling \(2.0, 0.0\), the run has \(1.0, 0.0\)"),
        ({"affine": AFFINE + 0.01 * np.eye(4)[:, [3, 3, 3, 3]] * [[1], [1], [1], [0]]}, "affine"),
        ({"affine": np.diag([2.0, 2.5, 3.3, 1.0])}, r"affine \[\[2\.0.*the run has \[\[-1\.9"),
    ],
)
def test_a_volume_that_does_not_fit_is_refused_and_leaves_the_file_as_it_was(tmp_path, other, named) -> None:
    if named == "affine":
        moved = AFFINE.copy()
        moved[0, 3] += 0.01
        other = {"affine": moved}
    path = tmp_path / "run.nii"
    file = RunFile(path, incremental(1))
    file.append(incremental(1))
    before = path.read_bytes()
    with pytest.raises(VolumeError, match=named):
        file.append(incremental(2, **other))
    assert path.read_bytes() == before
    file.append(incremental(3))
    assert file.missing == [2]
    file.close()


def test_a_volume_out_of_order_is_refused(tmp_path) -> None:
    file = RunFile(tmp_path / "run.nii", incremental(1))
    file.append(incremental(2))
    for volume in (1, 2):
        with pytest.raises(VolumeError, match="order"):
            file.append(incremental(volume))
    file.close()


def test_a_double_becomes_single_and_a_truth_value_a_byte(tmp_path) -> None:
    for name, dtype, stored in (
        ("a", "float64", "float32"),
        ("b", "float16", "float32"),
        ("c", "bool", "uint8"),
    ):
        first = incremental(1, data=voxels(1).astype(dtype))
        file = RunFile(tmp_path / f"{name}.nii", first)
        file.append(first)
        file.close()
        assert nib.load(tmp_path / f"{name}.nii").get_data_dtype() == np.dtype(stored)
    with pytest.raises(VolumeError, match="complex"):
        RunFile(tmp_path / "d.nii", incremental(1, data=voxels(1).astype(complex)))


def test_what_a_crash_left_behind_the_last_whole_volume_is_never_read(tmp_path) -> None:
    path = tmp_path / "run.nii"
    file = RunFile(path, incremental(1))
    file.append(incremental(1))
    with path.open("ab") as torn:
        torn.write(b"\x55" * 100)
    assert nib.load(path).shape == (*SHAPE, 1)
    assert np.array_equal(np.asanyarray(nib.load(path).dataobj)[..., 0], voxels(1))
    file.append(incremental(2))
    assert np.array_equal(np.asanyarray(nib.load(path).dataobj)[..., 1], voxels(2))
    file.close()


def test_the_bytes_written_for_a_volume_do_not_grow_with_the_run(tmp_path, monkeypatch) -> None:
    from rtflow.bids import run_file

    written = []
    plain = run_file._write_at

    def counting(file, offset, data):
        written.append(len(data))
        plain(file, offset, data)

    monkeypatch.setattr(run_file, "_write_at", counting)
    file = RunFile(tmp_path / "run.nii", incremental(1))
    for volume in range(1, 201):
        file.append(incremental(volume))
    file.close()
    assert written == [352 + 240] + [240, 2] * 199


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_is_said(tmp_path) -> None:
    file = RunFile(tmp_path / "run.nii", incremental(1))
    file.append(incremental(1))
    whole = file._file
    with Path("/dev/full").open("wb", buffering=0) as full:
        file._file = full
        with pytest.raises(OutputError, match="No space left"):
            file.append(incremental(2))
    file._file = whole
    file.append(incremental(2))
    file.close()
    assert nib.load(tmp_path / "run.nii").shape == (*SHAPE, 2)


def test_the_number_of_volumes_is_read_from_the_header(tmp_path) -> None:
    path = tmp_path / "run.nii"
    assert volumes_in(path) == 0
    path.write_bytes(b"short")
    assert volumes_in(path) == 0
    file = RunFile(path, incremental(1), replaces=True)
    file.append(incremental(4))
    assert volumes_in(path) == 4
    file.close()
