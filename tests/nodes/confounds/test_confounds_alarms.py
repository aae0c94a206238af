"""Outliers, spikes and alarms of Confounds: what raises them, what does not, and how they are told."""

import numpy as np
import pytest
from nipype.interfaces.base import Undefined
from noisy_run import VOLUMES, column, started, volume

from rtflow.dicom.convert import to_incrementals
from rtflow.dicom.identify import read_object
from rtflow.nodes.confounds.confounds import Confounds
from rtflow.nodes.masks.mask import Mask
from rtflow.nodes.motion.realign import Realign


def test_noise_gives_few_outliers_and_no_spike_or_alarm(play, run):
    outputs, doubts = play(run, alarms={"tsnr": (5, 6)})
    fractions = column(outputs, "outlier_fraction")
    assert np.isnan(fractions[:10]).all()
    assert fractions[10:].max() < 0.01
    # 1 in a thousand, of 24 000 voxels; 24 expected. The drift makes the interval wider than the noise.
    assert 0.0001 < fractions[10:].mean() < 0.002
    assert column(outputs, "spikes")[10:].tolist() == [0] * 20
    assert {found["alarm"] for found in outputs} == {""}
    assert not any(doubts)


def test_a_lost_slice_is_a_spike_and_one_bad_volume_hides_no_other(play, run):
    data = run.copy()
    for number in (15, 16, 25):
        data[:, :, 5:7, number - 1] *= 0.6
    outputs, doubts = play(data, alarms={"tsnr": (5, 6)})
    spikes = column(outputs, "spikes")
    assert spikes[[14, 15, 24]].tolist() == [2, 2, 2]
    assert np.nansum(spikes) == 6
    # Two of ten slices.
    np.testing.assert_allclose(column(outputs, "outlier_fraction")[[14, 15, 24]], 0.2, atol=0.01)
    assert {"confounds: spikes above 0 slices", "confounds: outlier_fraction above 0.05"} <= set(doubts[24])
    assert [n for n, said in enumerate(doubts, 1) if any("spikes" in text for text in said)] == [15, 16, 25]


def test_a_change_that_stays_is_taken_for_usual_in_the_end(play, run):
    data = np.concatenate([run, run, run], axis=3)
    data[..., 20:] *= 1.15
    outputs, _ = play(data)
    fractions = column(outputs, "outlier_fraction")
    assert fractions[20] > 0.9
    assert fractions[-1] < 0.01


def test_a_beginning_that_had_not_settled_is_forgotten(play, run):
    data = np.concatenate([run, *[run[..., 10:]] * 6], axis=3)
    data[..., :2] *= 1.5
    data[:, :, 5:7, 140] *= 0.88
    outputs, _ = play(data)
    assert outputs[140]["spikes"] == 2
    # Two slices of ten; 12 % are 7 SD of a voxel.
    assert outputs[140]["outlier_fraction"] > 0.15


def test_slices_lie_where_the_header_says(call, make_context, run):
    data = run.copy()
    # One up, one down: slices along another axis keep their means.
    data[4, :, :, 14] *= 0.8
    data[5, :, :, 14] *= 1.2
    spikes = []
    for direction in ("i", "i-", "k"):
        node = started(make_context())
        for number in range(1, 16):
            incremental = volume(number, data[..., number - 1], SliceEncodingDirection=direction)
            found = call(node, number, incremental=incremental)
        spikes.append(found["spikes"])
    assert spikes == [2, 2, 0]


def test_an_alarm_is_told_when_it_begins_and_when_it_ends(play, make_context, run):
    told = []
    fd = np.full(VOLUMES, 0.1)
    fd[9:14] = [0.7, 0.4, 0.6, 0.3, 0.2]
    context = make_context(emit=told.append)
    outputs, doubts = play(run, fd=fd, context=context, alarms={"tsnr": None})
    on = [n for n, found in enumerate(outputs, 1) if found["alarm"]]
    assert on == [10, 11, 12, 13]
    assert outputs[10]["alarm"] == "framewise_displacement"
    assert doubts[10] == ["confounds: framewise_displacement above 0.5 mm"]
    assert [(event.name, event.volume, event.data["on"], event.data["says"]) for event in told] == [
        ("alarm", 10, True, "alarm: framewise_displacement above 0.5 mm"),
        ("alarm", 14, False, "end of alarm: framewise_displacement above 0.5 mm"),
    ]
    assert told[0].data["value"] == 0.7


def test_breathing_at_a_short_tr_raises_no_alarm_and_a_movement_does(play, run):
    fd = np.full(VOLUMES, 0.45) + 0.15 * np.sin(np.arange(VOLUMES))
    fd[20] = 1.1
    slow, _ = play(run, fd=fd, tr=2.0)
    fast, doubts = play(run, fd=fd, tr=0.5)
    assert sum("framewise_displacement" in found["alarm"] for found in slow) > 20
    alarmed = [n for n, found in enumerate(fast, 1) if "framewise_displacement" in found["alarm"]]
    assert alarmed == [21]
    assert "confounds: framewise_displacement above 0.5 mm plus the run's median" in doubts[20]


def test_low_tsnr_is_told_and_no_volume_is_doubted_for_it(play, make_context, run):
    told = []
    outputs, doubts = play(run, context=make_context(emit=told.append), alarms={"tsnr": (1000, 1100)})
    assert [event.data["says"] for event in told] == ["alarm: tsnr below 1000"]
    assert outputs[-1]["alarm"] == "tsnr"
    assert not any(doubts)


def test_a_mean_signal_far_from_its_past_raises_an_alarm(play, run):
    data = run.copy()
    data[..., 24] *= 1.05
    outputs, doubts = play(data, alarms={"tsnr": None})
    assert "global_signal" in outputs[24]["alarm"].split()
    assert "confounds: global_signal above 6 SD from its past" in doubts[24]
    assert "global_signal" not in outputs[23]["alarm"] + outputs[26]["alarm"]


@pytest.mark.realdata
def test_a_quiet_real_run_raises_no_alarm(series, call, make_context):
    told = []
    files = sorted((series("siemens_Trio_mosaic_opennft155") / "dicom").glob("*.dcm"))[:60]
    realign, brain, node = Realign(), Mask(), Confounds()
    for interface in (realign, brain, node):
        interface.start_run(make_context(emit=told.append))
    fractions, relative = [], []
    for path in files:
        item = read_object(path.read_bytes())
        incremental = to_incrementals([item], item.instance.volume)[0]
        moved = call(realign, incremental.volume, incremental=incremental)
        given = {"incremental": moved["incremental"], "motion": moved["motion"]}
        given["mask"] = call(brain, incremental.volume, reference=moved["reference"])["mask"]
        given["framewise_displacement"] = moved.get("framewise_displacement", Undefined)
        found = call(node, incremental.volume, **given)
        assert node.take_doubts() == []
        fractions.append(found.get("outlier_fraction", np.nan))
        relative.append(found.get("dvars_running", np.nan))
    assert told == []
    assert found["tsnr"] > 60
    # Physiology is no white noise: a little more than 0.001, and far from 0.05.
    assert 0.0005 < np.nanmedian(fractions) < 0.005
    assert 0.85 < np.nanmedian(relative) < 1.15
