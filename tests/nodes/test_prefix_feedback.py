"""No output on the way to the participant depends on a later volume: the prefix test on nodes in a graph."""

import pytest
from nipype import Node, Workflow

from rtflow.design import block_design
from rtflow.nodes import (
    ApplyMask,
    Connectivity,
    Denoise,
    DicomToBids,
    Feedback,
    Labels,
    Mask,
    Realign,
    Region,
    RegionOfFeatures,
    ScannerInput,
    SkipDummies,
)
from rtflow.stream import stream
from rtflow.testing import prefix_test, run_frames, source_frames

SOURCE = "simulate:?speed=max&shape=20,24,16&voxel=8&volumes=44&activation=3"
DESIGN = block_design(["scene", "face"], blocks=4, block=12.0, rest=8.0, opening=6.0)


def chain(**feedback) -> Workflow:
    scanner = Node(ScannerInput(uri=SOURCE, design=DESIGN), name="scanner")
    convert = Node(DicomToBids(), name="convert")
    skip = Node(SkipDummies(volumes=2), name="skip")
    realign = Node(Realign(), name="realign")
    mask = Node(Mask(), name="mask")
    inner = Node(Mask(erode=2), name="inner")
    voxels = Node(ApplyMask(), name="voxels")
    labels = Node(Labels(design=DESIGN, lag=4.0, train_trials=2, settle=2.0), name="labels")
    part = Node(RegionOfFeatures(summary="component"), name="part")
    denoise = Node(Denoise(nuisance=["motion"], min_dof=5), name="denoise")
    clean = Node(RegionOfFeatures(), name="clean")
    signals = {
        "first": Node(Region(baseline="none"), name="first"),
        "second": Node(Region(baseline="none", summary="median"), name="second"),
    }
    pair = Node(Connectivity(window=20.0, fisher=True), name="pair")
    shown = stream(Node(Feedback(**feedback), name="shown"), on_error="last")
    flow = Workflow(name="chain")
    flow.connect(scanner, "frame", convert, "frame")
    for before, after in [(convert, skip), (skip, realign), (skip, labels), (realign, voxels), (skip, shown)]:
        flow.connect(before, "incremental", after, "incremental")
    for name, node in signals.items():
        flow.connect([(realign, node, [("incremental",) * 2]), (inner, node, [("mask",) * 2])])
        flow.connect(node, "value", pair, name)
    flow.connect([(realign, one, [("reference",) * 2]) for one in (mask, inner)])
    flow.connect([(mask, voxels, [("mask",) * 2]), (inner, part, [("mask",) * 2])])
    flow.connect([(voxels, part, [("features",) * 2]), (realign, part, [("incremental",) * 2])])
    flow.connect([(voxels, denoise, [("features",) * 2]), (realign, denoise, [("motion",) * 2])])
    flow.connect([(denoise, clean, [("features",) * 2]), (realign, clean, [("incremental",) * 2])])
    flow.connect([(labels, clean, [("trial_type",) * 2, ("phase",) * 2])])
    flow.connect([(labels, part, [("trial_type",) * 2, ("phase",) * 2])])
    flow.connect([(realign, pair, [("incremental",) * 2])])
    flow.connect(
        [(part, shown, [("value",) * 2, ("kind",) * 2]), (labels, shown, [("phase",) * 2, ("trial",) * 2])]
    )
    return flow


@pytest.mark.parametrize(
    "feedback",
    [
        {"smoothing": "exponential", "scaling": "range", "low": 0.0, "high": 2.0, "levels": 8},
        {"mode": "intermittent"},
    ],
    ids=["continuous", "intermittent"],
)
@pytest.mark.parametrize("after", [24, 36], ids=["in-training", "in-test"])
def test_prefix(tmp_path, feedback, after) -> None:
    flow = chain(**feedback)
    flow.base_dir = str(tmp_path)
    prefix_test(flow, after=after)


def test_the_region_of_what_denoise_leaves_has_percentages(tmp_path) -> None:
    """Once there are degrees of freedom enough; within a percent or two of what the volume itself gives."""
    flow = chain()
    flow.base_dir = str(tmp_path)
    frames, tr = source_frames(flow)
    results = run_frames(flow, frames, tr=tr)
    assert {result.status for result in results} == {"ok"}
    found = {result.volume: result.values for result in results if "clean.value" in result.values}
    assert min(found) < 25
    assert max(found) == len(frames)
    assert {values["clean.kind"] for values in found.values()} == {"percent_signal_change"}
    assert max(abs(values["clean.value"]) for values in found.values()) < 5.0
