"""When volumes are acquired: by triggers, or by arrivals."""

from __future__ import annotations

import pytest

from rtflow.server.run_clock import RunClock


def test_without_anything_nothing_is_known() -> None:
    clock = RunClock()
    assert (clock.onset, clock.by, clock.next_volume(1.0), clock.acquired(1)) == (None, "", None, None)
    clock.volume(1, 10.0)
    assert clock.onset is None
    clock.tr = 2.0
    assert (clock.onset, clock.by) == (8.0, "arrival")


def test_the_volume_that_came_fastest_says_most() -> None:
    clock = RunClock(2.0)
    for volume, delay in [(1, 0.8), (2, 0.3), (3, 0.5)]:
        clock.volume(volume, 100.0 + 2.0 * volume + delay)
    assert clock.onset == pytest.approx(100.3)
    assert clock.next_volume(103.0) == pytest.approx(104.3)
    assert clock.acquired(2) is None


def test_the_first_trigger_is_that_of_the_first_saved_volume_but_for_dummies() -> None:
    clock = RunClock(2.0)
    clock.volume(1, 107.0)
    assert clock.trigger(1, 100.0) == ""
    assert (clock.onset, clock.acquired(3)) == (100.0, 104.0)
    clock.dummies = 4.0
    assert (clock.onset, clock.acquired(1), clock.next_volume(99.0)) == (104.0, 104.0, 104.0)


def test_a_display_that_heard_no_first_trigger_knows_its_number() -> None:
    clock = RunClock(2.0)
    assert clock.trigger(5, 108.0) == "the first trigger that was told is trigger 5"
    assert clock.onset == 100.0
    assert RunClock().trigger(5, 108.0) != ""


@pytest.mark.parametrize(
    ("triggers", "says"),
    [
        ([(1, 0.0), (2, 2.0), (3, 4.0)], ["", "", ""]),
        ([(1, 0.0), (2, 2.1), (3, 3.9)], ["", "", ""]),
        ([(1, 0.0), (2, 4.0), (3, 6.0)], ["", "1 trigger is missing before trigger 2", ""]),
        ([(1, 0.0), (4, 6.0)], ["", "2 triggers are missing before trigger 4"]),
        (
            [(1, 0.0), (2, 0.5), (3, 2.0), (4, 4.0)],
            ["", "trigger 2 came 0.500 s after the last one: it is one too many", "", ""],
        ),
        ([(1, 0.0), (1, 2.0)], ["", "trigger 1 came 2.000 s after the last one: it is one too many"]),
    ],
)
def test_missed_and_extra_triggers_are_told(triggers, says) -> None:
    clock = RunClock(2.0)
    assert [clock.trigger(n, 100.0 + at) for n, at in triggers] == says


@pytest.mark.parametrize(
    ("received", "doubted"), [(100.2, True), (102.4, False), (107.9, False), (109.0, True)]
)
def test_a_first_trigger_that_cannot_be_that_of_volume_1_is_doubted_once(received, doubted) -> None:
    clock = RunClock(2.0)
    clock.trigger(1, 100.0)
    assert clock.doubt() == ""
    clock.volume(1, received)
    assert bool(clock.doubt()) is doubted
    assert clock.doubt() == ""
