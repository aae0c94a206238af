"""Realign over whole runs: phantoms of known motion, damaged volumes, sessions, a real run against SPM."""

import pickle
from dataclasses import replace
from functools import cache

import nibabel as nib
import numpy as np
import pytest
from phantom import PHANTOM, oblique, rigid

from rtflow.bids.grid import identify
from rtflow.bids.incremental import BidsIncremental
from rtflow.errors import GridError, SessionError, UsageError, VolumeError
from rtflow.nodes.motion.realign import Realign
from rtflow.nodes.motion.rigid import PARAMETERS, framewise_displacement, parameters_of, transform_of
from rtflow.nodes.motion.transform_files import read_transforms
from rtflow.session import Session

SHAPE, AFFINE = oblique((48, 48, 26), (4.0, 4.0, 4.2))
# The same matrix and voxels in other slices, and another acquisition.
TILTED_SHAPE, TILTED_AFFINE = oblique((48, 48, 26), (4.0, 4.0, 4.2), (-4, 2, 2))
OTHER_SHAPE, OTHER_AFFINE = oblique((52, 48, 28), (3.8, 4.0, 4.0), (-9, 4, 5), left_handed=True)


@cache
def scan(number, other=False):
    """Volume `number` of a run in which the head creeps along; volume 1 is the reference position."""
    shape, affine = (OTHER_SHAPE, OTHER_AFFINE) if other else (SHAPE, AFFINE)
    return PHANTOM.scan(shape, affine, motion(number), seed=number + 100 * other)


def motion(number):
    step = number - 1
    return rigid([0.2 * step, -0.1 * step, 0.3 * step], [0.3 * step, 0.1 * step, -0.2 * step])


def volume(number, data=None):
    return BidsIncremental(
        scan(number) if data is None else data,
        AFFINE,
        volume=number,
        metadata={"RepetitionTime": 2.0},
        entities={"subject": "01", "task": "x"},
    )


def noise(number):
    return np.random.default_rng(number).integers(0, 1000, SHAPE).astype(np.int16)


def started(context, **inputs):
    node = Realign(**inputs)
    node.start_run(context)
    return node


def scalars(found):
    return {name: value for name, value in found.items() if isinstance(value, float)}


def test_the_first_volume_is_the_reference_and_stays_as_it_is(make_context, call):
    node = started(make_context())
    # After dummies the first volume that comes is not number 1.
    found = call(node, 4, incremental=volume(4))
    assert found["incremental"].data.dtype == np.float32
    np.testing.assert_array_equal(found["incremental"].data, scan(4))
    assert found["reference"].reference == found["incremental"].reference == identify(scan(4), AFFINE)
    assert found["reference"].grid == found["incremental"].grid
    np.testing.assert_array_equal(found["transform"], np.eye(4))
    assert [found[name] for name in PARAMETERS] == [0.0] * 6
    assert "framewise_displacement" not in found


def test_motion_is_found_and_taken_away(make_context, call):
    node = started(make_context())
    first = call(node, 1, incremental=volume(1))
    brain = PHANTOM.sample(SHAPE, AFFINE) > 300
    before = None
    for number in range(1, 6):
        found = call(node, number, incremental=volume(number)) if number > 1 else first
        assert node.take_doubts() == []
        assert PHANTOM.worst(motion(number), found["transform"]) < 0.12
        six = np.array([found[name] for name in PARAMETERS])
        centre = node.snapshot().reference.centre
        np.testing.assert_allclose(transform_of(six, centre), found["transform"], atol=1e-9)
        np.testing.assert_allclose(six, parameters_of(motion(number), centre), atol=0.1)
        if before is not None:
            truth = [parameters_of(motion(n), centre) for n in (number - 1, number)]
            assert found["framewise_displacement"] == pytest.approx(framewise_displacement(*truth), abs=0.15)
            assert found["framewise_displacement"] == framewise_displacement(before, six)
        before = six
    resliced = found["incremental"]
    assert resliced.grid == first["incremental"].grid
    assert (resliced.volume, resliced.tr, resliced.entities["task"]) == (5, 2.0, "x")
    still = PHANTOM.sample(SHAPE, AFFINE)
    left = np.std(resliced.data[brain] - still[brain])
    assert left < 0.6 * np.std(scan(5)[brain] - still[brain])


def test_a_volume_that_cannot_be_trusted_is_flagged_and_never_starts_the_next(make_context, call):
    node = started(make_context())
    for number in (1, 2, 3):
        good = call(node, number, incremental=volume(number))
    bad = call(node, 4, incremental=volume(4, noise(4)))
    (doubt,) = node.take_doubts()
    assert doubt.startswith("realign: ")
    assert scalars(bad) == {}
    np.testing.assert_array_equal(bad["transform"], good["transform"])
    assert bad["incremental"].grid == good["incremental"].grid

    after = call(node, 5, incremental=volume(5))
    assert node.take_doubts() == []
    assert PHANTOM.worst(motion(5), after["transform"]) < 0.12
    # Where the head was one volume ago is not known.
    assert "framewise_displacement" not in after
    assert set(PARAMETERS) <= set(after)
    assert "framewise_displacement" in call(node, 6, incremental=volume(6))

    # As if the bad volume had never come.
    spared = started(make_context("run-b"))
    for number in (1, 2, 3, 5):
        without = call(spared, number, incremental=volume(number))
    np.testing.assert_array_equal(without["transform"], after["transform"])
    np.testing.assert_array_equal(without["incremental"].data, after["incremental"].data)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (np.zeros(SHAPE, np.int16), "volume 3 holds no signal"),
        (np.where(np.arange(SHAPE[2]) == 4, np.nan, 300.0) * np.ones(SHAPE), "volume 3 .* not finite"),
    ],
)
def test_a_volume_without_an_image_fails_and_the_next_goes_on(make_context, call, data, says):
    node = started(make_context())
    for number in (1, 2):
        call(node, number, incremental=volume(number))
    with pytest.raises(VolumeError, match=says):
        call(node, 3, incremental=volume(3, data))
    after = call(node, 4, incremental=volume(4))
    assert "framewise_displacement" not in after
    assert PHANTOM.worst(motion(4), after["transform"]) < 0.12


def test_an_empty_first_volume_does_not_become_the_reference(make_context, call):
    node = started(make_context())
    with pytest.raises(VolumeError, match="no signal"):
        call(node, 1, incremental=volume(1, np.zeros(SHAPE, np.int16)))
    found = call(node, 2, incremental=volume(2))
    assert found["reference"].reference == identify(scan(2), AFFINE)


def test_a_volume_that_came_half_is_flagged_and_the_next_goes_on(make_context, call):
    node = started(make_context())
    for number in (1, 2):
        call(node, number, incremental=volume(number))
    data = scan(3).copy()
    data[:, :, SHAPE[2] // 2 :] = 0
    assert scalars(call(node, 3, incremental=volume(3, data))) == {}
    assert node.take_doubts() != []
    after = call(node, 4, incremental=volume(4))
    assert node.take_doubts() == []
    assert PHANTOM.worst(motion(4), after["transform"]) < 0.12


def test_a_volume_of_another_shape_in_mid_run_comes_out_on_the_reference(make_context, call):
    node = started(make_context())
    first = call(node, 1, incremental=volume(1))
    smaller = volume(2).with_data(scan(2)[:44, 2:, :24])
    affine = AFFINE.copy()
    affine[:3, 3] += 2 * AFFINE[:3, 1]
    found = call(node, 2, incremental=smaller.on_affine(smaller.data, affine, reference=""))
    assert found["incremental"].grid == first["incremental"].grid
    assert PHANTOM.worst(motion(2), found["transform"]) < 0.12


def test_where_the_last_estimate_leads_nowhere_the_position_in_the_scanner_does(make_context, call):
    node = started(make_context())
    call(node, 1, incremental=volume(1))
    # As after a participant who slid half out of the coil, and back.
    node.restore(replace(node.snapshot(), transform=rigid([0, 0, 90], [0, 0, 0])))
    found = call(node, 2, incremental=volume(2))
    assert node.take_doubts() == []
    assert PHANTOM.worst(motion(2), found["transform"]) < 0.12


@pytest.mark.parametrize("told", [True, False])
def test_there_is_no_displacement_across_a_gap(make_context, call, told):
    node = started(make_context())
    call(node, 1, incremental=volume(1))
    if told:
        node.gap(2)
    assert "framewise_displacement" not in call(node, 3, incremental=volume(3))
    assert "framewise_displacement" in call(node, 4, incremental=volume(4))


def test_a_volume_half_out_of_the_field_of_view_is_doubted(make_context, call):
    node = started(make_context())
    call(node, 1, incremental=volume(1))
    away = PHANTOM.scan(SHAPE, AFFINE, rigid([0, 0, 16], [0, 0, 0]), seed=3)
    found = call(node, 2, incremental=volume(2, away))
    assert "field of view" in node.take_doubts()[0]
    assert found["trans_z"] == pytest.approx(16, abs=0.3)
    assert (found["incremental"].data == 0).any()


@pytest.mark.parametrize("inputs", [{}, {"reference": "mean", "mean_of": 3}, {"reslice": "mask"}])
def test_later_volumes_change_nothing(make_context, call, inputs):
    def run(uid, noise_from):
        node = started(make_context(uid), **inputs)
        found = []
        for number in range(1, 6):
            data = noise(number) if number >= noise_from else None
            found.append(call(node, number, incremental=volume(number, data)))
        return found

    whole = run("a", 99)
    for cut in (3, 5):
        for mine, theirs in zip(run("b", cut)[: cut - 1], whole, strict=False):
            assert scalars(mine) == scalars(theirs)
            np.testing.assert_array_equal(mine["incremental"].data, theirs["incremental"].data)


def test_it_goes_on_in_another_process(make_context, call):
    whole, first, second = (started(make_context(uid)) for uid in "abc")
    for number in (1, 2, 3):
        call(whole, number, incremental=volume(number))
        call(first, number, incremental=volume(number))
    second.restore(pickle.loads(pickle.dumps(first.snapshot())))
    expected = call(whole, 4, incremental=volume(4))
    found = call(second, 4, incremental=volume(4))
    assert scalars(found) == scalars(expected)
    np.testing.assert_array_equal(found["incremental"].data, expected["incremental"].data)
    assert found["incremental"].grid == expected["incremental"].grid


def test_the_six_parameters_come_as_an_array_too(make_context, call):
    node = started(make_context())
    for number in (1, 2):
        found = call(node, number, incremental=volume(number))
        assert found["motion"].dtype == np.float64
        np.testing.assert_array_equal(found["motion"], [found[name] for name in PARAMETERS])
    assert "motion" not in call(node, 3, incremental=volume(3, noise(3)))


def test_a_mean_becomes_the_reference_and_the_grid_stays(make_context, call, leave):
    node = started(make_context(), reference="mean", mean_of=3, save="reference")
    plain = started(make_context("run-b"))
    resliced = []
    for number in range(1, 7):
        found = call(node, number, incremental=volume(number))
        other = call(plain, number, incremental=volume(number))
        assert found["incremental"].grid == other["incremental"].grid
        assert found["reference"].reference == identify(scan(1), AFFINE)
        assert PHANTOM.worst(motion(number), found["transform"]) < 0.12
        if number <= 3:
            resliced.append(found["incremental"].data)
        # Until it is there all is as with the first volume, and no volume has a jump.
        same = np.array_equal(found["transform"], other["transform"])
        assert same == (number <= 3)
        np.testing.assert_array_equal(node.snapshot().reference.centre, plain.snapshot().reference.centre)
        assert np.abs(found["motion"] - other["motion"]).max() < 0.06
    leave("run-a")
    item = Session(make_context("run-c")).load("reference")
    brain = (PHANTOM.sample(SHAPE, AFFINE) > 300) & np.all([image != 0 for image in resliced], axis=0)
    mean = np.mean(resliced, axis=0)
    np.testing.assert_allclose(item.arrays["data"][brain], mean[brain], rtol=1e-5)
    # A later run is held to the identity of the first volume, as are the masks of this one.
    later = started(make_context("run-c"), reference="session:reference")
    found = call(later, 1, incremental=volume(4))
    assert found["incremental"].grid == other["incremental"].grid
    assert PHANTOM.worst(motion(4), found["transform"]) < 0.12


def test_volumes_that_are_not_trusted_are_not_in_the_mean(make_context, call):
    node = started(make_context(), reference="mean", mean_of=2)
    call(node, 1, incremental=volume(1))
    call(node, 2, incremental=volume(2, noise(2)))
    assert node.snapshot().total is not None
    call(node, 3, incremental=volume(3))
    assert node.snapshot().total is None


@pytest.mark.parametrize("named", ["brain", "file", "session"])
def test_only_the_mask_may_be_resliced(make_context, call, leave, tmp_path, named):
    chosen = PHANTOM.sample(SHAPE, AFFINE) > 600
    if named == "file":
        named = str(tmp_path / "mask.nii")
        nib.save(nib.Nifti1Image(chosen.astype(np.uint8), AFFINE), named)
    elif named == "session":
        Session(make_context("run-z")).save("mask", {"data": chosen}, volume(1).grid)
        leave("run-z")
        named = "session:mask"
    node, whole = started(make_context(), reslice="mask", mask=named), started(make_context("run-b"))
    for number in (1, 2, 3):
        found = call(node, number, incremental=volume(number))
        full = call(whole, number, incremental=volume(number))
        if named == "brain":
            chosen = node.snapshot().reference.brain
        np.testing.assert_array_equal(found["transform"], full["transform"])
        image = found["incremental"].data
        # Rows begin elsewhere, and rounding with them.
        np.testing.assert_allclose(image[chosen], full["incremental"].data[chosen], atol=0.001)
        assert (image[~chosen] == 0.0).all()


def test_a_mean_is_of_whole_volumes(make_context, call):
    node = started(make_context(), reference="mean", mean_of=2, reslice="mask")
    whole = started(make_context("run-b"), reference="mean", mean_of=2)
    for number in (1, 2, 3):
        found = call(node, number, incremental=volume(number))
        full = call(whole, number, incremental=volume(number))
        np.testing.assert_array_equal(found["transform"], full["transform"])
        chosen = node.snapshot().places.mask
        assert (found["incremental"].data[~chosen] == 0.0).all()
        assert (full["incremental"].data[~chosen] != 0.0).any()


def test_a_mask_on_another_grid_is_refused(make_context, call, tmp_path):
    path = tmp_path / "mask.nii"
    nib.save(nib.Nifti1Image(np.ones(OTHER_SHAPE, np.uint8), OTHER_AFFINE), path)
    node = started(make_context(), reslice="mask", mask=str(path))
    with pytest.raises(GridError, match=r"mask .*mask\.nii"):
        call(node, 1, incremental=volume(1))


def test_a_session_item_that_is_no_mask_is_refused(make_context, call, leave):
    call(started(make_context(), save="reference"), 1, incremental=volume(1))
    leave("run-a")
    with pytest.raises(SessionError, match="'reference' is no mask"):
        started(make_context("run-b"), reslice="mask", mask="session:reference")


@pytest.mark.parametrize("fmt", ["itk", "fsl", "afni", "x5"])
def test_the_transforms_of_a_run_are_written_at_its_end(make_context, call, fmt):
    context = make_context()
    node = started(context, write=fmt)
    found = [call(node, number, incremental=volume(number)) for number in (1, 2, 3)]
    found.append(call(node, 4, incremental=volume(4, noise(4))))
    node.end_run()
    grid = found[0]["incremental"].grid
    read = read_transforms(context.run_dir / "transforms", grid, volume(1).grid, fmt)
    np.testing.assert_allclose(read, [each["transform"] for each in found], atol=2e-4)
    table = (context.run_dir / "transforms.tsv").read_text().splitlines()
    assert table == ["volume\ttrusted", "1\tyes", "2\tyes", "3\tyes", "4\tno"]


def test_a_run_without_volumes_writes_no_transforms(make_context):
    context = make_context()
    node = started(context, write="itk")
    node.end_run()
    assert not context.run_dir.exists()


def test_a_slice_that_has_lost_signal_is_told_and_no_motion(make_context, call):
    node = started(make_context())
    call(node, 1, incremental=volume(1))
    data = scan(2).copy()
    data[:, :, 9] //= 2
    data[:, :, 13] = 0
    found = call(node, 2, incremental=volume(2, data))
    (doubt,) = node.take_doubts()
    assert "slices 10, 14 (of 26)" in doubt
    assert PHANTOM.worst(motion(2), found["transform"]) < 0.12


def test_a_volume_that_is_too_thin_is_refused(make_context, call):
    node = started(make_context())
    call(node, 1, incremental=volume(1))
    with pytest.raises(VolumeError, match=r"volume 2 has shape \(48, 48, 3\).*at least 4"):
        call(node, 2, incremental=volume(2, scan(2)[:, :, :3]))


def test_a_second_run_begins_anew(make_context, call):
    node = started(make_context("a"))
    for number in (1, 2):
        call(node, number, incremental=volume(number))
    node.start_run(make_context("b"))
    found = call(node, 3, incremental=volume(3))
    assert found["reference"].reference == identify(scan(3), AFFINE)


def test_a_later_run_is_aligned_with_the_reference_of_an_earlier_one(make_context, call, leave):
    earlier = started(make_context("run-a"), save="reference")
    first = call(earlier, 1, incremental=volume(1))
    leave("run-a")
    later = started(make_context("run-b"), reference="session:reference")
    # Other slices, and the head lies 5 mm and 5 degrees from where it was.
    jump = rigid([3, -3, -3], [-3, 2, -3])
    moved = BidsIncremental(PHANTOM.scan(TILTED_SHAPE, TILTED_AFFINE, jump, seed=7), TILTED_AFFINE, volume=1)
    found = call(later, 1, incremental=moved)
    assert later.take_doubts() == []
    assert found["incremental"].grid == first["incremental"].grid
    assert found["reference"].reference == first["reference"].reference
    assert PHANTOM.worst(jump, found["transform"]) < 0.2
    assert "framewise_displacement" not in found
    still = PHANTOM.sample(SHAPE, AFFINE)
    seen = (still > 300) & (found["incremental"].data != 0)
    assert np.corrcoef(found["incremental"].data[seen], still[seen])[0, 1] > 0.85


def test_the_reference_of_another_acquisition_is_refused(make_context, call, leave):
    call(started(make_context("run-a"), save="reference"), 1, incremental=volume(1))
    leave("run-a")
    later = started(make_context("run-b"), reference="session:reference")
    other = BidsIncremental(
        PHANTOM.scan(OTHER_SHAPE, OTHER_AFFINE, np.eye(4), seed=7), OTHER_AFFINE, volume=1
    )
    with pytest.raises(
        GridError, match=r"has 52x48x28 voxels of 3\.80 x .* mm, the reference 48x48x26 voxels"
    ):
        call(later, 1, incremental=other)


def test_the_reference_of_another_participant_is_refused(make_context, call, leave):
    call(started(make_context("run-a"), save="reference"), 1, incremental=volume(1))
    leave("run-a")
    # Also where it went through a second run of the first participant.
    again = started(make_context("run-b"), reference="session:reference", save="again")
    call(again, 1, incremental=volume(2))
    leave("run-b")
    other = BidsIncremental(scan(2), AFFINE, volume=1, entities={"subject": "02", "task": "x"})
    for name in ("reference", "again"):
        later = started(make_context("run-c"), reference=f"session:{name}")
        with pytest.raises(VolumeError, match=rf"is of sub-02, reference session:{name} of sub-01"):
            call(later, 1, incremental=other)


def test_a_reference_may_be_a_file(make_context, call, leave, tmp_path):
    path = tmp_path / "reference.nii.gz"
    nib.save(nib.Nifti1Image(scan(1), AFFINE.astype(np.float32)), path)
    node = started(make_context(), reference=str(path), save="kept")
    found = call(node, 1, incremental=volume(3))
    assert PHANTOM.worst(motion(3), found["transform"]) < 0.12
    # The file holds the affine in single precision, and the identity is that of the file.
    assert found["reference"].reference == identify(scan(1), AFFINE.astype(np.float32).astype(float))
    leave("run-a")
    item = Session(make_context("run-b")).load("kept")
    np.testing.assert_array_equal(item.arrays["data"], scan(1))
    assert item.grid.reference == found["reference"].reference


def test_a_reference_that_is_none_is_refused_before_the_first_volume(make_context, leave, tmp_path):
    with pytest.raises(UsageError, match="does not exist"):
        started(make_context(), reference=str(tmp_path / "nothing.nii"))
    with pytest.raises(SessionError, match="no 'reference'"):
        started(make_context(), reference="session:reference")
    path = tmp_path / "empty.nii"
    nib.save(nib.Nifti1Image(np.zeros((9, 9, 9), np.int16), np.eye(4)), path)
    with pytest.raises(UsageError, match=r"empty.nii: .*no signal"):
        started(make_context(), reference=str(path))
    Session(make_context()).save("mask", {"data": np.ones((3, 3, 3), bool)})
    leave("run-a")
    with pytest.raises(SessionError, match="no reference"):
        started(make_context(), reference="session:mask")
