"""What the participant is shown, and when, against what was asked for."""

import math
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
from feedback import AT_TR, DESIGN, LAG, PSC, TR, VOLUMES, course, labelled, run, started
from hypothesis import given
from hypothesis import strategies as st
from incrementals import incremental

from rtflow.errors import SessionError, UsageError, VolumeError
from rtflow.nodes.decoding.decode import Decode
from rtflow.nodes.feedback.feedback import Feedback
from rtflow.nodes.feedback.settings import FeedbackSettings
from rtflow.nodes.feedback.thermometer import Smoother, Span, level
from rtflow.nodes.signals.region import Region


def test_a_value_is_shown_in_blocks_of_feedback_and_neutral_elsewhere(make_context, call):
    values = course()
    found = run(started(make_context(), neutral=-1.0), call, values, train_trials=2)
    for volume, value in enumerate(values, start=1):
        showing = labelled(volume, 2).phase == "test"
        expected = {"value": value, "kind": PSC} if showing else {"value": -1.0, "kind": "neutral"}
        assert found[volume] == expected
    assert {labelled(volume, 2).phase for volume in found} == {"rest", "train", "test"}


def test_what_is_neutral_already_stays_so(make_context, call):
    node = started(make_context())
    found = call(node, 1, incremental=incremental(1, metadata=AT_TR), value=0.0, kind="neutral", phase="test")
    assert found == {"value": 0.0, "kind": "neutral"}


def test_without_labels_every_volume_is_one_of_feedback(make_context, call):
    node = started(make_context())
    found = call(node, 1, incremental=incremental(1, metadata=AT_TR), value=1.5)
    assert found == {"value": 1.5, "kind": "value"}


def test_a_range_is_shown_from_0_to_1_and_as_levels(make_context, call):
    values = np.linspace(-1, 3, VOLUMES).tolist()
    scaled = run(started(make_context(), scaling="range", low=0.0, high=2.0), call, values)
    steps = run(started(make_context(), scaling="range", low=0.0, high=2.0, levels=10), call, values)
    shown = [volume for volume in scaled if labelled(volume).phase == "test"]
    for volume in shown:
        wanted = min(max(values[volume - 1] / 2, 0.0), 1.0)
        assert scaled[volume] == {"value": pytest.approx(wanted), "kind": f"{PSC}_scaled"}
        assert steps[volume] == {"value": math.floor(wanted * 10 + 0.5), "kind": f"{PSC}_level"}
    assert {scaled[volume]["value"] for volume in shown} >= {0.0, 1.0}


def test_thresholds_are_in_the_units_of_the_value(make_context, call):
    found = run(started(make_context(), thresholds=[0.0, 1.0]), call, [0.5, 1.0, -0.1] * 30)
    shown = {volume: found[volume] for volume in found if labelled(volume).phase == "test"}
    assert {(volume % 3, outputs["value"]) for volume, outputs in shown.items()} == {(1, 1), (2, 2), (0, 0)}
    assert {outputs["kind"] for outputs in shown.values()} == {f"{PSC}_level"}


@pytest.mark.parametrize("scaling", ["training", "opening"])
def test_a_range_is_found_once_and_frozen(make_context, call, scaling):
    values, other = course(1), course(1)
    train_trials = 2 if scaling == "training" else 0
    phases = [labelled(volume, train_trials).phase for volume in range(1, VOLUMES + 1)]
    if scaling == "training":
        first, last = phases.index("train"), len(phases) - 1 - phases[::-1].index("train")
        chosen = values[first : last + 1]
    else:
        last = next(at for at, phase in enumerate(phases) if phase != "rest")
        chosen = values[:last]
    for at in range(last + 2, VOLUMES):  # what comes later has no part in it
        other[at] *= 100
    low, high = np.percentile(chosen, [10, 90])
    for given_ in (values, other):
        node = started(make_context(), scaling=scaling, low_percentile=10.0, high_percentile=90.0)
        found = run(node, call, given_, train_trials=train_trials)
        shown = [volume for volume in found if phases[volume - 1] == "test"]
        assert len(shown) > 10
        for volume in shown:
            wanted = min(max((given_[volume - 1] - low) / (high - low), 0.0), 1.0)
            assert found[volume]["value"] == pytest.approx(wanted, abs=1e-12)


def test_transitions_within_the_training_do_not_end_it(make_context, call):
    values, phases = course(11), ["train"] * 8 + ["omit"] * 2 + ["train"] * 8 + ["rest"] + ["test"] * 4
    node = started(make_context(), scaling="training", low_percentile=0.0, high_percentile=100.0)
    for volume, (value, phase) in enumerate(zip(values, phases, strict=False), start=1):
        at = incremental(volume, metadata=AT_TR)
        found = call(node, volume, incremental=at, value=value, kind=PSC, phase=phase, trial=0)
    chosen = values[:8] + values[10:18]
    wanted = (values[22] - min(chosen)) / (max(chosen) - min(chosen))
    assert found["value"] == pytest.approx(min(max(wanted, 0.0), 1.0))


def test_a_range_goes_from_run_to_run(make_context, call, leave):
    values = course(2)
    first = run(started(make_context("a"), scaling="training", save="span"), call, values, train_trials=2)
    leave("a")
    second = run(started(make_context("b"), scaling="training", load="span"), call, values)
    shown = [volume for volume in first if first[volume]["kind"] != "neutral"]
    assert shown
    assert [first[volume] for volume in shown] == [second[volume] for volume in shown]
    with pytest.raises(VolumeError, match="one kind"):
        run(started(make_context("c"), scaling="training", load="span"), call, values, kind="correlation")
    with pytest.raises(SessionError, match="has no 'nothing'"):
        started(make_context("d"), scaling="training", load="nothing")


def test_a_range_that_cannot_be_found_is_said_with_every_block(make_context, call):
    node = started(make_context(), scaling="training")
    with pytest.raises(VolumeError, match="no volume of training"):
        call(
            node, 40, incremental=incremental(40, metadata=AT_TR), value=1.0, kind=PSC, phase="test", trial=1
        )
    node = started(make_context(), scaling="training")
    for volume in range(1, 6):
        call(
            node,
            volume,
            incremental=incremental(volume, metadata=AT_TR),
            value=1.0,
            kind=PSC,
            phase="train",
            trial=0,
        )
    for volume in (6, 7):
        with pytest.raises(VolumeError, match="5 values, expected 10"):
            call(node, volume, incremental=incremental(volume, metadata=AT_TR), phase="test", trial=1)


def test_smoothing_is_over_the_past_of_the_block(make_context, call):
    values = course(3)
    found = run(started(make_context(), smoothing="mean", seconds=6.0), call, values)
    blocks = {}
    for volume in found:
        blocks.setdefault(labelled(volume).trial, []).append(volume)
    for trial, volumes in blocks.items():
        for at, volume in enumerate(volumes):
            if trial >= 0:
                wanted = np.mean([values[n - 1] for n in volumes[max(at - 2, 0) : at + 1]])
                assert found[volume]["value"] == pytest.approx(wanted)


def test_the_value_of_a_block_comes_with_the_first_volume_after_it(make_context, call):
    values = course(4)
    found = run(started(make_context(), mode="intermittent"), call, values)
    trials = {volume: labelled(volume).trial for volume in found}
    given_ = {volume for volume, outputs in found.items() if outputs.get("kind") not in (None, "neutral")}
    assert given_ == {volume for volume in found if trials[volume] == -1 and trials.get(volume - 1, -1) >= 0}
    assert len(given_) == 4
    for volume in given_:
        block = [n for n in found if trials[n] == trials[volume - 1]]
        wanted = pytest.approx(np.mean([values[n - 1] for n in block]))
        assert found[volume] == {"value": wanted, "kind": f"{PSC}_block_mean"}
        # A block lasts 20 s, and its volumes are those that begin LAG after it.
        assert [(n - 1) * TR - LAG for n in block] == [
            DESIGN.trials[trials[volume - 1]].onset + 2 * n for n in range(10)
        ]
    first = min(given_)
    assert all(found[volume] == {"value": 0.0, "kind": "neutral"} for volume in found if volume < first)
    after = next(volume for volume in found if volume > first and trials[volume] >= 0)
    assert all(found[volume] == {} for volume in range(first + 1, after))
    assert found[after] == {"value": 0.0, "kind": "neutral"}


def test_the_value_of_a_block_gives_way_after_a_while(make_context, call):
    found = run(started(make_context(), mode="intermittent", show=6.0), call, course())
    first = min(volume for volume, outputs in found.items() if outputs.get("kind") not in (None, "neutral"))
    kinds = [found[volume].get("kind") for volume in range(first, first + 5)]
    assert kinds == [f"{PSC}_block_mean", None, None, "neutral", "neutral"]


def test_of_a_block_the_volumes_that_have_values_count(make_context, call):
    values = course(5)
    block = [volume for volume in range(1, VOLUMES + 1) if labelled(volume).trial == 1]
    for volume in block[:4]:
        values[volume - 1] = None
    # The volume after the block never comes: the next one has its value.
    found = run(started(make_context(), mode="intermittent"), call, values, absent={block[-1] + 1})
    assert found[block[-1] + 2]["value"] == pytest.approx(np.mean([values[n - 1] for n in block[4:]]))
    for volume in block[:6]:
        values[volume - 1] = None
    found = run(started(make_context(), mode="intermittent"), call, values)
    assert found[block[-1] + 1] == "held"


@pytest.mark.parametrize("lost", [None, math.nan, math.inf])
def test_a_volume_without_a_value_is_held_or_neutral(make_context, call, lost):
    values = course(6)
    volume = next(n for n in range(40, VOLUMES) if labelled(n).phase == "test")
    values[volume - 1] = lost
    assert run(started(make_context()), call, values)[volume] == "held"
    node = started(make_context(), missing="neutral")
    assert run(node, call, values)[volume] == {"value": 0.0, "kind": "neutral"}
    assert node.take_doubts() == ["feedback: neutral is shown: there is no value for this volume"]


def test_up_to_the_first_value_neutral_is_shown(make_context, call):
    values = [None] * 40 + course()[40:]
    found = run(started(make_context()), call, values)
    assert all(found[volume] == {"value": 0.0, "kind": "neutral"} for volume in range(1, 41))


def test_two_kinds_of_values_are_refused(make_context, call):
    node = started(make_context())
    call(node, 1, incremental=incremental(1, metadata=AT_TR), value=1.0, kind=PSC)
    with pytest.raises(VolumeError, match="one kind of value"):
        call(node, 2, incremental=incremental(2, metadata=AT_TR), value=1.0, kind="evidence")


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"scaling": "range", "low": 2.0, "high": 1.0}, "low below high"),
        ({"low_percentile": 90.0, "high_percentile": 10.0}, "percentile"),
        ({"levels": 5}, "give a scaling"),
        ({"levels": 5, "thresholds": [1.0]}, "give one of them"),
        ({"thresholds": [2.0, 1.0]}, "do not ascend"),
        ({"thresholds": [1.0], "scaling": "range"}, "leave scaling away"),
        ({"save": "span"}, "a range that is found"),
        ({"save": "a", "load": "b", "scaling": "training"}, "not both"),
        ({"mode": "intermittent", "smoothing": "mean"}, "leave it away"),
        ({"mode": "intermittent", "scaling": "opening"}, "the opening has no blocks"),
    ],
)
def test_options_that_contradict_each_other_are_refused(make_context, wrong, match):
    with pytest.raises(UsageError, match=match):
        started(make_context(), **wrong)


@pytest.mark.parametrize(
    "options",
    [
        {"smoothing": "exponential", "scaling": "training", "levels": 8},
        {"smoothing": "mean", "scaling": "opening"},
        {"mode": "intermittent", "scaling": "training"},
    ],
)
def test_no_value_depends_on_a_later_volume_and_it_goes_on_elsewhere(make_context, call, options):
    values, other = course(7), course(7)
    other[60:] = course(8)[60:]
    train = 2 if options["scaling"] == "training" else 0
    whole = run(started(make_context("a"), **options), call, values, train_trials=train)
    changed = run(started(make_context("b"), **options), call, other, train_trials=train)
    assert [whole[n] for n in range(1, 61)] == [changed[n] for n in range(1, 61)]
    assert whole != changed
    one, two = (started(make_context(uid), **options) for uid in "cd")
    run(one, call, values[:50], train_trials=train)
    two.restore(pickle.loads(pickle.dumps(one.snapshot())))
    given_ = run(two, call, values, train_trials=train, absent=set(range(1, 51)))
    assert given_ == {volume: whole[volume] for volume in range(51, VOLUMES + 1)}


def test_settings_have_the_options_of_the_node():
    ours, inputs = FeedbackSettings(), Feedback().inputs
    given_ = {name: getattr(ours, name) for name in ours.__struct_fields__}
    assert given_ == {name: getattr(inputs, name) for name in given_}
    assert set(inputs.copyable_trait_names()) - set(given_) == {
        "incremental",
        "value",
        "kind",
        "phase",
        "trial",
    }


times = st.lists(st.floats(0.1, 5.0), min_size=1, max_size=40)


@given(times, st.integers(0, 2**32 - 1), st.floats(0.5, 20.0))
def test_exponential_smoothing_is_the_filter_it_is_said_to_be(steps, seed, seconds):
    """Written out: each value weighs by the time since, those before the first count as the first."""
    at = np.cumsum(steps)
    values = np.random.default_rng(seed).standard_normal(len(at))
    smoother = Smoother("exponential", seconds)
    found = [smoother.step(float(value), float(time)) for value, time in zip(values, at, strict=True)]
    decay = np.exp(-np.diff(at, prepend=at[0]) / seconds)
    for last in range(len(at)):
        weights = (1 - decay[: last + 1]) * np.append(np.cumprod(decay[last:0:-1])[::-1], 1.0)
        weights[0] = 1 - weights[1:].sum()
        assert found[last] == pytest.approx(weights @ values[: last + 1], abs=1e-9)


@given(times, st.integers(0, 2**32 - 1), st.floats(0.5, 20.0))
def test_the_moving_mean_is_that_of_the_last_seconds(steps, seed, seconds):
    at = np.cumsum(steps)
    values = np.random.default_rng(seed).standard_normal(len(at))
    smoother = Smoother("mean", seconds)
    for last, (value, time) in enumerate(zip(values, at, strict=True)):
        inside = at[: last + 1] > time - seconds + 1e-6
        inside[-1] = True
        assert smoother.step(float(value), float(time)) == pytest.approx(values[: last + 1][inside].mean())


@given(st.floats(-10, 10), st.floats(-10, 10), st.integers(1, 100))
def test_more_is_never_shown_as_less(one, two, levels):
    span = Span(-2.0, 3.0)
    low, high = sorted((one, two))
    assert 0 <= level(span.scaled(low), levels) <= level(span.scaled(high), levels) <= levels


@pytest.mark.parametrize("node", [Decode, Region])
def test_the_page_names_every_kind_of_value(node):
    page = (Path(__file__).parents[3] / "docs" / "feedback.md").read_text()
    named = re.findall(r"`(\w+)`", re.search(rf"^\| {node.__name__} \| (.*) \|$", page, re.MULTILINE)[1])
    kinds = {kind.removesuffix("_difference") for kind in node.output_spec().trait("kind").trait_type.values}
    assert kinds <= {*named}
