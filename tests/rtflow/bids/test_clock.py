from datetime import datetime, time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtflow.bids.clock import acquisition_time, later, time_to_next
from rtflow.errors import VolumeError


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({"AcquisitionTime": "09:31:02.500000"}, time(9, 31, 2, 500000)),
        ({"AcquisitionTime": "09:31:02"}, time(9, 31, 2)),
        ({"AcquisitionTime": "093102.25"}, time(9, 31, 2, 250000)),
        ({"AcquisitionTime": "", "AcquisitionDateTime": "2026-11-28T23:59:59.000001"}, time(23, 59, 59, 1)),
        ({"AcquisitionDateTime": "20261128093102.5+0100"}, time(9, 31, 2, 500000)),
        ({"AcquisitionDateTime": "2026-11-28T09:31:02Z"}, time(9, 31, 2)),
        ({"AcquisitionTime": "09:31:02.1234567"}, time(9, 31, 2, 123456)),
        ({"AcquisitionTime": "9:31:2.500000"}, time(9, 31, 2, 500000)),  # as dcm2niix does
    ],
)
def test_forms_of_a_time(metadata: dict[str, str], expected: time) -> None:
    assert acquisition_time(metadata) == expected


@pytest.mark.parametrize("value", ["9:31", "25:00:00", "noon", 12, "09:31:61"])
def test_what_is_no_time(value: object) -> None:
    with pytest.raises(VolumeError, match=f"AcquisitionTime is {value!r}, expected HH:MM:SS.ffffff"):
        acquisition_time({"AcquisitionTime": value})


def test_no_time_at_all() -> None:
    with pytest.raises(VolumeError, match="no AcquisitionTime; set it"):
        acquisition_time({"RepetitionTime": 2.0})


@given(
    st.datetimes(datetime(2026, 1, 1), datetime(2026, 1, 2)),
    st.integers(100, 5000),
    st.integers(0, 3_600_000),
    st.integers(-3600, 3600),
)
def test_the_next_volume_begins_a_whole_number_of_repetition_times_after_this_one(
    acquired: datetime, tr: int, later: int, skew: int
) -> None:
    """Whatever the clocks say, and over midnight as well."""
    now = acquired + timedelta(milliseconds=later) - timedelta(seconds=skew)
    rest = time_to_next(acquired.time(), tr / 1000, now.time(), skew)
    assert 0 <= rest <= tr / 1000
    volumes = (later / 1000 + rest) / (tr / 1000)
    assert volumes == pytest.approx(round(volumes), abs=1e-5)


@pytest.mark.parametrize(
    ("now", "skew", "expected"),
    [
        (time(10, 0, 0, 500000), 0.0, 1.5),
        (time(10, 0, 3), 0.0, 1.0),
        (time(10, 0, 0, 500000), 1.0, 0.5),  # the scanner's clock is ahead, so it is later there
        (time(10, 0, 0, 500000), -0.25, 1.75),
        (time(9, 59, 59, 500000), 0.0, 0.5),  # of a clock that is behind
    ],
)
def test_a_clock_that_is_ahead(now: time, skew: float, expected: float) -> None:
    assert time_to_next(time(10), 2.0, now, skew) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("begin", "seconds", "expected"),
    [
        ("093102.25", 1.5, "09:31:03.750000"),
        ("9:31:2.5", 0.0, "09:31:02.500000"),
        ("23:59:59.5", 1.5, "00:00:01.000000"),
        ("00:00:00", 86400 * 2 + 0.1, "00:00:00.100000"),
        ("noon", 1.0, None),
        (None, 1.0, None),
    ],
)
def test_a_time_moves_on(begin: object, seconds: float, expected: str | None) -> None:
    assert later(begin, seconds) == expected
