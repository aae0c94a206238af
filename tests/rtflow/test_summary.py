"""The summary of a run: percentiles, counts, exit status, and what it keeps in memory."""

import json
import threading
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtflow.documents import AnyDocument, Delivered, Event, Result, RunStart, RunStop, VolumeReceived
from rtflow.summary import (
    KEPT_MESSAGES,
    KEPT_VALUES,
    Summary,
    percentile,
    published,
    spread,
)

FINITE = st.floats(-1e9, 1e9)


def run_of(*results: Result, stop: RunStop | None = None, **settings: object) -> list[AnyDocument]:
    start = RunStart(
        run_uid="r", time=100.0, workflow="w", source="simulate:", volumes=len(results), settings=settings
    )
    stop = stop or RunStop(time=107.5, status="completed", counts=Counter(one.status for one in results))
    return [start, *results, stop]


def told(*documents: AnyDocument) -> dict:
    summary = Summary()
    for document in documents:
        summary.add(document)
    return json.loads(json.dumps(summary.as_dict()))


@given(st.lists(FINITE, min_size=1), st.floats(0, 100))
def test_a_percentile_is_numpys(values: list[float], percent: float) -> None:
    expected = np.percentile(values, percent)
    assert percentile(sorted(values), percent) == pytest.approx(expected, rel=1e-9, abs=1e-6)


def test_a_spread_needs_no_order() -> None:
    assert spread([3.0, 1.0, 2.0]) == {"p50": 2.0, "p95": pytest.approx(2.9), "max": 3.0}
    assert spread([]) is None


def test_a_run_is_told_as_one_object() -> None:
    documents = run_of(
        Result(volume=1, status="ok", latency=10.0, timings={"a": 1.0, "b": 5.0}),
        Result(volume=2, status="late", latency=30.0, timings={"a": 3.0}, quality="suspect", reasons=("x",)),
        Result(volume=3, status="missing", latency=999.0, quality="suspect", reasons=("x",)),
        Result(volume=4, status="failed", latency=999.0, errors={"b": "no"}),
        stop=RunStop(
            time=107.5,
            status="completed",
            counts={"ok": 1, "late": 1, "missing": 1, "failed": 1},
            values={"score.accuracy": 0.9, "a.n": 2},
            outputs={"run": "/r"},
        ),
        limits={"missing": 1, "failed": 1},
    )
    assert told(*documents) == {
        "run_uid": "r",
        "status": "completed",
        "exit_status": 0,
        "workflow": "w",
        "source": "simulate:",
        "volumes": {"planned": 4, "ok": 1, "late": 1, "missing": 1, "failed": 1, "suspect": 1},
        "accuracy": 0.9,
        "values": {"score.accuracy": 0.9, "a.n": 2},
        # Volumes that never went through have no latency to speak of.
        "latency_ms": {"p50": 20.0, "p95": pytest.approx(29.0), "max": 30.0},
        "nodes": {
            "a": {"p50": 2.0, "p95": pytest.approx(2.9), "max": 3.0},
            "b": {"p50": 5.0, "p95": 5.0, "max": 5.0},
        },
        "errors": {"b: no": 1},
        "doubts": {"x": 2},
        "notes": {},
        "outputs": {"run": "/r"},
        "seconds": 7.5,
    }


def test_limits_are_those_that_the_run_began_with() -> None:
    lost = Result(volume=1, status="missing")
    assert told(*run_of(lost))["exit_status"] == 3
    assert told(*run_of(lost, limits={"missing": None}))["exit_status"] == 0


def test_a_run_of_which_no_volume_was_done_has_come_to_nothing() -> None:
    failed = [Result(volume=volume, status="failed") for volume in (1, 2)]
    assert told(*run_of(*failed, limits={"failed": None}))["exit_status"] == 1
    late = Result(volume=3, status="late")
    assert told(*run_of(*failed, late, limits={"failed": None}))["exit_status"] == 0


def test_failures_in_a_row_are_counted_until_a_volume_is_done() -> None:
    summary = Summary()
    for volume, status in enumerate(("ok", "failed", "missing", "failed", "failed"), start=1):
        summary.add(Result(volume=volume, status=status))
    assert summary.seen().failing == 3
    summary.add(Result(volume=6, status="late"))
    assert summary.seen().failing == 0


def test_a_run_without_end_has_failed() -> None:
    summary = told(*run_of(Result(volume=1, status="ok"))[:-1])
    assert (summary["status"], summary["exit_status"]) == ("failed", 1)
    assert "accuracy" not in summary
    assert told()["status"] == "failed"


def test_an_accuracy_that_is_no_number_is_not_told() -> None:
    assert "accuracy" not in told(*run_of(stop=RunStop(status="completed", values={"s.accuracy": None})))


def test_documents_of_other_kinds_count_for_nothing() -> None:
    documents = run_of(Result(volume=1, status="ok"))
    more = [Event(name="late", volume=1), Delivered(volume=1, channel="subject")]
    assert told(*documents) == told(*documents[:-1], *more, documents[-1])


def test_feedback_is_the_latest_values_and_their_kind() -> None:
    summary = Summary()
    for volume in range(1, 101):
        kind = "neutral" if volume < 50 else "evidence"
        summary.add(
            Result(volume=volume, status="ok", values={"decode.value": volume / 100, "decode.kind": kind})
        )
    seen = summary.seen()
    assert seen.feedback == tuple(volume / 100 for volume in range(101 - KEPT_VALUES, 101))
    assert seen.kind == "evidence"
    summary.add(Result(volume=101, status="failed"))
    assert summary.seen().feedback == seen.feedback


def test_values_that_the_settings_want_shown_are_the_latest_there_were() -> None:
    results = [
        Result(volume=1, status="ok", values={"glm.region_t": 1.5, "glm.dof": 3}),
        Result(volume=2, status="ok", values={"glm.region_t": 2.5, "glm.dof": 4}),
        Result(volume=3, status="failed"),
    ]
    assert told(*run_of(*results, show=["glm.region_t", "glm.absent"]))["values"] == {"glm.region_t": 2.5}
    assert told(*run_of(*results))["values"] == {}


def test_what_is_seen_does_not_change_afterwards() -> None:
    summary = Summary()
    summary.add(VolumeReceived(volume=1, received=0.0))
    summary.add(Result(volume=1, status="ok", latency=1.0))
    before = summary.seen()
    summary.add(VolumeReceived(volume=2, received=0.0))
    summary.add(Result(volume=2, status="failed", latency=1.0, errors={"n": "m"}))
    assert (before.done, before.newest, before.counts["failed"], before.errors) == (1, 1, 0, {})
    assert list(before.latencies) == [1.0]


def test_messages_that_are_all_different_are_bounded() -> None:
    summary = Summary()
    for volume in range(1000):
        summary.add(
            Result(volume=volume, status="failed", errors={"n": f"m{volume}"}, reasons=(f"r{volume}",))
        )
    seen = summary.seen()
    assert len(seen.errors) == len(seen.doubts) == KEPT_MESSAGES + 1
    assert sum(seen.errors.values()) == sum(seen.doubts.values()) == 1000


def test_the_latest_message_is_the_last_though_it_was_said_before() -> None:
    """A display shows the last one: an agent that is back is not shown as lost."""
    summary = Summary()
    for says in ("connected", "lost", "connected"):
        summary.add(Event(name="agent", data={"says": says}))
    assert list(summary.seen().notes.items()) == [("lost", 1), ("connected", 2)]


def test_looking_while_documents_come_in_never_sees_half_of_one() -> None:
    summary = Summary()
    wrong = []
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            seen = summary.seen()
            if seen.done != len(seen.latencies):
                wrong.append(seen)

    looker = threading.Thread(target=look)
    looker.start()
    for volume in range(1, 3001):
        summary.add(Result(volume=volume, status="ok", latency=1.0, timings={"a": 1.0}))
    over.set()
    looker.join()
    assert not wrong
    assert summary.seen().done == 3000


def test_names_are_taken_apart_at_the_last_dot() -> None:
    assert published({"inner.decode.value": 1.0, "value": 2.0, "a.values": 3.0}, "value") == {
        "inner.decode": 1.0,
        "": 2.0,
    }


def test_what_is_the_same_for_many_volumes_is_counted_once() -> None:
    failed = [
        Result(
            volume=n, status="failed", errors={"realign": f"volume {n} has 74x74 voxels, volume 1 had 64x64"}
        )
        for n in range(2, 60)
    ]
    doubtful = [
        Result(volume=n, status="ok", reasons=(f"not alike (residual 0.{n})",)) for n in range(60, 80)
    ]
    found = told(*run_of(*failed, *doubtful))
    assert found["errors"] == {"realign: the volume has 74x74 voxels, volume 1 had 64x64": 58}
    assert found["doubts"] == {"not alike": 20}
