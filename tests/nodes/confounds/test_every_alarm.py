"""Each measure's alarm begins with what is wrong, is told twice, and ends: all through the node."""

import numpy as np
import pytest
from noisy_run import SHAPE, mask, started, wandering

from rtflow.nodes.confounds.alarm import Alarm
from rtflow.nodes.confounds.confounds import ALARMS

BAD = 25
WHITE, CSF = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
WHITE[3:7, 3:13, 2:10] = True
CSF[8:11, 3:13, 2:10] = True


def noise(data, motion, fd):
    data[..., BAD - 1] *= np.random.default_rng(1).uniform(0.8, 1.2, SHAPE)


def lost_slices(data, motion, fd):
    data[:, :, 5:7, BAD - 1] *= 0.6


def one_large_volume(data, motion, fd):
    data[..., BAD - 1] *= 1.4


def brighter(where):
    def change(data, motion, fd):
        data[..., BAD - 1][where] *= 1.05

    return change


def moved(data, motion, fd):
    motion[BAD - 1 :, 1] += 1.0


def displaced(data, motion, fd):
    fd[BAD - 1 : BAD + 1] = 0.8, 0.3


#: What is done to the run, and the last volume with which the alarm is still on.
WRONG = {
    "framewise_displacement": (displaced, BAD + 1),
    "rmsd": (moved, BAD),
    "dvars_running": (noise, BAD + 1),  # the way back is as long
    "outlier_fraction": (noise, BAD),
    "spikes": (lost_slices, BAD + 4),
    "tsnr": (one_large_volume, None),
    "global_signal": (brighter(np.ones(SHAPE, bool)), BAD),
    "white_matter": (brighter(WHITE), BAD),
    "csf": (brighter(CSF), BAD),
}


@pytest.mark.parametrize("name", ALARMS)
def test_it_begins_and_ends(name, call, play, make_context, run):
    wrong, last = WRONG[name]
    data = np.tile(run[..., ::-1], 5)
    count = data.shape[3]
    motion, fd = np.tile(wandering()[:1] * 0.0, (count, 1)), np.full(count, 0.1)
    wrong(data, motion, fd)
    told = []
    node = started(make_context(emit=told.append), white_matter=mask(WHITE), csf=mask(CSF))
    outputs, doubts = play(data, node, motion=motion, fd=fd)
    events = [(event.volume, event.data["on"]) for event in told if event.data["alarm"] == name]
    on = [number for number, found in enumerate(outputs, 1) if name in found["alarm"].split()]
    end = on[-1] if last is None else last
    assert end < count
    assert on == list(range(BAD, end + 1))
    assert events == [(BAD, True), (end + 1, False)]
    doubted = [number for number, said in enumerate(doubts, 1) if any(f": {name} " in text for text in said)]
    assert doubted == {"tsnr": [], "spikes": [BAD]}.get(name, on)


def test_every_alarm_has_room_between_its_beginning_and_its_end():
    """A value at which it has begun and would not begin: by its height, or by a volume of grace."""
    for name, thresholds in ALARMS.items():
        alarm = Alarm(thresholds)
        between = (thresholds.on + thresholds.off) / 2
        assert not alarm.take(between), name
        sign = 1 if thresholds.high else -1
        assert alarm.take(thresholds.on + sign), name
        assert alarm.take(between), name
