"""Rigid motion: its parameters, its walk, and what it does to a scanned head."""

import dataclasses

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from rtflow.source_settings import SimulateSource
from rtflow.sources.simulation import motion
from rtflow.sources.simulation.anatomy import CAPSULE, CENTRE
from rtflow.sources.simulation.plan import make_plan
from rtflow.sources.simulation.scan import Scan
from rtflow.sources.simulator import default_design

angles = st.floats(-1.2, 1.2)
lengths = st.floats(-50, 50)


def generator(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


@given(
    six=st.tuples(lengths, lengths, lengths, angles, angles, angles),
    centre=st.tuples(lengths, lengths, lengths),
)
def test_parameters_come_back_from_their_transform(six, centre) -> None:
    transform = motion.rigid(six, centre)
    assert_allclose(transform[:3, :3] @ transform[:3, :3].T, np.eye(3), atol=1e-12)
    assert_allclose(motion.parameters(transform, centre), six, atol=1e-8)


@given(angle=angles, axis=st.integers(0, 2), radius=st.floats(1, 100))
def test_a_rotation_moves_a_point_by_its_chord(angle, axis, radius) -> None:
    point = np.array(CENTRE)
    point[(axis + 1) % 3] += radius
    six = np.zeros(6)
    six[3 + axis] = angle
    moved = (motion.rigid(six, CENTRE) @ [*point, 1.0])[:3]
    assert_allclose(np.linalg.norm(moved - point), abs(2 * radius * np.sin(angle / 2)), atol=1e-9)
    # Counter-clockwise seen from the positive end: from the next axis towards the one after.
    assert_allclose((moved - CENTRE)[(axis + 2) % 3], radius * np.sin(angle), atol=1e-9)


def test_framewise_displacement_is_powers_sum() -> None:
    six = np.array([[0, 0, 0, 0, 0, 0], [0.1, -0.2, 0, 0.001, 0, -0.002], [0.1, -0.2, 0.5, 0.001, 0, -0.002]])
    moved = motion.framewise_displacement(six)
    assert np.isnan(moved[0])
    assert_allclose(moved[1:], [0.3 + 50 * 0.003, 0.5])
    assert len(motion.framewise_displacement(six[:1])) == 1


@settings(max_examples=30)
@given(seed=st.integers(0, 2**32), volumes=st.integers(1, 400), tr=st.floats(0.3, 4))
def test_the_walk_starts_at_zero_and_stays_in_its_limits(seed, volumes, tr) -> None:
    path = motion.walk(volumes, tr, generator(seed), generator(seed + 1))
    assert path.shape == (volumes, 6)
    assert not path[0].any()
    assert (np.abs(path) <= motion.LIMITS).all()
    longer = motion.walk(volumes + 50, tr, generator(seed), generator(seed + 1))
    assert_allclose(longer[:volumes], path, atol=0)


def test_a_quiet_participant_moves_about_a_millimetre() -> None:
    paths = [motion.walk(242, 2.0, generator(seed), generator(seed + 1)) for seed in range(0, 80, 2)]
    reach = np.median([np.ptp(path[:, :3], axis=0).max() for path in paths])
    assert 0.5 < reach < 1.5
    steps = np.concatenate([motion.framewise_displacement(path)[1:] for path in paths])
    assert 0.04 < np.median(steps) < 0.15
    assert 0.001 < (steps > 0.3).mean() < 0.03


def test_the_head_nods_in_every_trial() -> None:
    six = motion.nod(np.array([0.0, 0.0, 1.0, 0.5, 0.0]), 0.6)
    assert_allclose(np.degrees(six[:, 3]), [0, 0, -0.6, -0.3, 0])
    assert not six[[0, 1, 4]].any()


def test_a_marker_on_the_left_goes_where_the_truth_says() -> None:
    spec = SimulateSource(
        shape=(60, 32, 32), voxel=3.5, volumes=20, motion=0, drift=0, activation=0, capsule=True
    )
    plan = make_plan(spec, default_design(2.0, 20), 20)
    turns = np.zeros((20, 6))
    turns[7] = [0, 0, 0, 0, 0, np.radians(4)]
    turns[8] = [1.0, -2.0, 0.5, np.radians(3), np.radians(-2), 0]
    plan = dataclasses.replace(plan, motion=turns)
    scan = Scan(spec, plan)
    whole = np.indices(spec.shape).reshape(3, -1)
    places = (scan.affine[:3, :3] @ whole + scan.affine[:3, 3:]).T

    def marker(number: int) -> np.ndarray:
        expected = (plan.transforms[number - 1] @ [*CAPSULE, 1.0])[:3]
        image = np.zeros(int(np.prod(spec.shape)))
        image[scan._reached] = scan.clean(number) / scan._field
        image = image.reshape(spec.shape[::-1]).T.ravel()
        near = np.linalg.norm(places - expected, axis=1) < 11.0
        found = np.average(places[near], axis=0, weights=image[near])
        assert image[near].max() > 100.0
        assert_allclose(found, expected, atol=0.1)
        return found

    still, turned, moved = marker(7), marker(8), marker(9)
    assert still[0] < -80.0
    arm = np.linalg.norm((np.array(CAPSULE) - CENTRE)[:2])
    assert_allclose(np.linalg.norm(turned - still), 2 * arm * np.sin(np.radians(2)), atol=0.15)
    assert np.linalg.norm(moved - still) > 2.0
    # i runs from right to left.
    assert np.linalg.det(scan.affine) < 0
    assert (np.linalg.inv(scan.affine) @ [*still, 1.0])[0] > spec.shape[0] / 2
