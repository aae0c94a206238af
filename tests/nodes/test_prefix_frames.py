"""The prefix test for nodes that need slice times, or several echoes: in a graph of their own."""

import numpy as np
import pytest
from nipype import Node, Workflow

from rtflow.bench.nodes import simulated
from rtflow.nodes import ApplyMask, DicomToBids, Echoes, Mask, Realign, ScannerInput, SliceTiming
from rtflow.testing import noise, run_frames

CALIBRATION, AFTER = 4, 8


@pytest.fixture(scope="module")
def frames():
    return simulated((20, 24, 16), 8.0, echoes=3)[:12]


def graph(tmp_path, name):
    """scanner -> convert -> (timing ->) realign, and the mean over the brain of what comes of it."""
    scanner = Node(ScannerInput(uri="simulate:"), name="scanner")
    convert, realign = Node(DicomToBids(), name="convert"), Node(Realign(), name="realign")
    mask, apply = Node(Mask(), name="mask"), Node(ApplyMask(), name="apply")
    flow = Workflow(name=name, base_dir=str(tmp_path))
    flow.connect(scanner, "frame", convert, "frame")
    flow.connect([(realign, mask, [("reference", "reference")]), (mask, apply, [("mask", "mask")])])
    if name == "timing":
        timing = Node(SliceTiming(), name="timing")
        flow.connect(convert, "incremental", timing, "incremental")
        flow.connect(timing, "incremental", realign, "incremental")
        flow.connect(realign, "incremental", apply, "incremental")
        return flow
    echoes = Node(Echoes(calibration=CALIBRATION), name="echoes")
    flow.connect(convert, "incremental", realign, "incremental")
    flow.connect(convert, "echoes", echoes, "echoes")
    taken = [("transform", "transform"), ("reference", "reference"), ("incremental", "aligned")]
    flow.connect([(realign, echoes, taken), (echoes, apply, [("incremental", "incremental")])])
    return flow


@pytest.mark.parametrize("name", ["timing", "echoes"])
def test_no_result_depends_on_a_later_volume(tmp_path, frames, name):
    chance = np.random.default_rng(0)
    other = [frame if frame.volume <= AFTER else noise(frame, chance) for frame in frames]
    one, two = (run_frames(graph(tmp_path, name), given, tr=2.0) for given in (frames, other))
    told = [(result.values_sha256, result.status, result.quality, result.reasons) for result in one]
    assert told[:AFTER] == [(r.values_sha256, r.status, r.quality, r.reasons) for r in two[:AFTER]]
    assert one[AFTER].values != two[AFTER].values
    assert {result.status for result in one} == {"ok"}


def test_a_run_of_several_echoes_from_frames_to_the_brain(tmp_path, frames):
    results = run_frames(graph(tmp_path, "echoes"), frames, tr=2.0)
    means = {result.volume: result.values.get("apply.mean") for result in results}
    assert [number for number, mean in means.items() if mean is None] == list(range(1, CALIBRATION))
    assert results[0].values["echoes.calibrated"] is False
    later = [mean for mean in means.values() if mean is not None]
    # The weights are frozen: nothing jumps.
    assert np.ptp(later) < 0.02 * np.mean(later)


def test_a_run_with_slice_timing_marks_its_first_volume(tmp_path, frames):
    results = run_frames(graph(tmp_path, "timing"), frames, tr=2.0)
    assert results[0].reasons == ("slice timing: passed as it was acquired, the volume before it is missing",)
    assert [result.values["timing.corrected"] for result in results] == [False] + [True] * 11
    assert all("realign.trans_x" in result.values for result in results)
