"""Percent signal change of a region over a run whose truth is known."""

import pickle

import nibabel as nib
import numpy as np
import pytest

from rtflow.bids.grid import Grid
from rtflow.bids.incremental import BidsIncremental
from rtflow.bids.masked import Mask
from rtflow.errors import GridError, UsageError, VolumeError
from rtflow.nodes.region import Region

TR = 2.0
AFFINE = np.diag([3.0, 3.0, 3.0, 1.0])
SHAPE = (10, 10, 4)
LABELS = ["rest"] * 5 + ["faces"] * 5 + ["rest"] * 5 + ["faces"] * 5


@pytest.fixture
def region():
    data = np.zeros(SHAPE, bool)
    data[2:7, 3:8, 1:3] = True
    return Mask(data, Grid.of(SHAPE, AFFINE, "aaaa"))


def volume(number, region, percent=0.0, base=400.0):
    """A volume in which the region lies so many percent above the base, and the rest is something else."""
    data = np.random.default_rng(number).uniform(100, 900, SHAPE).astype(np.float32)
    # Voxels of unlike brightness: the mean of ratios would differ from the ratio of means.
    weights = np.linspace(0.5, 1.5, np.count_nonzero(region.data))
    data[region.data] = base * weights * (1 + percent / 100)
    return BidsIncremental(data, AFFINE, volume=number, metadata={"RepetitionTime": TR}, reference="aaaa")


def started(context, **inputs):
    node = Region(**inputs)
    node.start_run(context)
    return node


def test_task_is_compared_with_the_rest_before_it(make_context, call, region):
    node = started(make_context(), mask=region)
    # The second rest block lies 10 % higher: its task must be compared with it, not with the first.
    bases = [400.0] * 10 + [440.0] * 10
    for number, (label, base) in enumerate(zip(LABELS, bases, strict=True), start=1):
        percent = 2.5 if label == "faces" else 0.0
        found = call(node, number, incremental=volume(number, region, percent, base), trial_type=label)
        assert found["mean"] == pytest.approx(base * (1 + percent / 100), rel=1e-6)
        if number == 1:
            assert set(found) == {"mean"}
            continue
        assert found["kind"] == "percent_signal_change"
        if label == "faces":
            assert found["value"] == pytest.approx(2.5, abs=1e-4)
        elif number > 10:
            assert found["value"] == pytest.approx(10.0, abs=1e-4)
        else:
            assert found["value"] == pytest.approx(0.0, abs=1e-4)


def test_rest_that_never_came_is_not_in_the_baseline(make_context, call, region):
    node = started(make_context(), mask=region)
    for number in (1, 2, 4):
        if number == 4:
            node.gap(3)
        call(node, number, incremental=volume(number, region, base=100.0 * number), trial_type="rest")
    found = call(node, 5, incremental=volume(5, region, base=350.0), trial_type="faces")
    assert found["value"] == pytest.approx(100 * (350 / (700 / 3) - 1), abs=1e-3)


def test_without_rest_the_value_is_withheld(make_context, call, region):
    node = started(make_context(), mask=region)
    for number in range(1, 4):
        found = call(node, number, incremental=volume(number, region), trial_type="faces")
        assert set(found) == {"mean"}


def test_the_opening_serves_where_there_is_no_design(make_context, call, region):
    node = started(make_context(), mask=region, baseline="opening", opening=6.0)
    bases = [390.0, 400.0, 410.0, 420.0, 380.0]
    found = [
        call(node, number, incremental=volume(number, region, base=base))
        for number, base in enumerate(bases, start=1)
    ]
    assert ["value" in outputs for outputs in found] == [False, False, False, True, True]
    assert found[3]["value"] == pytest.approx(5.0, abs=1e-4)
    assert found[4]["value"] == pytest.approx(-5.0, abs=1e-4)


def test_a_scaling_with_an_intercept_changes_no_percentage(make_context, call, region):
    found = []
    for slope, intercept in ((1.0, 0.0), (0.25, -50.0)):
        node = started(make_context(), mask=region, baseline="opening", opening=2.0)
        for number, base in enumerate((400.0, 420.0), start=1):
            plain = volume(number, region, base=base)
            stored = ((plain.data - intercept) / slope).astype(np.float32)
            scaled = BidsIncremental(
                *(stored, AFFINE), volume=number, metadata=plain.metadata, slope=slope, intercept=intercept
            )
            outputs = call(node, number, incremental=scaled)
        found.append(outputs)
    assert found[1]["value"] == pytest.approx(found[0]["value"], abs=1e-3) == pytest.approx(5.0, abs=1e-3)
    assert found[1]["mean"] == pytest.approx(420.0, abs=1e-2)


def test_rest_without_labels_says_what_to_do(make_context, call, region):
    node = started(make_context(), mask=region)
    with pytest.raises(VolumeError, match="connect trial_type"):
        call(node, 1, incremental=volume(1, region))


@pytest.mark.parametrize("baseline", ["rest", "opening"])
def test_later_volumes_change_nothing(make_context, call, region, baseline):
    def run(context, noise_from):
        node = started(context, mask=region, baseline=baseline)
        rng = np.random.default_rng(1)
        found = []
        for number, label in enumerate(LABELS, start=1):
            signal = volume(number, region, percent=number % 3)
            if number >= noise_from:
                signal = signal.with_data(rng.uniform(1, 9999, SHAPE).astype(np.float32))
            found.append(call(node, number, incremental=signal, trial_type=label))
        return found

    whole = run(make_context("a"), 99)
    for cut in (3, 8, 13):
        assert run(make_context("b"), cut)[: cut - 1] == whole[: cut - 1]


def test_it_goes_on_in_another_process(make_context, call, region):
    whole, first, second = (started(make_context(uid), mask=region) for uid in "abc")
    expected = [
        call(whole, number, incremental=volume(number, region, number), trial_type=label)
        for number, label in enumerate(LABELS, start=1)
    ]
    for number, label in enumerate(LABELS[:7], start=1):
        call(first, number, incremental=volume(number, region, number), trial_type=label)
    second.restore(pickle.loads(pickle.dumps(first.snapshot())))
    rest = [
        call(second, number, incremental=volume(number, region, number), trial_type=label)
        for number, label in enumerate(LABELS[7:], start=8)
    ]
    assert rest == expected[7:]


def test_a_second_run_begins_without_a_baseline(make_context, call, region):
    node = started(make_context("a"), mask=region)
    for number in (1, 2):
        call(node, number, incremental=volume(number, region), trial_type="rest")
    node.start_run(make_context("b"))
    assert set(call(node, 1, incremental=volume(1, region), trial_type="faces")) == {"mean"}


def test_a_region_on_another_grid_is_refused(make_context, call, region):
    node = started(make_context(), mask=region, baseline="opening")
    other = volume(1, region).with_data(volume(1, region).data, reference="bbbb")
    with pytest.raises(GridError, match="expected aaaa"):
        call(node, 1, incremental=other)


def test_a_region_may_be_a_file(make_context, call, region, tmp_path):
    path = tmp_path / "region.nii.gz"
    nib.save(nib.Nifti1Image(region.data.astype(np.uint8), AFFINE), path)
    node = started(make_context(), mask=str(path), baseline="opening")
    assert call(node, 1, incremental=volume(1, region))["mean"] == pytest.approx(400.0)
    with pytest.raises(UsageError, match="does not exist"):
        started(make_context(), mask=str(tmp_path / "nothing.nii"))


def test_a_region_half_outside_the_field_of_view_is_doubted_and_not_pulled_down(make_context, call, region):
    node = started(make_context(), mask=region, baseline="opening")
    data = np.where(np.arange(SHAPE[2]) < 2, 300.0, 0.0).astype(np.float32) * np.ones(SHAPE, np.float32)
    found = call(node, 1, incremental=volume(1, region).with_data(data))
    assert found["mean"] == 300.0
    assert node.take_doubts() == ["region: only 50.0% of the mask has signal"]


def test_a_baseline_that_is_not_positive_is_doubted_and_gives_no_value(make_context, call, region):
    node = started(make_context(), mask=region)
    call(node, 1, incremental=volume(1, region, base=-50.0), trial_type="rest")
    found = call(node, 2, incremental=volume(2, region, base=40.0), trial_type="faces")
    assert set(found) == {"mean"}
    assert "baseline is -50" in node.take_doubts()[0]
