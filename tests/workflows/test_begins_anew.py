"""No workflow remembers a run in the next one: the same nodes go through two."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from building import SHAPE, VOXEL, build

from rtflow.cli.shipped import shipped_workflows
from rtflow.sources.simulation.anatomy import scanner_affine
from rtflow.testing import begins_anew_test

BLOCKS = ("design.blocks=4", "design.block=20", "design.rest=10", "design.opening=20", "dummy_volumes=2")
# What a workflow needs, or does not do by itself within so short a run.
MORE = {
    "connectivity": ("window=20",),
    "decoding": ("decode.best=30",),
    "localizer": ("select.least=1",),
    "template": ("decoding.train_blocks=2",),
}


@pytest.fixture(scope="module")
def regions(tmp_path_factory) -> tuple[str, str]:
    """Two boxes within the head, as settings of `connectivity`."""
    folder, told = tmp_path_factory.mktemp("regions"), []
    for name, start in (("first", 7), ("second", 13)):
        box = np.zeros(SHAPE, np.uint8)
        box[start : start + 4, 10:16, 8:13] = 1
        nib.save(nib.Nifti1Image(box, scanner_affine(SHAPE, VOXEL)), folder / f"{name}.nii")
        told.append(f"{name}={folder / name}.nii")
    return told[0], told[1]


@pytest.mark.parametrize("name", shipped_workflows())
def test_a_second_run_begins_anew(name: str, tmp_path: Path, regions: tuple[str, str]) -> None:
    more = [*MORE.get(name, ()), *(regions if name == "connectivity" else ())]
    flow = build(name, "source.volumes=70", *BLOCKS, *more)
    flow.base_dir = str(tmp_path)
    begins_anew_test(flow)
