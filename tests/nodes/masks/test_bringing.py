"""Masks on the grid of the reference: against ITK, by volume and place, and what is refused."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from earlier import ball, itk_affine, moved, save, t1w_to_template, through
from hypothesis import given, settings
from hypothesis import strategies as st
from phantom import CENTRE, PHANTOM, oblique, rigid

from rtflow.bids.grid import Grid
from rtflow.errors import GridError, UsageError
from rtflow.nodes.masks.bringing import (
    Roi,
    bring,
    check_steps,
    map_points,
    read_roi,
    read_steps,
    require_in_brain,
)
from rtflow.nodes.masks.fmriprep import Step

PLACE = np.array([-38.0, -20.0, 12.0])
FINE = np.diag([-1.0, 1.0, 1.0, 1.0])
FINE[:3, 3] = (70.0, -90.0, -50.0)
FINE_SHAPE = (140, 140, 120)


@pytest.fixture(scope="module")
def region() -> Roi:
    """An ellipsoid on the participant's left, on voxels of 1 mm; 9.6 ml."""
    return Roi(ball(FINE_SHAPE, FINE, PLACE).astype(np.float32), FINE, "left.nii.gz")


def grid_of(shape, affine) -> Grid:
    return Grid.of(shape, affine, "aaaa")


def centre_of(mask, affine):
    return moved(affine, np.argwhere(mask).mean(axis=0))


@settings(max_examples=8, deadline=None)
@given(
    voxel=st.tuples(*3 * [st.floats(1.8, 4.0)]),
    degrees=st.tuples(*3 * [st.floats(-25.0, 25.0)]),
    left_handed=st.booleans(),
    shift=st.tuples(*3 * [st.floats(-10.0, 10.0)]),
    turn=st.tuples(*3 * [st.floats(-15.0, 15.0)]),
)
def test_volume_place_and_side_are_kept_on_any_grid(region, voxel, degrees, left_handed, shift, turn) -> None:
    shape, affine = oblique((48, 48, 40), voxel, degrees, left_handed)
    move = rigid(shift, turn)  # of the head, from the mask's space to today
    brought = bring(region, [], np.linalg.inv(move), grid_of(shape, affine))
    there = moved(move, PLACE)
    if brought.covered < 1.0:
        return
    # A convex region loses what of it fills less than half of a voxel; 9.6 ml are 150 voxels of 4 mm.
    assert brought.millilitres == pytest.approx(region.data.sum() / 1000.0, rel=0.08)
    np.testing.assert_allclose(centre_of(brought.data, affine), there, atol=0.5)
    # A marker on the left is on the left, however the voxels run.
    middle = moved(move, CENTRE)
    across = move[:3, 0]
    assert (centre_of(brought.data, affine) - middle) @ across < -30.0


def test_voxels_belong_of_which_half_is_filled(region) -> None:
    """By counting: voxels of 3 mm on which those of the mask lie without a remainder."""
    affine = FINE.copy()
    affine[:3, :3] *= 3.0
    affine[:3, 3] = moved(FINE, np.array([1.0, 1.0, 1.0]))
    shape = (46, 46, 40)
    filled = region.data[:138, :138, :120].reshape(46, 3, 46, 3, 40, 3).mean(axis=(1, 3, 5))
    found = bring(region, [], np.eye(4), grid_of(shape, affine)).data
    # Samples lie on the centres of the mask's voxels here.
    np.testing.assert_array_equal(found, filled >= 0.5)
    most = bring(region, [], np.eye(4), grid_of(shape, affine), threshold=1.0).data
    np.testing.assert_array_equal(most, filled >= 1.0)


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    """Transforms as ITK writes them, by kind."""
    folder = tmp_path_factory.mktemp("transforms")
    rotation = sitk.Euler3DTransform()
    rotation.SetCenter((10.0, 20.0, -5.0))
    rotation.SetRotation(0.1, -0.05, 0.08)
    rotation.SetTranslation((4.0, -3.0, 6.0))
    about = sitk.AffineTransform(3)
    about.SetMatrix(rotation.GetMatrix())
    about.SetCenter(rotation.GetCenter())
    about.SetTranslation(rotation.GetTranslation())
    made = {"affine.txt": about, "affine.mat": about, "warped.h5": t1w_to_template()}
    made["plain.h5"] = sitk.CompositeTransform([itk_affine(rigid((1, 2, 3), (4, 5, 6))), about])
    for name, transform in made.items():
        sitk.WriteTransform(transform, str(folder / name))
    return {name: folder / name for name in made}


@pytest.mark.parametrize("name", ["affine.txt", "affine.mat", "plain.h5", "warped.h5"])
def test_positions_go_where_itk_takes_them(files, name) -> None:
    points = PHANTOM.points[::7]
    expected = through(sitk.ReadTransform(str(files[name])), points)
    found = map_points(read_steps([Step(files[name])]), points)
    # ITK interpolates a field linearly, nitransforms by cubic splines: voxels of 6 mm, waves of 190 mm.
    np.testing.assert_allclose(found, expected, atol=0.1 if name == "warped.h5" else 2e-4)


@pytest.mark.parametrize("name", ["affine.txt", "plain.h5"])
def test_linear_transforms_are_turned(files, name) -> None:
    points = PHANTOM.points[::7]
    there_and_back = read_steps([Step(files[name]), Step(files[name], inverse=True)])
    np.testing.assert_allclose(map_points(there_and_back, points), points, atol=1e-4)


def test_a_warp_cannot_be_turned(files) -> None:
    with pytest.raises(UsageError, match=r"warped\.h5 is no transform of ITK that can be used the other way"):
        read_steps([Step(files["warped.h5"], inverse=True)])


@pytest.mark.parametrize("name", ["nonsense.txt", "nonsense.h5", "nonsense.nii.gz"])
def test_what_is_no_transform_is_refused_by_name(tmp_path, name) -> None:
    (tmp_path / name).write_text("not a transform\n")
    with pytest.raises(UsageError, match=f"transform .*{name}"):
        read_steps([Step(tmp_path / name)])


def test_transforms_are_named_in_the_order_of_the_masks_way(tmp_path) -> None:
    first = tmp_path / "sub-01_from-MNI152NLin2009cAsym_to-T1w_mode-image_xfm.h5"
    second = tmp_path / "sub-01_from-T1w_to-scanner_mode-image_xfm.txt"
    for path in (first, second):
        path.touch()
    # A position goes the other way.
    assert check_steps([first, second]) == (Step(second), Step(first))
    with pytest.raises(UsageError, match=r"leads to scanner, but .* comes from MNI152NLin2009cAsym"):
        check_steps([second, first])
    with pytest.raises(UsageError, match=r"none\.txt does not exist"):
        check_steps([tmp_path / "none.txt"])


def test_a_part_outside_the_field_of_view_is_told(region) -> None:
    shape, affine = oblique((60, 60, 24), (3.0, 3.0, 3.0), (0.0, 0.0, 0.0))
    affine[2, 3] = PLACE[2] + 1.5  # the lowest slice begins in the middle of the region
    brought = bring(region, [], np.eye(4), grid_of(shape, affine))
    assert brought.covered == pytest.approx(0.5, abs=0.1)
    affine[2, 3] = PLACE[2] + 30.0
    with pytest.raises(GridError, match=r"left\.nii\.gz is empty .* outside the field of view"):
        bring(region, [], np.eye(4), grid_of(shape, affine))


def test_a_region_that_fills_no_voxel_is_told() -> None:
    tiny = Roi(ball(FINE_SHAPE, FINE, PLACE, (1.0, 1.0, 1.0)).astype(np.float32), FINE, "tiny.nii")
    with pytest.raises(
        GridError, match=r"tiny.nii is empty .* by at least the threshold \(0.5; the most is 0.1"
    ):
        bring(tiny, [], np.eye(4), grid_of(*oblique((60, 60, 36), (3.6, 3.6, 3.6))))


def test_a_mask_beside_the_brain_is_refused(region) -> None:
    shape, affine = oblique((60, 60, 36), (3.5, 3.5, 3.5))
    data, grid = PHANTOM.scan(shape, affine), grid_of(shape, affine)
    require_in_brain(bring(region, [], np.eye(4), grid), data, grid, "left")
    away = np.eye(4)
    away[0, 3] = 45.0
    with pytest.raises(GridError, match=r"mask left lies to .* in the brain"):
        require_in_brain(bring(region, [], away, grid), data, grid, "left")


def test_masks_probabilities_and_labels_are_read(tmp_path) -> None:
    def read(data, labels=()):
        return read_roi(save(tmp_path / "mask.nii.gz", np.asarray(data), np.eye(4)), labels).data.ravel()

    shape = (1, 2, 3)
    counted = np.arange(6, dtype=np.int16).reshape(shape)
    np.testing.assert_array_equal(read(counted * 0 + 1), 1)
    np.testing.assert_array_equal(read((counted > 3) * np.int16(7)), [0, 0, 0, 0, 1, 1])
    np.testing.assert_allclose(read(counted / np.float32(10)), [0, 0.1, 0.2, 0.3, 0.4, 0.5], rtol=1e-6)
    np.testing.assert_array_equal(read(counted, (2, 5)), [0, 0, 1, 0, 0, 1])
    holes = (counted / np.float32(10)).astype(np.float32)
    holes[0, 0, 1] = np.nan
    np.testing.assert_allclose(read(holes), [0, 0, 0.2, 0.3, 0.4, 0.5], rtol=1e-6)
    for data, labels, says in (
        (counted, (), "values from 0 to 5: it is neither"),
        (counted, (9,), "no voxel with label 9"),
        (counted * 0, (), "is empty"),
        (counted - 3.5, (), "values from -3.5"),
    ):
        with pytest.raises(UsageError, match=says):
            read(data, labels)
    with pytest.raises(UsageError, match="does not exist"):
        read_roi(tmp_path / "absent.nii")
    nib.save(nib.Nifti1Image(np.ones((2, 2, 2, 3), np.float32), np.eye(4)), tmp_path / "series.nii")
    with pytest.raises(UsageError, match="one volume"):
        read_roi(tmp_path / "series.nii")
