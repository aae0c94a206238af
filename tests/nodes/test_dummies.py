"""Dummy volumes are skipped, and a run that has nothing else is told of."""

from __future__ import annotations

import numpy as np
import pytest
from traits.api import TraitError

from rtflow.bids.incremental import BidsIncremental
from rtflow.documents import Event
from rtflow.errors import UsageError
from rtflow.nodes import SkipDummies


def passed(call, context, *, dummies: int, volumes: int) -> list[bool]:
    node = SkipDummies(volumes=dummies)
    node.start_run(context)
    given = []
    for volume in range(1, volumes + 1):
        incremental = BidsIncremental(np.zeros((2, 2, 2), np.int16), np.eye(4), volume=volume)
        given.append("incremental" in call(node, volume, incremental=incremental))
    node.end_run()
    return given


def test_dummies_alone_are_skipped(call, make_context) -> None:
    told: list[Event] = []
    assert passed(call, make_context(emit=told.append), dummies=2, volumes=4) == [False, False, True, True]
    assert told == []


def test_a_run_of_dummies_is_refused_where_its_length_is_known(call, make_context) -> None:
    with pytest.raises(UsageError, match=r"all 4 volumes .*dummy_volumes=4\); set dummy_volumes"):
        passed(call, make_context(volumes=4), dummies=4, volumes=4)
    assert passed(call, make_context(volumes=4), dummies=3, volumes=4) == [False, False, False, True]
    assert not any(passed(call, make_context(volumes=4, replaying=True), dummies=4, volumes=4))


def test_a_run_that_had_dummies_only_says_so(call, make_context) -> None:
    told: list[Event] = []
    passed(call, make_context(emit=told.append), dummies=9, volumes=4)
    assert ["up to the last, 4, were dummies" in str(event.data["says"]) for event in told] == [True]


def test_fewer_than_no_dummies_are_refused() -> None:
    with pytest.raises(TraitError):
        SkipDummies(volumes=-1)
