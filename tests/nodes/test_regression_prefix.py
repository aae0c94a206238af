"""Neither Denoise nor GLM depends on a later volume: the prefix test on both, with all that they take."""

import pytest
from nipype import Node, Workflow

from rtflow.design import block_design
from rtflow.nodes import GLM, ApplyMask, Denoise, DicomToBids, Labels, Mask, Realign, ScannerInput
from rtflow.testing import prefix_test

SOURCE = "simulate:?speed=max&shape=20,24,16&voxel=8&volumes=44&activation=3"
DESIGN = block_design(["scene", "face"], blocks=4, block=12.0, rest=8.0, opening=6.0)
COMMON = {"design": DESIGN, "nuisance": ["motion"], "min_dof": 4}


@pytest.mark.parametrize(
    "interface",
    [
        Denoise(**COMMON, max_fd=2.0),
        Denoise(**COMMON, zscore="rest"),
        Denoise(**COMMON, drift="none", causal_high_pass=0.01),
        GLM(**COMMON, contrast="scene - face", drift="cosine", max_fd=2.0),
    ],
    ids=["denoise", "z-scores", "filter", "glm"],
)
def test_prefix(tmp_path, interface) -> None:
    flow = Workflow(name="chain", base_dir=str(tmp_path))
    scanner = Node(ScannerInput(uri=SOURCE, design=DESIGN), name="scanner")
    convert, realign = Node(DicomToBids(), name="convert"), Node(Realign(), name="realign")
    mask, voxels = Node(Mask(), name="mask"), Node(ApplyMask(), name="voxels")
    labels = Node(Labels(design=DESIGN, lag=4.0), name="labels")
    model = Node(interface, name="model")
    flow.connect(
        [
            (scanner, convert, [("frame", "frame")]),
            (convert, realign, [("incremental", "incremental")]),
            (convert, labels, [("incremental", "incremental")]),
            (realign, mask, [("reference", "reference")]),
            (realign, voxels, [("incremental", "incremental")]),
            (mask, voxels, [("mask", "mask")]),
            (voxels, model, [("features", "features")]),
            (realign, model, [(name, name) for name in ("motion", "framewise_displacement")]),
        ]
    )
    if isinstance(interface, GLM):
        flow.connect(mask, "mask", model, "region")
    else:
        flow.connect(realign, "incremental", model, "incremental")
        flow.connect([(labels, model, [("trial_type", "trial_type")])])
    prefix_test(flow, after=36)
