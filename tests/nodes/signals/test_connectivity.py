"""Correlation in a moving window, against numpy on the same volumes, and against nilearn."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from incrementals import incremental
from nipype.interfaces.base import Undefined

from rtflow.errors import VolumeError
from rtflow.nodes.signals.connectivity import Connectivity
from rtflow.nodes.signals.covariance import MovingWindow, partial_correlations

AT_TR = {"RepetitionTime": 2.0}
NAMES = ("first", "second", "third", "fourth")


def courses(volumes: int, regions: int, seed: int = 0) -> np.ndarray:
    """Courses that share something, each at a level of its own: shape (volumes, regions)."""
    chance = np.random.default_rng(seed)
    shared = chance.standard_normal((volumes, 1))
    own = chance.standard_normal((volumes, regions))
    return np.linspace(500, 1500, regions) + 5 * shared + np.linspace(4, 9, regions) * own


def run(node, call, rows, *, absent=(), confounds=None, trials=None):
    """The outputs of each volume; volumes in ``absent`` never come."""
    found = {}
    for volume, row in enumerate(rows, start=1):
        if volume in absent:
            node.gap(volume)
            continue
        given_ = dict(zip(NAMES, map(float, row), strict=False))
        if confounds is not None:
            given_["confounds"] = confounds[volume - 1]
        if trials is not None:
            given_["trial"] = trials[volume - 1]
        found[volume] = call(node, volume, incremental=incremental(volume, metadata=AT_TR), **given_)
    return found


def started(context, **inputs):
    node = Connectivity(**inputs)
    node.start_run(context)
    return node


def test_it_is_pearsons_correlation_of_the_volumes_in_the_window(make_context, call):
    rows = courses(60, 2)
    found = run(started(make_context(), window=30.0), call, rows)
    for volume, outputs in found.items():
        if volume < 15:
            assert set(outputs) == {"volumes"}
            continue
        wanted = np.corrcoef(rows[volume - 15 : volume].T)[0, 1]
        assert outputs["value"] == pytest.approx(wanted, abs=1e-12)
        assert (outputs["kind"], outputs["volumes"]) == ("correlation", 15)


def test_of_more_regions_it_is_the_mean_over_pairs(make_context, call):
    rows = courses(30, 4)
    found = run(started(make_context(), window=40.0), call, rows)
    pairs = np.corrcoef(rows[10:].T)[np.triu_indices(4, 1)]
    assert found[30]["value"] == pytest.approx(np.tanh(np.arctanh(pairs).mean()), abs=1e-12)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_the_partial_correlation_is_nilearns(make_context, call):
    from nilearn.connectome import ConnectivityMeasure
    from sklearn.covariance import EmpiricalCovariance

    rows = courses(40, 4, seed=3)
    found = run(started(make_context(), window=60.0, measure="partial"), call, rows)
    measure = ConnectivityMeasure(
        kind="partial correlation", cov_estimator=EmpiricalCovariance(), standardize=False
    )
    (matrix,) = measure.fit_transform([rows[10:]])
    # Both invert a matrix of condition number 1e2; what is left is rounding.
    assert found[40]["value"] == pytest.approx(matrix[0, 1], abs=1e-9)
    assert found[40]["kind"] == "partial_correlation"
    assert abs(matrix[0, 1] - np.corrcoef(rows[10:].T)[0, 1]) > 0.05


def test_confounds_are_regressed_out_within_the_window(make_context, call):
    rows, nuisance = courses(40, 2), np.random.default_rng(9).standard_normal((40, 3))
    rows[:, :2] += 20 * nuisance[:, :1]
    nuisance = np.column_stack([nuisance, nuisance[:, 0] * 2, np.ones(40)])  # dependent, and constant
    found = run(started(make_context(), window=50.0), call, rows, confounds=nuisance)
    model = nuisance[15:]
    left = rows[15:] - model @ np.linalg.lstsq(model, rows[15:], rcond=None)[0]
    wanted = np.corrcoef(left.T)[0, 1]
    assert found[40]["value"] == pytest.approx(wanted, abs=1e-8)
    assert abs(wanted - np.corrcoef(rows[15:].T)[0, 1]) > 0.1


def test_fishers_z(make_context, call):
    rows = courses(30, 2)
    plain = run(started(make_context(), window=30.0), call, rows)
    turned = run(started(make_context(), window=30.0, fisher=True), call, rows)
    assert turned[30]["value"] == pytest.approx(np.arctanh(plain[30]["value"]))
    assert turned[30]["kind"] == "fisher_z"


def test_a_gap_leaves_the_window_one_of_time(make_context, call):
    rows, absent = courses(60, 2), {20, 21, 33}
    found = run(started(make_context(), window=30.0), call, rows, absent=absent)
    for volume in (22, 30, 35, 36, 48, 60):
        inside = [n - 1 for n in range(volume - 14, volume + 1) if n not in absent]
        assert found[volume]["value"] == pytest.approx(np.corrcoef(rows[inside].T)[0, 1], abs=1e-12)
        assert found[volume]["volumes"] == len(inside)


def test_a_window_of_which_less_than_four_fifths_came_gives_no_value(make_context, call):
    found = run(started(make_context(), window=30.0), call, courses(60, 2), absent={20, 21, 22, 23})
    assert {volume for volume, outputs in found.items() if "value" not in outputs} == {
        *range(1, 15),
        *range(24, 35),
    }


def test_a_volume_without_one_of_the_regions_is_a_gap(make_context, call):
    rows = courses(40, 3)
    node = started(make_context(), window=30.0)
    for volume, row in enumerate(rows, start=1):
        third = Undefined if volume == 30 else float(row[2])
        outputs = call(
            node,
            volume,
            incremental=incremental(volume, metadata=AT_TR),
            first=row[0],
            second=row[1],
            third=third,
        )
        if volume == 30:
            assert outputs == {}
    inside = [n - 1 for n in range(26, 41) if n != 30]
    pairs = np.corrcoef(rows[inside].T)[np.triu_indices(3, 1)]
    assert outputs["value"] == pytest.approx(np.tanh(np.arctanh(pairs).mean()), abs=1e-12)


def test_min_volumes_gives_a_value_before_the_window_is_full(make_context, call):
    rows = courses(30, 2)
    found = run(started(make_context(), window=40.0, min_volumes=8), call, rows)
    assert min(volume for volume, outputs in found.items() if "value" in outputs) == 8
    assert found[8]["value"] == pytest.approx(np.corrcoef(rows[:8].T)[0, 1], abs=1e-12)


def test_with_trial_the_window_begins_anew_with_each_trial(make_context, call):
    rows, trials = courses(40, 2), [-1] * 10 + [0] * 15 + [-1] * 15
    node = started(make_context(), window=24.0, min_volumes=8)
    found = run(node, call, rows, trials=trials)
    valued = [volume for volume, outputs in found.items() if "value" in outputs]
    assert valued == [8, 9, 10, *range(18, 26), *range(33, 41)]
    assert found[18]["value"] == pytest.approx(np.corrcoef(rows[10:18].T)[0, 1], abs=1e-12)


def test_a_region_that_does_not_vary_is_doubted(make_context, call):
    rows = courses(20, 2)
    rows[:, 1] = 700.0
    node = started(make_context(), window=30.0)
    assert set(run(node, call, rows)[20]) == {"volumes"}
    assert "does not vary" in node.take_doubts()[0]


def test_a_region_that_varies_no_more_is_doubted(make_context, call):
    """What rounding leaves in the sums, when the last volume that varied has gone, is no signal."""
    rows = courses(45, 2)
    rows[20:, 1] = 700.1
    node = started(make_context(), window=30.0)
    found = run(node, call, rows)
    assert [volume for volume in found if "value" in found[volume]] == list(range(15, 35))


def test_what_cannot_be_is_said(make_context, call):
    with pytest.raises(VolumeError, match="make the window longer"):
        run(started(make_context(), window=10.0), call, courses(1, 2))
    with pytest.raises(VolumeError, match="not finite"):
        run(started(make_context()), call, np.full((1, 2), np.nan))


def test_no_value_depends_on_a_later_volume_and_it_goes_on_elsewhere(make_context, call):
    rows, other = courses(50, 2), courses(50, 2)
    other[30:] = 1e4 * np.random.default_rng(5).random((20, 2))
    whole = run(started(make_context("a"), window=30.0), call, rows)
    changed = run(started(make_context("b"), window=30.0), call, other)
    assert [whole[n] for n in range(1, 31)] == [changed[n] for n in range(1, 31)]
    assert whole[40] != changed[40]
    one, two = (started(make_context(uid), window=30.0) for uid in "cd")
    run(one, call, rows[:25])
    two.restore(pickle.loads(pickle.dumps(one.snapshot())))
    for volume in range(26, 51):
        again = call(
            two,
            volume,
            incremental=incremental(volume, metadata=AT_TR),
            first=float(rows[volume - 1, 0]),
            second=float(rows[volume - 1, 1]),
        )
        assert again == whole[volume]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.integers(2, 20),
    level=st.sampled_from([0.0, 1e3, 1e8]),
    absent=st.sets(st.integers(1, 80), max_size=30),
)
def test_the_running_sums_stay_those_of_the_window(seed, size, level, absent):
    rows = level + np.random.default_rng(seed).standard_normal((80, 3))
    window = MovingWindow(size)
    for volume in (n for n in range(1, 81) if n not in absent):
        window.add(volume, rows[volume - 1])
        inside = rows[[n - 1 for n in range(max(volume - size + 1, 1), volume + 1) if n not in absent]]
        apart = inside - inside.mean(axis=0)
        assert window.rows[0][0] > volume - size
        assert len(window.rows) == len(inside)
        # Values are known to 1e-16 of the level; their squares add up over at most two windows.
        tolerance = 1e-12 + 1e-14 * level * size
        np.testing.assert_allclose(window.mean, inside.mean(axis=0), rtol=1e-14, atol=tolerance)
        np.testing.assert_allclose(window.scatter, apart.T @ apart, rtol=1e-9, atol=10 * tolerance)


def test_courses_that_others_explain_have_no_partial_correlation():
    chance = np.random.default_rng(0).standard_normal((30, 2))
    scatter = np.cov(np.column_stack([chance, chance.sum(axis=1), chance[:, 0]]).T)
    assert partial_correlations(scatter, 2) is None
