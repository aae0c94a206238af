"""No node's outputs depend on a later volume: the prefix test on each."""

from __future__ import annotations

from typing import Any

import pytest
from nipype import Node, Workflow

from rtflow.design import block_design
from rtflow.nodes import (
    ApplyMask,
    Confounds,
    Decode,
    DicomToBids,
    Labels,
    Mask,
    Realign,
    RecordRun,
    Region,
    ScannerInput,
    SkipDummies,
    Smooth,
    SubjectOutput,
)
from rtflow.testing import prefix_test

SOURCE = "simulate:?speed=max&shape=20,24,16&voxel=8&volumes=26&activation=3"
DESIGN = block_design(["scene", "face"], blocks=4, block=8.0, rest=4.0, opening=4.0)


def chain(*names: str) -> Workflow:
    """scanner -> convert, and of the rest of the chain what is asked for and what that needs."""
    nodes: dict[str, Any] = {
        "scanner": ScannerInput(uri=SOURCE, design=DESIGN),
        "convert": DicomToBids(),
        "skip": SkipDummies(volumes=2),
        "realign": Realign(),
        "smooth": Smooth(fwhm=8.0),
        "mask": Mask(),
        "apply": ApplyMask(),
        "region": Region(),
        "confounds": Confounds(settle=5),
        "labels": Labels(design=DESIGN, lag=4.0, train_trials=2),
        "decode": Decode(conditions=["scene", "face"]),
        "subject": SubjectOutput(),
        "record": RecordRun(design=DESIGN),
    }
    edges = [
        ("scanner", "convert", [("frame", "frame")]),
        ("convert", "skip", [("incremental", "incremental")]),
        ("convert", "record", [("incremental", "incremental")]),
        ("skip", "realign", [("incremental", "incremental")]),
        ("skip", "labels", [("incremental", "incremental")]),
        ("realign", "smooth", [("incremental", "incremental")]),
        ("realign", "mask", [("reference", "reference")]),
        ("smooth", "apply", [("incremental", "incremental")]),
        ("mask", "apply", [("mask", "mask")]),
        ("realign", "region", [("incremental", "incremental")]),
        ("mask", "region", [("mask", "mask")]),
        ("labels", "region", [("trial_type", "trial_type")]),
        ("realign", "confounds", [("incremental", "incremental")]),
        ("realign", "confounds", [(name, name) for name in ("framewise_displacement", "motion")]),
        ("mask", "confounds", [("mask", "mask")]),
        ("apply", "decode", [("features", "features")]),
        ("labels", "decode", [("trial_type", "trial_type"), ("trial", "trial"), ("phase", "phase")]),
        ("decode", "subject", [("value", "value"), ("kind", "kind")]),
    ]
    wanted = {"scanner", "convert", *names}
    while True:
        needed = {before for before, after, _ in edges if after in wanted}
        if needed <= wanted:
            break
        wanted |= needed
    made = {name: Node(interface, name=name) for name, interface in nodes.items() if name in wanted}
    flow = Workflow(name="chain")
    flow.connect(
        [
            (made[before], made[after], fields)
            for before, after, fields in edges
            if before in wanted and after in wanted
        ]
    )
    return flow


@pytest.mark.parametrize(
    "names",
    [("realign",), ("apply",), ("region",), ("confounds",), ("subject", "record")],
    ids=["realign", "skip-smooth-mask-apply", "labels-region", "confounds", "decode-subject-record"],
)
def test_prefix(tmp_path, names) -> None:
    flow = chain(*names)
    flow.base_dir = str(tmp_path)
    prefix_test(flow, after=18)
