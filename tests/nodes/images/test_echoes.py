"""Echoes against tedana's formulas written out, against a decay that is known, and over runs and sessions."""

import pickle

import numpy as np
import pytest
from phantom import PHANTOM, oblique, rigid

from rtflow.bids.grid import Grid
from rtflow.bids.incremental import BidsIncremental
from rtflow.dicom.convert import to_incrementals
from rtflow.dicom.identify import read_object
from rtflow.errors import SessionError, UsageError, VolumeError
from rtflow.nodes.images.echoes import LONGEST, SHORTEST, Echoes, fit_t2star, t2star_weights
from rtflow.nodes.images.reslice import reslice
from rtflow.nodes.motion.realign import Realign

TIMES = (0.013, 0.028, 0.043)
SHAPE = (9, 10, 6)
AFFINE = np.diag([3.0, 3.0, 3.5, 1.0])
RNG = np.random.default_rng(3)
T2STAR = RNG.uniform(0.015, 0.08, SHAPE)
S0 = RNG.uniform(400, 1200, SHAPE)
IDENTITY = np.eye(4)


def decay(t2star=T2STAR, s0=S0, times=TIMES):
    """Shape (echoes, i, j, k)."""
    return np.stack([s0 * np.exp(-time / t2star) for time in times])


def volume(number, images=None, times=TIMES, **changes):
    if images is None:
        images = decay(T2STAR * (1 + 0.002 * (number % 3))) + np.random.default_rng(number).normal(
            0, 3, (3, *SHAPE)
        )
    return tuple(
        BidsIncremental(
            np.asarray(image, np.float32),
            AFFINE,
            volume=number,
            metadata={"RepetitionTime": 2.0, "EchoTime": time},
            entities={"subject": "01", "task": "x", "echo": str(echo)},
            **changes,
        )
        for echo, (image, time) in enumerate(zip(images, times, strict=True), start=1)
    )


REFERENCE = volume(1)[0].with_data(volume(1)[0].data, reference="ref")


def started(context, **inputs):
    node = Echoes(**inputs)
    node.start_run(context)
    return node


@pytest.fixture
def combine(call):
    """Callable that takes a volume through the node without motion."""

    def go(node, number, echoes=None, transform=IDENTITY, reference=REFERENCE, **inputs):
        echoes = volume(number) if echoes is None else echoes
        return call(node, number, echoes=echoes, transform=transform, reference=reference, **inputs)

    return go


def tedana_t2star(data, times):
    """T2*, ms, as tedana's `loglin`, from log(S + 1) of all volumes: data (samples, echoes, volumes)."""
    samples, echoes, volumes = data.shape
    log_data = np.log(np.abs(data) + 1).reshape(samples, -1).T
    design = np.repeat(np.column_stack([np.ones(echoes), [-t for t in times]]), volumes, axis=0)
    betas = np.linalg.lstsq(design, log_data, rcond=None)[0]
    t2star = 1.0 / betas[1]
    t2star[t2star < 0] = 500.0
    return np.clip(t2star, 1.0, 500.0)


def tedana_combine(data, times, t2star):
    """tedana's `_combine_t2s`: the average over echoes with the weights TE exp(-TE / T2*)."""
    alpha = np.array(times)[None, :] * np.exp(-np.array(times)[None, :] / t2star[:, None])
    return np.average(data, axis=1, weights=np.repeat(alpha[:, :, None], data.shape[2], axis=2))


def test_it_is_tedanas_combination(combine, make_context):
    node = started(make_context(), calibration=5)
    images = np.stack([[echo.data for echo in volume(number)] for number in range(1, 9)])
    samples = np.moveaxis(images, 0, -1).reshape(3, -1, 8).swapaxes(0, 1).astype(float)
    milliseconds = [1000 * time for time in TIMES]
    t2star = tedana_t2star(samples[..., :5], milliseconds)
    theirs = tedana_combine(samples, milliseconds, t2star)
    for number in range(1, 9):
        found = combine(node, number)
        if number >= 5:
            ours = found["incremental"].data.ravel()
            # tedana averages the logarithms of S + 1, here it is the logarithm of the average: where the last
            # echo is near the noise (SD 3), weights differ a little. Images do by a third of the noise.
            np.testing.assert_allclose(ours, theirs[:, number - 1], atol=1.0)
            assert np.median(np.abs(ours - theirs[:, number - 1])) < 0.1


def test_weights_are_tedanas():
    t2star = np.array([0.02, 0.03, 0.3])
    ours = t2star_weights(t2star, np.array(TIMES))
    eye = np.broadcast_to(np.eye(3)[None], (3, 3, 3))
    theirs = tedana_combine(eye, [1000 * t for t in TIMES], 1000 * t2star)
    np.testing.assert_allclose(ours.T, theirs, rtol=1e-6)
    np.testing.assert_allclose(ours.sum(axis=0), 1.0, rtol=1e-6)


def test_decay_times_are_found_again():
    np.testing.assert_allclose(fit_t2star(decay(), np.array(TIMES)), T2STAR, rtol=1e-5)
    two = fit_t2star(decay(times=TIMES[:2]), np.array(TIMES[:2]))
    np.testing.assert_allclose(two, T2STAR, rtol=1e-5)


def test_what_does_not_decay_has_the_longest_time_and_what_has_no_signal_that_of_the_others():
    means = np.array(
        [[100.0, 100, 1e6, 90, -1, 90], [100, 120, 1e-9, 60, 50, 60], [100, 140, 1e-20, 40, 40, 40]]
    )
    found = fit_t2star(means, np.array(TIMES))
    assert found[:3].tolist() == [np.float32(LONGEST), np.float32(LONGEST), np.float32(SHORTEST)]
    assert found[3] == found[5]
    assert found[4] == pytest.approx(np.median(found[[0, 1, 2, 3, 5]]))
    assert np.isfinite(t2star_weights(found, np.array(TIMES))).all()
    assert (fit_t2star(np.zeros((3, 4)), np.array(TIMES)) == np.float32(LONGEST)).all()


def test_nothing_is_given_before_the_weights_are_there_and_they_stay(combine, make_context):
    node = started(make_context(), calibration=3)
    for number in (1, 2):
        assert combine(node, number) == {"calibrated": False}
    found = combine(node, 3)
    assert found["calibrated"]
    weights = [weight.copy() for weight in node.snapshot().weights]
    # A change of T2* changes the image, and not the weights.
    later = decay(1.05 * T2STAR)
    combined = combine(node, 4, volume(4, later))["incremental"].data
    np.testing.assert_allclose(combined, sum(w * e for w, e in zip(weights, later, strict=True)), rtol=1e-4)
    for before, after in zip(weights, node.snapshot().weights, strict=True):
        np.testing.assert_array_equal(before, after)


def test_volumes_whose_motion_is_not_trusted_calibrate_nothing(combine, make_context):
    expected = started(make_context("a"), calibration=2)
    for number in (1, 3):
        combine(expected, number)
    node = started(make_context("b"), calibration=2)
    combine(node, 1)
    # Another decay, as of a head that lies elsewhere than it is thought to.
    assert combine(node, 2, volume(2, decay(0.3 * T2STAR)), trusted=False) == {"calibrated": False}
    assert combine(node, 3, trusted=True)["calibrated"]
    for ours, theirs in zip(node.snapshot().weights, expected.snapshot().weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    # What has its weights is combined, trusted or not.
    assert "incremental" in combine(node, 4, trusted=False)


def test_the_bold_effect_is_larger_than_in_one_echo(combine, make_context):
    """What the combination is for: contrast to noise, where noise is the same in all echoes."""
    node = started(make_context(), calibration=4)
    for number in range(1, 5):
        combine(node, number)
    rng = np.random.default_rng(1)
    rest, active = (
        np.stack(
            [
                combine(node, n, volume(n, decay(t2star) + rng.normal(0, 5, (3, *SHAPE))))["incremental"].data
                for n in range(5, 65)
            ]
        )
        for t2star in (T2STAR, 1.02 * T2STAR)
    )
    combined = (active.mean(0) - rest.mean(0)) / rest.std(0)
    single = (decay(1.02 * T2STAR)[1] - decay()[1]) / 5
    assert np.median(combined) > 1.15 * np.median(single)


def test_what_is_given_says_what_it_is(combine, make_context):
    node = started(make_context(), calibration=1)
    combined = combine(node, 4)["incremental"]
    assert combined.data.dtype == np.float32
    assert combined.grid == REFERENCE.grid
    assert (combined.volume, combined.tr) == (4, 2.0)
    assert "EchoTime" not in combined.metadata
    assert dict(combined.entities) == {"subject": "01", "task": "x"}


def test_all_echoes_move_by_the_motion_of_the_first(call, combine, make_context):
    shape, affine = oblique((40, 40, 22), (5.0, 5.0, 5.2))
    head = PHANTOM.sample(shape, affine)

    def scan(number, transform):
        early = PHANTOM.sample(shape, affine, transform)
        return tuple(
            BidsIncremental(
                (image + np.random.default_rng(number + 10 * echo).normal(0, 4, shape)).astype(np.float32),
                affine,
                volume=number,
                metadata={"RepetitionTime": 2.0, "EchoTime": time},
                entities={"echo": str(echo)},
            )
            for echo, (image, time) in enumerate([(early, 0.013), (0.6 * early, 0.03)], start=1)
        )

    realign, node = Realign(), started(make_context(), calibration=1)
    realign.start_run(make_context())
    moves = [np.eye(4), rigid([5.0, -3.0, 6.0], [5.0, 2.0, -3.0])]
    brain = head > 300
    errors = []
    for number, move in enumerate(moves, start=1):
        echoes = scan(number, move)
        aligned = call(realign, number, incremental=echoes[0])
        given = {"echoes": echoes, "transform": aligned["transform"], "reference": aligned["reference"]}
        combined = combine(node, number, **given)["incremental"]
        spared = combine(node, number, **given, aligned=aligned["incremental"])["incremental"]
        np.testing.assert_allclose(spared.data[brain], combined.data[brain], atol=0.05)
        weights = [float(np.median(weight[brain])) for weight in node.snapshot().weights]
        expected = (weights[0] + 0.6 * weights[1]) * head
        errors.append(np.abs(combined.data - expected)[brain].mean())
        single = np.abs(aligned["incremental"].data - head)[brain].mean()
        unmoved = sum(w * e.data for w, e in zip(weights, echoes, strict=True))
    # What interpolation costs at 5 mm, it costs a single echo too; without alignment it would be much more.
    assert errors[1] < single
    assert errors[1] < np.abs(unmoved - expected)[brain].mean() / 2


def test_outside_the_field_of_view_is_0(combine, make_context):
    node = started(make_context(), calibration=1)
    combine(node, 1)
    away = np.eye(4)
    away[2, 3] = 9.0
    combined = combine(node, 2, transform=away)["incremental"].data
    outside = (
        reslice(np.ones(SHAPE, np.float32) + RNG.normal(0, 0.01, SHAPE), AFFINE, away, REFERENCE.grid) == 0
    )
    assert 0 < outside.sum() < outside.size
    np.testing.assert_array_equal(combined == 0, outside)


def test_t2star_goes_from_run_to_run(combine, make_context, leave):
    first = started(make_context("a"), calibration=3, save="t2star")
    for number in range(1, 5):
        expected = combine(first, number)
    leave("a")
    second = started(make_context("b"), load="t2star")
    assert combine(second, 1)["calibrated"]
    np.testing.assert_array_equal(combine(second, 4)["incremental"].data, expected["incremental"].data)
    other = REFERENCE.with_data(REFERENCE.data, reference="another")
    third = started(make_context("c"), load="t2star")
    with pytest.raises(SessionError, match="aligned with reference ref, expected another"):
        combine(third, 1, reference=other)
    with pytest.raises(VolumeError, match=r"weights hold for one set of echo times"):
        combine(third, 1, volume(1, times=(0.012, 0.028, 0.043)))
    with pytest.raises(UsageError, match="choose one of the two"):
        started(make_context("d"), load="t2star", save="t2star")


def test_an_item_of_another_kind_is_refused(make_context, leave):
    from rtflow.session import Session

    Session(make_context("a")).save("mask", {"data": np.ones(SHAPE, bool)}, Grid.of(SHAPE, AFFINE, "ref"))
    leave("a")
    with pytest.raises(SessionError, match="'mask' holds data, expected t2star"):
        started(make_context("b"), load="mask")


@pytest.mark.parametrize(
    ("echoes", "says"),
    [
        (volume(7)[:1], "volume 7 has 1 echo, expected two or more"),
        (volume(7, times=(0.01, 0.0, 0.03)), "expected seconds"),
        (volume(7, times=(0.01, 0.01, 0.03)), "expected different ones"),
        (volume(7, images=[np.full(SHAPE, 5.0)] * 3), "volume 7, echo 1 holds no signal"),
        (
            volume(7, images=np.where(np.arange(6) == 3, np.nan, decay())),
            "echo 1 has voxels that are not",
        ),
    ],
    ids=["one", "untimed", "twice", "flat", "nan"],
)
def test_what_cannot_be_combined_is_refused_and_leaves_no_trace(combine, make_context, echoes, says):
    node = started(make_context(), calibration=2)
    combine(node, 1)
    with pytest.raises(VolumeError, match=says):
        combine(node, 7, echoes)
    assert combine(node, 8)["calibrated"]


def test_echoes_of_other_times_are_refused_in_the_midst_of_a_run(combine, make_context):
    node = started(make_context(), calibration=1)
    combine(node, 1)
    with pytest.raises(VolumeError, match="volume 2 has echoes at"):
        combine(node, 2, volume(2)[:2])


def test_scaling_of_stored_values_is_applied(combine, make_context):
    plain, scaled = (started(make_context(uid), calibration=1) for uid in "ab")
    expected = combine(plain, 1)["incremental"].data
    stored = [(echo.data + 100) / 4 for echo in volume(1)]
    found = combine(scaled, 1, volume(1, stored, slope=4.0, intercept=-100.0))["incremental"]
    np.testing.assert_allclose(found.data, expected, rtol=1e-4)
    assert (found.slope, found.intercept) == (1.0, 0.0)
    away = np.eye(4)
    away[2, 3] = 9.0
    moved = combine(scaled, 2, volume(2, stored, slope=4.0, intercept=-100.0), transform=away)["incremental"]
    assert 0 < np.count_nonzero(moved.data == 0) < moved.data.size


def test_it_goes_on_in_another_process_and_begins_anew_in_another_run(combine, make_context):
    for cut in (2, 5):
        whole, first, second = (started(make_context(uid), calibration=4) for uid in "abc")
        expected = [combine(whole, number) for number in range(1, 8)]
        for number in range(1, cut + 1):
            combine(first, number)
        second.restore(pickle.loads(pickle.dumps(first.snapshot())))
        assert [combine(second, number) for number in range(cut + 1, 8)] == expected[cut:]
    first.start_run(make_context("d"))
    assert combine(first, 1) == {"calibrated": False}


def test_later_volumes_change_nothing(combine, make_context):
    one, two = (started(make_context(uid), calibration=3) for uid in "ab")
    whole = [combine(one, number) for number in range(1, 9)]
    noise = [volume(n, np.random.default_rng(n).uniform(1, 999, (3, *SHAPE))) for n in range(6, 9)]
    other = [combine(two, number) for number in range(1, 6)]
    other += [combine(two, echoes[0].volume, echoes) for echoes in noise]
    assert other[:5] == whole[:5]
    assert other[5] != whole[5]


@pytest.mark.realdata
def test_a_real_series_of_two_echoes(series, call, make_context):
    files = sorted((series("siemens_D13_mosaic_multiecho") / "dicom").rglob("*.dcm"))
    by_volume: dict[int, list] = {}
    for path in files:
        item = read_object(path.read_bytes())
        by_volume.setdefault(item.instance.volume, []).append(item)
    realign, node = Realign(), started(make_context(), calibration=2)
    realign.start_run(make_context())
    for number, items in sorted(by_volume.items()):
        echoes = to_incrementals(items, number)
        assert len(echoes) == 2
        aligned = call(realign, number, incremental=echoes[0])
        found = call(
            node,
            number,
            echoes=echoes,
            transform=aligned["transform"],
            reference=aligned["reference"],
            aligned=aligned["incremental"],
        )
        assert found["calibrated"] is (number >= 2)
    bright = echoes[0].data > np.percentile(echoes[0].data, 80)
    times = np.array([echo.metadata["EchoTime"] for echo in echoes])
    ratio = echoes[0].data[bright].astype(float) / np.maximum(echoes[1].data[bright], 1)
    combined = found["incremental"].data
    lower, upper = (np.minimum(*(e.data for e in echoes)), np.maximum(*(e.data for e in echoes)))
    within = (combined >= 0.9 * lower - 5) & (combined <= 1.1 * upper + 5)
    assert within[bright].mean() > 0.98
    assert 0.005 < np.ptp(times) / np.log(np.median(ratio)) < 0.2
