"""Percent signal change of a region over a run whose truth is known."""

import pickle

import nibabel as nib
import numpy as np
import pytest

from rtflow.bids.grid import Grid
from rtflow.bids.incremental import BidsIncremental
from rtflow.bids.masked import Features, Mask
from rtflow.errors import GridError, UsageError, VolumeError
from rtflow.nodes.signals.region import Region, RegionOfFeatures

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


def test_rest_in_which_the_response_dies_away_is_not_in_the_baseline(make_context, call, region):
    node = started(make_context(), mask=region)
    # Rest of 400 and a block of 410; after that the first two volumes of rest still lie higher.
    bases = [400.0] * 5 + [410.0] * 5 + [409.0, 405.0, 400.0, 400.0, 400.0] + [410.0] * 5
    for number, (label, base) in enumerate(zip(LABELS, bases, strict=True), start=1):
        phase = "omit" if number in (11, 12) else "rest" if label == "rest" else "test"
        signal = volume(number, region, base=base)
        found = call(node, number, incremental=signal, trial_type=label, phase=phase)
        if number in (11, 12):
            assert found["value"] == pytest.approx(100 * (base - 400) / 400, abs=1e-4)
    assert found["value"] == pytest.approx(2.5, abs=1e-4)


def test_what_the_blocks_are_of_changes_nothing(make_context, call, region):
    """Labels of test blocks have no way into the feedback but by when they are."""
    found = []
    for name in ("faces", "scenes"):
        node = started(make_context(), mask=region)
        labels = [name if label == "faces" else label for label in LABELS]
        found.append(
            [
                call(node, number, incremental=volume(number, region, number), trial_type=label)
                for number, label in enumerate(labels, start=1)
            ]
        )
    assert found[0] == found[1]


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
    # Few voxels are negative, and far: the mean goes with them.
    data = volume(1, region).data.copy()
    data[region.data] = [-4550.0] * 5 + [450.0] * 45
    call(node, 1, incremental=volume(1, region).with_data(data), trial_type="rest")
    found = call(node, 2, incremental=volume(2, region, base=40.0), trial_type="faces")
    assert set(found) == {"mean"}
    assert "baseline is -50" in node.take_doubts()[0]


def test_the_median_is_of_the_voxels_that_have_signal(make_context, call, region):
    node = started(make_context(), mask=region, summary="median", baseline="none")
    signal = volume(1, region)
    data = signal.data.copy()
    chosen = np.argwhere(region.data)
    data[tuple(chosen[0])], data[tuple(chosen[1])] = 0.0, 1e6
    found = call(node, 1, incremental=signal.with_data(data))
    assert found["value"] == np.median(data[region.data & (data != 0)])
    assert found["kind"] == "median"


def test_the_median_is_compared_with_rest_too(make_context, call, region):
    node = started(make_context(), mask=region, summary="median")
    for number, label in enumerate(LABELS, start=1):
        percent = 3.0 if label == "faces" else 0.0
        found = call(node, number, incremental=volume(number, region, percent), trial_type=label)
    assert (found["value"], found["kind"]) == (pytest.approx(3.0, abs=1e-4), "percent_signal_change")


@pytest.fixture
def other_region():
    data = np.zeros(SHAPE, bool)
    data[7:9, 3:8, 1:3] = True
    return Mask(data, Grid.of(SHAPE, AFFINE, "aaaa"))


def test_the_difference_of_two_regions_is_that_of_their_percentages(make_context, call, region, other_region):
    node = started(make_context(), mask=region, minus=other_region)
    for number, label in enumerate(LABELS, start=1):
        signal = volume(number, region, 2.5 if label == "faces" else 0.0)
        data = signal.data.copy()
        data[other_region.data] = 90.0 * (1.01 if label == "faces" else 1.0)
        found = call(node, number, incremental=signal.with_data(data), trial_type=label)
    assert found["value"] == pytest.approx(2.5 - 1.0, abs=1e-3)
    assert found["kind"] == "percent_signal_change_difference"
    assert found["mean"] == pytest.approx(410.0)


def test_the_difference_of_two_means(make_context, call, region, other_region):
    node = started(make_context(), mask=region, minus=other_region, baseline="none")
    signal = volume(1, region)
    found = call(node, 1, incremental=signal)
    wanted = signal.data[region.data].mean(dtype=float) - signal.data[other_region.data].mean(dtype=float)
    assert found["value"] == pytest.approx(wanted)
    assert found["kind"] == "mean_difference"


# Of the component: 12 volumes of opening rest, a training block, rest, a test block.
PHASES = ["rest"] * 12 + ["train"] * 14 + ["rest"] * 10 + ["test"] * 10
TYPES = ["rest"] * 12 + ["faces"] * 7 + ["rest"] * 7 + ["rest"] * 10 + ["faces"] * 10


def responding(number, region, chance, *, lag=0.0):
    """A region of which every other voxel responds by 4 %, with noise of its own in each voxel."""
    signal = volume(number, region)
    data = signal.data.copy()
    inside = data[region.data] + 3 * chance.standard_normal(np.count_nonzero(region.data))
    responds = np.arange(inside.size) % 2 == 0
    data[region.data] = inside * (1 + 0.04 * responds * (TYPES[number - 1] == "faces")) + lag * number
    return signal.with_data(data)


def play_component(context, call, region, *, cut=99, baseline="rest", drift=0.0, component="training"):
    node = started(
        context, mask=region, summary="component", baseline=baseline, component=component, opening=24.0
    )
    chance, found = np.random.default_rng(3), []
    for number, (phase, kind) in enumerate(zip(PHASES, TYPES, strict=True), start=1):
        signal = responding(number, region, chance, lag=drift)
        if number > cut:
            signal = signal.with_data(np.random.default_rng(number).uniform(1, 999, SHAPE).astype(np.float32))
        found.append(
            (signal.data[region.data], call(node, number, incremental=signal, phase=phase, trial_type=kind))
        )
    return found


@pytest.mark.parametrize(
    ("baseline", "drift"), [("rest", 0.0), ("opening", 0.0), ("none", 0.0), ("rest", 0.3)]
)
def test_the_component_is_spms_eigenvariate_of_the_training_about_the_mean(
    make_context, call, region, baseline, drift
):
    """The long way round: singular vectors of the training volumes, each voxel without its straight line."""
    found = play_component(make_context(), call, region, baseline=baseline, drift=drift)
    samples = np.array([values for values, _ in found], dtype=float)
    training = samples[12:26]
    model = np.column_stack([np.ones(14), np.arange(14)])
    left = training - model @ np.linalg.lstsq(model, training, rcond=None)[0]
    direction = np.linalg.svd(left)[2][0]
    direction *= np.sign(direction.sum())
    level = training.mean(axis=0)
    course = level.mean() + (samples - level) @ direction / np.sqrt(direction.size)
    assert np.corrcoef(course[12:26], samples[12:26].mean(axis=1))[0, 1] > 0.9
    rest = {"rest": course[19:36].mean(), "opening": course[:12].mean(), "none": None}[baseline]
    wanted = course if rest is None else 100 * (course - rest) / rest
    for number, (_, outputs) in enumerate(found, start=1):
        assert ("value" in outputs) == (number > 26)
        if number > 36:  # the test block
            assert outputs["value"] == pytest.approx(wanted[number - 1], abs=1e-6)
            assert outputs["kind"] == ("component" if rest is None else "percent_signal_change")
    if baseline == "rest" and not drift:
        # Every other voxel responds by 4 %: 2 % on average, and the component finds those that do.
        assert np.mean([outputs["value"] for _, outputs in found[36:]]) > 2.4


def test_transitions_within_the_training_do_not_end_it(make_context, call, region):
    node = started(make_context(), mask=region, summary="component", baseline="none")
    chance, found = np.random.default_rng(5), []
    for number, phase in enumerate(["train"] * 7 + ["omit"] * 2 + ["train"] * 7 + ["rest"], start=1):
        signal = responding(number, region, chance)
        found.append("value" in call(node, number, incremental=signal, phase=phase))
    assert found == [False] * 16 + [True]


def test_the_component_of_the_opening_is_known_after_it(make_context, call, region):
    found = play_component(make_context(), call, region, component="opening")
    assert ["value" in outputs for _, outputs in found] == [False] * 12 + [True] * 34


@pytest.mark.parametrize("cut", [20, 28, 40])
def test_the_component_knows_no_later_volume(make_context, call, region, cut):
    whole = play_component(make_context("a"), call, region)
    changed = play_component(make_context("b"), call, region, cut=cut)
    assert [outputs for _, outputs in whole[:cut]] == [outputs for _, outputs in changed[:cut]]
    assert whole[45][1] != changed[45][1]


def test_a_component_that_cannot_be_found_is_said(make_context, call, region):
    node = started(make_context(), mask=region, summary="component")
    with pytest.raises(VolumeError, match="connect phase"):
        call(node, 1, incremental=volume(1, region), trial_type="rest")
    with pytest.raises(VolumeError, match="no training came"):
        call(node, 2, incremental=volume(2, region), trial_type="faces", phase="test")
    node = started(make_context(), mask=region, summary="component", component="opening", opening=6.0)
    for number in (1, 2, 3):
        call(node, number, incremental=volume(number, region), trial_type="rest")
    with pytest.raises(VolumeError, match="from 3 volumes, expected 10"):
        call(node, 4, incremental=volume(4, region), trial_type="rest")
    node = started(make_context(), mask=region, summary="component", component="opening", opening=24.0)
    for number in range(1, 13):
        call(node, number, incremental=volume(number, region), trial_type="rest")
    with pytest.raises(VolumeError, match="none of its voxels varies"):
        call(node, 13, incremental=volume(13, region), trial_type="rest")


def features(signal, mask):
    return Features(signal.data[mask.data].astype(np.float32), mask)


@pytest.mark.parametrize("whole", [True, False])
def test_features_give_what_the_volume_gives(make_context, call, region, whole):
    """Of a brain that the region is part of, or of the region itself."""
    brain = Mask(np.ones(SHAPE, bool), region.grid)
    mask = brain if whole else region
    of_volume = started(make_context(), mask=region)
    of_features = RegionOfFeatures(**({"mask": region} if whole else {}))
    of_features.start_run(make_context())
    for number, label in enumerate(LABELS, start=1):
        signal = volume(number, region, number % 4)
        one = call(of_volume, number, incremental=signal, trial_type=label)
        two = call(of_features, number, incremental=signal, features=features(signal, mask), trial_type=label)
        assert one == two


def test_features_without_their_mean_have_no_percentages(make_context, call, region):
    signal = volume(1, region)
    centred = Features(features(signal, region).values - np.float32(400.0), region)
    node = RegionOfFeatures(baseline="opening")
    node.start_run(make_context())
    with pytest.raises(VolumeError, match="mean was taken out"):
        call(node, 1, incremental=signal, features=centred)
    node = RegionOfFeatures(baseline="none")
    node.start_run(make_context())
    assert call(node, 1, incremental=signal, features=centred)["value"] == pytest.approx(0.0, abs=1e-3)


def test_z_scores_of_a_volume_have_no_percentages(make_context, call, region):
    chance = np.random.default_rng(8)
    node = started(make_context(), mask=region)
    for number, label in enumerate(LABELS[:8], start=1):
        scores = volume(number, region).with_data(chance.standard_normal(SHAPE).astype(np.float32))
        with pytest.raises(VolumeError, match="mean was taken out"):
            call(node, number, incremental=scores, trial_type=label)
    node = started(make_context(), mask=region, baseline="none")
    assert call(node, 1, incremental=scores)["value"] == pytest.approx(0.0, abs=0.5)


@pytest.mark.parametrize("which", ["mask", "minus"])
def test_another_mask_in_the_middle_of_a_run_is_refused(make_context, call, region, other_region, which):
    node = started(make_context(), mask=region, minus=region, baseline="opening", opening=2.0)
    call(node, 1, incremental=volume(1, region))
    # The same voxels once more are the same mask: in a worker process each volume brings its own.
    again = Mask(region.data.copy(), region.grid)
    assert call(node, 2, incremental=volume(2, region), **{which: again})["value"] == pytest.approx(0.0)
    with pytest.raises(GridError, match="one mask throughout a run"):
        call(node, 3, incremental=volume(3, region), **{which: other_region})
    assert call(node, 4, incremental=volume(4, region), **{which: region})["value"] == pytest.approx(0.0)


def test_a_region_must_lie_within_the_features(make_context, call, region, other_region):
    node = RegionOfFeatures(mask=other_region, baseline="none")
    node.start_run(make_context())
    signal = volume(1, region)
    with pytest.raises(GridError, match="20 of the region's 20 voxels are not within"):
        call(node, 1, incremental=signal, features=features(signal, region))
    broken = Features(np.full(region.indices.size, np.nan, np.float32), region)
    node = RegionOfFeatures(baseline="none")
    node.start_run(make_context())
    with pytest.raises(VolumeError, match="not finite"):
        call(node, 1, incremental=signal, features=broken)


def test_the_operator_is_told_of_the_region_once(make_context, call, region):
    told = []
    context = make_context(emit=told.append)
    node = started(context, mask=region, baseline="opening", says="the whole brain")
    for number in (3, 4):
        call(node, number, incremental=volume(number, region))
    (event,) = told
    assert (event.name, event.volume) == ("region", 3)
    assert event.data == {"says": "the region has 50 voxels (1.35 ml): the whole brain"}
