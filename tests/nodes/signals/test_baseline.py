"""Baselines against what they are defined to be, written down the long way round."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtflow.nodes.signals.baseline import OpeningBaseline, RestBaseline, percent_change

runs = st.lists(
    st.tuples(st.floats(500, 1500), st.sampled_from(["rest", "rest", "faces", "scenes"])), max_size=40
)


def preceding_rest(labels, at):
    """Indices of the volumes that the volume `at` is compared with, by searching backwards."""

    def block_before(stop):
        while stop > 0 and labels[stop - 1] != "rest":
            stop -= 1
        start = stop
        while start > 0 and labels[start - 1] == "rest":
            start -= 1
        return list(range(start, stop))

    if labels[at] != "rest":
        return block_before(at)
    start = at
    while start > 0 and labels[start - 1] == "rest":
        start -= 1
    return block_before(start) or list(range(start, at))


@given(runs)
def test_rest_baseline_is_the_mean_of_the_preceding_rest_block(run):
    baseline = RestBaseline()
    labels = [label for _, label in run]
    for at, (signal, label) in enumerate(run):
        found = baseline.add(signal, label)
        wanted = [run[index][0] for index in preceding_rest(labels, at)]
        if wanted:
            assert found == pytest.approx(sum(wanted) / len(wanted))
        else:
            assert found is None


@given(runs, st.integers(0, 39), st.floats(1, 1e6))
def test_no_later_volume_changes_a_baseline(run, cut, other):
    whole, changed = RestBaseline(), RestBaseline()
    given_ = [whole.add(signal, label) for signal, label in run]
    with_noise = [changed.add(signal if at < cut else other, label) for at, (signal, label) in enumerate(run)]
    assert given_[: cut + 1] == with_noise[: cut + 1]


def test_task_never_enters_the_rest_baseline():
    baseline = RestBaseline()
    for _ in range(5):
        baseline.add(100.0, "rest")
    for signal in (150.0, 160.0, 170.0):
        assert baseline.add(signal, "faces") == 100.0
    assert baseline.add(999.0, "scenes") == 100.0


def test_a_run_that_begins_with_task_has_no_baseline_yet():
    baseline = RestBaseline()
    assert [baseline.add(9.0, label) for label in ("faces", "faces", "rest", "faces")] == [
        None,
        None,
        None,
        9.0,
    ]


def test_the_opening_is_counted_from_the_first_volume_that_comes():
    baseline = OpeningBaseline(6.0)
    # Volumes 1 to 4 were dummies, 6 is missing; 8 begins 6 s after 5.
    given_ = [
        baseline.add(signal, volume, 2.0) for volume, signal in ((5, 10.0), (7, 20.0), (8, 99.0), (9, 50.0))
    ]
    assert given_ == [None, None, 15.0, 15.0]


def test_onsets_that_a_float_cannot_hold_are_counted_right():
    baseline = OpeningBaseline(2.1)
    given_ = [baseline.add(1.0, volume, 0.7) for volume in range(1, 6)]
    assert given_ == [None, None, None, 1.0, 1.0]


def test_an_opening_shorter_than_a_volume_is_one_volume():
    baseline = OpeningBaseline(0.5)
    assert [baseline.add(signal, volume, 2.0) for volume, signal in ((1, 4.0), (2, 8.0))] == [None, 4.0]


def test_percent_change():
    assert percent_change(102.0, 100.0) == pytest.approx(2.0)
    assert percent_change(50.0, 200.0) == pytest.approx(-75.0)
