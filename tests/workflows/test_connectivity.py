"""Connectivity on a small simulated head: two regions that answer one design, and two that answer none."""

import json
from pathlib import Path

import numpy as np
import pytest
from building import build

from rtflow.errors import SettingsError
from rtflow.stream import inspect
from rtflow.testing import prefix_test

WORKFLOW = Path(__file__).resolve().parents[2] / "workflows" / "connectivity.py"
# Both regions answer the one condition alike, and nothing else is common to them.
RUN = (
    *("design.conditions=[regulate]", "design.blocks=4", "design.block=20", "design.rest=20"),
    *("design.opening=30", "source.volumes=100", "source.drift=0", "source.crosstalk=1", "window=40"),
)
TR, LAG, WINDOW = 2.0, 5.0, 20


@pytest.fixture(scope="module")
def regions(play, tmp_path_factory) -> tuple[str, str]:
    """Masks of the two regions that respond, on the grid of the series, as settings."""
    ran = play("roi_feedback", tmp_path_factory.mktemp("truth"), "source.volumes=17")
    return f"first={ran.truth / 'parahippocampal.nii'}", f"second={ran.truth / 'fusiform.nii'}"


@pytest.fixture(scope="module")
def ran(play, tmp_path_factory, regions):
    return play("connectivity", tmp_path_factory.mktemp("ran"), *RUN, *regions, "source.activation=4")


def in_blocks(run) -> list[float]:
    """Correlations of the volumes of the blocks: their windows hold rest and task."""
    values = run.values("connectivity.value")
    return [values[volume] for volume in values if run.design.trial(volume, TR, LAG) is not None]


def test_regions_that_answer_one_design_correlate(ran) -> None:
    assert {result.status for result in ran.results} == {"ok"}
    assert min(ran.values("connectivity.value")) == 5 + WINDOW
    assert set(ran.values("connectivity.kind").values()) == {"correlation"}
    assert np.mean(in_blocks(ran)) > 0.8
    assert min(in_blocks(ran)) > 0.5


def test_regions_that_answer_nothing_do_not(play, tmp_path, regions) -> None:
    found = in_blocks(play("connectivity", tmp_path, *RUN, *regions, "source.activation=0"))
    # Of 20 volumes without 6 parameters of motion, a correlation of nothing has a deviation of 0.28; windows
    # that overlap add little, so that the mean of a run is one of about four.
    assert abs(np.mean(found)) < 3 * 0.28 / 2
    assert np.mean(np.square(found)) < 0.3


def test_the_values_are_the_correlations_of_what_the_regions_gave(ran) -> None:
    """The long way round: residuals of least squares on motion, within each window."""
    names = ("trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z")
    motion = np.array([list(ran.values(f"realign.{name}").values()) for name in names]).T
    courses = np.array([list(ran.values(f"{name}.value").values()) for name in ("first", "second")]).T
    for volume, value in ran.values("connectivity.value").items():
        inside = slice(volume - 5 - WINDOW, volume - 5)
        model = np.column_stack([np.ones(WINDOW), motion[inside]])
        scale = np.abs(model).max(axis=0)
        left = courses[inside] - model @ (
            np.linalg.lstsq(model / scale, courses[inside], rcond=None)[0] / scale[:, None]
        )
        assert value == pytest.approx(np.corrcoef(left.T)[0, 1], abs=1e-6)


def test_the_participant_sees_it_in_blocks_only(ran) -> None:
    folder = ran.out / "runs" / ran.stop.run_uid / "feedback"
    shown = [json.loads(path.read_text()) for path in sorted(folder.iterdir())]
    values = ran.values("connectivity.value")
    assert [feedback["volume"] for feedback in shown] == list(range(6, 101))
    for feedback in shown:
        volume = feedback["volume"]
        if volume in values and ran.design.trial(volume, TR, LAG) is not None:
            assert (feedback["value"], feedback["kind"]) == (values[volume], "correlation")
        else:
            assert (feedback["value"], feedback["kind"]) == (0.0, "neutral")


def test_every_setting_reaches_its_node() -> None:
    flow = build(
        "connectivity",
        *("first=one.nii", "second=two.nii", "window=33", "fisher=true", "lag=7", "train_blocks=3"),
        *("feedback.levels=5", "feedback.scaling=range"),
    )
    inputs = {name: flow.get_node(name).inputs for name in flow.list_node_names()}
    assert (inputs["connectivity"].window, inputs["connectivity"].fisher) == (33.0, True)
    assert (inputs["labels"].lag, inputs["labels"].train_trials) == (7.0, 3)
    assert (inputs["feedback"].levels, inputs["feedback"].scaling) == (5, "range")
    assert Path(inputs["mask_first"].file).name == "one.nii"
    assert Path(inputs["mask_second"].file).name == "two.nii"
    planned = {node.name: node for node in inspect(flow).nodes}
    assert planned["feedback"].on_error == "last"
    wired = {binding.field for binding in planned["connectivity"].bindings}
    assert wired == {"incremental", "first", "second", "motion"}
    (without,) = (
        node for node in inspect(build("connectivity", "motion=false")).nodes if node.name == "connectivity"
    )
    assert {binding.field for binding in without.bindings} == {"incremental", "first", "second"}


def test_a_range_from_training_needs_training_blocks(play, tmp_path, regions) -> None:
    with pytest.raises(SettingsError, match="train_blocks is 0"):
        play("connectivity", tmp_path, *RUN, *regions, "feedback.scaling=training")


def test_without_regions_it_says_which_settings_to_give(play, tmp_path, regions) -> None:
    says = r"{} should be the image of a region .*, got {}; give --set first=FIRST.nii --set second=SECOND"
    with pytest.raises(SettingsError, match=says.format("first", "nothing")):
        play("connectivity", tmp_path, *RUN)
    with pytest.raises(SettingsError, match=says.format("second", "nothing")):
        play("connectivity", tmp_path, *RUN, regions[0])
    with pytest.raises(SettingsError, match=says.format("second", ".*none.nii, which is no file")):
        play("connectivity", tmp_path, *RUN, regions[0], "second=none.nii")
    assert not list(tmp_path.rglob("runs/*"))


def test_no_result_depends_on_a_later_volume(tmp_path, play) -> None:
    ran = play(
        "roi_feedback",
        tmp_path,
        *("source.volumes=17", "source.shape=[24, 28, 20]", "source.voxel=7.0"),
        small=False,
    )
    masks = (f"first={ran.truth / 'parahippocampal.nii'}", f"second={ran.truth / 'fusiform.nii'}")
    flow = build("connectivity", *RUN, *masks, "source.volumes=60", "feedback.smoothing=mean")
    flow.base_dir = str(tmp_path)
    prefix_test(flow, after=45)
