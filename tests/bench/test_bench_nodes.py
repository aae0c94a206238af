"""The benchmark of the nodes measures what it says: every node that there is, and the template."""

import os

import numpy as np
import pytest

from rtflow import nodes
from rtflow.bench import nodes as bench
from rtflow.nodes.convert import frame_to_incrementals

SHAPE = (20, 24, 16)


@pytest.fixture(scope="module")
def frames():
    return bench.simulated(SHAPE, 8.0, echoes=3)


def test_frames_have_echoes_and_slice_times(frames):
    assert len(frames) == 41
    early, _, late = frame_to_incrementals(frames[3], {"task": "x"})
    assert early.metadata["EchoTime"] < late.metadata["EchoTime"]
    assert late.data.mean() < 0.8 * early.data.mean()
    assert len(early.metadata["SliceTiming"]) == SHAPE[2]
    assert 0 < max(early.metadata["SliceTiming"]) < early.tr


def test_every_node_is_measured(frames, tmp_path):
    times = bench.node_times(frames, tmp_path)
    # These are called with what they need, so that what they cost is seen; Feedback waits for the decoder.
    used = len(frames) - 2
    for name in ("SliceTiming", "Labels", "Realign", "Echoes", "Mask", "Confounds", "Smooth", "ApplyMask"):
        assert len(times[name]) == used, name
    assert len(times["DicomToBids"]) == len(frames)
    assert len(times["Decode"]) == used
    assert all(np.isfinite(taken).all() and min(taken) >= 0 for taken in times.values() if taken)


def test_no_node_is_forgotten():
    measured = {call.name for call in bench.calls()}
    # These bring volumes, write them, hand values over or responses in, or come at a start or an end.
    at_its_ends = {"BringMask", "Accuracy", "KeepItems", "SelectVoxels"}
    beside = {"ScannerInput", "RecordRun", "SubjectInput", "SubjectOutput", *at_its_ends}
    forgotten = set(nodes.__all__) - measured - beside
    assert not forgotten, "add what costs time with each volume to rtflow.bench.nodes.calls"


def test_the_report_has_a_row_for_each_node_and_its_bars(monkeypatch):
    allowed = os.sched_getaffinity(0)
    monkeypatch.setattr(bench, "_LIMITS", {SHAPE: 20.0})
    report = bench.run([(SHAPE, 8.0)])
    size = "20x24x16"
    for name in ("Realign", "Smooth", "Confounds", "Decode"):
        assert report.figures[f"{name}:{size}_median_ms"] <= report.figures[f"{name}:{size}_p95_ms"]
    rows = [f"template_{size}_run_{run}" for run in (1, 2)]
    assert set(report.bars) == {
        f"{row}:{what}" for row in rows for what in ("median_ms", "first_over_median")
    }
    assert {bar.limit for bar in report.bars.values()} == {20.0, 2.0}
    assert all(f"{row}:processor_ms" in report.figures for row in rows)
    assert os.sched_getaffinity(0) == allowed


def test_the_first_aligned_volume_is_the_second_of_run_1_and_the_first_of_run_2():
    latency = [9.0, 9.0, 80.0, 30.0, 10.0, 10.0, 10.0]
    one, two = (bench.template_figures(f"template_run_{run}", latency, [5.0] * 7) for run in (1, 2))
    assert (one["template_run_1:opening_ms"], one["template_run_1:first_ms"]) == (80, 30)
    assert one["template_run_1:first_over_median"] == 3.0
    assert (two["template_run_2:opening_ms"], two["template_run_2:first_ms"]) == (80, 80)
    assert two["template_run_2:processor_ms"] == 5.0
