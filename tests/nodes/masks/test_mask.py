"""Mask and ApplyMask: which voxels, on which grid, and what is refused."""

import re

import nibabel as nib
import numpy as np
import pytest
from nipype.interfaces.base import Undefined
from phantom import PHANTOM, oblique

from rtflow.bids.grid import Grid
from rtflow.bids.incremental import BidsIncremental
from rtflow.bids.masked import Mask as Chosen
from rtflow.errors import GridError, SessionError, UsageError, VolumeError
from rtflow.nodes.images.brain import brain_mask
from rtflow.nodes.masks.mask import ApplyMask, Mask

SHAPE, AFFINE = oblique((48, 48, 24), (4.0, 4.0, 4.5))


@pytest.fixture(scope="module")
def reference():
    return BidsIncremental(PHANTOM.scan(SHAPE, AFFINE), AFFINE, volume=1, reference="aaaa")


def started(context, **inputs):
    node = Mask(**inputs)
    node.start_run(context)
    return node


def mask_file(path, data, affine=AFFINE):
    nib.save(nib.Nifti1Image(data.astype(np.uint8), affine), path)
    return str(path)


def test_the_mask_is_the_brain_of_the_reference_and_knows_it(reference, make_context, call):
    mask = call(started(make_context()), 1, reference=reference)["mask"]
    np.testing.assert_array_equal(mask.data, brain_mask(reference.data))
    assert mask.grid == reference.grid
    assert mask.grid.reference == "aaaa"


def test_the_mask_is_made_once(reference, make_context, call):
    node = started(make_context())
    first = call(node, 1, reference=reference)["mask"]
    later = reference.with_data(np.roll(reference.data, 8, axis=0), reference="bbbb")
    assert call(node, 2, reference=later)["mask"] is first


def test_options_reach_the_brain_mask(reference, make_context, call):
    mask = call(started(make_context(), threshold=0.6, erode=1), 1, reference=reference)["mask"]
    np.testing.assert_array_equal(mask.data, brain_mask(reference.data, threshold=0.6, erode=1))


def test_a_file_gives_the_voxels_and_the_reference_the_identity(reference, make_context, call, tmp_path):
    data = np.zeros(SHAPE, bool)
    data[3:6, 10:12, 4] = True
    path = mask_file(tmp_path / "mask.nii.gz", data)
    mask = call(started(make_context(), file=path), 1, reference=reference)["mask"]
    np.testing.assert_array_equal(mask.data, data)
    assert mask.grid == reference.grid


@pytest.mark.parametrize(
    ("shape", "affine", "says"),
    [(SHAPE, AFFINE + np.eye(4)[:, [0]] @ np.eye(4)[[3]], "affine"), ((48, 48, 23), AFFINE, "shape")],
)
def test_a_file_on_another_grid_is_refused(reference, make_context, call, tmp_path, shape, affine, says):
    path = mask_file(tmp_path / "mask.nii.gz", np.ones(shape), affine)
    node = started(make_context(), file=path)
    with pytest.raises(GridError, match=rf"{says}.*BringMask") as caught:
        call(node, 1, reference=reference)
    assert path in str(caught.value)


def test_a_file_on_another_grid_is_told_with_the_first_dummy(reference, make_context, call, tmp_path):
    scanned = BidsIncremental(reference.data, AFFINE, volume=1)
    wrong = started(make_context(), file=mask_file(tmp_path / "wrong.nii", np.ones((48, 48, 23))))
    with pytest.raises(GridError, match=r"wrong\.nii"):
        call(wrong, 1, incremental=scanned)
    right = started(make_context(), file=mask_file(tmp_path / "right.nii", np.ones(SHAPE)))
    assert call(right, 1, incremental=scanned) == {}
    mask = call(right, 2, incremental=scanned, reference=reference)["mask"]
    assert mask.grid == reference.grid
    assert call(right, 3, incremental=scanned, reference=Undefined) == {"mask": mask}


def test_a_file_that_is_none_is_refused_before_the_first_volume(make_context, tmp_path):
    with pytest.raises(UsageError, match="does not exist"):
        started(make_context(), file=str(tmp_path / "nothing.nii"))
    with pytest.raises(UsageError, match="not both"):
        started(make_context(), file="a.nii", load="b")


def test_a_later_run_takes_the_mask_from_the_session(reference, make_context, call, leave):
    made = call(started(make_context("run-a"), threshold=0.5, save="brain"), 1, reference=reference)["mask"]
    leave("run-a")
    loaded = call(started(make_context("run-b"), load="brain"), 1, reference=reference)["mask"]
    np.testing.assert_array_equal(loaded.data, made.data)
    assert loaded.identity == made.identity
    assert (make_context("run-b").run_dir / "session" / "brain.npz").is_file()


def test_a_mask_that_is_not_there_stops_the_run_before_its_first_volume(make_context):
    with pytest.raises(SessionError, match="no 'brain'"):
        started(make_context(), load="brain")


def test_a_mask_of_another_reference_is_refused(reference, make_context, call, leave):
    call(started(make_context("run-a"), save="brain"), 1, reference=reference)
    leave("run-a")
    other = reference.with_data(reference.data, reference="bbbb")
    with pytest.raises(SessionError, match="aligned with reference aaaa, expected bbbb"):
        call(started(make_context("run-b"), load="brain"), 1, reference=other)


def test_a_reference_without_a_brain_fails_the_volume_and_not_the_next(reference, make_context, call):
    node = started(make_context())
    with pytest.raises(VolumeError, match="no brain"):
        call(node, 1, reference=reference.with_data(np.zeros(SHAPE, np.int16)))
    assert call(node, 2, reference=reference)["mask"].indices.size > 1000


def test_the_mask_goes_on_in_another_process(reference, make_context, call):
    first = started(make_context())
    mask = call(first, 1, reference=reference)["mask"]
    second = started(make_context("run-b"))
    second.restore(first.snapshot())
    assert call(second, 2, reference=reference)["mask"].identity == mask.identity


@pytest.fixture
def small():
    affine = np.diag([3.0, 3, 3, 1])
    data = np.random.default_rng(0).integers(1, 100, (5, 6, 7)).astype(np.float32)
    volume = BidsIncremental(data, affine, volume=4, reference="aaaa")
    chosen = np.random.default_rng(1).random((5, 6, 7)) < 0.5
    return volume, Chosen(chosen, Grid.of((5, 6, 7), affine, "aaaa"))


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", [np.int16, np.float32, np.float64])
def test_features_are_in_the_order_of_the_indices(small, call, order, dtype):
    volume, mask = small
    volume = volume.with_data(np.array(volume.data, dtype=dtype, order=order))
    found = call(ApplyMask(), 4, incremental=volume, mask=mask)
    expected = [volume.data[tuple(index)] for index in np.argwhere(mask.data)]
    np.testing.assert_array_equal(found["features"].values, expected)
    assert found["features"].values.dtype == np.float32
    assert found["features"].mask is mask
    assert found["mean"] == pytest.approx(np.mean(expected))


def test_a_mask_may_be_a_file(small, call, tmp_path, make_context):
    volume, mask = small
    node = ApplyMask(mask=mask_file(tmp_path / "mask.nii", mask.data, volume.affine))
    node.start_run(make_context())
    (tmp_path / "mask.nii").unlink()
    found = call(node, 4, incremental=volume)
    np.testing.assert_array_equal(found["features"].values, volume.data[mask.data])


@pytest.mark.parametrize("aligned", [True, False])
def test_features_are_in_the_units_of_the_scanner(small, call, aligned):
    volume, mask = small
    data = volume.data.copy()
    data[tuple(np.argwhere(mask.data)[3])] = 0.0
    scaled = BidsIncremental(
        data, volume.affine, volume=4, slope=0.5, intercept=100.0, reference="aaaa" if aligned else ""
    )
    expected = 0.5 * data[mask.data] + 100.0
    if aligned:
        expected[3] = 0.0  # out of view
    values = call(ApplyMask(), 4, incremental=scaled, mask=mask)["features"].values
    np.testing.assert_array_equal(values, expected)
    assert values.dtype == np.float32
    # As far as the volume goes, its scaling goes with it.
    for later in (scaled.with_data(data), scaled.on_affine(data, volume.affine, reference="aaaa")):
        assert (later.slope, later.intercept) == (0.5, 100.0)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda v: v.with_data(v.data, reference="bbbb"), "reference bbbb, expected aaaa"),
        (lambda v: v.with_data(v.data[:, :, :6]), "shape"),
        (lambda v: v.on_affine(v.data, np.diag([3.0, 3, 3.1, 1]), reference="aaaa"), "affine"),
    ],
)
def test_a_volume_on_another_grid_is_refused(small, call, change, says):
    volume, mask = small
    with pytest.raises(GridError, match=says):
        call(ApplyMask(), 4, incremental=change(volume), mask=mask)


def test_a_voxel_that_is_not_finite_counts_only_within_the_mask(small, call):
    volume, mask = small
    data = volume.data.copy()
    data[~mask.data] = np.nan
    call(ApplyMask(), 4, incremental=volume.with_data(data), mask=mask)
    data[tuple(np.argwhere(mask.data)[7])] = np.inf
    with pytest.raises(VolumeError, match="volume 4 has 1 voxels"):
        call(ApplyMask(), 4, incremental=volume.with_data(data), mask=mask)


@pytest.mark.parametrize(("lost", "doubted"), [(0, False), (5, False), (6, True), (60, True)])
def test_less_than_95_percent_coverage_is_doubted(call, lost, doubted):
    affine = np.eye(4)
    data = np.full((10, 10, 2), 200, np.int16)
    mask = np.zeros((10, 10, 2), bool)
    mask[:, :, 1] = True
    data.reshape(100, 2)[:lost, 1] = 0
    node = ApplyMask()
    found = call(
        node,
        1,
        incremental=BidsIncremental(data, affine, volume=1),
        mask=Chosen(mask, Grid.of(data.shape, affine)),
    )
    # What lies outside the field of view does not pull the mean down.
    assert found["mean"] == 200.0
    assert bool(node.take_doubts()) is doubted


def test_a_mask_without_any_signal_fails_the_volume(small, call):
    volume, mask = small
    with pytest.raises(VolumeError, match="0 everywhere within the mask"):
        call(ApplyMask(), 4, incremental=volume.with_data(np.zeros((5, 6, 7), np.int16)), mask=mask)


@pytest.mark.parametrize(
    ("corner", "size", "told", "doubted"),
    [
        ((22, 22, 11), 3, r"27 voxels \(1.94 ml\), 100% of it in the brain of the reference$", False),
        ((0, 0, 0), 3, r"27 voxels \(1.94 ml\), 0% of it in the brain .* another space", True),
        ((22, 22, 11), 1, r"1 voxel \(0.072 ml\), 100% of it .* the region that is meant", True),
    ],
)
def test_it_is_told_where_a_region_lies_and_one_in_air_is_doubted(
    reference, make_context, tmp_path, corner, size, told, doubted
):
    data = np.zeros(SHAPE, bool)
    data[tuple(slice(start, start + size) for start in corner)] = True
    events = []
    context = make_context(emit=events.append)
    node = started(context, file=mask_file(tmp_path / "roi.nii", data), reference=reference)
    for _ in range(2):
        node._run_interface(None)
        assert bool(node.take_doubts()) == doubted
    (event,) = events
    assert re.search(told, event.data["says"])
    other = started(make_context("run-b"), file=str(tmp_path / "roi.nii"), reference=reference)
    other.restore(node.snapshot())
    other._run_interface(None)
    assert bool(other.take_doubts()) == doubted
