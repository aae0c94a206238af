"""Parameters, transforms and displacements, against SciPy's rotations and pencil and paper."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from rtflow.nodes.motion.rigid import (
    displacement,
    framewise_displacement,
    parameters_of,
    rotation,
    transform_of,
)

millimetres = st.floats(-80, 80, allow_nan=False)
turns = st.floats(-1.5, 1.5, allow_nan=False)
sixes = st.tuples(millimetres, millimetres, millimetres, turns, turns, turns).map(np.array)
centres = st.tuples(millimetres, millimetres, millimetres).map(np.array)


@given(sixes, centres)
def test_parameters_come_back_from_their_transform(six, centre):
    np.testing.assert_allclose(parameters_of(transform_of(six, centre), centre), six, atol=1e-9)


@given(sixes, centres)
def test_a_transform_is_rigid_and_turns_about_its_centre(six, centre):
    transform = transform_of(six, centre)
    np.testing.assert_allclose(transform[:3, :3] @ transform[:3, :3].T, np.eye(3), atol=1e-12)
    assert np.linalg.det(transform[:3, :3]) == pytest.approx(1.0)
    np.testing.assert_allclose(transform @ [*centre, 1.0], [*(centre + six[:3]), 1.0], atol=1e-9)
    np.testing.assert_array_equal(transform[3], [0, 0, 0, 1])


@given(turns, turns, turns)
def test_the_order_of_the_angles_is_that_of_intrinsic_xyz(x, y, z):
    np.testing.assert_allclose(
        rotation(x, y, z), Rotation.from_euler("XYZ", [x, y, z]).as_matrix(), atol=1e-12
    )


@given(sixes, centres, centres)
def test_another_centre_gives_other_translations_of_one_transform(six, centre, other):
    transform = transform_of(six, centre)
    moved = parameters_of(transform, other)
    np.testing.assert_allclose(transform_of(moved, other), transform, atol=1e-9)
    np.testing.assert_allclose(moved[3:], six[3:], atol=1e-9)


def test_framewise_displacement_adds_millimetres_and_arcs_on_50_mm():
    before = np.array([1.0, 2.0, 3.0, 0.01, 0.02, 0.03])
    after = np.array([1.5, 1.8, 3.1, 0.02, 0.00, 0.03])
    assert framewise_displacement(before, after) == pytest.approx(0.5 + 0.2 + 0.1 + 50 * (0.01 + 0.02))
    assert framewise_displacement(before, after, radius=80) == pytest.approx(0.8 + 80 * 0.03)
    assert framewise_displacement(before, before) == 0.0


@pytest.mark.parametrize("degrees", [0.1, 1.0, 5.0])
def test_a_rotation_about_a_known_point_moves_by_the_chord(degrees):
    centre = np.array([12.0, -30.0, 7.0])
    angle = np.deg2rad(degrees)
    turned = transform_of(np.array([0, 0, 0, 0, 0, angle]), centre)
    # Points at 40 mm from the axis, at different heights along it.
    points = centre + np.array([[40.0, 0, 0], [0, -40, 25], [24, 32, -60]])
    np.testing.assert_allclose(displacement(turned, np.eye(4), points), 2 * 40 * np.sin(angle / 2), rtol=1e-9)
