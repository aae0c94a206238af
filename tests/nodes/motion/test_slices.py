"""Slices that have lost signal as a whole are told from a head that moved."""

import numpy as np
import pytest

from rtflow.nodes.motion.slices import slice_factors, told

EXPECTED = np.array([5.0, 60, 80, 100, 120, 130, 140, 150, 150, 150, 140, 130, 100, 70, 40]) * 1000


def test_sound_slices_are_left_alone():
    assert slice_factors(EXPECTED, EXPECTED) is None
    assert slice_factors(1.7 * EXPECTED, EXPECTED) is None
    # A head that moved up by most of a slice, and noise.
    moved = np.interp(np.arange(15) - 0.8, np.arange(15), EXPECTED)
    assert slice_factors(moved * np.random.default_rng(0).normal(1.0, 0.01, 15), EXPECTED) is None


@pytest.mark.parametrize("loss", [0.4, -0.3])
def test_single_slices_are_scaled_to_their_neighbours(loss):
    sums = 1.2 * EXPECTED
    sums[[4, 10]] *= 1.0 - loss
    factors = slice_factors(sums, EXPECTED)
    wanted = np.ones(15)
    wanted[[4, 10]] = 1.0 / (1.0 - loss)
    np.testing.assert_allclose(factors, wanted, rtol=1e-6)
    assert told(factors) == (4, 10)


def test_a_small_loss_is_put_right_and_not_told():
    sums = EXPECTED.copy()
    sums[7] *= 0.87
    factors = slice_factors(sums, EXPECTED)
    assert factors[7] == pytest.approx(1 / 0.87)
    assert told(factors) == ()


def test_slices_without_signal_are_unknown():
    sums = EXPECTED.copy()
    sums[5:9] = 0.0
    factors = slice_factors(sums, EXPECTED)
    np.testing.assert_array_equal(np.isnan(factors), np.isin(np.arange(15), [5, 6, 7, 8]))
    np.testing.assert_array_equal(factors[[3, 4, 9, 10]], 1.0)
    assert told(factors) == (5, 6, 7, 8)


def test_a_volume_without_signal_is_left_to_the_gates():
    assert slice_factors(np.zeros(15), EXPECTED) is None
