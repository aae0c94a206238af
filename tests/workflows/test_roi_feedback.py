"""The region's feedback: against what the simulator did, and on real series."""

import dataclasses
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from building import build

from rtflow.design import block_design, write_events
from rtflow.documents import Event, Part, VolumeReceived
from rtflow.errors import SettingsError
from rtflow.nodes.labels import label_volume
from rtflow.nodes.signals.baseline import RestBaseline, percent_change
from rtflow.settings import load_settings
from rtflow.sources.simulation.anatomy import REGIONS
from rtflow.sources.simulation.response import course
from rtflow.stream import inspect
from rtflow.testing import prefix_test, run_frames, source_frames
from rtflow.trials import Design, Trial
from rtflow.workflow_file import load_workflow

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


# The response of the simulator is half up 5.2 s after the onset of a block, and down as long after its end:
# then, labels that step back by that time fit it best.
LAG, SETTLE, TR = 5.0, 6.0, 2.0
MEASURED = (
    *("design.conditions=[regulate]", "design.blocks=4", "design.block=20", "design.rest=20"),
    *("design.opening=30", "source.volumes=97", "dummy_volumes=5", "source.activation=4", "source.drift=0"),
    *(f"lag={LAG}", f"settle={SETTLE}"),
)


@pytest.fixture(scope="module")
def measured(play, tmp_path_factory, region_file):
    return play("roi_feedback", tmp_path_factory.mktemp("psc"), *MEASURED, f"mask={region_file}")


def share(ran) -> float:
    """How much of a region's response the voxels of its mask have, on average: its edge is soft."""
    facts = json.loads((ran.truth / "simulation.json").read_text())
    image = nib.load(ran.truth / "parahippocampal.nii")
    inside = np.argwhere(np.asarray(image.dataobj) > 0)
    points = nib.affines.apply_affine(np.linalg.inv(facts["pose"]) @ image.affine, inside)
    return float(REGIONS[0].weight(points).mean())


def effect(design, series: dict[int, float], shift: int = 0, tr: float = TR) -> dict[int, float]:
    """Percent signal change of the volumes of the blocks, if the design is slid by so many volumes."""
    slid, baseline, found = design.later(shift * tr), RestBaseline(), {}
    for volume in sorted(series):
        label = label_volume(slid, volume, tr, lag=LAG, train_trials=0, settle=SETTLE)
        settling = label.trial < 0 and label.phase == "omit"
        before = baseline.add(series[volume], "omit" if settling else label.trial_type)
        if before is not None and label.trial >= 0:
            found[volume] = percent_change(series[volume], before)
    return found


def test_percent_signal_change_is_what_was_simulated(measured) -> None:
    values, means = measured.values("region.value"), measured.values("region.mean")
    assert min(means) == 6
    in_blocks = effect(measured.design, means)
    assert len(in_blocks) == 40
    assert {volume: values[volume] for volume in in_blocks} == in_blocks
    percent = share(measured) * responses(measured, "parahippocampal")
    wanted = effect(measured.design, {volume: 100.0 + percent[volume - 1] for volume in means})
    assert 3.0 < np.mean(list(wanted.values())) < 4.0
    # The blur of a voxel takes the edge of the region outwards: up to a twentieth of the response.
    assert np.mean(list(in_blocks.values())) == pytest.approx(np.mean(list(wanted.values())), rel=0.07)
    assert max(in_blocks.values()) == pytest.approx(max(wanted.values()), rel=0.1)


def test_the_effect_peaks_where_the_design_is(measured) -> None:
    means = measured.values("region.mean")
    found = {shift: np.mean(list(effect(measured.design, means, shift).values())) for shift in range(-5, 6)}
    assert max(found, key=found.__getitem__) == 0
    assert all(found[shift] < found[shift - 1] for shift in range(2, 6))
    assert all(found[shift] < found[shift + 1] for shift in range(-5, -1))
    assert found[-5] < 0.5 * found[0] > found[5]


def told(ran) -> list[str]:
    return [d.data["says"] for d in ran.documents if isinstance(d, Event) and d.name == "region"]


def test_without_a_region_the_run_says_that_it_is_the_whole_brain(play, tmp_path, measured) -> None:
    ran = play("roi_feedback", tmp_path, "source.volumes=20")
    (says,) = told(ran)
    brain = np.count_nonzero(np.asarray(nib.load(ran.truth / "brain.nii").dataobj))
    voxels = int(says.removeprefix("the region has ").partition(" ")[0])
    assert voxels == pytest.approx(brain, rel=0.1)
    assert says.endswith("the whole brain; mask=FILE or localizer=NAME names another")
    assert told(measured) == []


def shown(ran) -> dict[int, dict]:
    """What the participant's display was given, by volume."""
    folder = ran.out / "runs" / ran.stop.run_uid / "feedback"
    found = [json.loads(path.read_text()) for path in sorted(folder.iterdir())]
    return {feedback["volume"]: feedback for feedback in found}


def test_feedback_after_each_block_is_the_mean_of_the_block(play, tmp_path, measured, region_file) -> None:
    ran = play("roi_feedback", tmp_path, *MEASURED, f"mask={region_file}", "feedback.mode=intermittent")
    values = measured.values("region.value")
    trials = {n: ran.design.trial(n, TR, LAG) for n in range(6, 98)}
    given = {n: f for n, f in shown(ran).items() if f["kind"] != "neutral"}
    ends = [n for n in trials if trials[n] is None and trials.get(n - 1) is not None]
    assert list(given) == ends
    for volume, feedback in given.items():
        block = [values[n] for n in trials if trials[n] == trials[volume - 1]]
        assert feedback["value"] == pytest.approx(np.mean(block))
        assert feedback["kind"] == "percent_signal_change_block_mean"
    neutral = {n for n, f in shown(ran).items() if f["kind"] == "neutral"}
    assert {n for n in trials if trials[n] is not None} <= neutral
    assert min(neutral) == 6


def test_a_thermometer_moves_between_the_percentiles_of_training(
    play, tmp_path, measured, region_file
) -> None:
    options = ("feedback.scaling=training", "feedback.levels=10", "train_blocks=2", "feedback.smoothing=mean")
    ran = play("roi_feedback", tmp_path, *MEASURED, f"mask={region_file}", *options)
    trials = {n: ran.design.trial(n, TR, LAG) for n in range(6, 98)}
    for volume, feedback in shown(ran).items():
        if (trials[volume] or 0) < 2:  # training and rest
            assert (feedback["value"], feedback["kind"]) == (0.0, "neutral")
        else:
            assert feedback["value"] in range(11)
            assert feedback["kind"] == "percent_signal_change_level"
    levels = [f["value"] for n, f in shown(ran).items() if (trials[n] or 0) >= 2]
    assert np.mean(levels) > 5.0
    assert len(levels) == 20


def test_a_volume_that_cannot_be_used_is_held(region_file, tmp_path) -> None:
    """A volume of nothing but zeros in a block: what was shown before stays, and is marked."""
    small = ("source.shape=[32, 38, 28]", "source.voxel=5", "source.speed=max")
    given = [*MEASURED, f"mask={region_file}", "source.volumes=40", "feedback.scaling=range"]
    flow = build("roi_feedback", *given, small=small)
    flow.base_dir = str(tmp_path)
    frames, tr = source_frames(flow)
    image, sidecar = frames[24].parts
    empty = Part(image.name, image.media_type, image.data[:352] + bytes(len(image.data) - 352))
    frames[24] = dataclasses.replace(frames[24], parts=(empty, sidecar), payload=None)
    before, lost, after = run_frames(flow, frames, tr=tr)[23:26]
    assert (before.status, lost.status, after.status) == ("ok", "failed", "ok")
    assert {"feedback.value", "feedback.kind"} <= set(lost.stale)
    assert lost.values["feedback.value"] == before.values["feedback.value"]
    assert lost.values["feedback.kind"] == "percent_signal_change_scaled"
    assert "region.value" not in lost.values
    assert not after.stale


def test_every_setting_reaches_its_node() -> None:
    given = ["lag=7", "settle=3", "opening=11", "mask=region.nii", "train_blocks=2"]
    flow = build("roi_feedback", *BLOCKS, *given)
    assert "feedback" not in flow.list_node_names()
    inputs = flow.get_node("labels").inputs
    assert (inputs.settle, inputs.train_trials) == (3.0, 2)
    region, labels = flow.get_node("region"), flow.get_node("labels")
    assert (labels.inputs.lag, region.inputs.baseline, region.inputs.opening) == (7.0, "rest", 11.0)
    assert flow.get_node("mask").inputs.file.endswith("region.nii")
    (planned,) = (node for node in inspect(flow).nodes if node.name == "region")
    assert planned.on_error == "last"


@pytest.mark.parametrize("name", ["roi_feedback", "connectivity"])
@pytest.mark.parametrize("block", [20.0, 30.0])
def test_the_default_lag_is_that_of_the_response_that_is_simulated(name, block) -> None:
    """Of whole seconds; the response is the canonical one."""
    workflow = load_workflow(WORKFLOW.with_name(f"{name}.py"))
    lags = {
        load_settings(workflow.settings_type).lag,
        load_settings(workflow.settings_type, workflow.path.with_suffix(".toml")).lag,
    }
    design, tr = block_design(["regulate"], blocks=6, block=block, rest=block, opening=30.0), 0.5
    last = int((design.trials[-1].onset + block) / tr)
    response = course(design, "regulate", np.arange(last) * tr)

    def effect(lag: float) -> float:
        shown = [design.trial(volume, tr, lag) is not None for volume in range(1, last + 1)]
        return float(response[shown].mean() - response[np.logical_not(shown)].mean())

    assert lags == {max((2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0), key=effect)}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["feedback.mode=intermittent"], r"no design says when blocks are; set \[design\]"),
        (["feedback.scaling=opening"], r"there is none; set \[design\]"),
        (["feedback.scaling=training", "train_blocks=2"], r"there is none; set \[design\]"),
        ([*BLOCKS, "feedback.scaling=training"], "train_blocks is 0; set it to 1 or more"),
    ],
)
def test_feedback_that_could_show_nothing_is_refused_before_the_scan(given, says) -> None:
    workflow = load_workflow(WORKFLOW)
    settings = load_settings(workflow.settings_type, WORKFLOW.with_suffix(".toml"), given)
    with pytest.raises(SettingsError, match=says):
        settings.require()


def test_a_range_of_an_earlier_run_needs_no_training() -> None:
    workflow = load_workflow(WORKFLOW)
    given = ["feedback.scaling=training", "feedback.load=range"]
    load_settings(workflow.settings_type, WORKFLOW.with_suffix(".toml"), given).require()


def test_every_setting_of_feedback_reaches_its_node() -> None:
    given = ["feedback.scaling=training", "feedback.levels=7", "feedback.seconds=9", "localizer=found"]
    flow = build("roi_feedback", *given, *BLOCKS, "train_blocks=1")
    feedback = flow.get_node("feedback").inputs
    assert (feedback.scaling, feedback.levels, feedback.seconds) == ("training", 7, 9.0)
    assert (flow.get_node("mask").inputs.load, flow.get_node("realign").inputs.reference) == (
        "found",
        "session:reference",
    )
    planned = {node.name: node.on_error for node in inspect(flow).nodes}
    assert (planned["region"], planned["feedback"]) == ("skip", "last")


@pytest.mark.parametrize(
    "feedback",
    [(), ("feedback.smoothing=exponential",), ("feedback.mode=intermittent",)],
    ids=["value", "continuous", "intermittent"],
)
def test_no_result_depends_on_a_later_volume(tmp_path, feedback) -> None:
    flow = build("roi_feedback", *BLOCKS, "source.volumes=40", *feedback)
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
def test_a_real_region_peaks_where_the_design_is(play, series, tmp_path) -> None:
    """The left region of a real neurofeedback run, seven blocks of ten volumes."""
    folder = series("siemens_Trio_mosaic_opennft155")
    tr = 1.97
    # The protocol does not count the first five volumes of the scanner.
    starts = [(start + 5 - 1) * tr for start in range(11, 132, 20)]
    design = Design(tuple(Trial(start, 10 * tr, "regulate") for start in starts))
    write_events(design, tmp_path / "events.tsv")
    ran = play(
        "roi_feedback",
        tmp_path / "out",
        *(f"source=folder:{folder}/dicom?idle=0", f"design.events={tmp_path / 'events.tsv'}"),
        *("design.conditions=[regulate]", f"mask={folder / 'ROIs_D1' / 'lROI_1.nii'}", "dummy_volumes=5"),
        *(f"lag={LAG}", f"settle={SETTLE}"),
    )
    means, values = ran.values("region.mean"), ran.values("region.value")
    found = {shift: effect(design, means, shift, tr) for shift in range(-5, 6)}
    assert {volume: values[volume] for volume in found[0]} == found[0]
    average = {shift: np.mean(list(blocks.values())) for shift, blocks in found.items()}
    assert max(average, key=average.__getitem__) == 0
    assert average[0] > 0.8
    assert max(abs(average[-5]), abs(average[5])) < 0.2


@pytest.mark.realdata
def test_the_file_numbered_0_is_the_volume_that_its_header_says(play, series, tmp_path) -> None:
    ran = play("roi_feedback", tmp_path, f"source=folder:{series('siemens_E11_mosaic_rtcloud')}/dicom")
    received = [document for document in ran.documents if isinstance(document, VolumeReceived)]
    (last,) = [document for document in received if document.volume == 10]
    assert "000000" in last.parts[0].name
