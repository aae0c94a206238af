"""The localizer on a small simulated head: what it finds, and the feedback run that takes it."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from building import build

from rtflow.design import write_events
from rtflow.documents import Event
from rtflow.errors import RunError, SessionError
from rtflow.items import read_item
from rtflow.settings import load_settings
from rtflow.testing import prefix_test
from rtflow.trials import Design, Trial
from rtflow.workflow_file import load_workflow

WORKFLOW = Path(__file__).resolve().parents[2] / "workflows" / "localizer.py"
# 85 volumes: 5 dummies, 10 of rest, three blocks of 10 with 10 of rest after each. One condition, against
# rest: the regions have 50 voxels of 5 mm, and need a clear response.
BLOCKS = (
    *("design.conditions=[scene]", "design.blocks=3", "design.block=20", "design.rest=20"),
    *("design.opening=30", "source.volumes=80", "source.activation=4"),
)
REGION = "parahippocampal"


def truth(run, name: str) -> np.ndarray:
    return np.asarray(nib.load(run.truth / f"{name}.nii").dataobj) > 0


def dice(one: np.ndarray, two: np.ndarray) -> float:
    return 2 * np.count_nonzero(one & two) / (np.count_nonzero(one) + np.count_nonzero(two))


def kept(run, name: str = "localizer") -> np.ndarray:
    return read_item(run.out / "session" / f"{name}.npz").arrays["data"]


@pytest.fixture(scope="module")
def ran(play, tmp_path_factory):
    return play("localizer", tmp_path_factory.mktemp("localizer"), *BLOCKS, "select.best=60")


def test_it_finds_the_region_that_responds(ran) -> None:
    assert ran.stop.status == "completed"
    assert {result.status for result in ran.results} == {"ok"}
    found = kept(ran)
    assert ran.stop.values["select.voxels"] == np.count_nonzero(found) == 60
    # The region's edge is soft: voxels beside it respond as well.
    assert dice(found, truth(ran, REGION)) > 0.75
    assert dice(found, truth(ran, "brain") & ~truth(ran, REGION)) < 0.02
    assert ran.stop.values["select.lowest"] >= 3.1


def test_the_region_is_a_mask_among_the_derivatives(ran) -> None:
    (path,) = (ran.out / "bids" / "derivatives").rglob("*_desc-localizer_mask.nii.gz")
    image = nib.load(path)
    np.testing.assert_array_equal(np.asarray(image.dataobj) > 0, kept(ran))
    np.testing.assert_allclose(image.affine, nib.load(ran.truth / "brain.nii").affine, atol=1e-4)


def test_a_feedback_run_takes_the_region_also_from_another_place(play, ran) -> None:
    """The next day's position differs by 4 mm: volumes come to the reference that the region lies on."""
    run = play(
        "roi_feedback",
        ran.out,
        *(*BLOCKS, "bids.run=2", "localizer=localizer", "source.seed=7", "source.shift=4", "settle=6"),
    )
    assert {result.status for result in run.results} == {"ok"}
    values = run.values("region.value")
    responses = np.genfromtxt(run.truth / "responses.tsv", names=True)[REGION]
    volumes = np.array(sorted(values))
    shown = np.array([values[volume] for volume in volumes])
    assert np.corrcoef(shown, responses[volumes - 1])[0, 1] > 0.9
    assert "region" not in {document.name for document in run.documents if isinstance(document, Event)}
    took = {path.stem for path in (run.out / "runs" / run.stop.run_uid / "session").glob("*.npz")}
    assert took == {"reference", "localizer"}


def test_only_the_anatomical_mask_is_looked_at(play, ran, tmp_path) -> None:
    """One hemisphere: as the mask says, and its right is the right."""
    brain = nib.load(ran.truth / "brain.nii")
    x = nib.affines.apply_affine(brain.affine, np.moveaxis(np.indices(brain.shape), 0, -1))[..., 0]
    right = (x > 0) & (np.asarray(brain.dataobj) > 0)
    nib.save(nib.Nifti1Image(right.astype(np.uint8), brain.affine), tmp_path / "right.nii")
    run = play(
        "localizer",
        tmp_path / "out",
        *(*BLOCKS, f"select.mask={tmp_path / 'right.nii'}", "select.best=0", "select.threshold=4"),
        "select.cluster=3",
    )
    found = kept(run)
    assert not (found & ~right).any()
    assert dice(found, truth(run, REGION) & right) > 0.7
    assert run.stop.values["select.clusters"] == 1


def test_too_few_voxels_fail_the_run_and_leave_no_region(play, tmp_path) -> None:
    with pytest.raises(RunError, match=r"select: .* voxels selected .* expected 10 at least"):
        play("localizer", tmp_path, *BLOCKS, "select.threshold=30")
    assert not list((tmp_path / "session").glob("*.npz"))
    with pytest.raises(SessionError, match="has no 'reference'"):
        play("roi_feedback", tmp_path, *BLOCKS, "localizer=localizer")


def test_a_run_that_is_broken_off_leaves_the_region_of_the_one_before(play, ran) -> None:
    before = {path.name: path.read_bytes() for path in (ran.out / "session").glob("*.npz")}
    run = play("localizer", ran.out, *BLOCKS, "source.seed=5", stop_after=60)
    assert run.stop.status == "aborted"
    assert {path.name: path.read_bytes() for path in (ran.out / "session").glob("*.npz")} == before


def test_every_setting_reaches_its_node() -> None:
    flow = build(
        "localizer",
        *("select.mask=region.nii", "select.best=7", "select.threshold=2.5", "select.cluster=4"),
        *("select.least=3", "select.save=mine", "glm.save=maps", "glm.contrast=face", "fwhm=7"),
    )
    inputs = {name: flow.get_node(name).inputs for name in flow.list_node_names()}
    select = flow.get_node("select").interface.inputs
    assert (select.best, select.threshold, select.cluster, select.least) == (7, 2.5, 4, 3)
    assert (select.save, select.maps, select.within) == ("mine", "maps", inputs["anatomy"].save)
    assert Path(inputs["anatomy"].file).name == "region.nii"
    assert (inputs["glm"].save, inputs["glm"].contrast, inputs["smooth"].fwhm) == ("maps", "face", 7.0)
    assert build("localizer", "glm.save=").get_node("glm").inputs.save == "glm"


def test_the_defaults_of_the_file_are_those_of_the_workflow() -> None:
    workflow = load_workflow(WORKFLOW)
    told = load_settings(workflow.settings_type, WORKFLOW.with_suffix(".toml"))
    default = workflow.settings_type()
    assert (told.select, told.glm, told.fwhm) == (default.select, default.glm, default.fwhm)


def test_no_result_depends_on_a_later_volume(tmp_path) -> None:
    flow = build("localizer", *BLOCKS, "source.volumes=60", "select.threshold=0", "select.least=1")
    flow.base_dir = str(tmp_path)
    prefix_test(flow, after=45)


@pytest.mark.realdata
def test_it_finds_the_regions_of_a_real_run(play, series, tmp_path) -> None:
    """Those that its experimenters had found before: of 30 000 voxels of a brain, in 189."""
    folder = series("siemens_Trio_mosaic_opennft155")
    # Seven blocks of ten volumes; the protocol does not count the first five of the scanner.
    trials = [Trial((start + 5 - 1) * 1.97, 19.7, "regulate") for start in range(11, 132, 20)]
    write_events(Design(tuple(trials)), tmp_path / "events.tsv")
    run = play(
        "localizer",
        tmp_path / "out",
        *(f"source=folder:{folder}/dicom?idle=0", f"design.events={tmp_path / 'events.tsv'}"),
        *("design.conditions=[regulate]", "select.best=100", "select.cluster=5"),
    )
    masks = [nib.load(path) for path in sorted((folder / "ROIs_D1").glob("*.nii"))]
    regions = np.logical_or.reduce([np.asarray(mask.dataobj) > 0 for mask in masks])
    found = kept(run)
    assert np.count_nonzero(found & regions) > 0.4 * np.count_nonzero(found)
    assert run.stop.values["select.lowest"] > 6.0
