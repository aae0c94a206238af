"""The cubic spline, against SciPy's where that is exact: continued by the mirror image."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from rtflow.nodes.spline import CHUNK, Spline, interpolating

shapes = st.tuples(*[st.integers(4, 12)] * 3)


@settings(deadline=None, max_examples=40)
@given(shapes, st.integers(0, 2**31))
def test_values_between_voxels_are_scipys(shape, seed):
    rng = np.random.default_rng(seed)
    data = rng.integers(0, 4000, shape).astype(np.int16)
    where = rng.random((3, 200)) * (np.array(shape)[:, None] - 1)
    for coefficients in (interpolating(data), data):
        expected = ndimage.map_coordinates(
            coefficients.astype(float), where, order=3, prefilter=False, mode="mirror"
        )
        np.testing.assert_allclose(Spline(coefficients).at(list(where)), expected, atol=0.02)


def test_it_passes_through_the_voxels(rng_volume):
    where = [axis.ravel().astype(float) for axis in np.indices(rng_volume.shape)]
    values = Spline(interpolating(rng_volume)).at(where)
    np.testing.assert_allclose(values, rng_volume.ravel(), atol=0.01)


def test_points_beyond_the_outermost_centres_take_the_nearest_value(rng_volume):
    spline = Spline(interpolating(rng_volume))
    beyond = spline.at([np.array([-3.0, 99.0]), np.array([4.5, -0.2]), np.array([2.25, 50.0])])
    border = spline.at([np.array([0.0, 8.0]), np.array([4.5, 0.0]), np.array([2.25, 6.0])])
    np.testing.assert_array_equal(beyond, border)


def test_chunks_leave_no_seam(rng_volume):
    count = CHUNK + 37
    where = np.random.default_rng(1).random((3, count)) * 6
    spline = Spline(rng_volume)
    whole = spline.at(list(where))
    single = [spline.at([axis[i : i + 1] for axis in where])[0] for i in (0, CHUNK - 1, CHUNK, count - 1)]
    np.testing.assert_array_equal(whole[[0, CHUNK - 1, CHUNK, count - 1]], single)


@pytest.fixture
def rng_volume():
    return np.random.default_rng(0).integers(0, 4000, (9, 8, 7)).astype(np.uint16)
