"""Maps of a linear model among the derivatives of a run, under the names that other tools look for."""

import json
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest
from validator import bids_errors

from rtflow.cli.shipped import workflow_path
from rtflow.derivatives import derive
from rtflow.engine import run
from rtflow.settings import load_settings
from rtflow.workflow_file import load_workflow

STEM = "sub-01_task-localizer_run-1"
MAPS = [("sceneMinusFace", stat) for stat in ("effect", "t", "z")] + [("scene", "effect"), ("face", "effect")]


@pytest.fixture(scope="module")
def monitored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Output folder, and folder of the run, of a small run of the monitor."""
    out = tmp_path_factory.mktemp("out")
    workflow = load_workflow(workflow_path(Path("glm_monitor")))
    source = ["speed=max", "shape=[24,24,12]", "voxel=8", "volumes=90"]
    design = ["blocks=4", "block=20", "rest=16", "opening=20"]
    given = [f"source.{one}" for one in source] + [f"design.{one}" for one in design]
    settings = load_settings(workflow.settings_type, workflow.path.with_suffix(".toml"), given)
    stop = run(workflow, settings, out)
    return out, Path(stop.outputs["run"])


def func(out: Path) -> Path:
    return out / "bids/derivatives/rtflow/sub-01/func"


def test_every_map_and_the_design_come_out_under_their_names(monitored) -> None:
    out, run_dir = monitored
    found = sorted(path.name for path in func(out).glob(f"{STEM}_contrast-*.nii.gz"))
    assert found == sorted(
        f"{STEM}_contrast-{contrast}_stat-{stat}_statmap.nii.gz" for contrast, stat in MAPS
    )
    for name in found:
        ours = run_dir / "glm" / name.removeprefix(f"{STEM}_")
        np.testing.assert_array_equal(
            nibabel.load(func(out) / name).get_fdata(), nibabel.load(ours).get_fdata()
        )
    table = pd.read_csv(func(out) / f"{STEM}_design.tsv", sep="\t")
    facts = json.loads((run_dir / "glm/glm.json").read_text())
    assert list(table.columns) == ["volume", *facts["columns"]]
    assert table.volume.tolist() == facts["volumes"]


def test_a_sidecar_says_what_a_map_is_of_and_where_it_lies(monitored) -> None:
    out, run_dir = monitored
    facts = json.loads((run_dir / "glm/glm.json").read_text())
    bold = f"bids:raw:sub-01/func/{STEM}_bold.nii"
    for (contrast, stat), of in zip(MAPS, ["scene - face"] * 3 + ["scene", "face"], strict=True):
        path = func(out) / f"{STEM}_contrast-{contrast}_stat-{stat}_statmap.json"
        about = json.loads(path.read_text())
        assert (about["Contrast"], about["Statistic"]) == (of, stat)
        assert about["Description"].endswith(f"of the contrast {of}; 0 where it is not known")
        assert ("not corrected for autocorrelation" in about["Description"]) is (stat != "effect")
        assert about["DegreesOfFreedom"] == facts["degrees_of_freedom"]
        assert (about["Sources"], about["SpatialReference"], about["RunUID"]) == (
            [bold],
            bold,
            run_dir.name,
        )


def test_the_validator_takes_them_in_a_data_set_of_an_earlier_version_too(monitored, tmp_path) -> None:
    out, run_dir = monitored
    assert bids_errors(out / "bids") == []
    derivatives = shutil.copytree(out, tmp_path / "out") / "bids/derivatives/rtflow"
    assert bids_errors(derivatives) == []
    ignored = derivatives / ".bidsignore"
    ignored.write_text("*_timeseries.*\n*.mine\n")
    assert bids_errors(derivatives) != []
    derive(tmp_path / "out/runs" / run_dir.name)
    assert bids_errors(derivatives) == []
    assert ignored.read_text().splitlines()[-1] == "*.mine"


def test_a_model_of_a_folder_of_its_own_is_told_apart_and_a_damaged_one_is_left_out(
    monitored, tmp_path
) -> None:
    copy = shutil.copytree(monitored[0], tmp_path / "out")
    run_dir = copy / "runs" / monitored[1].name
    shutil.copytree(run_dir / "glm", run_dir / "second_model")
    names = {path.name for path in derive(run_dir)}
    assert f"{STEM}_contrast-sceneMinusFace_stat-t_statmap.nii.gz" in names
    assert f"{STEM}_contrast-sceneMinusFace_stat-t_desc-secondmodel_statmap.json" in names
    assert f"{STEM}_desc-secondmodel_design.tsv" in names
    (run_dir / "glm/glm.json").write_text("{")
    left = {path.name for path in derive(run_dir)}
    assert names - left == {name for name in names if "statmap" in name or "design" in name} - {
        name for name in names if "secondmodel" in name
    }
