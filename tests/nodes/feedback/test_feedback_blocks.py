"""Intermittent feedback: the range of its values, the block that a run ends with, and what it must know."""

import numpy as np
import pytest
from feedback import DESIGN, PSC, VOLUMES, course, labelled, run, started
from nipype import Node, Workflow

from rtflow import nodes
from rtflow.errors import CompileError, SessionError, VolumeError
from rtflow.stream import inspect

#: Volumes that show the fourth and last block.
LAST = [volume for volume in range(1, VOLUMES + 1) if labelled(volume).trial == 3]


def means(values, train_trials=2):
    """Means over each training block and each rest between them."""
    stretches = []
    for volume, value in enumerate(values, start=1):
        label = labelled(volume, train_trials)
        if label.phase == "train":
            if not stretches or stretches[-1][0] != label.trial:
                stretches.append((label.trial, []))
            stretches[-1][1].append(value)
    return [np.mean(found) for _, found in stretches]


def test_a_range_is_of_what_is_shown_the_means_of_blocks_and_rests(make_context, call):
    values = course(12)
    options = {"mode": "intermittent", "scaling": "training", "low_percentile": 0.0, "high_percentile": 100.0}
    found = run(started(make_context(), **options), call, values, train_trials=2)
    low, high = min(means(values)), max(means(values))
    assert len(means(values)) == 3
    shown = {volume: given for volume, given in found.items() if given.get("kind") not in (None, "neutral")}
    assert {given["kind"] for given in shown.values()} == {f"{PSC}_block_mean_scaled"}
    for volume, given in shown.items():
        trial = labelled(volume - 1).trial
        block = np.mean([values[n - 1] for n in range(1, VOLUMES + 1) if labelled(n).trial == trial])
        assert given["value"] == pytest.approx(min(max((block - low) / (high - low), 0.0), 1.0))
    assert len(shown) == 2


def test_one_block_of_training_is_too_few_for_a_range_of_blocks(make_context, call):
    with pytest.raises(VolumeError, match="found from 1 values, expected 3"):
        run(started(make_context(), mode="intermittent", scaling="training"), call, course(), train_trials=1)


def test_a_range_of_volumes_is_none_of_blocks(make_context, call, leave):
    options = {"scaling": "training"}
    run(started(make_context("a"), **options, save="span"), call, course(), train_trials=2)
    leave("a")
    with pytest.raises(SessionError, match="of mode='continuous', not 'intermittent'"):
        started(make_context("b"), **options, mode="intermittent", load="span")


def test_a_block_that_the_run_ends_with_has_its_value_with_the_last_planned_volume(make_context, call):
    values, events = course(13)[: LAST[-1]], []
    node = started(make_context(volumes=LAST[-1], emit=events.append), mode="intermittent")
    found = run(node, call, values)
    node.end_run()
    wanted = pytest.approx(np.mean([values[n - 1] for n in LAST]))
    assert found[LAST[-1]] == {"value": wanted, "kind": f"{PSC}_block_mean"}
    assert events == []


@pytest.mark.parametrize(
    ("planned", "came"), [(None, LAST[-1]), (VOLUMES, LAST[-1]), (LAST[-1], LAST[-1] - 1)], ids=str
)
def test_a_block_without_a_value_is_told_at_the_end_of_the_run(make_context, call, planned, came):
    events = []
    node = started(make_context(volumes=planned, emit=events.append), mode="intermittent")
    found = run(node, call, course(13)[:came])
    node.end_run()
    assert found[came] == {"value": 0.0, "kind": "neutral"}
    (event,) = events
    assert event.name == "block_without_value"
    assert f"of which {came - LAST[0] + 1} volumes had come" in event.data["says"]


def test_a_run_that_ends_in_rest_or_is_continuous_tells_nothing(make_context, call):
    events = []
    for options, volumes in (({"mode": "intermittent"}, VOLUMES), ({}, LAST[-1])):
        node = started(make_context(emit=events.append), **options)
        run(node, call, course(13)[:volumes])
        node.end_run()
    assert events == []


CONNECTED = (
    [("feedback", {"mode": "intermittent"}, name) for name in ("phase", "trial")]
    + [("region", {"baseline": "rest"}, "trial_type")]
    + [("region", {"summary": "component", "baseline": "none"}, "phase")]
)


@pytest.mark.parametrize(("name", "options", "lacking"), CONNECTED, ids=lambda value: str(value))
def test_what_the_options_need_is_asked_for_before_the_first_volume(tmp_path, name, options, lacking):
    scanner = Node(nodes.ScannerInput(uri="simulate:?volumes=2&speed=max"), name="scanner")
    convert = Node(nodes.DicomToBids(), name="convert")
    node = Node({"feedback": nodes.Feedback, "region": nodes.Region}[name](**options), name=name)
    labels = Node(nodes.Labels(design=DESIGN), name="labels")
    flow = Workflow(name="lacking", base_dir=str(tmp_path))
    flow.connect([(scanner, convert, [("frame",) * 2])])
    flow.connect([(convert, each, [("incremental",) * 2]) for each in (labels, node)])
    if name == "region":
        node.inputs.mask = "mask.nii"
    wanted = {"phase", "trial"} if name == "feedback" else {"phase", "trial_type"}
    for other in wanted - {lacking}:
        flow.connect(labels, other, node, other)
    with pytest.raises(CompileError, match=f"{name}: its input '{lacking}' is not connected: .*Labels"):
        inspect(flow)
    flow.connect(labels, lacking, node, lacking)
    assert name in [planned.name for planned in inspect(flow).nodes]


def test_a_volume_is_of_no_use_to_blocks_if_its_labels_were_lost(make_context, call):
    node = started(make_context(), mode="intermittent")
    with pytest.raises(VolumeError, match="connect phase and trial"):
        run(node, call, [1.0], labels=False)
