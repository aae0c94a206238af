import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from rtflow.bids.image_file import ImageFile
from rtflow.bids.incremental import BidsIncremental
from rtflow.errors import OutputError, VolumeError

AFFINE = np.diag([-2.0, 2.5, 3.3, 1.0])


def incremental(volume: int, shape=(60, 70, 80), dtype: str = "int16") -> BidsIncremental:
    data = np.random.default_rng(volume).normal(500, 200, shape).astype(dtype)
    return BidsIncremental(data, AFFINE, volume=volume, metadata={"RepetitionTime": 1.25}, slope=2.0)


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "float32"])
def test_what_is_written_is_read_back(tmp_path: Path, ending: str, dtype: str) -> None:
    volumes = [incremental(volume, dtype=dtype) for volume in (1, 2, 3)]
    path = tmp_path / f"run{ending}"
    file = ImageFile(path, volumes[0], 4)
    file.append(volumes[0])
    file.append_zeros()
    file.append(volumes[1])
    assert not path.exists()
    file.append(volumes[2])
    file.finish()
    file.discard()
    assert [found.name for found in tmp_path.iterdir()] == [path.name]
    image = nib.load(path)
    assert image.shape == (60, 70, 80, 4)
    assert image.get_data_dtype() == np.dtype(dtype)
    assert image.header["pixdim"][4] == 1.25
    assert (image.dataobj.slope, image.dataobj.inter) == (2.0, 0.0)
    np.testing.assert_allclose(image.affine, AFFINE, rtol=1e-6)
    found = np.asanyarray(image.dataobj.get_unscaled())
    assert not found[..., 1].any()
    for place, volume in zip((0, 2, 3), volumes, strict=True):
        np.testing.assert_array_equal(found[..., place], volume.data)


def test_a_compressed_file_is_one_plain_gzip_member(tmp_path: Path) -> None:
    path = tmp_path / "one.nii.gz"
    first = incremental(1)
    file = ImageFile(path, first, 1)
    file.append(first)
    file.finish()
    packed = path.read_bytes()
    assert packed[:3] == b"\x1f\x8b\x08"
    assert packed[4:8] == bytes(4)  # no time
    import zlib

    member = zlib.decompressobj(31)
    assert member.decompress(packed) == gzip.decompress(packed)
    assert member.eof
    assert member.unused_data == b""
    assert nib.load(path).shape == (60, 70, 80)


def test_what_is_discarded_leaves_nothing(tmp_path: Path) -> None:
    for ending in (".nii", ".nii.gz"):
        file = ImageFile(tmp_path / f"run{ending}", incremental(1), 2)
        file.append(incremental(1))
        file.discard()
    assert list(tmp_path.iterdir()) == []


def test_what_the_format_does_not_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(VolumeError, match="40000 volumes"):
        ImageFile(tmp_path / "run.nii", incremental(1), 40000)
    with pytest.raises(VolumeError, match="int64"):
        ImageFile(tmp_path / "run.nii", incremental(1, dtype="int64"), 2)
    with pytest.raises(OutputError, match="another folder"):
        ImageFile(tmp_path / "none" / "run.nii", incremental(1), 2)
    assert list(tmp_path.iterdir()) == []
