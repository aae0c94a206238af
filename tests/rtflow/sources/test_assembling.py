"""Volumes leave in order, once each, whatever comes in: tried over orders, repeats, losses and times."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtflow.sources.assembling import Assembler, Release

IDLE, PATIENCE = 30.0, 5.0


def assembler(**options: object) -> Assembler[str]:
    return Assembler(**{"patience": PATIENCE, "idle": IDLE, "began": 0.0, **options})  # type: ignore[arg-type]


def arrive(it: Assembler[str], volume: int, at: float, **options: bool) -> list[Release[str]]:
    return it.arrive(volume, f"file-{volume}", at, **options)


def numbers(released: list[Release[str]]) -> list[int]:
    return [release.volume for release in released]


@st.composite
def arrivals(draw: st.DrawFn) -> tuple[int, list[int]]:
    """How many volumes the run has, and which come in which order: some late, some twice, some never."""
    total = draw(st.integers(1, 25))
    came = draw(st.lists(st.integers(1, total), max_size=2 * total))
    return total, came


@given(arrivals(), st.lists(st.floats(0, 20), min_size=50, max_size=50))
@settings(max_examples=300, deadline=None)
def test_every_volume_leaves_once_and_in_order(case: tuple[int, list[int]], pauses: list[float]) -> None:
    total, came = case
    it, at, released = assembler(volumes=total), 0.0, []
    for volume, pause in zip(came, pauses, strict=False):
        # The clock moves in steps: what is due is given up when it is due, not when the next file comes.
        due = at + pause
        while not it.over and it.deadline <= due:
            at = it.deadline
            released += it.tick(at)
        at = due
        released += arrive(it, volume, at)
    while not it.over:
        assert math.isfinite(it.deadline)
        at = max(at, it.deadline)
        released += it.tick(at)
    assert numbers(released) == list(range(1, total + 1))
    for release in released:
        assert (release.item is None) == bool(release.missing)
        assert release.item in (None, f"file-{release.volume}")
        assert release.item is None or release.volume in came


@given(st.permutations(range(1, 15)))
def test_all_that_comes_in_time_leaves_in_order(order: list[int]) -> None:
    it = assembler(volumes=14)
    released = [release for volume in order for release in arrive(it, volume, 0.0)]
    assert [release.item for release in released] == [f"file-{n}" for n in range(1, 15)]
    assert it.over


def test_repeats_are_dropped() -> None:
    it = assembler()
    assert numbers(arrive(it, 1, 0.0)) == [1]
    assert not it.wants(1)
    assert not arrive(it, 1, 0.1)
    assert not arrive(it, 3, 0.2)
    assert not it.wants(3)
    assert not it.arrive(3, "another", 0.3)
    released = arrive(it, 2, 0.4)
    assert [release.item for release in released] == ["file-2", "file-3"]


def test_repeats_are_no_news() -> None:
    it = assembler()
    arrive(it, 1, 0.0)
    arrive(it, 1, IDLE - 1)
    it.tick(IDLE)
    assert it.over


def test_a_slice_is_news() -> None:
    it = assembler()
    arrive(it, 1, 0.0)
    it.heard(2, IDLE - 1)
    assert not it.tick(IDLE)
    assert not it.over
    it.tick(2 * IDLE - 1)
    assert it.over


def test_a_volume_is_given_up_after_a_later_one_came() -> None:
    it = assembler()
    arrive(it, 1, 0.0)
    assert not arrive(it, 3, 4.0)
    assert it.deadline == 4.0 + PATIENCE
    assert not it.tick(8.9)
    released = it.tick(9.0)
    assert numbers(released) == [2, 3]
    assert released[0].missing == "it did not come within 5 s of volume 3"
    assert not arrive(it, 2, 9.5)
    assert numbers(arrive(it, 4, 9.6)) == [4]


def test_two_gaps_each_have_their_time() -> None:
    it = assembler()
    arrive(it, 2, 0.0)
    arrive(it, 5, 3.0)
    assert numbers(it.tick(5.0)) == [1, 2]
    assert numbers(it.tick(8.0)) == [3, 4, 5]


def test_a_stray_late_volume_does_not_cost_those_before_it() -> None:
    """The tenth volume lies there first; the others take longer than the patience, at their pace."""
    it = assembler()
    released = arrive(it, 10, 0.0)
    for volume in range(1, 10):
        at = 2.0 * volume
        released += it.tick(at)
        released += arrive(it, volume, at)
    assert [release.item for release in released] == [f"file-{n}" for n in range(1, 11)]


def test_a_stray_late_volume_does_not_cost_those_after_a_lost_one() -> None:
    """The twentieth lies there first, and the third is lost: the fourth and all others keep their time."""
    it = assembler()
    released = arrive(it, 20, 0.0)
    for volume in [1, 2, *range(4, 20)]:
        at = 2.0 * volume
        released += it.tick(at)
        released += arrive(it, volume, at)
    assert [release.volume for release in released if release.item is None] == [3]
    assert numbers(released) == list(range(1, 21))


def test_a_demanded_number_binds() -> None:
    it = assembler(volumes=3, planned=10)
    assert not arrive(it, 4, 0.0)
    assert numbers([r for n in (1, 2, 3) for r in arrive(it, n, 1.0)]) == [1, 2, 3]
    assert it.over
    assert not arrive(it, 4, 2.0)


def test_a_planned_number_ends_the_run_and_grows() -> None:
    it = assembler(planned=2)
    arrive(it, 3, 0.0)
    assert numbers(arrive(it, 1, 1.0) + arrive(it, 2, 1.0)) == [1, 2, 3]
    assert it.over


@pytest.mark.parametrize(("live", "expected"), [(True, [2, 3, 4, 5]), (False, [2, 3])])
def test_planned_volumes_are_missing_only_if_any_came_live(live: bool, expected: list[int]) -> None:
    it = assembler(planned=5)
    arrive(it, 1, 0.0, live=live)
    arrive(it, 3, 0.0, live=live)
    assert numbers(it.tick(IDLE)) == expected
    assert it.over


def test_the_reason_is_the_one_that_is_known() -> None:
    it = assembler(volumes=3)
    arrive(it, 1, 0.0)
    it.remark(2, "2.dcm is cut off")
    released = it.tick(IDLE)
    assert [release.missing for release in released] == [
        "2.dcm is cut off",
        "it had not come when no new volume had come for 30 s",
    ]


def test_a_last_volume_that_was_seen_cut_off_counts() -> None:
    it = assembler()
    arrive(it, 1, 0.0, live=False)
    it.remark(2, "2.dcm is cut off")
    assert numbers(it.tick(IDLE)) == [2]


def test_silence_from_the_beginning_ends_without_volumes() -> None:
    it = assembler()
    assert not it.tick(IDLE)
    assert it.over
