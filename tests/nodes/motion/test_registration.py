"""Registration on a phantom under known motion, whole and damaged, and what it must not believe."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from phantom import CENTRE, PHANTOM, noisy, oblique, rigid
from scipy import ndimage

from rtflow.bench.realign_truth import DAMAGES, SIZES, make_truth
from rtflow.errors import VolumeError
from rtflow.nodes.images.reslice import reslice
from rtflow.nodes.motion.reference import prepare
from rtflow.nodes.motion.registration import Estimate, distrust, estimate
from rtflow.nodes.motion.rigid import parameters_of

GRIDS = {
    "oblique 3 mm": oblique(),
    "left-handed, 3.5 x 3.5 x 4 mm": oblique((64, 64, 30), (3.5, 3.5, 4.0), (-15, 8, 6), left_handed=True),
    "2 x 2 x 4.5 mm": oblique((96, 104, 26), (2.0, 2.0, 4.5), (6, 0, 0)),
}


@cache
def reference_on(name):
    shape, affine = GRIDS[name]
    return prepare(PHANTOM.scan(shape, affine), affine)


def small_motion(seed):
    rng = np.random.default_rng(seed)
    return rigid(rng.uniform(-2, 2, 3), rng.uniform(-2, 2, 3))


@cache
def clean_volumes(name="oblique 3 mm", count=8):
    """Volumes without noise under motion of up to 2 mm and 2 degrees an axis, with that motion."""
    shape, affine = GRIDS[name]
    motions = [small_motion(seed) for seed in range(count)]
    return [(truth, PHANTOM.sample(shape, affine, truth)) for truth in motions]


def errors(name, damage=lambda volume: volume):
    """Worst error over the brain of each volume, mm; every estimate must be trusted."""
    reference = reference_on(name)
    found = []
    for seed, (truth, clean) in enumerate(clean_volumes(name), start=1):
        estimated = estimate(reference, noisy(damage(clean.copy()), seed), reference.affine)
        assert distrust(estimated, 1.0) == ""
        found.append(PHANTOM.worst(truth, estimated.transform))
    return np.array(found)


@pytest.mark.parametrize("name", GRIDS)
def test_known_motion_is_found_to_a_twentieth_of_a_millimetre(name):
    found = errors(name)
    assert np.median(found) <= 0.05
    assert found.max() <= 0.08


def test_parameters_are_those_of_the_motion_in_sign_and_order():
    reference = reference_on("oblique 3 mm")
    shape, affine = GRIDS["oblique 3 mm"]
    for axis in range(6):
        six = np.zeros(6)
        six[axis] = 1.5
        truth = rigid(six[:3], six[3:], centre=reference.centre)
        found = estimate(reference, PHANTOM.scan(shape, affine, truth, seed=axis + 1), affine)
        expected = six * [1, 1, 1, *np.radians([1, 1, 1])]
        np.testing.assert_allclose(
            parameters_of(found.transform, reference.centre), expected, atol=0.02, err_msg=f"axis {axis}"
        )


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("signs", [(1, -1, 1), (-1, 1, 1)])
def test_a_jump_of_5_mm_and_5_degrees_is_found_from_where_the_head_was(name, signs):
    reference = reference_on(name)
    shape, affine = GRIDS[name]
    jump = np.array(signs) * 5.0 / np.sqrt(3)
    truth = rigid(jump, -jump[::-1])
    found = estimate(reference, PHANTOM.scan(shape, affine, truth, seed=9, gain=1.1), affine)
    assert distrust(found) == ""
    assert PHANTOM.worst(truth, found.transform) <= 0.1
    assert found.gain == pytest.approx(1.1, abs=0.02)


def test_a_volume_may_lie_on_another_grid_than_the_reference():
    # Another day: other slices, other voxels, the head elsewhere.
    reference = reference_on("oblique 3 mm")
    shape, affine = GRIDS["left-handed, 3.5 x 3.5 x 4 mm"]
    truth = rigid([4, -3, 6], [3, -2, 4])
    volume = PHANTOM.scan(shape, affine, truth, seed=3)
    found = estimate(reference, volume, affine)
    assert distrust(found) == ""
    assert PHANTOM.worst(truth, found.transform) <= 0.15

    resliced = reslice(volume, affine, found.transform, reference.grid)
    still = PHANTOM.sample(*GRIDS["oblique 3 mm"])
    inside = (still > 300) & (resliced != 0)
    assert inside.sum() > 0.9 * (still > 300).sum()
    best = reslice(volume, affine, truth, reference.grid)

    def likeness(image):
        return np.corrcoef(image[inside], still[inside])[0, 1]

    # What the coarser voxels cannot carry is lost to the true transform, too.
    assert likeness(resliced) > likeness(best) - 0.002
    assert likeness(reslice(volume, affine, np.eye(4), reference.grid)) < likeness(resliced) - 0.2


def test_reslicing_brings_the_head_back():
    reference = reference_on("oblique 3 mm")
    still = PHANTOM.sample(*GRIDS["oblique 3 mm"])
    inside = still > 300
    for truth, clean in clean_volumes()[:3]:
        found = estimate(reference, noisy(clean, 5), reference.affine)
        resliced = reslice(clean, reference.affine, found.transform, reference.grid)
        seen = inside & (resliced != 0)
        moved = np.sqrt(np.mean((clean[seen] - still[seen]) ** 2))
        left = np.sqrt(np.mean((resliced[seen] - still[seen]) ** 2))
        assert left < 0.35 * moved
        # Interpolation must not take away signal.
        deep = ndimage.binary_erosion(seen, iterations=2)
        assert resliced[deep].mean() == pytest.approx(still[deep].mean(), rel=0.001)
        assert PHANTOM.worst(truth, found.transform) < 0.1


def test_left_stays_left():
    for name, (shape, affine) in GRIDS.items():
        reference = reference_on(name)
        volume = PHANTOM.sample(shape, affine, rigid([2, 0, 0], [0, 1, 0]))
        voxels = np.stack([*np.indices(shape), np.ones(shape)]).reshape(4, -1)
        distance = np.linalg.norm((affine @ voxels)[:3].T - [-38.0, -20.0, 10.0], axis=1).reshape(shape)
        marked = volume + 800.0 * np.exp(-((distance / 6.0) ** 2))
        found = estimate(reference, marked, affine)
        resliced = reslice(marked, affine, found.transform, reference.grid)
        change = resliced - reslice(volume, affine, found.transform, reference.grid)
        peak = affine @ [*np.unravel_index(change.argmax(), shape), 1.0]
        assert peak[0] == pytest.approx(-40.0, abs=5.0), name


@pytest.fixture(scope="module")
def fine_truth():
    return make_truth(*SIZES["M"], volumes=3)


@pytest.mark.parametrize("what", DAMAGES)
def test_damage_to_a_part_moves_the_estimate_at_most_twice_as_far_as_afnis(what, fine_truth):
    damage, afni = DAMAGES[what]
    reference = prepare(fine_truth.reference, fine_truth.affine)
    found = []
    for index, truth in enumerate(fine_truth.transforms):
        estimated = estimate(reference, fine_truth.volume(index, damage), fine_truth.affine)
        assert distrust(estimated, 1.0) == ""
        found.append(fine_truth.phantom.worst(truth, estimated.transform))
    assert np.median(found) <= 2.0 * afni


@pytest.mark.parametrize("what", DAMAGES)
def test_damage_to_a_part_does_not_pass_for_motion_in_coarse_voxels(what):
    def damaged(volume):
        DAMAGES[what][0](volume)
        return volume

    found = errors("oblique 3 mm", damaged)
    assert np.median(found) <= 0.06
    assert found.max() <= 0.12


def test_a_louder_volume_is_no_moved_one():
    assert errors("oblique 3 mm", lambda volume: 1.3 * volume).max() <= 0.06


def test_at_two_millimetres_a_fiftieth_of_a_millimetre_is_found(fine_truth):
    reference = prepare(fine_truth.reference, fine_truth.affine)
    for index, truth in enumerate(fine_truth.transforms):
        found = estimate(reference, fine_truth.volume(index), fine_truth.affine)
        assert fine_truth.phantom.worst(truth, found.transform) <= 0.03


def noise(volume):
    return np.random.default_rng(4).integers(0, 1000, volume.shape).astype(np.int16)


def scrambled(volume):
    return np.random.default_rng(4).permutation(volume.ravel()).reshape(volume.shape)


def upside_down(volume):
    return volume[:, :, ::-1]


def most_slices_lost(volume):
    volume = volume.copy()
    volume[:, :, 12:] = 0
    return volume


def negative(volume):
    return 1000 - volume


@pytest.mark.parametrize("bad", [noise, scrambled, upside_down, most_slices_lost, negative])
def test_what_is_no_head_like_the_reference_is_not_trusted(bad):
    reference = reference_on("oblique 3 mm")
    volume = PHANTOM.scan(*GRIDS["oblique 3 mm"], small_motion(1), seed=1)
    assert distrust(estimate(reference, volume, reference.affine), 1.0) == ""
    assert distrust(estimate(reference, bad(volume), reference.affine), 1.0) != ""


def test_a_volume_elsewhere_is_not_trusted():
    reference = reference_on("oblique 3 mm")
    away = reference.affine.copy()
    away[:3, 3] += [150.0, 0.0, 0.0]
    found = estimate(reference, reference.data, away)
    assert "field of view" in distrust(found)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"overlap": 0.49}, "only 49% of the brain would lie in the field of view"),
        ({"transform": np.full((4, 4), np.nan)}, "no solution"),
        ({"gain": np.nan}, "no solution"),
        ({"gain": -1.0}, "no solution"),
        ({"residual": 0.41}, "does not look like the reference"),
        ({"inliers": 0.49}, "only 49% of the brain looks like the reference"),
        ({"converged": False}, "not converged after 3 iterations"),
        ({"gain": 2.1}, "the signal is 2.10 times"),
        ({"gain": 0.49}, "the signal is 0.49 times"),
    ],
)
def test_every_gate_closes_on_its_own(change, says):
    good = Estimate(np.eye(4), 1.0, 0.05, 0.95, 1.0, 3, True)
    assert distrust(good, 1.0) == ""
    assert says in distrust(replace(good, **change), 1.0)


def test_gain_is_judged_against_the_run_and_not_against_the_reference():
    reference = reference_on("oblique 3 mm")
    volume = PHANTOM.scan(*GRIDS["oblique 3 mm"], gain=4.0)
    found = estimate(reference, volume, reference.affine)
    assert distrust(found) == ""
    assert distrust(found, 3.9) == ""
    assert "4.0" in distrust(found, 1.0)


def test_a_fit_that_runs_out_of_iterations_is_not_trusted():
    reference = reference_on("oblique 3 mm")
    volume = PHANTOM.scan(*GRIDS["oblique 3 mm"], rigid([4, 0, 0], [0, 0, 3]))
    found = estimate(reference, volume, reference.affine, iterations=4)
    assert not found.converged
    assert distrust(found) != ""


def test_the_volume_of_the_reference_gives_no_motion():
    reference = reference_on("oblique 3 mm")
    found = estimate(reference, reference.data, reference.affine)
    np.testing.assert_allclose(found.transform, np.eye(4), atol=1e-5)
    assert found.gain == pytest.approx(1.0)
    assert distrust(found, 1.0) == ""


def test_estimates_start_where_they_are_told():
    reference = reference_on("oblique 3 mm")
    truth, clean = clean_volumes()[0]
    cold = estimate(reference, noisy(clean, 1), reference.affine)
    warm = estimate(reference, noisy(clean, 1), reference.affine, truth)
    assert warm.iterations < cold.iterations
    assert PHANTOM.worst(cold.transform, warm.transform) < 0.01


def test_the_centre_is_that_of_the_brain():
    np.testing.assert_allclose(reference_on("oblique 3 mm").centre, CENTRE, atol=12.0)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (np.zeros((20, 20, 20), np.int16), "no signal"),
        (np.full((20, 20, 20), np.nan, np.float32), "not finite"),
        (np.arange(400, dtype=np.int16).reshape(20, 20, 1), "at least 4"),
        (np.pad(np.full((3, 3, 3), 900, np.int16), 10), "without contrast"),
    ],
)
def test_what_cannot_be_a_reference_is_refused(data, says):
    with pytest.raises(VolumeError, match=says):
        prepare(data, np.diag([3.0, 3.0, 3.0, 1.0]))
