import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtflow.bids.seconds import UnitsWarning, in_seconds, warn_of
from rtflow.errors import VolumeError


@pytest.mark.parametrize(
    ("field", "milliseconds", "seconds"),
    [
        ("RepetitionTime", 1500, 1.5),
        ("RepetitionTime", 1500.19, 1.50019),
        ("EchoTime", 28, 0.028),
        ("EchoTime1", 4.92, 0.00492),
        ("InversionTime", 900, 0.9),
        ("EffectiveEchoSpacing", 0.58, 0.00058),
        ("TotalReadoutTime", 36.5, 0.0365),
    ],
)
def test_milliseconds_are_put_right_and_seconds_left(field: str, milliseconds: float, seconds: float) -> None:
    right, changes = in_seconds({field: milliseconds, "FlipAngle": 90})
    assert right == {field: seconds, "FlipAngle": 90}
    assert changes == (f"{field} {milliseconds:g} was in milliseconds, and is {seconds:g} s",)
    assert in_seconds(right) == (right, ())


@given(st.floats(0.1, 30.0), st.floats(0.001, 0.3))
def test_no_time_of_a_scanner_is_taken_for_another(tr: float, te: float) -> None:
    seconds = {"RepetitionTime": tr, "EchoTime": te}
    assert in_seconds(seconds) == (seconds, ())
    right, changes = in_seconds({"RepetitionTime": 1000 * tr, "EchoTime": 1000 * te})
    assert right == pytest.approx(seconds, rel=1e-9)
    assert len(changes) == 2


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"RepetitionTime": 50}, "RepetitionTime is 50: in seconds it is at most 30, in milliseconds 100 to"),
        ({"RepetitionTime": 1500000}, "RepetitionTime is 1.5e.06"),
        ({"EchoTime": 0.5}, "EchoTime is 0.5"),
        ({"RepetitionTime": 0}, "RepetitionTime is 0, expected a number of seconds above 0"),
        ({"RepetitionTime": -2.0}, "RepetitionTime is -2.0"),
        ({"RepetitionTime": "2"}, "RepetitionTime is '2'"),
        ({"RepetitionTime": True}, "RepetitionTime is True"),
        ({"EchoTime": float("nan")}, "EchoTime is nan"),
        ({"EchoTime": float("inf")}, "EchoTime is inf"),
        (
            {"SliceTiming": [0, 2.4], "RepetitionTime": 2.0},
            "SliceTiming goes up to 2.4, and RepetitionTime is 2",
        ),
        ({"SliceTiming": [0, -1.0]}, "SliceTiming is .* expected a list of seconds"),
        ({"SliceTiming": 1.0}, "SliceTiming is 1.0, expected a list"),
    ],
)
def test_what_may_be_either_is_refused(metadata: dict[str, object], message: str) -> None:
    with pytest.raises(VolumeError, match=message):
        in_seconds(metadata)


def test_times_of_slices_go_by_the_repetition_time() -> None:
    times = [0.0, 1000.0, 62.5, 1937.5]
    right, changes = in_seconds({"RepetitionTime": 2000, "SliceTiming": times})
    assert right == {"RepetitionTime": 2.0, "SliceTiming": [0.0, 1.0, 0.0625, 1.9375]}
    assert changes[1] == "SliceTiming up to 1937.5 was in milliseconds, and is up to 1.9375 s"
    assert in_seconds(right) == (right, ())
    # Without a repetition time nothing can be said of them; with one, a scanner's rounding is no mistake.
    assert in_seconds({"SliceTiming": times}) == ({"SliceTiming": times}, ())
    rounded = {"RepetitionTime": 1.0, "SliceTiming": [0.0, 1.0025]}
    assert in_seconds(rounded) == (rounded, ())


def test_what_is_not_known_stays_so() -> None:
    unknown = {"RepetitionTime": None, "EchoTime": 0, "InversionTime": 0, "SliceTiming": []}
    assert in_seconds(unknown) == (unknown, ())
    assert in_seconds({"RepetitionTime": np.float32(2.0)})[1] == ()
    assert in_seconds({"RepetitionTime": np.int64(2000)})[0] == {"RepetitionTime": 2.0}


def test_what_was_put_right_is_said_where_it_was_asked_for() -> None:
    with pytest.warns(UnitsWarning, match="EchoTime 28 was in milliseconds") as told:
        warn_of(in_seconds({"EchoTime": 28})[1], stacklevel=1)
    assert told[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of(())
