"""Images read volume by volume: any volume, that volume only, and what is told of images that are none."""

import gzip
import io
import struct
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from rtflow.bids.volumes import metadata_for, open_volumes
from rtflow.errors import VolumeError

DATA = np.random.default_rng(0).integers(0, 4000, (64, 60, 20, 12)).astype(np.int16)


class Counting(io.FileIO):
    """A file that counts what is read of it."""

    count = 0

    def readinto(self, buffer) -> int:
        got = super().readinto(buffer) or 0
        self.count += got
        return got


def put(path: Path, data: np.ndarray = DATA, kind=nib.Nifti1Image, affine=None, unit: str = "sec") -> Path:
    image = kind(data, np.diag([3.0, 3, 3, 1]) if affine is None else affine)
    image.header.set_xyzt_units("mm", unit)
    if data.ndim > 3:
        image.header["pixdim"][4] = 1500.0 if unit == "msec" else 1.5
    raw = image.to_bytes()
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)
    return path


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_any_volume_in_any_order(tmp_path, name) -> None:
    with open_volumes(put(tmp_path / name)) as image:
        assert (image.shape, image.volumes, image.tr) == ((64, 60, 20), 12, 1.5)
        for number in (5, 12, 1, 1, 7):
            found = image.read(number)
            np.testing.assert_array_equal(found, DATA[..., number - 1])
            assert found.flags.f_contiguous
        for number in (0, 13):
            with pytest.raises(VolumeError, match=f"no volume {number}, it has 12"):
                image.read(number)


def test_one_volume_is_all_that_is_read(tmp_path) -> None:
    file = Counting(put(tmp_path / "a.nii"))
    with open_volumes(file, "a.nii") as image:
        image.read(11)
    size = DATA[..., 0].nbytes
    assert size < file.count < size + 3 * 65536


def test_milliseconds_in_the_header_are_seconds(tmp_path) -> None:
    with open_volumes(put(tmp_path / "a.nii", unit="msec")) as image:
        assert image.tr == 1.5


def test_the_affine_of_nifti_2_is_as_it_is_stored(tmp_path) -> None:
    affine = np.array(
        [[-3.1, 0.02, 0.1, 90.123456789], [0.03, 3.2, -0.4, -100], [0, 0.3, 3.3, -60], [0, 0, 0, 1]]
    )
    with open_volumes(put(tmp_path / "a.nii.gz", kind=nib.Nifti2Image, affine=affine)) as image:
        np.testing.assert_array_equal(image.affine, affine)
        np.testing.assert_array_equal(image.read(3), DATA[..., 2])
    # In single precision, as a frame has it, it moves no voxel of a head by a tenth of a micrometre.
    corners = np.array(np.meshgrid([0, 100], [0, 100], [0, 60], [1])).reshape(4, -1)
    assert np.abs((affine.astype(np.float32) - affine) @ corners).max() < 1e-4


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "it ends 348 bytes too early"),
        (b"x" * 1000, "is no NIfTI image"),
        (gzip.compress(b"x" * 1000, mtime=0), "is no NIfTI image"),
    ],
)
def test_what_is_no_image_is_told(tmp_path, content, says) -> None:
    path = tmp_path / ("a.nii.gz" if content[:1] == b"\x1f" else "a.nii")
    path.write_bytes(content)
    with pytest.raises(VolumeError, match=says):
        open_volumes(path)
    with pytest.raises(VolumeError, match="No such file"):
        open_volumes(tmp_path / "none.nii")


def test_what_is_cut_off_or_damaged_is_told(tmp_path) -> None:
    path = put(tmp_path / "a.nii")
    path.write_bytes(path.read_bytes()[:-100])
    with open_volumes(path) as image:
        image.read(11)
        with pytest.raises(VolumeError, match=r"volume 12 cannot be read .*100 bytes too early"):
            image.read(12)
    path = put(tmp_path / "b.nii.gz")
    data = bytearray(path.read_bytes())
    data[-6] ^= 1  # of its own checksum
    path.write_bytes(data)
    with open_volumes(path) as image, pytest.raises(VolumeError, match=r"volume 12 cannot be read .*CRC"):
        image.read(12)


def test_five_dimensions_are_refused(tmp_path) -> None:
    with pytest.raises(VolumeError, match="expected three or four dimensions"):
        open_volumes(put(tmp_path / "a.nii", np.zeros((4, 4, 4, 1, 3), np.int16)))


def test_a_sidecar_that_is_no_object_is_told(tmp_path) -> None:
    image = tmp_path / "sub-1" / "func" / "sub-1_task-a_bold.nii"
    image.parent.mkdir(parents=True)
    assert metadata_for(tmp_path, image) == {}
    for content, says in (("[1]", "should be a JSON object"), ("{", "cannot be read")):
        (tmp_path / "task-a_bold.json").write_text(content)
        with pytest.raises(VolumeError, match=says):
            metadata_for(tmp_path, image)


@pytest.mark.parametrize(("axis", "length"), [(1, -3), (1, 0), (3, 0), (4, -1)])
def test_a_header_of_no_shape_is_damaged(tmp_path: Path, axis: int, length: int) -> None:
    path = tmp_path / "x.nii"
    nib.Nifti1Image(np.zeros((3, 4, 5, 2), np.int16), np.eye(4)).to_filename(path)
    with path.open("rb+") as file:
        file.seek(40 + 2 * axis)
        file.write(struct.pack("<h", length))
    with pytest.raises(VolumeError, match="the header says shape"):
        open_volumes(path)
