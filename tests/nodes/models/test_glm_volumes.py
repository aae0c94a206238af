"""What the incremental model does with volumes that are missing, odd or wrong, and with wrong settings."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
from head_run import DESIGN, MASK, TR, VOLUMES, VOXELS, HeadRun, feed, head_mask, start_glm
from incrementals import incremental
from nipype.interfaces.base import Undefined

from rtflow.bids.masked import Features, Mask
from rtflow.design import write_events
from rtflow.errors import GridError, UsageError, VolumeError
from rtflow.nodes.models.denoise import Denoise
from rtflow.nodes.models.glm import GLM
from rtflow.nodes.models.regressors import TaskColumns
from rtflow.trials import Design

RUN = HeadRun()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"motion": Undefined}, "motion is not known"),
        ({"motion": np.full(6, np.nan)}, "motion is not finite"),
        ({"features": Features(np.zeros(VOXELS, np.float32), MASK)}, "less than 95% of the voxels"),
    ],
)
def test_a_volume_that_cannot_be_used_is_left_out_and_said(through, change, says) -> None:
    node, outputs = through(changes={100: change})
    assert outputs[100] == {}
    assert [says in doubt for doubt in node.take_doubts()] == [True]
    without, expected = through([n for n in range(1, VOLUMES + 1) if n != 100])
    assert without.take_doubts() == []
    assert np.array_equal(outputs[VOLUMES]["t"].values, expected[VOLUMES]["t"].values)


def test_a_voxel_that_was_not_seen_once_is_0_from_then_on(through) -> None:
    data = RUN.data[59].copy()
    data[[3, 200]] = 0.0
    node, outputs = through(changes={60: {"features": Features(data, MASK)}})
    assert node.take_doubts() == []
    assert np.flatnonzero(outputs[59]["t"].values == 0).size == 0
    for volume in (60, VOLUMES):
        for name in ("effect", "t", "z"):
            assert np.flatnonzero(outputs[volume][name].values == 0).tolist() == [3, 200]


def test_a_mask_that_reaches_beyond_the_field_of_view_is_modelled_where_it_is_seen(through) -> None:
    outside = np.arange(0, VOXELS, 5)
    cut = replace(RUN)
    cut.data[:, outside] = 0.0
    node, outputs = through(data=cut)
    assert node.take_doubts() == []
    t, whole = outputs[VOLUMES]["t"].values, through()[1][VOLUMES]["t"].values
    assert not t[outside].any()
    inside = np.setdiff1d(np.arange(VOXELS), outside)
    assert np.array_equal(t[inside], whole[inside])


def features(changed: float) -> Features:
    data = RUN.data[99].copy()
    data[5] = changed
    return Features(data, MASK)


OTHER = Mask(MASK.data & (np.arange(MASK.data.size).reshape(MASK.data.shape) % 2 == 0), MASK.grid)


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"features": features(np.nan)}, VolumeError, "not finite"),
        ({"features": features(-np.inf)}, VolumeError, "not finite"),
        ({"features": Features(RUN.data[99], head_mask(shift=1.0))}, GridError, "affine"),
        ({"features": Features(RUN.data[99], head_mask("xyz"))}, GridError, "reference xyz"),
        ({"features": Features(RUN.data[99][: OTHER.indices.size], OTHER)}, GridError, "one mask"),
        ({"motion": np.zeros(5)}, VolumeError, "5 values, expected 6"),
        ({"confounds": np.zeros(3)}, VolumeError, "add 'confounds' to nuisance"),
    ],
)
def test_a_wrong_volume_fails_and_costs_the_others_nothing(started, call, change, error, says) -> None:
    node, plain = started(), started("run-b")
    for volume in range(1, 100):
        call(node, volume, **RUN.inputs(volume))
        call(plain, volume, **RUN.inputs(volume))
    with pytest.raises(error, match=says):
        call(node, 100, **(RUN.inputs(100) | change))
    node.inputs.confounds = Undefined
    one, two = (call(glm, 101, **RUN.inputs(101)) for glm in (node, plain))
    assert np.array_equal(one["t"].values, two["t"].values)


def test_the_number_of_confounds_is_that_of_the_first_volume(started, call) -> None:
    node = started(nuisance=["confounds"])
    data = {"features": RUN.inputs(1)["features"]}
    call(node, 1, confounds=np.zeros(3), **data)
    assert node._state.columns.nuisance == ("confound_1", "confound_2", "confound_3")
    with pytest.raises(VolumeError, match="2 nuisance regressors, the model has 3"):
        call(node, 2, confounds=np.zeros(2), **data)


def test_columns_that_cannot_be_told_apart_are_told_of(through) -> None:
    rng = np.random.default_rng(0)
    task = TaskColumns.of(DESIGN, TR)
    changes = {}
    for volume in range(1, VOLUMES + 1):
        # One that goes with the response to scenes but for a hair.
        column = task.row((volume - 1) * TR)[task.names.index("scene")] + 1e-4 * rng.normal()
        changes[volume] = {"confounds": np.array([column])}
    node, outputs = through(changes=changes, nuisance=["motion", "confounds"])
    assert not any(outputs.values())
    assert "nearly dependent" in node.take_doubts()[-1]


@pytest.mark.parametrize(
    ("metadata", "slice_time_ref", "says"),
    [
        ({"SliceTimingCorrected": True, "StartTime": 0.0}, 0.5, "set it to 0"),
        ({"SliceTimingCorrected": True, "StartTime": 0.97}, 0.0, "set it to 0.485"),
        ({"SliceTimingCorrected": True, "StartTime": 0.97}, 0.5, ""),  # fMRIPrep's, of slices over 1.94 s
        ({"SliceTimingCorrected": True, "StartTime": 0.0}, 0.0, ""),
        ({"SliceTimingCorrected": True}, 0.5, ""),  # to when, nobody says
        ({"SliceTimingCorrected": False, "StartTime": 0.0}, 0.5, ""),
    ],
)
def test_a_volume_that_stands_for_another_moment_is_doubted(
    started, call, metadata, slice_time_ref, says
) -> None:
    node = started(slice_time_ref=slice_time_ref)
    given = incremental(1, metadata={"RepetitionTime": TR, **metadata})
    call(node, 1, incremental=given, **RUN.inputs(1))
    doubts = node.take_doubts()
    assert len(doubts) == bool(says)
    assert not says or says in doubts[0]


def test_voxels_that_are_lost_a_few_at_a_time_are_told_of(started, call) -> None:
    node = started()
    lost, doubts = 0, {}
    for volume in range(1, 41):
        data = RUN.data[volume - 1].copy()
        # 3 % of them in each of three volumes, and they come back.
        if volume in (10, 20, 30):
            data[lost : (lost := lost + VOXELS * 3 // 100)] = 0.0
        call(node, volume, **(RUN.inputs(volume) | {"features": Features(data, MASK)}))
        doubts[volume] = node.take_doubts()
    assert [volume for volume in doubts if doubts[volume]] == list(range(20, 41))
    assert "only 94." in doubts[20][0]
    assert "only 91." in doubts[40][0]


def test_the_repetition_time_comes_with_the_volume_where_the_run_does_not_know_it(started, call) -> None:
    node = started(tr=None)
    call(node, 1, incremental=incremental(1), **RUN.inputs(1))
    assert node._state.columns.tr == 1.5
    with pytest.raises(VolumeError, match=r"\[bids\] tr"):
        call(started(tr=None), 1, **RUN.inputs(1))


def test_without_a_planned_length_there_are_polynomials_and_it_is_said(make_context, call) -> None:
    events = []
    node = start_glm(make_context(tr=TR, emit=events.append), drift="cosine")
    call(node, 1, **RUN.inputs(1))
    assert node._state.columns.drift.kind == "polynomial"
    assert ["planned number of volumes" in event.data["says"] for event in events] == [True]


def test_whether_the_planned_length_is_known_changes_nothing(through) -> None:
    # A scanner's folder does not tell it, and the replay of that run knows.
    known, unknown = through()[1], through(volumes=None)[1]
    for volume in (60, VOLUMES):
        assert np.array_equal(known[volume]["t"].values, unknown[volume]["t"].values)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"contrast": "scene - house"}, "conditions scene, face"),
        ({"design": Undefined}, "has no design"),
        ({"design": Design(())}, "has no trial"),
        ({"design": "nowhere.tsv"}, "nowhere.tsv"),
        ({"region": "nowhere.nii"}, "nowhere.nii"),
    ],
)
def test_what_cannot_be_done_is_refused_before_the_first_volume(started, options, says) -> None:
    with pytest.raises(UsageError, match=says):
        started(**options)


def test_a_region_on_another_grid_or_outside_the_mask_is_refused(started, call) -> None:
    with pytest.raises(GridError, match="region"):
        call(started(region=head_mask(shift=3.0)), 1, **RUN.inputs(1))
    with pytest.raises(VolumeError, match="no voxel within the mask"):
        call(started(region=Mask(~MASK.data, MASK.grid)), 1, **RUN.inputs(1))


def test_events_may_come_from_a_file(through, tmp_path) -> None:
    write_events(DESIGN, tmp_path / "events.tsv")
    one, two = through(design=str(tmp_path / "events.tsv"))[1], through()[1]
    assert np.array_equal(one[VOLUMES]["t"].values, two[VOLUMES]["t"].values)


@pytest.mark.parametrize("cut", [1, 20, 36, 60, VOLUMES - 1])
def test_a_node_goes_on_from_a_snapshot(started, cut) -> None:
    whole, first, second = (started(run_uid, region=MASK) for run_uid in ("run-a", "run-b", "run-c"))
    feed(first, RUN, range(1, cut + 1))
    second.restore(pickle.loads(pickle.dumps(first.snapshot())))
    one, two = feed(whole, RUN), feed(second, RUN, range(cut + 1, VOLUMES + 1))
    assert one[VOLUMES]["region_t"] == two[VOLUMES]["region_t"]
    assert np.array_equal(one[VOLUMES]["t"].values, two[VOLUMES]["t"].values)


def test_a_second_run_begins_anew(started, call, make_context) -> None:
    node = started()
    outputs = []
    for run in ("a", "b"):
        node.start_run(make_context(run, tr=TR, volumes=VOLUMES))
        outputs.append([call(node, volume, **RUN.inputs(volume)) for volume in range(1, 61)][-1])
    assert np.array_equal(outputs[0]["t"].values, outputs[1]["t"].values)


def test_what_the_model_needs_is_asked_for_when_a_graph_is_compiled() -> None:
    options = {"contrast": "face", "design": DESIGN}
    assert not GLM(**options).needed_inputs()
    glm = GLM(**options, nuisance=["motion", "confounds"], max_fd=0.5)
    assert set(glm.needed_inputs()) == {"motion", "confounds", "framewise_displacement"}
    assert set(Denoise(zscore="rest", nuisance=["motion"]).needed_inputs()) == {"motion", "trial_type"}
    assert set(Denoise(zscore="training").needed_inputs()) == {"phase"}
    assert not Denoise(zscore="opening").needed_inputs()
