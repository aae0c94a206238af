"""Alarms: hysteresis in both directions, and thresholds that breathing does not reach."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtflow.errors import UsageError
from rtflow.nodes.confounds.alarm import Alarm, Thresholds, alarms
from rtflow.nodes.motion.displacement import displacement_lift


@given(st.lists(st.floats(0, 1) | st.none(), max_size=40))
def test_it_begins_beyond_one_threshold_and_ends_beyond_the_other(values):
    """The state is what the last decisive value said; between the thresholds nothing changes."""
    high, low = Alarm(Thresholds(0.6, 0.4)), Alarm(Thresholds(0.4, 0.6))
    expected = {"high": False, "low": False}
    for value in values:
        if value is not None:
            if value > 0.6:
                expected["high"] = True
            if value <= 0.4:
                expected["high"] = False
            if value < 0.4:
                expected["low"] = True
            if value >= 0.6:
                expected["low"] = False
        assert high.take(value) == expected["high"]
        assert low.take(value) == expected["low"]


def test_a_lift_raises_both_thresholds():
    alarm = Alarm(Thresholds(0.5, 0.25))
    assert not alarm.take(0.6, lift=0.2)
    assert alarm.take(0.71, lift=0.2)
    assert alarm.take(0.46, lift=0.2)
    assert not alarm.take(0.44, lift=0.2)


def test_breathing_raises_the_thresholds_where_volumes_come_fast():
    breathing = [0.2, 0.3, 0.25, 3.0]
    assert displacement_lift(2.0, breathing) == displacement_lift(1.0, breathing) == 0.0
    assert displacement_lift(0.99, breathing) == pytest.approx(np.median(breathing)) == pytest.approx(0.275)
    assert displacement_lift(0.5, []) == 0.0


def test_thresholds_are_the_experimenters():
    defaults = {"a": Thresholds(1.0, 0.5, "mm"), "b": Thresholds(2.0, 2.0)}
    made = alarms(defaults, {"a": (3, 2.5), "b": None})
    assert {name: str(alarm.thresholds) for name, alarm in made.items()} == {"a": "above 3 mm"}
    assert str(Thresholds(20.0, 25.0)) == "below 20"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"c": (1, 2)}, "no alarm of 'c'; there is one of each of a"),
        ({"a": (1,)}, r"expected two numbers, .* got \(1,\)"),
        ({"a": "high"}, "expected two numbers"),
        ({"a": (1.0, float("nan"))}, "expected two numbers"),
    ],
)
def test_what_is_no_alarm_is_refused(given, says):
    with pytest.raises(UsageError, match=says):
        alarms({"a": Thresholds(1.0, 0.5)}, given)
