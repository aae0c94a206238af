"""One Result for each volume, whatever its nodes do: documents, policies, deadlines."""

from __future__ import annotations

import re
from typing import Any

from streamtools import (
    counting,
    run,
    values,
)

from rtflow.documents import Event, Result, RunStart, RunStop, VolumeMissing, VolumeReceived
from rtflow.stream import stream


def test_every_volume_runs_through_the_graph(tmp_path):
    plugin = run(counting(tmp_path, 4), tmp_path)
    assert values(plugin, "double.number") == [2.0, 6.0, 12.0, 20.0]
    assert [result.status for result in plugin.results] == ["ok"] * 4
    assert plugin.results[0].timings.keys() == {"number", "sum", "double"}
    assert plugin.stop is not None
    assert plugin.stop.status == "completed"
    assert plugin.stop.counts == {"ok": 4, "late": 0, "missing": 0, "failed": 0}


def test_documents_are_numbered_without_a_gap_and_in_order(tmp_path):
    seen: list[Any] = []
    run(counting(tmp_path, 3, (2,)), tmp_path, observers=(seen.append,))
    assert [document.seq for document in seen] == list(range(len(seen)))
    assert isinstance(seen[0], RunStart)
    assert isinstance(seen[-1], RunStop)
    for volume in (1, 2, 3):
        places = [
            (type(document), document.seq) for document in seen if getattr(document, "volume", None) == volume
        ]
        came, result = places
        assert came[0] is (VolumeMissing if volume == 2 else VolumeReceived)
        assert result[0] is Result
    assert len({document.run_uid for document in seen}) == 1


def test_an_observer_that_raises_is_dropped_and_nothing_else(tmp_path):
    calls = []

    def broken(document: Any) -> None:
        calls.append(document)
        raise OSError("the pipe is gone")

    plugin = run(counting(tmp_path, 3), tmp_path, observers=(broken,))
    assert len(calls) == 1
    assert len(plugin.results) == 3


def test_a_missing_volume_is_a_gap_for_stateful_nodes(tmp_path):
    plugin = run(counting(tmp_path, 4, missing=(2,)), tmp_path)
    assert [result.status for result in plugin.results] == ["ok", "missing", "ok", "ok"]
    assert plugin.results[1].values == {}
    assert plugin.results[1].reasons == ("lost on the way",)
    assert values(plugin, "sum.gaps") == ["", None, "2", "2"]
    assert values(plugin, "sum.total") == [1.0, None, 4.0, 8.0]


def test_a_failing_node_fails_its_volume_and_not_the_run(tmp_path):
    plugin = run(counting(tmp_path, 4, fail_at=(2,)), tmp_path)
    assert [result.status for result in plugin.results] == ["ok", "failed", "ok", "ok"]
    error = plugin.results[1].errors["sum"]
    # Where it came from is said, too: whoever wrote the node looks there.
    assert re.fullmatch(r"ValueError: told to fail \(streamtools\.py line \d+\)", error)
    assert plugin.results[1].errors.keys() == {"sum"}
    assert plugin.results[1].values == {"number.number": 2}
    assert plugin.stop is not None
    assert plugin.stop.counts["failed"] == 1


def test_skip_leaves_the_node_and_what_follows_out_and_counts_them(tmp_path):
    flow = counting(tmp_path, 3, fail_at=(2,))
    stream(flow.get_node("sum"), on_error="skip")
    plugin = run(flow, tmp_path)
    result = plugin.results[1]
    assert result.status == "ok"
    assert result.skipped == ("sum", "double")
    assert result.quality == "suspect"
    assert any("told to fail" in reason for reason in result.reasons)
    assert "sum.total" not in result.values


def test_last_repeats_the_last_values_and_marks_all_that_follows_as_stale(tmp_path):
    flow = counting(tmp_path, 3, fail_at=(2,))
    stream(flow.get_node("sum"), on_error="last")
    plugin = run(flow, tmp_path)
    assert values(plugin, "double.number") == [2.0, 2.0, 8.0]
    assert plugin.results[1].stale == ("sum.total", "sum.gaps", "double.number")
    assert plugin.results[1].quality == "suspect"
    assert plugin.results[2].stale == ()
    assert plugin.results[2].quality == "good"


def test_last_without_anything_to_repeat_is_a_skip(tmp_path):
    flow = counting(tmp_path, 2, fail_at=(1,))
    stream(flow.get_node("sum"), on_error="last")
    assert run(flow, tmp_path).results[0].skipped == ("sum", "double")


def test_a_withheld_output_is_no_error(tmp_path):
    plugin = run(counting(tmp_path, 3, withhold_at=(1, 2)), tmp_path)
    assert [(r.status, r.quality, r.skipped) for r in plugin.results] == [("ok", "good", ())] * 3
    assert values(plugin, "double.number") == [None, None, 12.0]


def test_a_doubt_makes_the_result_suspect_once(tmp_path):
    plugin = run(counting(tmp_path, 3, doubt_at=(2,)), tmp_path)
    assert [result.quality for result in plugin.results] == ["good", "suspect", "good"]
    assert plugin.results[1].reasons == ("sum: doubted",)


def test_a_doubt_of_a_failed_call_is_not_handed_on(tmp_path):
    flow = counting(tmp_path, 3, doubt_at=(2,), fail_at=(2,))
    plugin = run(flow, tmp_path)
    assert plugin.results[2].reasons == ()


def test_a_missed_deadline_in_a_thread_discards_what_came_too_late(tmp_path):
    flow = counting(tmp_path, 3, sleep_at={2: 0.3})
    stream(flow.get_node("sum"), deadline=0.15, on_error="last")
    events: list[Any] = []
    plugin = run(flow, tmp_path, observers=(events.append,))
    assert plugin.results[1].stale
    assert values(plugin, "sum.total")[2] == 6.0  # it ran, and its state went on
    (missed,) = [event for event in events if isinstance(event, Event)]
    assert (missed.name, missed.volume, missed.node) == ("deadline_missed", 2, "sum")
    assert missed.data == {"killed": False}


def test_a_late_result_says_so(tmp_path):
    events: list[Any] = []
    plugin = run(
        counting(tmp_path, 3, sleep_at={2: 0.3}),
        tmp_path,
        deadline=0.15,
        backlog=1,
        observers=(events.append,),
    )
    late = [result.volume for result in plugin.results if result.status == "late"]
    assert 2 in late
    assert plugin.results[1].margin is not None
    assert plugin.results[1].margin < 0
    assert [event.volume for event in events if isinstance(event, Event)] == late
    assert plugin.stop is not None
    assert plugin.stop.counts["late"] == len(late)
