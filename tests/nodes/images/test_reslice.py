"""Reslicing: what must be exact is exact, and the field of view ends where it ends."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from rtflow.bids.grid import Grid
from rtflow.errors import VolumeError
from rtflow.nodes.images.reslice import require_signal, reslice
from rtflow.nodes.motion.rigid import transform_of

SHAPE = (20, 18, 12)


@pytest.fixture
def affine():
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("XYZ", [10, -7, 4], degrees=True).as_matrix() * [3.0, 3.0, 4.0]
    affine[:3, 0] *= -1
    affine[:3, 3] = [30.0, -20.0, 5.0]
    return affine


@pytest.fixture
def data():
    return np.random.default_rng(0).integers(1, 1000, SHAPE).astype(np.int16)


def shift(affine, voxels):
    """The transform that moves by whole or broken voxels of a grid."""
    move = np.eye(4)
    move[:3, 3] = affine[:3, :3] @ voxels
    return move


def test_no_motion_gives_the_volume(data, affine):
    resliced = reslice(data, affine, np.eye(4), Grid.of(SHAPE, affine))
    assert resliced.dtype == np.float32
    np.testing.assert_allclose(resliced, data, atol=0.01)


def test_a_head_that_moved_by_whole_voxels_is_pulled_back(data, affine):
    resliced = reslice(data, affine, shift(affine, [2, -1, 3]), Grid.of(SHAPE, affine))
    np.testing.assert_allclose(resliced[:-2, 1:, :-3], data[2:, :-1, 3:], atol=0.01)
    outside = np.ones(SHAPE, bool)
    outside[:-2, 1:, :-3] = False
    assert (resliced[outside] == 0.0).all()


@pytest.mark.parametrize(("voxels", "blank"), [(0.01, 0), (0.49, 0), (0.51, 1), (1.49, 1), (1.51, 2)])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_slice_is_blank_once_the_head_has_left_it_by_half_a_voxel(affine, voxels, blank, sign):
    data = np.full(SHAPE, 500, dtype=np.int16)
    data[3, 3, 3] = 501
    resliced = reslice(data, affine, shift(affine, [0, 0, sign * voxels]), Grid.of(SHAPE, affine))
    empty = (resliced == 0.0).all(axis=(0, 1))
    assert empty.sum() == blank
    if blank:
        assert empty[-1 if sign > 0 else 0]
    np.testing.assert_allclose(resliced[:, :, ~empty], 500, atol=1.5)


def test_a_field_that_is_linear_in_space_stays_so_on_another_grid(affine):
    slope, offset = np.array([1.5, -2.0, 0.7]), 400.0

    def field(shape, affine, transform):
        voxels = np.stack([*np.indices(shape), np.ones(shape)]).reshape(4, -1)
        world = (transform @ affine @ voxels)[:3]
        return (slope @ world + offset).reshape(shape).astype(np.float32)

    other_shape = (10, 9, 6)
    other = affine.copy()
    other[:3, :3] = Rotation.from_euler("XYZ", [3, 2, -12], degrees=True).as_matrix() * 3.5
    other[:3, 3] = (affine @ [9.5, 8.5, 5.5, 1.0])[:3] - other[:3, :3] @ [4.5, 4.0, 2.5]
    transform = transform_of(np.array([1.0, -0.5, 0.8, 0.02, -0.03, 0.01]), np.zeros(3))

    resliced = reslice(field(SHAPE, affine, np.eye(4)), affine, transform, Grid.of(other_shape, other))
    expected = field(other_shape, other, transform)
    # The spline's mirrored border bends the field, so compare two voxels inside.
    inside = (
        np.linalg.inv(affine)
        @ transform
        @ other
        @ np.stack([*np.indices(other_shape), np.ones(other_shape)]).reshape(4, -1)
    )
    deep = ((inside[:3] > 3) & (inside[:3] < np.array(SHAPE)[:, None] - 4)).all(axis=0).reshape(other_shape)
    assert deep.sum() > 50
    np.testing.assert_allclose(resliced[deep], expected[deep], atol=0.3)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (np.zeros((4, 4, 4), np.int16), "no signal"),
        (np.full((4, 4, 4), 7.0), "no signal"),
        (np.where(np.arange(64).reshape(4, 4, 4) == 5, np.nan, 1.0), "not finite"),
        (np.where(np.arange(64).reshape(4, 4, 4) == 5, np.inf, 1.0), "not finite"),
        (np.ones((4, 4, 4), bool), "bool"),
    ],
)
def test_a_volume_without_an_image_is_refused(data, says):
    with pytest.raises(VolumeError, match=says):
        require_signal(data, "volume 3")
