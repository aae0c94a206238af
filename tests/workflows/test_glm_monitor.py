"""The linear model that is watched: what it finds in a simulated participant, and in a real one."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from building import build

from rtflow.design import write_events
from rtflow.documents import Delivered
from rtflow.journal import Recording
from rtflow.rerun import replay
from rtflow.session import Session
from rtflow.stream.interface import RunContext
from rtflow.summary import Summary
from rtflow.testing import prefix_test
from rtflow.trials import Design, Trial

WORKFLOW = Path(__file__).resolve().parents[2] / "workflows" / "glm_monitor.py"
# 135 volumes: 5 dummies, 10 of rest, six blocks of 10 with 8 of rest after each, and 12 more of rest. The
# regions have few voxels of 5 mm, and need a clear response.
VOLUMES = 135
SHORT = (
    *("source.volumes=135", "design.blocks=6", "design.block=20", "design.rest=16", "design.opening=30"),
    *("source.activation=4", "fwhm=8"),
)
REGIONS = {"scene": "parahippocampal", "face": "fusiform"}


@pytest.fixture(scope="module")
def ran(play, tmp_path_factory):
    return play("glm_monitor", tmp_path_factory.mktemp("glm"), *SHORT)


def test_the_operator_sees_the_region(ran) -> None:
    summary = Summary()
    for document in Recording(ran.out / "runs" / ran.stop.run_uid).documents:
        summary.add(document)
    assert list(summary.seen().shown) == ["glm.region_t", "glm.region_percent", "glm.region_mean"]


def statmap(run, name: str) -> np.ndarray:
    (path,) = (run.out / "runs" / run.stop.run_uid / "glm").glob(f"{name}_statmap.nii.gz")
    return np.asarray(nib.load(path).dataobj)


def truth(run, name: str) -> np.ndarray:
    return np.asarray(nib.load(run.truth / f"{name}.nii").dataobj) > 0


def area(inside: np.ndarray, outside: np.ndarray) -> float:
    """Area under the ROC curve: how often a voxel of the region has the larger value."""
    order = np.concatenate([inside, outside]).argsort().argsort() + 1.0
    return (order[: inside.size].mean() - (inside.size + 1) / 2) / outside.size


def areas(run) -> dict[str, float]:
    """Of each region among the voxels of the brain, by the t of the condition that it prefers."""
    t = statmap(run, "contrast-sceneMinusFace_stat-t")
    brain = truth(run, "brain") & (t != 0)
    masks = {condition: truth(run, region) & brain for condition, region in REGIONS.items()}
    rest = brain & ~masks["scene"] & ~masks["face"]
    return {
        condition: area(sign * t[masks[condition]], sign * t[rest])
        for condition, sign in (("scene", 1.0), ("face", -1.0))
    }


def test_the_map_finds_both_regions_of_the_simulated_head(ran) -> None:
    assert ran.stop.status == "completed"
    assert {result.status for result in ran.results} == {"ok"}
    found = areas(ran)
    assert min(found.values()) > 0.95, found


def test_without_activation_it_finds_neither(play, tmp_path) -> None:
    found = areas(play("glm_monitor", tmp_path, *SHORT, "source.activation=0"))
    # Noise is correlated in space: a region is no more than a few independent values.
    assert all(0.15 < value < 0.85 for value in found.values()), found


def test_the_operator_sees_it_grow_and_the_participant_gets_nothing(ran) -> None:
    assert not any(isinstance(document, Delivered) for document in ran.documents)
    shown = {name: ran.values(f"glm.{name}") for name in ("t_max", "region_t", "region_percent", "dof")}
    # The first faces are shown from the 34th volume on.
    (first,) = {min(values) for values in shown.values()}
    assert 34 <= first <= 44
    assert {tuple(values) for values in shown.values()} == {tuple(range(first, VOLUMES + 1))}
    # Mid-run the map is as good as what is known by then; at its end the strongest voxel stands out.
    assert shown["t_max"][VOLUMES] > max(5.5, shown["t_max"][first])
    assert shown["dof"][VOLUMES] == VOLUMES - 5 - 1 - 2 - 6 - 2
    assert sorted(ran.values("glm.region_mean")) == list(range(6, VOLUMES + 1))
    assert sorted(ran.values("realign.framewise_displacement")) == list(range(7, VOLUMES + 1))


def test_the_session_has_the_maps(ran) -> None:
    context = RunContext("look", ran.out / "look", ran.out / "bids", ran.out / "session")
    session = Session(context)
    item, mask = session.load("glm"), session.load("mask")
    assert item.grid == mask.grid
    np.testing.assert_array_equal(item.arrays["t"], statmap(ran, "contrast-sceneMinusFace_stat-t"))
    assert not item.arrays["t"][~mask.arrays["data"]].any()
    facts = json.loads((ran.out / "runs" / ran.stop.run_uid / "glm" / "glm.json").read_text())
    assert facts["volumes"] == list(range(6, VOLUMES + 1))
    assert {"constant", "scene", "face", "trans_x", "rot_z", "drift_1"} <= set(facts["columns"])


def test_a_replay_gives_the_same_maps_and_values(ran, tmp_path) -> None:
    run_dir = ran.out / "runs" / ran.stop.run_uid
    stop, comparison = replay(run_dir, out=tmp_path)
    assert (comparison.equal, comparison.differing) == (VOLUMES, ())
    names = sorted(path.name for path in (run_dir / "glm").iterdir())
    assert len(names) == 7
    for name in names:
        assert (Path(stop.outputs["run"]) / "glm" / name).read_bytes() == (
            run_dir / "glm" / name
        ).read_bytes()


def test_one_condition_is_compared_with_rest(play, tmp_path) -> None:
    run = play("glm_monitor", tmp_path, *SHORT, "design.conditions=[scene]", "glm.hrf=spm")
    t = statmap(run, "contrast-scene_stat-t")
    region = truth(run, "parahippocampal") & (t != 0)
    assert area(t[region], t[truth(run, "brain") & (t != 0) & ~region]) > 0.95


def test_every_setting_reaches_its_node() -> None:
    flow = build(
        "glm_monitor",
        *("glm.contrast=face", "glm.region=region.nii", "glm.hrf=spm", "glm.drift=cosine", "fwhm=7"),
        *(
            "glm.high_pass=0.02",
            "glm.longest=600",
            "glm.slice_time_ref=0.25",
            "glm.max_fd=0.5",
            "glm.min_dof=7",
            "glm.save=maps",
        ),
        *("dummy_volumes=4", "bids.task=other", "design.conditions=[face, house]"),
    )
    inputs = {name: flow.get_node(name).inputs for name in flow.list_node_names()}
    glm = inputs["glm"]
    assert (glm.contrast, Path(inputs["region"].file).name, glm.hrf) == ("face", "region.nii", "spm")
    assert (glm.drift, glm.high_pass, glm.longest) == ("cosine", 0.02, 600.0)
    assert (glm.slice_time_ref, glm.max_fd, glm.min_dof, glm.save) == (0.25, 0.5, 7, "maps")
    assert glm.design.conditions == inputs["scanner"].design.conditions == ("face", "house")
    assert (inputs["smooth"].fwhm, inputs["skip"].volumes, inputs["convert"].task) == (7.0, 4, "other")
    assert glm.nuisance == ["motion"]


def test_no_result_depends_on_a_later_volume(tmp_path) -> None:
    flow = build("glm_monitor", *SHORT, "source.volumes=75")
    flow.base_dir = str(tmp_path)
    prefix_test(flow, after=60)


@pytest.mark.realdata
def test_the_region_of_a_real_run_responds(play, series, tmp_path) -> None:
    folder = series("siemens_Trio_mosaic_opennft155")
    # Seven blocks of ten volumes; the protocol does not count the first five of the scanner.
    trials = [Trial((start + 5 - 1) * 1.97, 19.7, "regulate") for start in (11, 31, 51, 71, 91, 111, 131)]
    write_events(Design(tuple(trials)), tmp_path / "events.tsv")
    run = play(
        "glm_monitor",
        tmp_path / "out",
        *(f"source=folder:{folder}/dicom?idle=0", f"design.events={tmp_path / 'events.tsv'}", "fwhm=0"),
        *("design.conditions=[regulate]", f"glm.region={folder / 'ROIs_D1' / 'lROI_1.nii'}", "glm.hrf=spm"),
    )
    assert run.stop.status == "completed"
    t, percent = run.values("glm.region_t"), run.values("glm.region_percent")
    assert t[155] > 10.0
    assert t[155] > t[90] > t[45]
    assert 0.5 < percent[155] < 3.0
