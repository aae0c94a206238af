"""Response and noise, each against what it is defined by."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy import stats

from rtflow.sources.simulation import noise, response
from rtflow.trials import Design, Trial


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_the_course_is_the_boxcar_convolved_with_the_double_gamma() -> None:
    design = Design((Trial(3.0, 10.0, "a"), Trial(17.5, 4.0, "b"), Trial(26.0, 6.0, "a")))
    step = 0.01
    fine = np.arange(0, 60, step)
    hrf = stats.gamma.pdf(fine, 6) - stats.gamma.pdf(fine, 16) / 6
    hrf /= hrf.sum()
    boxcar = ((fine >= 3) & (fine < 13)) | ((fine >= 26) & (fine < 32))
    expected = np.convolve(boxcar, hrf)[: fine.size]
    times = np.arange(0, 60, 2.0)
    assert_allclose(response.course(design, "a", times), np.interp(times, fine, expected), atol=2e-3)
    later = response.course(design, "a", times, delay=4.0)
    assert_allclose(later[2:], response.course(design, "a", times)[:-2], atol=1e-12)


def test_a_lasting_trial_settles_at_one() -> None:
    assert response.settled(-3.0) == 0.0
    assert_allclose(response.settled(60.0), 1.0, atol=1e-9)


def test_a_region_prefers_its_own_condition() -> None:
    design = Design((Trial(0.0, 60.0, "scene"), Trial(100.0, 60.0, "face"), Trial(200.0, 60.0, "scene")))
    courses = response.region_courses(design, [55.0, 155.0, 255.0], regions=2, crosstalk=0.35)
    assert_allclose(courses, [[1, 0.35], [0.35, 1], [1, 0.35]], atol=1e-3)


@pytest.mark.parametrize("names", [("scene", "face"), ("right", "left")])
def test_the_order_of_the_trials_changes_no_preference(names: tuple[str, str]) -> None:
    first, second = names
    one = Design((Trial(0.0, 60.0, first), Trial(100.0, 60.0, second)))
    other = Design((Trial(0.0, 60.0, second), Trial(100.0, 60.0, first)))
    at_first, at_second = response.region_courses(one, [55.0, 155.0], regions=2)
    assert_allclose(response.region_courses(other, [55.0, 155.0], regions=2), [at_second, at_first])
    assert abs(at_first - at_second).min() > 0.5


def test_the_share_of_a_volume_on_task() -> None:
    design = Design((Trial(3.0, 4.0, "a"),))
    assert_allclose(response.on_task(design, [0, 2, 4, 6, 8], 2.0), [0, 0.5, 1, 0.5, 0])


@pytest.mark.parametrize(("ar", "sigma"), [(0.0, 0.0), (0.5, 0.0), (0.0, 1.0), (0.4, 0.8)])
def test_noise_has_its_spread_and_its_correlations(ar: float, sigma: float) -> None:
    field = noise.NoiseField((14, 16, 18), ar=ar, sigma=sigma, chance=generator())
    drawn = np.array([field.draw() for _ in range(150)])
    assert drawn.dtype == np.float32
    assert_allclose(drawn.std(), 1.0, rtol=0.02)
    assert_allclose((drawn[1:] * drawn[:-1]).mean(), ar, atol=0.02)
    # White noise through a Gaussian of width sigma correlates at distance d by exp(-d^2 / (4 sigma^2)).
    for axis in (1, 2, 3):
        neighbour = (drawn * np.roll(drawn, 1, axis=axis)).mean()
        assert_allclose(neighbour, np.exp(-0.25 / sigma**2) if sigma else 0.0, atol=0.03)


def test_a_drawn_field_may_be_changed() -> None:
    one = noise.NoiseField((4, 4, 4), ar=0.5, sigma=0.0, chance=generator())
    other = noise.NoiseField((4, 4, 4), ar=0.5, sigma=0.0, chance=generator())
    field = one.draw()
    field *= 1000.0
    other.draw()
    assert np.array_equal(one.draw(), other.draw())


def test_drift_begins_at_zero_and_spans_its_percent() -> None:
    spans = []
    for seed in range(200):
        slow = noise.drift(200, 1.0, generator(seed))
        assert slow[0] == 0.0
        assert np.abs(np.diff(slow)).max() < 5e-4
        spans.append(np.ptp(slow))
    assert 0.006 < np.mean(spans) < 0.012
    assert max(spans) < 0.015


def test_breath_cycles_in_about_four_seconds() -> None:
    tr = 0.2
    cycle = noise.breath(3000, tr, generator())
    assert np.abs(cycle).max() <= 1.0
    turns = np.count_nonzero((cycle[1:] >= 0) & (cycle[:-1] < 0))
    assert_allclose(3000 * tr / turns, 4.0, rtol=0.2)


def test_the_excess_of_the_first_volumes_decays() -> None:
    left = noise.unsaturated(20, 2.0)
    assert left[0] == 1.0
    assert_allclose(left[1], np.exp(-2 / 1.5))
    assert not left[8:].any()


@settings(max_examples=60)
@given(
    volumes=st.integers(1, 60),
    tr=st.floats(0.2, 4),
    delay=st.floats(0, 5),
    jitter=st.floats(0, 10),
    seed=st.integers(0, 2**32),
)
def test_volumes_arrive_in_order_and_never_early(volumes, tr, delay, jitter, seed) -> None:
    due = noise.arrivals(volumes, tr, delay=delay, jitter=jitter, chance=generator(seed))
    assert (np.diff(due) >= 0).all()
    assert (due >= np.arange(1, volumes + 1) * tr - 1e-9).all()


def test_without_jitter_the_schedule_is_a_straight_line() -> None:
    due = noise.arrivals(1000, 0.1, delay=0.25, jitter=0.0, chance=generator())
    assert_allclose(due, 0.1 * np.arange(1, 1001) + 0.25, atol=1e-9)
    late = noise.arrivals(300, 0.5, delay=0.25, jitter=1.0, chance=generator())
    assert (np.diff(late) == 0).any()  # a burst
