"""The spline against SciPy's, where that is exact: continued by the mirror image."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.spatial.transform import Rotation

from rtflow.errors import VolumeError
from rtflow.nodes.images.spline import Spline

shapes = st.tuples(st.integers(2, 40), *[st.integers(2, 12)] * 2)
seeds = st.integers(0, 2**31)
#: Small turns and shifts as a head's, mirrored axes, other voxel sizes, whole voxels, grids far outside.
degrees = st.floats(-8, 8) | st.sampled_from([0.0, 180.0, 90.0])
shifts = st.floats(-4, 4) | st.integers(-3, 3).map(float) | st.just(300.0)
zooms = st.sampled_from([1.0, 1.0, 0.7, -1.0, 1.8])
moves = st.tuples(*[degrees] * 3, *[shifts] * 3, *[zooms] * 3)


def matrix(parts):
    move = np.eye(4)
    move[:3, :3] = Rotation.from_euler("xyz", parts[:3], degrees=True).as_matrix() * parts[6:]
    move[:3, 3] = parts[3:6]
    return move


def volume(shape, seed, dtype=np.int16):
    return np.asfortranarray(np.random.default_rng(seed).integers(0, 4000, shape).astype(dtype))


def positions(move, shape):
    return np.einsum("ab,b...->a...", move[:3, :3], np.indices(shape)) + move[:3, 3].reshape(3, 1, 1, 1)


def expected(coefficients, where):
    """Values at positions; those of the nearest up to half a voxel beyond the outermost centres, else 0."""
    last = np.array(coefficients.shape).reshape(3, 1, 1, 1) - 1.0
    values = ndimage.map_coordinates(
        coefficients, np.clip(where, 0, last), order=3, prefilter=False, mode="mirror"
    )
    # At the very edge of the field of view rounding decides.
    margin = np.minimum(where + 0.5, last + 0.5 - where).min(axis=0)
    return np.where(margin >= 0.0, values, 0.0), np.abs(margin) < 1e-6


@settings(deadline=None, max_examples=150)
@given(shapes, shapes, moves, seeds)
def test_any_grid_gets_scipys_values(shape, onto, parts, seed):
    data, move = volume(shape, seed), matrix(parts)
    where = positions(move, onto)
    smooth, sharp = Spline(data), Spline(data).through()
    filtered = ndimage.spline_filter(data, 3, output=float, mode="mirror")
    for spline, coefficients in ((smooth, data.astype(float)), (sharp, filtered)):
        values, edge = expected(coefficients, where)
        found = spline.onto(move, onto)
        assert found.dtype == np.float32
        assert found.flags.c_contiguous
        np.testing.assert_allclose(found[~edge], values[~edge], atol=0.05)


@settings(deadline=None, max_examples=60)
@given(shapes, moves, seeds)
def test_runs_get_the_same_values_where_the_spline_has_neighbours(shape, parts, seed):
    data, move = volume(shape, seed), matrix(parts)
    rng = np.random.default_rng(seed)
    begins = rng.integers(0, shape, (7, 3))
    counts = rng.integers(1, shape[0] - begins[:, 0] + 1)
    runs = np.column_stack([begins, counts]).astype(np.int32)
    values, seen, viewed = Spline(data).along(move, runs)

    points = np.concatenate([begin + np.arange(n)[:, None] * [1, 0, 0] for *begin, n in runs.tolist()])
    where = points @ move[:3, :3].T + move[:3, 3]
    last = np.array(shape) - 1.0
    deep = np.minimum(where - 1.0, last - 1.0 - where).min(axis=1)
    exact = ndimage.map_coordinates(data.astype(float), where.T, order=3, prefilter=False, mode="mirror")
    sure = np.abs(deep) > 1e-6
    np.testing.assert_array_equal(np.isfinite(values[sure]), deep[sure] > 0.0)
    inside = sure & (deep > 0.0)
    np.testing.assert_allclose(values[inside], exact[inside], atol=0.05)
    assert seen == np.isfinite(values).mean()
    margin = np.minimum(where + 0.5, last + 0.5 - where).min(axis=1)
    if (np.abs(margin) > 1e-6).all():
        assert viewed == (margin > 0.0).mean()


@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.int32, np.float32, np.float64])
@pytest.mark.parametrize("order", ["C", "F"])
def test_it_passes_through_the_voxels_of_any_type_and_order(dtype, order):
    data = np.array(volume((23, 8, 7), 0, dtype), order=order)
    values = Spline(data).through().onto(np.eye(4), data.shape)
    np.testing.assert_allclose(values, data, atol=0.01)


def test_only_what_is_wanted_is_made():
    data = volume((23, 8, 7), 3)
    where = np.zeros((8, 7, 2), dtype=np.int64)
    where[2, 3] = 4, 21
    where[2, 4] = 0, 1
    values = Spline(data).through().onto(np.eye(4), data.shape, where)
    wanted = np.zeros(data.shape, dtype=bool)
    wanted[4:21, 2, 3] = wanted[0, 2, 4] = True
    np.testing.assert_allclose(values[wanted], data[wanted], atol=0.01)
    assert (values[~wanted] == 0.0).all()


def test_a_single_slice_is_refused():
    with pytest.raises(VolumeError, match=r"shape \(9, 8, 1\)"):
        Spline(volume((9, 8, 1), 0))


def test_slices_are_summed_and_scaled():
    data = volume((23, 8, 9), 3)
    runs = np.array([[2, 3, 0, 10], [0, 0, 3, 23], [5, 1, 3, 1]], dtype=np.int32)
    sums = np.zeros(9)
    sums[0], sums[3] = data[2:12, 3, 0].sum(), data[:, 0, 3].sum() + data[5, 1, 3]
    np.testing.assert_allclose(Spline(data).slice_sums(runs), sums, rtol=1e-6)
    factors = np.array([1.0, 2.0, 0.5, 1.0, 3.0, 1.0, 1.0, 1.0, 0.9])
    move = matrix((1, 2, 3, 0.2, 0.3, 0.4, 1, 1, 1))
    np.testing.assert_allclose(
        Spline(data).scaled(factors).onto(move, data.shape),
        Spline(data * factors).onto(move, data.shape),
        rtol=1e-4,
    )


def test_what_rests_on_an_unknown_slice_is_unknown():
    data = volume((23, 8, 9), 3)
    factors = np.ones(9)
    factors[6] = np.nan
    # Half slices: a value rests on the slice at or before it, the one before that, and two after.
    found = Spline(data).scaled(factors).onto(np.diag([1.0, 1.0, 0.5, 1.0]), (23, 8, 16))
    assert np.isfinite(found[:, :, :8]).all()
    assert np.isnan(found[:, :, 8:]).all()
