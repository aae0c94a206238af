"""What volumes are compared with, written down anew."""

import pickle

import numpy as np
import pytest

from rtflow.errors import VolumeError
from rtflow.nodes.decoding.classifier import percent
from rtflow.nodes.decoding.normalisation import Normalisation
from rtflow.nodes.decoding.running_rest import RunningRest, blend, gain, percent_of_rest, spread

MEMORY, TR = 20.0, 2.0


def make_rest(volumes: int = 12, voxels: int = 50, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.uniform(500, 1500, voxels) * (1 + rng.normal(0, 0.01, (volumes, voxels)))).astype(np.float32)


def test_older_rest_counts_less_by_its_age_alone() -> None:
    rest = make_rest()
    times = np.array([0, 2, 4, 6, 20, 22, 24, 60, 62, 64, 66, 80], dtype=float)
    running = RunningRest(MEMORY)
    assert running.value is None
    for number, (row, time) in enumerate(zip(rest, times, strict=True)):
        running.add(row, time)
        weights = np.exp(-(time - times[: number + 1]) / MEMORY)
        np.testing.assert_allclose(
            running.value, np.average(rest[: number + 1], axis=0, weights=weights), rtol=1e-6
        )
        assert running.count == pytest.approx(weights.sum())


def test_a_voxel_that_was_not_seen_is_the_mean_of_what_was() -> None:
    rest = make_rest(3)
    rest[1, 5] = rest[:, 6] = np.nan
    running = RunningRest(1e9)
    for time, row in enumerate(rest):
        running.add(row, float(time))
    assert running.value[5] == pytest.approx(rest[[0, 2], 5].mean())
    assert np.isnan(running.value[6])


def test_the_noise_is_that_of_a_volume_about_the_mean_before_it() -> None:
    rest = make_rest(60, voxels=4000)
    running = RunningRest(1e9)
    for time, row in enumerate(rest):
        running.add(row, float(time))
    # 1 percent, and a little for the mean's own noise.
    assert running.noise == pytest.approx(1.0, rel=0.15)


def test_training_volumes_are_compared_with_the_rest_on_both_sides() -> None:
    rest, samples = make_rest(6), make_rest(4, seed=1)
    rest_times, times = np.array([0.0, 2, 4, 30, 32, 34]), np.array([10.0, 12, 20, 24])
    found = percent_of_rest(samples, times, rest, rest_times, MEMORY)
    for row, time, sample in zip(found, times, samples, strict=True):
        base = np.average(rest, axis=0, weights=np.exp(-np.abs(rest_times - time) / MEMORY))
        np.testing.assert_allclose(row, 100 * (sample / base - 1), atol=1e-3)


def test_rest_on_both_sides_takes_out_a_straight_drift_midway() -> None:
    ramp = (1000 + np.arange(0, 60, 2.0))[:, None].astype(np.float32)
    rest = np.concatenate([ramp[:5], ramp[-5:]])
    times = np.arange(0, 60, 2.0)
    found = percent_of_rest(ramp[14:16], times[14:16], rest, np.concatenate([times[:5], times[-5:]]), MEMORY)
    assert np.abs(found).max() < 0.15
    # From before alone it is 2.5 percent.
    assert percent(ramp[15], ramp[:5].mean(0))[0] > 2.0


@pytest.mark.parametrize("factor", [1.0, 1.1])
def test_a_run_without_a_move_shares_its_rest_whatever_the_gain(factor: float) -> None:
    volumes = factor * make_rest(40, voxels=3000)
    own, other = volumes[:2].mean(0, dtype=float), volumes[2:].mean(0, dtype=float) / factor
    mixed = blend(own, 2.0, other, noise=1.0)
    weight = 2.0 / 10.0  # eight volumes' worth of the other run at most
    np.testing.assert_allclose(mixed, weight * own + (1 - weight) * other * gain(own, other), rtol=2e-3)


def test_of_a_run_that_differs_next_to_nothing_is_taken() -> None:
    own = make_rest(4, voxels=3000).mean(0, dtype=float)
    other = own * (1 + np.random.default_rng(5).normal(0, 0.2, own.size))
    mixed = blend(own, 4.0, other, noise=1.0)
    assert np.median(np.abs(mixed / own - 1)) < 0.001
    own[3] = np.nan
    assert np.isfinite(blend(own, 4.0, other, noise=1.0)[3])


def test_the_estimate_is_the_one_with_the_least_error() -> None:
    rng = np.random.default_rng(3)
    for apart in (0.0, 0.5, 1.0, 3.0):
        truth = rng.uniform(500, 1500, 20000)
        other = truth * (1 + rng.normal(0, apart / 100, truth.size))
        own = truth * (1 + rng.normal(0, 1 / 100, (2, truth.size))).mean(0)
        error = [spread(percent(found, truth)) for found in (own, other, blend(own, 2.0, other, noise=1.0))]
        assert error[2] < 1.05 * min(error[:2]) + 0.03


def test_nothing_known_is_no_gain_and_no_agreement() -> None:
    nothing = np.full(4, np.nan)
    assert gain(nothing, np.ones(4)) == 1.0
    assert spread(nothing) == np.inf


def relate_all(units: Normalisation, rows: np.ndarray, labels: list[str], phases: list[str]) -> list:
    return [
        units.relate(row, label, phase, TR * number)
        for number, (row, label, phase) in enumerate(zip(rows, labels, phases, strict=True))
    ]


def test_omitted_rest_and_trials_never_enter_the_rest() -> None:
    rows = make_rest(6)
    labels = ["rest", "face", "rest", "rest", "face", "rest"]
    phases = ["rest", "test", "omit", "rest", "test", "rest"]
    units = Normalisation("running", 1e9)
    found = relate_all(units, rows, labels, phases)
    assert found[0] is None
    np.testing.assert_allclose(found[4], percent(rows[4], rows[[0, 3]].mean(0, dtype=float)), atol=1e-3)
    np.testing.assert_allclose(units.rest, rows[[0, 3, 5]].mean(0, dtype=float), rtol=1e-5)


def test_training_speaks_of_the_rest_up_to_when_it_began() -> None:
    rows = make_rest(8)
    labels = ["rest", "face", "rest", "rest", "rest", "rest", "rest", "rest"]
    units = Normalisation("running", MEMORY)
    relate_all(units, rows[:4], labels[:4], ["rest", "train", "train", "rest"])
    relate = units.training()
    pickle.loads(pickle.dumps(units))
    before = relate(rows[1:2], [TR])
    for number in range(4, 8):
        units.relate(rows[number], "rest", "rest", TR * number)
    np.testing.assert_array_equal(relate(rows[1:2], [TR]), before)
    times = np.array([0.0, 2 * TR, 3 * TR])
    np.testing.assert_array_equal(
        before, percent_of_rest(rows[1:2], np.array([TR]), rows[[0, 2, 3]], times, MEMORY)
    )


def test_the_rest_of_the_training_run_serves_until_there_is_rest() -> None:
    rows = make_rest(4)
    units = Normalisation("running", MEMORY)
    other = rows.mean(0, dtype=float)
    units.borrow(other / 1.2, 1.0)
    first = units.relate(rows[0], "face", "test", 0.0)
    assert units.borrowed
    np.testing.assert_allclose(first, percent(rows[0], other * np.median(rows[0] / other)), atol=1e-3)
    units.relate(rows[1], "rest", "rest", TR)
    later = units.relate(rows[2], "face", "test", 2 * TR)
    np.testing.assert_allclose(
        later, percent(rows[2], blend(rows[1].astype(float), 1.0, other / 1.2, 1.0)), atol=1e-3
    )


def test_what_is_lacking_is_named() -> None:
    units = Normalisation("running", MEMORY)
    with pytest.raises(VolumeError, match="connect time of Labels"):
        units.relate(make_rest(1)[0], "rest", "rest", None)
    with pytest.raises(VolumeError, match="no volume of rest came before or between the training trials"):
        units.training()(make_rest(2), [0.0, 2.0])
