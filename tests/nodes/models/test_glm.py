"""The incremental model against nilearn's, volume by volume; the maps that it leaves."""

import json
from dataclasses import replace

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from head_run import DESIGN, FACE, MASK, SCENE, TR, VOLUMES, VOXELS, HeadRun
from nilearn.glm.first_level import FirstLevelModel
from nipype.interfaces.base import Undefined

from rtflow.bids.masked import Mask
from rtflow.nodes.models.glm import on_grid
from rtflow.session import Session
from rtflow.trials import Design, Trial

RUN = HeadRun()
# nilearn warns of the mask that it passes on itself.
pytestmark = pytest.mark.filterwarnings("ignore:.*Generation of a mask has been requested:RuntimeWarning")


def table(folder) -> pd.DataFrame:
    """The rows of the model, as the run left them."""
    return pd.read_csv(folder / "design.tsv", sep="\t", index_col="volume")


def by_nilearn(design: pd.DataFrame, data: np.ndarray, contrast: str) -> dict[str, np.ndarray]:
    """Effect, t and z within the mask, by nilearn's model on the same rows."""
    image = np.zeros((*MASK.data.shape, len(design)), np.float32)
    image[MASK.data] = data[design.index - 1].T
    affine = MASK.grid.matrix()
    model = FirstLevelModel(
        noise_model="ols",
        signal_scaling=False,
        mask_img=nib.Nifti1Image(MASK.data.astype(np.uint8), affine),
        minimize_memory=False,
    )
    model.fit(nib.Nifti1Image(image, affine), design_matrices=[design.reset_index(drop=True)])
    given = model.compute_contrast(contrast, output_type="all")
    names = {"effect": "effect_size", "t": "stat", "z": "z_score"}
    return {name: given[theirs].get_fdata()[MASK.data] for name, theirs in names.items()}


@pytest.mark.parametrize(
    ("missing", "options"),
    [
        ([], {}),
        ([], {"drift": "cosine", "hrf": "spm", "slice_time_ref": 0.5, "contrast": "face"}),
        ([1, 2, 40, 41, 42, 90, 133], {"contrast": "(scene + face) / 2"}),
        ([], {"drift": "none", "nuisance": []}),
    ],
    ids=["plain", "cosines, spm", "gaps", "task alone"],
)
def test_the_last_volume_is_what_nilearn_says_of_the_run(through, make_context, missing, options) -> None:
    node, outputs = through([n for n in range(1, VOLUMES + 1) if n not in missing], betas=True, **options)
    node.end_run()
    folder = make_context().run_dir / "glm"
    design = table(folder)
    assert sorted({*range(1, VOLUMES + 1)} - {*design.index}) == missing
    expected = by_nilearn(design, RUN.data, node.inputs.contrast)
    last = outputs[VOLUMES]
    # Both are given as float32, of 6e-8; 1e-4 would do.
    for name in ("effect", "t"):
        found = getattr(last[name], "values", None)
        scale = np.abs(expected[name]).max()
        np.testing.assert_allclose(found, expected[name], rtol=1e-6, atol=1e-6 * scale)
    np.testing.assert_allclose(last["z"].values, expected["z"], atol=0.03)
    assert list(last["betas"]) == ["scene", "face"]
    for condition, beta in last["betas"].items():
        alone = by_nilearn(design, RUN.data, condition)["effect"]
        np.testing.assert_allclose(beta.values, alone, rtol=1e-6, atol=1e-6 * np.abs(alone).max())
    assert last["dof"] == len(design) - design.shape[1]
    assert last["t_max"] == last["t"].values.max()


def test_every_volume_is_what_an_analysis_of_the_volumes_so_far_says(through) -> None:
    node, outputs = through(betas=True)
    rows, names = np.array(node._state.design), node._state.columns.names
    given = [volume for volume, output in outputs.items() if output]
    assert given == list(range(given[0], VOLUMES + 1))
    for volume in given[::7]:
        leading = node._state.columns.leading(volume)
        design, data = rows[:volume, :leading], RUN.data[:volume].astype(np.float64)
        coefficients, *_ = np.linalg.lstsq(design, data, rcond=None)
        contrast = np.zeros(leading)
        contrast[[names.index("scene"), names.index("face")]] = 1.0, -1.0
        left = ((data - design @ coefficients) ** 2).sum(axis=0) / (volume - leading)
        t = contrast @ coefficients / np.sqrt(left * (contrast @ np.linalg.inv(design.T @ design) @ contrast))
        np.testing.assert_allclose(outputs[volume]["t"].values, t, rtol=1e-4, atol=1e-4)
        assert outputs[volume]["dof"] == volume - leading
        betas = outputs[volume]["betas"]
        for condition in ("scene", "face"):
            expected = coefficients[names.index(condition)]
            np.testing.assert_allclose(betas[condition].values, expected, rtol=1e-4, atol=1e-3)


def test_a_condition_that_has_not_come_yet_has_no_coefficient(through) -> None:
    """The contrast is of the other one: it is given as soon as that is known."""
    node, outputs = through(contrast="scene", min_dof=2, betas=True)
    had = {
        name: [v for v, out in outputs.items() if name in out.get("betas", ())] for name in ("scene", "face")
    }
    assert had["scene"] == [volume for volume, output in outputs.items() if "t" in output]
    assert had["scene"][0] < had["face"][0]
    column = np.array(node._state.design)[:, node._state.columns.names.index("face")] ** 2
    for volume, enough in ((had["face"][0], True), (had["face"][0] - 1, False)):
        assert (column[:volume].sum() >= 3 * column[:volume].max()) == enough
    for volume in had["scene"][::20]:
        effect = outputs[volume]["effect"].values
        np.testing.assert_array_equal(outputs[volume]["betas"]["scene"].values, effect)


def test_it_finds_what_responds_and_how_strongly(through) -> None:
    _, outputs = through()
    t, effect = outputs[VOLUMES]["t"].values, outputs[VOLUMES]["effect"].values
    assert t[SCENE].min() > 5.0
    assert t[FACE].max() < -5.0
    rest = np.delete(np.arange(VOXELS), [*SCENE, *FACE])
    # The noise is correlated from volume to volume, and this t does not know.
    assert 0.8 < t[rest].std() < 1.8
    np.testing.assert_allclose(100 * effect[SCENE] / RUN.base[SCENE], 2.0, atol=0.4)
    np.testing.assert_allclose(100 * effect[FACE] / RUN.base[FACE], -2.0, atol=0.4)


@pytest.mark.parametrize("moved", [-10.0, 10.0])
def test_a_design_that_is_moved_finds_less(through, moved) -> None:
    right, wrong = (through(design=design)[1][VOLUMES] for design in (DESIGN, DESIGN.later(moved)))
    assert np.median(wrong["t"].values[SCENE]) < 0.7 * np.median(right["t"].values[SCENE])


def test_nothing_is_said_before_it_can_be_known(through) -> None:
    _, outputs = through()
    first = min(volume for volume, output in outputs.items() if output)
    # The second block, the first of faces, begins with volume 32, and its response some volumes later.
    assert 34 <= first <= 40
    alone = through(contrast="scene")[1]
    assert min(volume for volume, output in alone.items() if output) < 28
    strict = through(min_dof=60)[1]
    assert next(output for output in strict.values() if output)["dof"] == 60


def test_later_trials_do_not_enter(through) -> None:
    known = [trial for trial in DESIGN.trials if trial.onset <= 59 * TR]
    other = Design((*known, Trial(150.0, 40.0, "face"), Trial(200.0, 9.0, "scene")))
    one, two = through(range(1, 61))[1][60], through(range(1, 61), design=other)[1][60]
    assert np.array_equal(one["t"].values, two["t"].values)


def test_to_leave_a_volume_out_is_to_give_it_a_regressor_of_its_own(through, make_context) -> None:
    moved = {30: {"framewise_displacement": 2.5}, 77: {"framewise_displacement": Undefined}}
    changes = {n: {"framewise_displacement": 0.1} for n in range(2, VOLUMES + 1)} | moved
    bad = replace(RUN)
    bad.data[29] *= 1.3
    node, outputs = through(changes=changes, data=bad, max_fd=0.5)
    doubts = node.take_doubts()
    says = ("moved more than max_fd = 0.5 mm", "displacement is not known")
    assert [sum(reason in doubt for doubt in doubts) for reason in says] == [1, 1]
    assert outputs[30] == outputs[77] == {}
    node.end_run()
    design = table(make_context().run_dir / "glm")
    assert {30, 77}.isdisjoint(design.index)
    everything = through(data=bad)[0]
    rows = np.array(everything._state.design)[:, : design.shape[1]]
    rows = np.column_stack([rows, np.eye(VOLUMES)[:, [29, 76]]])
    spikes = pd.DataFrame(rows, range(1, VOLUMES + 1), [*design, "spike_1", "spike_2"])
    expected = by_nilearn(spikes, bad.data, "scene - face")
    np.testing.assert_allclose(outputs[VOLUMES]["t"].values, expected["t"], rtol=1e-5, atol=1e-5)


def test_the_mean_of_a_region_is_modelled_as_one_voxel(through) -> None:
    inside = np.zeros(MASK.data.shape, bool)
    inside.ravel()[MASK.indices[SCENE]] = True
    inside[0, 0, 0] = True  # outside the mask: it has no say
    _, outputs = through(region=Mask(inside, MASK.grid), contrast="scene")
    last = outputs[VOLUMES]
    for volume in (1, 2, VOLUMES):
        mean = RUN.data[volume - 1][SCENE].mean(dtype=np.float64)
        assert outputs[volume]["region_mean"] == pytest.approx(mean, rel=1e-6)
    assert last["region_percent"] == pytest.approx(2.0, abs=0.2)
    # Noise of different voxels averages out; what they share does not.
    assert last["region_t"] > 2 * np.median(last["t"].values[SCENE])
    assert len(last["t"].values) == VOXELS
    assert {"region_mean", "region_t", "region_percent"}.isdisjoint(through()[1][VOLUMES])


def test_a_run_leaves_its_maps_and_its_design(through, make_context, leave) -> None:
    node, outputs = through(save="localizer")
    node.end_run()
    folder = make_context().run_dir / "glm"
    last = outputs[VOLUMES]
    stem = "contrast-sceneMinusFace_stat"
    for stat in ("effect", "t", "z"):
        image = nib.load(folder / f"{stem}-{stat}_statmap.nii.gz")
        assert image.get_data_dtype() == np.float32
        np.testing.assert_array_equal(image.get_fdata(), on_grid(last[stat].values, MASK))
        np.testing.assert_allclose(image.affine, MASK.grid.matrix())
    alone = [
        nib.load(folder / f"contrast-{name}_stat-effect_statmap.nii.gz").get_fdata()
        for name in ("scene", "face")
    ]
    np.testing.assert_allclose(
        alone[0] - alone[1], on_grid(last["effect"].values, MASK), rtol=1e-4, atol=1e-3
    )
    assert len(list(folder.iterdir())) == 7
    facts = json.loads((folder / "glm.json").read_text())
    assert (facts["contrast"], facts["noise_model"], facts["hrf_model"]) == ("scene - face", "ols", "glover")
    assert facts["degrees_of_freedom"] == last["dof"]
    assert facts["columns"] == list(table(folder))
    leave()
    item = Session(make_context("run-b")).load("localizer", MASK.grid)
    for stat in ("effect", "t"):
        np.testing.assert_array_equal(item.arrays[stat], on_grid(last[stat].values, MASK))
    assert item.facts["contrast"] == "scene - face"
    assert item.grid == MASK.grid


def test_conditions_of_one_label_have_a_map_each(through, make_context) -> None:
    spelled = {"scene": "left hand", "face": "leftHand"}
    trials = (Trial(trial.onset, trial.duration, spelled[trial.trial_type]) for trial in DESIGN.trials)
    node, _ = through(design=Design(tuple(trials)), contrast="leftHand")
    node.end_run()
    names = {path.name.removesuffix("_statmap.nii.gz") for path in (make_context().run_dir / "glm").iterdir()}
    stats = {f"contrast-leftHand_stat-{stat}" for stat in ("effect", "t", "z")}
    assert names == {*stats, "contrast-leftHand1_stat-effect", "design.tsv", "glm.json"}


def test_a_run_that_ends_too_early_leaves_no_maps(through, make_context) -> None:
    node, _ = through(range(1, 35), save="localizer")
    node.end_run()
    assert not (make_context().run_dir / "glm").exists()
    empty = through([], save="localizer")[0]
    empty.end_run()
