"""Confounds against definitions that need the whole run, against geometry, and when they are not known."""

import pickle
import sys
from itertools import pairwise
from math import pi, sin, sqrt
from types import ModuleType

import nibabel as nib
import numpy as np
import pytest
from nipype.algorithms.confounds import TSNR, FramewiseDisplacement, compute_dvars
from nipype.interfaces.base import Undefined
from noisy_run import (
    AFFINE,
    BRAIN,
    SHAPE,
    VOLUMES,
    column,
    mask,
    started,
    volume,
    wandering,
)
from phantom import PHANTOM, oblique, rigid

from rtflow.bids.grid import Grid
from rtflow.bids.incremental import BidsIncremental
from rtflow.bids.masked import Mask
from rtflow.errors import GridError, UsageError, VolumeError
from rtflow.nodes.confounds.confounds import Confounds
from rtflow.nodes.motion.displacement import rms_deviation
from rtflow.nodes.motion.realign import Realign
from rtflow.nodes.motion.rigid import framewise_displacement, parameters_of, transform_of

RNG = np.random.default_rng(5)


@pytest.fixture
def motion():
    return wandering()


@pytest.fixture
def nipypes_dvars(tmp_path, monkeypatch):
    """Callable from a run to nipype's DVARS: standardised, and not.

    nipype asks nitime for one thing, which stands here: Yule and Walker's coefficient of first order.
    """

    def first_order(x, order, rxx=None):
        assert (order, rxx) == (1, None)
        return np.array([x[1:] @ x[:-1] / (x @ x)]), None

    algorithms = ModuleType("nitime.algorithms")
    algorithms.AR_est_YW = first_order
    monkeypatch.setitem(sys.modules, "nitime", ModuleType("nitime"))
    monkeypatch.setitem(sys.modules, "nitime.algorithms", algorithms)

    def compute(data, scale=0):
        for name, image in (("run", data), ("mask", BRAIN.astype(np.uint8))):
            nib.save(nib.Nifti1Image(image, AFFINE), tmp_path / f"{name}.nii")
        return compute_dvars(tmp_path / "run.nii", tmp_path / "mask.nii", intensity_normalization=scale)[:2]

    return compute


def test_dvars_is_nipypes(play, run, nipypes_dvars):
    _, theirs = nipypes_dvars(run)
    outputs, _ = play(run)
    ours = column(outputs, "dvars")
    assert np.isnan(ours[0])
    # nipype computes in float32.
    np.testing.assert_allclose(ours[1:], theirs, rtol=1e-5)
    # fMRIPrep's column is this one times 1000 over the median of the run.
    np.testing.assert_allclose(
        ours[1:] * 1000 / np.median(run[BRAIN]), nipypes_dvars(run, 1000)[1], rtol=1e-5
    )


def test_dvars_running_comes_near_to_the_standardised_one(play, run, nipypes_dvars):
    data = run.copy()
    data[..., 20] += 30 * RNG.normal(size=SHAPE)
    theirs, _ = nipypes_dvars(data, 1000)
    outputs, _ = play(data)
    ours = column(outputs, "dvars_running")
    assert np.isnan(ours[:11]).all()
    assert np.isfinite(ours[11:]).all()
    # Another definition: the same to a tenth in a run whose noise does not change, volume 21 with it.
    np.testing.assert_allclose(ours[11:], theirs[10:], rtol=0.1)
    assert ours[20] > 2


def test_tsnr_is_nipypes_of_the_volumes_so_far(play, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outputs, _ = play(run)
    ours = column(outputs, "tsnr")
    assert np.isnan(ours[:9]).all()
    for count in (10, 17, VOLUMES):
        nib.save(nib.Nifti1Image(run[..., :count], AFFINE), "run.nii")
        TSNR(in_file="run.nii").run()
        theirs = nib.load("tsnr.nii.gz").get_fdata()
        assert ours[count - 1] == pytest.approx(np.median(theirs[BRAIN]), rel=1e-4)


def test_mean_signals_are_means(play, run):
    white, csf = np.zeros((2, *SHAPE), bool)
    white[4:6, 4:9, 4:6] = True
    csf[8:10, 8:11, 5:9] = True
    outputs, _ = play(run, white_matter=mask(white), csf=mask(csf))
    for name, where in (("global_signal", BRAIN), ("white_matter", white), ("csf", csf)):
        np.testing.assert_allclose(column(outputs, name), run[where].mean(axis=0), rtol=1e-5)


def test_framewise_displacement_is_nipypes(motion, tmp_path, monkeypatch):
    """It is Realign's; here, that it is the one that nipype and fMRIPrep call by this name."""
    monkeypatch.chdir(tmp_path)
    np.savetxt("motion.txt", motion)
    FramewiseDisplacement(in_file="motion.txt", parameter_source="SPM").run()
    theirs = np.loadtxt("fd_power_2012.txt", skiprows=1)
    ours = [framewise_displacement(a, b) for a, b in pairwise(motion)]
    np.testing.assert_allclose(ours, theirs, atol=1e-9)


def sphere(centre, count=200_000):
    """Points evenly within a sphere of 80 mm."""
    points = RNG.normal(size=(count, 3))
    points *= (80 * RNG.uniform(0, 1, count) ** (1 / 3) / np.linalg.norm(points, axis=1))[:, None]
    return centre + points


def test_rmsd_is_the_root_mean_square_over_a_sphere(play, run, motion):
    centre = np.array([3.0, -20.0, 11.0])
    outputs, _ = play(run[..., :4], motion=motion)
    ours = column(outputs, "rmsd")
    assert np.isnan(ours[0])
    points = sphere(centre)
    for number in (1, 2, 3):
        before, after = (transform_of(motion[n], centre) for n in (number - 1, number))
        moved = points @ (after - before)[:3, :3].T + (after - before)[:3, 3]
        # 200 000 points give the mean to 2 parts in a thousand.
        assert ours[number] == pytest.approx(sqrt((moved**2).sum(axis=1).mean()), rel=5e-3)


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("degrees", [0.5, 5.0])
def test_a_pure_rotation_gives_the_analytic_displacement(axis, degrees):
    centre, angle = np.array([2.0, -15.0, 10.0]), degrees * pi / 180
    turn = np.zeros(6)
    turn[3 + axis] = angle
    # About the centre: an arc on the sphere of 50 mm; over the one of 80 mm by TR99MJ1.
    about_centre = parameters_of(transform_of(turn, centre), centre)
    assert framewise_displacement(np.zeros(6), about_centre) == pytest.approx(50 * angle)
    within = 80 * sqrt(8 / 5) * sin(angle / 2)
    assert rms_deviation(np.zeros(6), about_centre) == pytest.approx(within)
    # About a point 60 mm off the axis, the centre itself moves by the chord.
    off = np.zeros(3)
    off[(axis + 1) % 3] = 60.0
    elsewhere = parameters_of(transform_of(turn, centre + off), centre)
    chord = 2 * 60 * sin(angle / 2)
    assert np.linalg.norm(elsewhere[:3]) == pytest.approx(chord)
    assert rms_deviation(np.zeros(6), elsewhere) == pytest.approx(sqrt(within**2 + chord**2))
    along = [60 * sin(angle), 2 * 60 * sin(angle / 2) ** 2]
    assert framewise_displacement(np.zeros(6), elsewhere) == pytest.approx(50 * angle + sum(along))


def test_a_head_that_turned_about_a_known_point(call, make_context):
    """From voxels to displacement: Realign finds a turn, and both measures are the analytic ones."""
    shape, affine = oblique((40, 40, 22), (5.0, 5.0, 5.2))
    angle = 3.0 * pi / 180
    turned = rigid([0, 0, 0], [3.0, 0, 0], centre=[0.0, -60.0, -40.0])  # about the neck: a nod
    realign, node = (
        Realign(),
        Confounds(mask=Mask(PHANTOM.sample(shape, affine) > 300, Grid.of(shape, affine))),
    )
    for interface in (realign, node):
        interface.start_run(make_context())
    for number, transform in ((1, np.eye(4)), (2, turned)):
        scanned = PHANTOM.scan(shape, affine, transform, seed=number)
        incremental = BidsIncremental(scanned, affine, volume=number, metadata={"RepetitionTime": 2.0})
        moved = call(realign, number, incremental=incremental)
        given = {name: moved[name] for name in ("motion", "framewise_displacement") if name in moved}
        found = call(node, number, incremental=moved["incremental"], **given)
    centre = realign.snapshot().reference.centre
    arm = centre - [0.0, -60.0, -40.0]
    chord = 2 * np.hypot(*arm[1:]) * sin(angle / 2)
    assert chord > 2
    # What Realign is good for at 5 mm, on each of six parameters for the second.
    assert found["rmsd"] == pytest.approx(sqrt(80**2 * 8 / 5 * sin(angle / 2) ** 2 + chord**2), abs=0.05)
    shift = (turned[:3, :3] - np.eye(3)) @ arm
    expected = 50 * angle + np.abs(shift).sum()
    assert moved["framewise_displacement"] == pytest.approx(expected, abs=0.15)


def test_displacement_is_not_known_after_a_gap_or_an_estimate_that_is_not_trusted(call, make_context, run):
    node = started(make_context())
    known = []
    for number in range(1, 9):
        if number == 4:
            node.gap(4)
            continue
        moved = Undefined if number == 7 else np.full(6, 0.01 * number)
        found = call(node, number, incremental=volume(number, run[..., number - 1]), motion=moved)
        known.append((number, "rmsd" in found, "dvars" in found, "confounds" in found))
    assert known == [
        (1, False, False, True),
        (2, True, True, True),
        (3, True, True, True),
        (5, False, False, True),
        (6, True, True, True),
        (7, False, True, False),
        (8, False, True, True),
    ]


def test_a_gap_that_nobody_told_of_is_seen_by_the_number(call, make_context, run, motion):
    node = started(make_context())
    for number in (1, 3):
        found = call(node, number, incremental=volume(number, run[..., number]), motion=motion[number])
    assert "dvars" not in found
    assert "rmsd" not in found


def test_regressors_come_in_the_order_asked_for(play, run, motion):
    outputs, _ = play(run, motion=motion)
    np.testing.assert_array_equal([found["confounds"] for found in outputs], motion)
    white = np.zeros(SHAPE, bool)
    white[4:8, 4:9, 4:6] = True
    outputs, _ = play(run, motion=motion, white_matter=mask(white))
    assert outputs[5]["confounds"].tolist() == [*motion[5], outputs[5]["white_matter"]]
    assert outputs[5]["confounds"].dtype == np.float64
    outputs, _ = play(run, motion=motion, regressors=["global_signal", "dvars", "trans_z"])
    assert "confounds" not in outputs[0]
    names = ("global_signal", "dvars")
    assert outputs[3]["confounds"].tolist() == [*(outputs[3][name] for name in names), motion[3][2]]


def test_what_was_not_seen_counts_for_nothing(play, run):
    data = run.copy()
    data[:, :, 10, ::2] = 0.0
    data[2, :, :, 12] = 0.0
    outputs, doubts = play(data)
    seen = np.where(data[BRAIN] == 0, np.nan, data[BRAIN])
    np.testing.assert_allclose(column(outputs, "global_signal"), np.nanmean(seen, axis=0), rtol=1e-5)
    expected = np.sqrt(np.nanmean(np.diff(seen, axis=1) ** 2, axis=0))
    np.testing.assert_allclose(column(outputs, "dvars")[1:], expected, rtol=1e-5)
    ratio = np.nanmean(seen, axis=1) / np.nanstd(seen, axis=1)
    assert column(outputs, "tsnr")[-1] == pytest.approx(np.median(ratio), rel=1e-4)
    assert doubts[0] == ["confounds: only 90.0% of the mask has signal"]
    assert np.nansum(column(outputs, "spikes")) == 0


@pytest.mark.parametrize("other", [np.ones(SHAPE, bool), np.roll(BRAIN, 2, axis=0)])
def test_another_mask_has_no_past(call, make_context, run, other):
    node = started(make_context(), settle=3)
    for number in range(1, 8):
        call(node, number, incremental=volume(number, run[..., number - 1]))
    more = mask(other)
    known = []
    for number in range(8, 12):
        found = call(node, number, incremental=volume(number, run[..., number - 1]), mask=more)
        known.append(("dvars" in found, "tsnr" in found, "outlier_fraction" in found))
    assert known == [(False, False, False), (True, False, False), (True, True, False), (True, True, True)]


def test_a_bad_volume_is_refused_and_the_next_has_no_predecessor(call, make_context, run, motion):
    node = started(make_context())
    call(node, 1, incremental=volume(1, run[..., 0]), motion=motion[0])
    broken = run[..., 1].copy()
    broken[5, 5, 5] = np.nan
    with pytest.raises(VolumeError, match="volume 2 has 1 voxels within the mask that are not finite"):
        call(node, 2, incremental=volume(2, broken), motion=motion[1])
    with pytest.raises(VolumeError, match="volume 3 is 0 everywhere within the mask"):
        call(node, 3, incremental=volume(3, np.zeros(SHAPE, np.float32)))
    untimed = BidsIncremental(run[..., 3], AFFINE, volume=4, reference="ref")
    with pytest.raises(VolumeError, match="no RepetitionTime"):
        call(node, 4, incremental=untimed)
    found = call(node, 5, incremental=volume(5, run[..., 4]), motion=motion[4])
    assert "dvars" not in found
    assert "rmsd" not in found
    other = volume(6, run[..., 5]).with_data(run[..., 5], reference="other")
    with pytest.raises(GridError, match="expected ref"):
        call(node, 6, incremental=other)


def test_it_goes_on_in_another_process(play, make_context, run, motion):
    fd = np.full(VOLUMES, 0.1)
    fd[14:18] = [0.7, 0.4, 0.3, 0.1]
    data = run.copy()
    data[:, :, 5:7, 20] *= 0.6
    whole, doubted = play(data, motion=motion, fd=fd)
    first, second = started(make_context("a")), started(make_context("b"))
    play(data[..., :16], first, motion=motion, fd=fd)
    second.restore(pickle.loads(pickle.dumps(first.snapshot())))
    rest, doubts = play(data, second, motion=motion, fd=fd, start=17)
    for ours, theirs in zip(rest, whole[16:], strict=True):
        assert ours.pop("confounds").tolist() == theirs.pop("confounds").tolist()
        assert ours == theirs
    assert doubts == doubted[16:]


def test_a_second_run_begins_without_a_past(play, make_context, run, motion):
    node = started(make_context("a"))
    play(run, node, motion=motion)
    node.start_run(make_context("b"))
    outputs, _ = play(run[..., :3], node, motion=motion)
    assert {"dvars", "rmsd", "tsnr", "spikes"}.isdisjoint(outputs[0])
    assert "tsnr" not in outputs[2]


def test_later_volumes_change_nothing(play, run, motion):
    other = run.copy()
    other[..., 20:] = RNG.uniform(1, 5000, other[..., 20:].shape)
    one, two = play(run, motion=motion)[0], play(other, motion=motion)[0]
    for a, b in zip(one[:20], two[:20], strict=True):
        assert a.pop("confounds").tolist() == b.pop("confounds").tolist()
        assert a == b
    assert one[20] != two[20]


@pytest.mark.parametrize(
    ("inputs", "says"),
    [
        ({"regressors": ["trans_x", "rot"]}, "no regressor rot; there are trans_x"),
        ({"alarms": {"fd": (1, 2)}}, "no alarm of 'fd'"),
        ({"csf": "/nowhere/csf.nii"}, "does not exist"),
    ],
)
def test_what_cannot_be_is_refused_at_the_start(make_context, inputs, says):
    with pytest.raises(UsageError, match=says):
        started(make_context(), **inputs)
