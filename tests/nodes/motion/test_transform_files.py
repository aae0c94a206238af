"""Transforms as files: there and back by way of nitransforms, in every format."""

import numpy as np
import pytest
from phantom import oblique, rigid

from rtflow.bids.grid import Grid
from rtflow.errors import UsageError
from rtflow.nodes.motion.transform_files import FORMATS, read_transforms, write_transforms

REFERENCE = Grid.of(*oblique((20, 22, 12), (3.0, 3.0, 3.5)))
MOVING = Grid.of(*oblique((24, 20, 14), (2.5, 3.0, 3.0), (-9, 4, 5), left_handed=True))
TRANSFORMS = np.stack([rigid([0.1 * n, -0.2 * n, 0.3 * n], [0.5 * n, 0.2 * n, -0.4 * n]) for n in range(12)])


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("moving", [REFERENCE, MOVING], ids=["same grid", "other grid"])
def test_transforms_come_back(fmt, moving, tmp_path):
    files = write_transforms(tmp_path / "transforms", TRANSFORMS, REFERENCE, moving, fmt)
    assert len(files) == (12 if fmt == "fsl" else 1)
    assert all(file.is_file() for file in files)
    found = read_transforms(tmp_path / "transforms", REFERENCE, moving, fmt)
    np.testing.assert_allclose(found, TRANSFORMS, atol=2e-4)


def test_an_itk_file_holds_what_itk_reads(tmp_path):
    import SimpleITK as sitk

    (path,) = write_transforms(tmp_path / "one", TRANSFORMS[5:6], REFERENCE, REFERENCE, "itk")
    found = sitk.ReadTransform(str(path))
    flip = np.array([-1.0, -1.0, 1.0])
    for point in ([0.0, 0.0, 0.0], [30.0, -20.0, 50.0]):
        expected = (TRANSFORMS[5] @ [*point, 1.0])[:3]
        np.testing.assert_allclose(flip * found.TransformPoint((flip * point).tolist()), expected, atol=1e-3)


def test_an_fsl_matrix_takes_scaled_voxels_to_scaled_voxels(tmp_path):
    # FLIRT's file takes the moved volume to the reference, in mm of voxels from the first corner, with
    # left-right as if left-handed.
    (path,) = write_transforms(tmp_path / "one", TRANSFORMS[5:6], REFERENCE, MOVING, "fsl")

    def flirt(grid):
        affine = grid.matrix()
        size = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
        scaled = np.diag([*size, 1.0])
        if np.linalg.det(affine) > 0:
            scaled = np.diag([-size[0], size[1], size[2], 1.0])
            scaled[0, 3] = (grid.shape[0] - 1) * size[0]
        return scaled @ np.linalg.inv(affine)

    expected = flirt(REFERENCE) @ np.linalg.inv(TRANSFORMS[5]) @ np.linalg.inv(flirt(MOVING))
    np.testing.assert_allclose(np.loadtxt(path), expected, atol=1e-4)


def test_an_unknown_format_is_refused(tmp_path):
    with pytest.raises(UsageError, match="take one of itk, fsl, afni, x5"):
        write_transforms(tmp_path / "t", TRANSFORMS, REFERENCE, REFERENCE, "spm")
