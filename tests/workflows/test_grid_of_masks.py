"""A mask on another grid is told with the first volume, although that is a dummy."""

import nibabel as nib
import numpy as np
import pytest
from building import SHAPE, VOXEL, build

from rtflow.sources.simulation.anatomy import scanner_affine
from rtflow.testing import run_frames, source_frames

BLOCKS = ("design.blocks=2", "design.block=10", "design.rest=10", "design.opening=10", "source.volumes=4")


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("roi_feedback", ("mask",)),
        ("localizer", ("select.mask",)),
        ("localizer", ("glm.region",)),
        ("glm_monitor", ("glm.region",)),
        ("connectivity", ("first", "second")),
    ],
    ids=lambda value: value if isinstance(value, str) else value[0],
)
def test_it_is_told_with_the_first_volume(name: str, settings: tuple[str, ...], tmp_path) -> None:
    for shape, fails in (((*SHAPE[:2], SHAPE[2] - 1), True), (SHAPE, False)):
        file = tmp_path / f"{fails}.nii"
        nib.save(nib.Nifti1Image(np.ones(shape, np.uint8), scanner_affine(shape, VOXEL)), file)
        flow = build(name, *(f"{setting}={file}" for setting in settings), *BLOCKS, "dummy_volumes=3")
        if end := flow.get_node("select"):  # there is no model to select from yet
            flow.remove_nodes([end])
        flow.base_dir = str(tmp_path)
        frames, tr = source_frames(flow)
        first = run_frames(flow, frames, tr=tr)[0]
        assert any(f"mask {file}" in error for error in first.errors.values()) is fails
        assert (first.status == "failed") is fails
