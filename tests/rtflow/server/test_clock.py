import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtflow.server.clock import Clock, Offset, next_acquisition


@given(
    offset=st.floats(-1e4, 1e4),
    ways=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=70),
)
def test_the_offset_is_right_to_within_half_of_the_fastest_round_trip(offset, ways):
    clock, at = Clock(), 1e5
    for there, thought, back in ways:
        received = at + there + offset
        clock.add(at, received, received + thought, at + there + thought + back)
        at += 3
    found = clock.offset
    assert found is not None
    fastest = min(there + back for there, _, back in ways[-64:])
    assert found.round_trip == pytest.approx(fastest, abs=1e-6)
    assert abs(found.seconds - offset) <= fastest / 2 + 1e-6


def test_an_old_exchange_counts_no_more_however_fast_it_was():
    clock = Clock()
    clock.add(0.0, 100.0, 100.0, 0.001)
    for _ in range(64):
        clock.add(1000.0, 1101.0, 1101.0, 1000.5)
    assert clock.offset is not None
    assert clock.offset.seconds == pytest.approx(100.75)


@pytest.mark.parametrize("exchange", [(10.0, 5.0, 5.0, 9.0), (10.0, 5.0, 4.0, 11.0)])
def test_a_clock_that_was_set_meanwhile_is_passed_over(exchange):
    clock = Clock()
    clock.add(*exchange)
    assert clock.offset is None


def test_times_stay_as_they_are_before_the_first_exchange():
    clock = Clock()
    assert (clock.to_ours(3.0), clock.to_theirs(3.0)) == (3.0, 3.0)


@given(st.floats(-1e6, 1e6), st.floats(0, 1e9))
def test_there_and_back_is_the_same_time(seconds, at):
    offset = Offset(seconds=seconds, round_trip=0.0)
    assert offset.to_ours(offset.to_theirs(at)) == pytest.approx(at, abs=1e-6)


@given(acquired=st.floats(0, 1e9), tr=st.floats(0.1, 10), later=st.floats(0, 1000))
def test_the_next_acquisition_is_less_than_a_tr_away(acquired, tr, later):
    at = acquired + later
    begins = next_acquisition(acquired, tr, at)
    assert at - 1e-6 <= begins <= at + tr + 1e-6
    whole = (begins - acquired) / tr
    assert whole == pytest.approx(round(whole), abs=1e-5)


def test_the_next_acquisition_is_one_tr_after_one_that_is_yet_to_come():
    assert next_acquisition(acquired=10.0, tr=2.0, at=9.0) == 12.0


def test_a_clock_that_was_set_is_known_by_the_next_exchange_however_slow():
    clock = Clock()
    for second in range(10):
        clock.add(second, second + 0.0001, second + 0.0001, second + 0.0002)
    assert clock.to_ours(10.0) == pytest.approx(10.0, abs=1e-6)
    clock.add(20.0, 50.010, 50.010, 20.020)  # 30 s ahead by now, and 20 ms away
    assert clock.to_ours(50.0) == pytest.approx(20.0, abs=1e-6)


def test_a_slow_exchange_does_not_take_the_place_of_fast_ones_that_it_agrees_with():
    clock = Clock()
    clock.add(0.0, 7.0001, 7.0001, 0.0002)
    clock.add(1.0, 8.015, 8.015, 1.020)
    assert clock.offset is not None
    assert clock.offset.round_trip == pytest.approx(0.0002)
