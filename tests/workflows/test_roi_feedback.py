"""The region's feedback: against what the simulator did, and on real series."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from rtflow.documents import VolumeReceived
from rtflow.engine import build_workflow, load_workflow
from rtflow.settings import load_settings
from rtflow.stream import inspect
from rtflow.testing import prefix_test

WORKFLOW = Path(__file__).resolve().parents[2] / "workflows" / "roi_feedback.py"
BLOCKS = (
    *("design.conditions=[regulate]", "design.blocks=3", "design.block=20", "design.rest=20"),
    *("design.opening=20", "source.volumes=75", "dummy_volumes=4"),
)


def responses(ran, region: str) -> np.ndarray:
    table = np.genfromtxt(ran.truth / "responses.tsv", names=True)
    return table[region]


@pytest.fixture(scope="module")
def region_file(play, tmp_path_factory) -> Path:
    """Mask of a region that responds, on the grid of the series, as the simulator writes it."""
    ran = play("roi_feedback", tmp_path_factory.mktemp("truth"), "source.volumes=17")
    return ran.truth / "parahippocampal.nii"


@pytest.mark.parametrize("design", [BLOCKS, ("source.volumes=75", "dummy_volumes=4")])
def test_the_region_follows_what_the_simulator_did(play, tmp_path, region_file, design) -> None:
    ran = play(
        "roi_feedback", tmp_path, *design, f"mask={region_file}", "source.activation=4", "source.drift=0"
    )
    assert {result.status for result in ran.results} == {"ok"}
    values = ran.values("region.value")
    assert len(values) > 50
    truth = responses(ran, "parahippocampal")
    chosen = np.array(sorted(values))
    assert np.corrcoef([values[volume] for volume in chosen], truth[chosen - 1])[0, 1] > 0.8
    assert set(ran.values("region.kind").values()) == {"percent_signal_change"}


def test_every_setting_reaches_its_node() -> None:
    workflow = load_workflow(WORKFLOW)
    given = [*BLOCKS, "lag=5", "opening=11", "mask=region.nii"]
    settings = load_settings(workflow.settings_type, WORKFLOW.with_suffix(".toml"), given)
    flow = build_workflow(workflow, settings)
    region, labels = flow.get_node("region"), flow.get_node("labels")
    assert (labels.inputs.lag, region.inputs.baseline, region.inputs.opening) == (5.0, "rest", 11.0)
    assert flow.get_node("mask").inputs.file.endswith("region.nii")
    (planned,) = (node for node in inspect(flow).nodes if node.name == "region")
    assert planned.on_error == "last"


def test_no_result_depends_on_a_later_volume(tmp_path) -> None:
    workflow = load_workflow(WORKFLOW)
    given = [
        "source.shape=[24, 28, 20]",
        "source.voxel=7.0",
        "source.speed=max",
        *BLOCKS,
        "source.volumes=40",
    ]
    flow = build_workflow(
        workflow, load_settings(workflow.settings_type, WORKFLOW.with_suffix(".toml"), given)
    )
    flow.base_dir = str(tmp_path)
    prefix_test(flow)


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "volumes"), [("siemens_E11_mosaic_rtcloud", 10), ("siemens_Trio_mosaic_opennft155", 155)]
)
def test_every_volume_of_a_real_series_ends_in_a_result(play, series, tmp_path, name, volumes) -> None:
    ran = play("roi_feedback", tmp_path, f"source=folder:{series(name)}/dicom")
    assert ran.stop.status == "completed"
    assert [result.volume for result in ran.results] == list(range(1, volumes + 1))
    assert {result.status for result in ran.results} == {"ok"}
    values = ran.values("region.value")
    assert max(values) == volumes
    # A brain at rest or at work stays within a few percent of itself.
    assert all(abs(value) < 5.0 for value in values.values())
    (bold,) = (tmp_path / "bids").rglob("*_bold.nii")
    image = nib.load(bold)
    assert image.shape[3] == volumes
    about = json.loads(bold.with_suffix(".json").read_text())
    assert image.header.get_zooms()[3] == pytest.approx(about["RepetitionTime"])
    assert "MissingVolumes" not in about


@pytest.mark.realdata
def test_the_file_numbered_0_is_the_volume_that_its_header_says(play, series, tmp_path) -> None:
    ran = play("roi_feedback", tmp_path, f"source=folder:{series('siemens_E11_mosaic_rtcloud')}/dicom")
    received = [document for document in ran.documents if isinstance(document, VolumeReceived)]
    (last,) = [document for document in received if document.volume == 10]
    assert "000000" in last.parts[0].name
