"""What Denoise takes out and what it leaves, against regressions of the volumes so far, and against truth."""

import pickle

import numpy as np
import pytest
from head_run import DESIGN, MASK, SCENE, TR, VOLUMES, VOXELS, HeadRun, feed, head_mask
from incrementals import incremental
from nipype.interfaces.base import Undefined
from scipy import signal

from rtflow.bids.masked import Features
from rtflow.errors import GridError, UsageError, VolumeError
from rtflow.nodes.models.denoise import Denoise, HighPass
from rtflow.nodes.signals.baseline import RestBaseline, percent_change

RUN = HeadRun(drift=5.0, moves=3.0)
#: The same run, of a head that lay still in a scanner that did not drift.
CLEAN = HeadRun(drift=0.0, moves=0.0)
CUTOFF = 0.01
FULL = {"nuisance": ["motion"], "design": DESIGN}


@pytest.fixture
def through(make_context):
    """Callable that takes a run through a node, and returns it and the values of volumes that have some."""

    def run(numbers=range(1, VOLUMES + 1), data=RUN, changes=None, node=None, **options):
        if node is None:
            node = Denoise(**options)
            node.start_run(make_context(tr=TR, volumes=VOLUMES))
        values = {}
        for volume, output in feed(node, data, numbers, changes).items():
            if "features" in output:
                values[volume] = output["features"].values
                seen = values[volume][values[volume] != 0]
                assert output["mean"] == pytest.approx(seen.mean(dtype=np.float64), rel=1e-6)
        return node, values

    return run


@pytest.mark.parametrize("options", [{}, FULL, FULL | {"drift": "cosine"}], ids=["drift", "full", "cosines"])
def test_each_volume_is_what_a_regression_of_the_volumes_so_far_leaves(through, options) -> None:
    node, values = through(**options)
    rows, first = np.array(node._state.design), min(values)
    assert sorted(values) == list(range(first, VOLUMES + 1))
    wanted = 1 + len(node._state.columns.conditions)
    reference = rows[:first].mean(axis=0)
    for volume in [first, first + 1, 60, 111, VOLUMES]:
        leading = node._state.columns.leading(volume)
        fitted, *_ = np.linalg.lstsq(rows[:volume, :leading], RUN.data[:volume].astype(float), rcond=None)
        moved = (rows[volume - 1] - reference)[wanted:leading]
        np.testing.assert_allclose(
            values[volume], RUN.data[volume - 1] - moved @ fitted[wanted:], rtol=1e-6, atol=1e-3
        )


def error(values: dict[int, np.ndarray], truth: np.ndarray) -> float:
    """Root mean square of what differs from the truth beyond a constant, percent."""
    volumes = np.array(sorted(values))
    apart = np.array([values[volume] for volume in volumes]) / truth.mean(axis=0) - (
        truth[volumes - 1] / truth.mean(axis=0)
    )
    return float(100.0 * np.sqrt(np.square(apart - apart.mean(axis=0)).mean()))


def test_drift_and_motion_go_and_the_response_and_the_mean_stay(through) -> None:
    _, values = through(**FULL)
    raw = {volume: RUN.data[volume - 1] for volume in values}
    assert error(raw, CLEAN.data) > 2.0
    assert error(values, CLEAN.data) < 0.45
    means = np.mean([values[volume] for volume in values], axis=0)
    # Nothing is known of how the head lay before the run: the level is that of the first volumes.
    np.testing.assert_allclose(means, CLEAN.data.mean(axis=0), rtol=0.05)


def region_percent(course: dict[int, float], design=DESIGN) -> float:
    """Mean percent signal change of scene blocks against the rest before each, 6 s of lag."""
    rest: RestBaseline[float] = RestBaseline()
    found = []
    for volume, mean in course.items():
        label = design.label(volume, TR, 6.0)
        baseline = rest.add(mean, label)
        if label == "scene" and baseline is not None:
            found.append(percent_change(mean, baseline))
    return float(np.mean(found))


def test_percent_signal_change_can_be_taken_afterwards(through) -> None:
    _, values = through(**FULL)
    truth = {volume: float(CLEAN.data[volume - 1][SCENE].mean()) for volume in values}
    found = {volume: float(row[SCENE].mean()) for volume, row in values.items()}
    assert region_percent(truth) > 1.2
    assert region_percent(found) == pytest.approx(region_percent(truth), abs=0.2)


def test_a_design_keeps_the_response_from_being_taken_for_drift(through) -> None:
    truth = CLEAN.data[:, SCENE].mean(axis=1)

    def likeness(values) -> float:
        volumes = np.array(sorted(values))
        course = [values[volume][SCENE].mean() for volume in volumes]
        return float(np.corrcoef(course, truth[volumes - 1])[0, 1])

    whole, without = likeness(through(**FULL)[1]), likeness(through(nuisance=["motion"])[1])
    filtered = likeness(through(**FULL, drift="none", causal_high_pass=CUTOFF)[1])
    assert whole > 0.95 > filtered > without


def test_nothing_is_given_before_the_model_is_well_conditioned(through) -> None:
    # Constant, six of motion, one of drift: ten degrees of freedom with the 18th volume.
    assert min(through(nuisance=["motion"])[1]) == 18
    assert min(through()[1]) == 12
    assert min(through(min_dof=30)[1]) == 32
    still = {volume: {"motion": np.zeros(6)} for volume in range(1, VOLUMES + 1)}
    assert min(through(nuisance=["motion"], changes=still)[1]) == 12


def test_confounds_that_cannot_be_told_apart_are_told_of(through) -> None:
    rng = np.random.default_rng(0)
    common = rng.normal(size=VOLUMES)
    confounds = np.column_stack([common, common + 1e-4 * rng.normal(size=VOLUMES)])
    changes = {volume: {"confounds": row} for volume, row in enumerate(confounds, start=1)}
    node, values = through(nuisance=["confounds"], changes=changes)
    assert not values
    assert "nearly dependent" in node.take_doubts()[-1]
    # The very same one twice is one.
    confounds[:, 1] = 3.0 * confounds[:, 0] - 2.0
    changes = {volume: {"confounds": row} for volume, row in enumerate(confounds, start=1)}
    node, twice = through(nuisance=["confounds"], changes=changes)
    changes = {volume: {"confounds": row[:1]} for volume, row in enumerate(confounds, start=1)}
    _, once = through(nuisance=["confounds"], changes=changes)
    np.testing.assert_allclose(twice[VOLUMES], once[VOLUMES], rtol=1e-6)


def test_a_volume_that_moved_too_much_has_no_say_and_no_output(through) -> None:
    changes = {n: {"framewise_displacement": 0.1} for n in range(2, VOLUMES + 1)}
    changes[60] = {"framewise_displacement": 3.0}
    wild = HeadRun(drift=5.0, moves=3.0)
    wild.data[59] *= 1.5
    node, values = through(data=wild, changes=changes, max_fd=0.5, **FULL)
    assert 60 not in values
    assert ["moved more than max_fd = 0.5 mm" in doubt for doubt in node.take_doubts()] == [True]
    _, without = through([n for n in range(1, VOLUMES + 1) if n != 60], **FULL)
    assert np.array_equal(values[VOLUMES], without[VOLUMES])


def test_a_voxel_that_was_not_seen_once_is_0_from_then_on(through) -> None:
    data = RUN.data[59].copy()
    data[7] = 0.0
    _, values = through(changes={60: {"features": Features(data, MASK)}}, **FULL)
    assert np.flatnonzero(values[59] == 0).size == 0
    assert np.flatnonzero(values[60] == 0).tolist() == np.flatnonzero(values[VOLUMES] == 0).tolist() == [7]


def test_it_gives_a_volume_where_it_gets_one(make_context, call) -> None:
    node = Denoise(min_dof=1)
    node.start_run(make_context(tr=TR, volumes=VOLUMES))
    affine, shape = MASK.grid.matrix(), MASK.data.shape
    for volume in range(1, 31):
        whole = np.zeros(shape, np.float32)
        whole[MASK.data] = RUN.data[volume - 1]
        given = incremental(volume, data=whole, affine=affine, reference="abc", slope=1.0, intercept=0.0)
        output = call(node, volume, features=RUN.inputs(volume)["features"], incremental=given)
    cleaned = output["incremental"]
    assert (cleaned.volume, cleaned.tr, cleaned.grid) == (30, 1.5, given.grid)
    np.testing.assert_array_equal(cleaned.data[MASK.data], output["features"].values)
    assert not cleaned.data[~MASK.data].any()
    with pytest.raises(GridError):
        call(node, 31, incremental=incremental(31))


def labels(volume: int) -> dict[str, str]:
    """Training ends with volume 90."""
    label = DESIGN.label(volume, TR, 4.0)
    return {
        "trial_type": label,
        "phase": "train" if 16 <= volume <= 90 else "rest" if label == "rest" else "test",
    }


@pytest.mark.parametrize("kind", ["opening", "rest", "training"])
def test_z_scores_are_those_of_a_baseline_that_is_over(through, kind) -> None:
    changes = {volume: labels(volume) for volume in range(1, VOLUMES + 1)}
    _, plain = through(changes=changes, min_dof=4)
    _, scored = through(changes=changes, min_dof=4, zscore=kind, opening=30.0)
    first = min(plain)
    expected = {
        "opening": range(first, first + 15),
        "rest": [
            n for n in range(first, 40) if n < min(m for m in changes if labels(m)["trial_type"] != "rest")
        ],
        "training": range(16, 91),
    }[kind]
    assert min(scored) == max(expected) + 1
    base = np.array([plain[volume] for volume in expected], dtype=float)
    for volume in (min(scored), VOLUMES):
        z = (plain[volume] - base.mean(axis=0)) / base.std(axis=0, ddof=1)
        np.testing.assert_allclose(scored[volume], z, atol=1e-3)
    # What comes later changes nothing of it.
    wild = changes.copy()
    for volume in range(101, VOLUMES + 1):
        wild[volume] = changes[volume] | {"features": Features(RUN.data[volume - 1] * np.float32(1.2), MASK)}
    _, other = through(changes=wild, min_dof=4, zscore=kind, opening=30.0)
    assert np.array_equal(other[100], scored[100])


def test_a_rest_that_is_too_short_goes_on_with_the_next(through) -> None:
    changes = {volume: labels(volume) for volume in range(1, VOLUMES + 1)}
    options = {"changes": changes, "nuisance": ["motion"], "min_dof": 6}
    first = min(through(**options)[1])
    rest = [n for n in range(first, VOLUMES) if labels(n)["trial_type"] == "rest"]
    opening = [n for n in rest if n == first + rest.index(n)]
    assert 0 < len(opening) < 5
    # The whole of the next rest belongs, then the trial after it ends it.
    second = [n for n in rest if n not in opening]
    ended = next(n for n in range(second[0], VOLUMES) if labels(n)["trial_type"] != "rest")
    assert min(through(**options, zscore="rest")[1]) == ended


def test_rest_in_which_the_response_dies_away_is_not_in_the_baseline(through) -> None:
    # Too few volumes come before the first trial; of the rest after it, the first three settle.
    changes = {volume: labels(volume) for volume in range(1, VOLUMES + 1)}
    rest = [n for n in range(14, 40) if labels(n)["trial_type"] == "rest"]
    after = [n for n in rest if n > 20]
    for volume in after[:3]:
        changes[volume] = changes[volume] | {"phase": "omit"}
    _, plain = through(changes=changes, min_dof=12)
    _, scored = through(changes=changes, min_dof=12, zscore="rest")
    expected = [n for n in rest if n >= min(plain) and n not in after[:3]]
    assert len(expected) >= 5
    assert min(scored) == max(rest) + 1
    base = np.array([plain[volume] for volume in expected], dtype=float)
    z = (plain[VOLUMES] - base.mean(axis=0)) / base.std(axis=0, ddof=1)
    np.testing.assert_allclose(scored[VOLUMES], z, atol=1e-3)


@pytest.mark.parametrize(("kind", "name"), [("rest", "trial_type"), ("training", "phase")])
def test_z_scores_say_what_they_need(through, kind, name) -> None:
    with pytest.raises(VolumeError, match=f"needs {name}"):
        through(zscore=kind)


def test_the_filter_is_the_one_that_it_says() -> None:
    course = np.random.default_rng(0).normal(1000.0, 10.0, 200)
    high_pass = HighPass(CUTOFF)
    found = [float(high_pass.step(np.array([value]), n * TR)[0]) for n, value in enumerate(course)]
    share = 1.0 - np.exp(-TR * 2 * np.pi * CUTOFF)
    slow, _ = signal.lfilter([share], [1.0, share - 1.0], course, zi=[(1.0 - share) * course[0]])
    np.testing.assert_allclose(found, course - slow, atol=1e-9)


@pytest.mark.parametrize("frequency", [0.005, 0.01, 0.03])
def test_the_filter_does_to_a_frequency_what_it_says(frequency) -> None:
    step = 0.05
    times = np.arange(0.0, 1200.0, step)
    high_pass = HighPass(CUTOFF)
    wave = np.sin(2 * np.pi * frequency * times)
    found = np.array(
        [high_pass.step(np.array([value]), at)[0] for value, at in zip(wave, times, strict=True)]
    )
    late = times > 600.0
    fit = np.column_stack([wave, np.cos(2 * np.pi * frequency * times)])[late]
    in_phase, ahead = np.linalg.lstsq(fit, found[late], rcond=None)[0]
    assert np.hypot(in_phase, ahead) == pytest.approx(frequency / np.hypot(frequency, CUTOFF), rel=0.02)
    assert np.arctan2(ahead, in_phase) == pytest.approx(np.arctan(CUTOFF / frequency), rel=0.03)


@pytest.mark.parametrize("frequency", [0.005, 0.01, 0.03, 0.1, 0.25])
@pytest.mark.parametrize("tr", [0.5, 2.0, 3.0])
def test_the_filter_says_what_it_does_at_any_repetition_time(frequency, tr) -> None:
    """Measured on a wave, where the formula of the analogue filter is off by up to a tenth."""
    times = np.arange(0.0, 2400.0, tr)
    high_pass = HighPass(CUTOFF)
    wave = np.exp(2j * np.pi * frequency * times)
    parts = np.column_stack([wave.real, wave.imag])
    found = np.array([high_pass.step(row, at) for row, at in zip(parts, times, strict=True)])
    late = times > 600.0
    measured = np.mean((found[:, 0] + 1j * found[:, 1])[late] / wave[late])
    assert high_pass.response(frequency, tr) == pytest.approx(measured, abs=1e-9)


def test_the_filter_moves_on_through_a_gap() -> None:
    one, two = HighPass(CUTOFF), HighPass(CUTOFF)
    for at in range(0, 40, 2):
        last = one.step(np.array([5.0 if at else 9.0]), float(at))
    two.step(np.array([9.0]), 0.0)
    assert two.step(np.array([5.0]), 38.0)[0] == pytest.approx(last[0], rel=1e-9)


def test_a_filtered_run_keeps_its_level_and_loses_its_drift(through) -> None:
    options = FULL | {"drift": "none", "causal_high_pass": CUTOFF}
    _, values = through(**options)
    raw = {volume: RUN.data[volume - 1] for volume in values}
    assert error(values, CLEAN.data) < 0.25 * error(raw, CLEAN.data)
    first = min(values)
    np.testing.assert_allclose(
        np.mean(list(values.values()), axis=0), RUN.data[:first].mean(axis=0), rtol=0.03
    )
    with pytest.raises(UsageError, match="not both"):
        through(causal_high_pass=CUTOFF)


def test_wrong_volumes_fail_and_cost_the_others_nothing(through, call) -> None:
    node, _ = through(range(1, 60), **FULL)
    plain, _ = through(range(1, 60), **FULL)
    broken = RUN.data[59].copy()
    broken[0] = np.nan
    for change, kind in [
        ({"features": Features(broken, MASK)}, VolumeError),
        ({"features": Features(broken, head_mask(shift=2.0))}, GridError),
        ({"motion": np.zeros(7)}, VolumeError),
    ]:
        with pytest.raises(kind):
            call(node, 60, **(RUN.inputs(60) | change))
    assert np.array_equal(through([61], node=node)[1][61], through([61], node=plain)[1][61])
    node.inputs.motion = Undefined
    assert "features" not in call(node, 62, features=RUN.inputs(62)["features"])


@pytest.mark.parametrize(
    "options",
    [FULL | {"zscore": "opening"}, FULL | {"drift": "none", "causal_high_pass": CUTOFF}],
    ids=["z-scores", "filter"],
)
@pytest.mark.parametrize("cut", [5, 20, 30, 80])
def test_it_goes_on_from_a_snapshot(through, make_context, options, cut) -> None:
    _, whole = through(range(1, 90), **options)
    node, _ = through(range(1, cut + 1), **options)
    other = Denoise(**options)
    other.start_run(make_context("run-b", tr=TR, volumes=VOLUMES))
    other.restore(pickle.loads(pickle.dumps(node.snapshot())))
    _, rest = through(range(cut + 1, 90), node=other)
    assert np.array_equal(rest[89], whole[89])
    assert len(whole[89]) == VOXELS
