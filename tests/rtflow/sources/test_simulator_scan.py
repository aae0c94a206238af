"""What is in the simulated volumes, against what was put into them."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import ndimage

from rtflow.errors import SourceError
from rtflow.source_settings import SimulateSource
from rtflow.sources.simulation import anatomy
from rtflow.sources.simulation.plan import make_plan
from rtflow.sources.simulation.response import region_courses
from rtflow.sources.simulation.scan import BLUR, Scan
from rtflow.sources.simulator import default_design
from rtflow.trials import Design, Trial

SMALL = {"shape": (26, 30, 20), "voxel": 7.0, "tr": 2.0}
STILL = {**SMALL, "motion": 0.0, "drift": 0.0, "activation": 0.0}


def scan_of(design: Design | None = None, volumes: int = 20, **options) -> Scan:
    spec = SimulateSource(**options)
    return Scan(spec, make_plan(spec, design or default_design(spec.tr, volumes), volumes))


def series_of(scan: Scan) -> np.ndarray:
    """Shape (i, j, k, volumes)."""
    return np.stack([image.T for image in scan.volumes()], axis=-1).astype(float)


def test_the_bundled_file_is_what_nilearn_loads() -> None:
    from nilearn.datasets import load_mni152_template

    ours, corner = anatomy.template()
    theirs = load_mni152_template(resolution=1)
    assert np.array_equal(ours, np.asarray(theirs.dataobj))
    assert_allclose(corner, theirs.affine[:3, 3])
    assert_allclose(theirs.affine[:3, :3], np.eye(3))


def test_without_the_bundled_file_nilearn_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    usual, _ = anatomy.template()
    monkeypatch.setattr(anatomy, "_BUNDLED", "nowhere/to/be/found.nii.gz")
    assert np.array_equal(anatomy.template()[0], usual)


def test_reading_between_the_points_is_trilinear() -> None:
    chance = np.random.default_rng(0)
    values = chance.uniform(0, 1000, (9, 11, 13)).astype(np.float32)
    indices = chance.uniform(0, 1, (3, 500)) * np.array([[12], [10], [8]]) * 0.999
    expected = ndimage.map_coordinates(values, indices[::-1], order=1)
    assert_allclose(anatomy.read(values, indices), expected, atol=0.01)


def test_trilinear_reading_errs_far_less_than_the_noise() -> None:
    head = anatomy.make_head(BLUR * 3.5)
    size = np.array(head.signal.shape[::-1])[:, None]
    indices = np.random.default_rng(1).uniform(0.1, 0.9, (3, 20000)) * size
    smooth = ndimage.map_coordinates(head.signal, indices[::-1], order=5)
    error = anatomy.read(head.signal, indices) - smooth
    noise = 1000.0 / SimulateSource().tsnr
    assert np.sqrt((error**2).mean()) < 0.15 * noise
    assert np.abs(error).max() < 0.8 * noise


def test_the_head_is_dark_at_its_border_and_bright_in_its_fluid() -> None:
    head = anatomy.make_head(2.0)
    assert not head.signal[[0, -1]].any()
    assert not head.signal[:, :, [0, -1]].any()
    points = np.array([[-4, 12, 10], [-25, -15, 30], [0, 34, -24]], dtype=float)  # ventricle, white, sinus
    fluid, white, sinus = anatomy.read(head.signal, head.indices(points.T))
    assert fluid > 1.1 * white > 600.0
    assert sinus < 0.5 * white


def test_signal_to_noise_is_what_was_asked_for() -> None:
    scan = scan_of(volumes=100, tsnr=80.0, **STILL)
    series = series_of(scan)[..., 8:]
    brain = scan.masks()["brain"]
    ratio = series[brain].mean(axis=-1) / series[brain].std(axis=-1, ddof=1)
    assert_allclose(np.median(ratio), 80.0, rtol=0.05)


def test_nothing_beyond_the_voxels_that_are_read_belongs_to_the_head() -> None:
    scan = scan_of(volumes=20, **{**STILL, "motion": 3.0, "tsnr": 1e6})
    outside = np.ones(np.prod(scan._shape), dtype=bool)
    outside[scan._reached] = False
    every = np.indices(scan._shape[::-1], dtype=float)[::-1].reshape(3, -1)
    for transform in scan._transforms:
        there = scan._read(scan._head.signal, scan._to_head(transform, every[:, outside]))
        assert there.max() < 10.0


def test_autocorrelation_is_what_was_asked_for() -> None:
    scan = scan_of(volumes=150, ar=0.4, **STILL)
    series = series_of(scan)[..., 8:]
    inside = series[scan.masks()["brain"]]
    inside -= inside.mean(axis=-1, keepdims=True)
    ratio = (inside[:, 1:] * inside[:, :-1]).sum() / (inside**2).sum()
    # Removing the mean of 142 volumes costs about (1 + 3 r) / n.
    assert_allclose(ratio, 0.4, atol=0.03)


@pytest.mark.parametrize("activation", [1.0, 4.0])
def test_least_squares_finds_the_activation(activation: float) -> None:
    design = default_design(2.0, 120)
    options = {**STILL, "activation": activation, "shape": (40, 48, 30), "voxel": 4.0, "tsnr": 200.0}
    scan = scan_of(design, 120, **options)
    series = series_of(scan)
    responses = region_courses(design, np.arange(120) * 2.0, regions=2)
    whole = np.indices(scan._shape).reshape(3, -1)
    places = (scan.affine[:3, :3] @ whole + scan.affine[:3, 3:]).T.reshape(*scan._shape, 3)
    masks = scan.masks()
    for number, region in enumerate(anatomy.REGIONS):
        core = masks[region.name] & (region.weight(places) > 0.95)
        assert core.sum() > 20
        mean = series[core][:, 8:].mean(axis=0)
        model = np.column_stack([responses[8:, number], np.ones(112)])
        beta, base = np.linalg.lstsq(model, mean, rcond=None)[0]
        assert_allclose(100 * beta / base, activation, rtol=0.05)


def test_regions_lie_where_they_are_said_to_and_shift_with_the_head() -> None:
    middle = {}
    for shift in (0.0, 5.0):
        scan = scan_of(**{**STILL, "voxel": 3.5, "shape": (56, 40, 30), "shift": shift})
        for name, mask in scan.masks().items():
            places = scan.affine[:3, :3] @ np.array(np.nonzero(mask)) + scan.affine[:3, 3:]
            middle[name, shift] = places
    for region in anatomy.REGIONS:
        for side, centre in zip((-1, 1), region.centres, strict=True):
            for shift in (0.0, 5.0):
                there = middle[region.name, shift]
                half = there[:, side * (there[0] - shift) > 0]
                assert_allclose(half.mean(axis=1), np.add(centre, [shift, 0, 0]), atol=0.7)


def test_without_activation_the_design_leaves_no_trace() -> None:
    one = Design((Trial(4.0, 10.0, "scene"), Trial(20.0, 10.0, "face")))
    other = Design((Trial(0.0, 3.0, "dog"), Trial(9.0, 2.0, "cat"), Trial(14.0, 8.0, "dog")))
    still = {**SMALL, "activation": 0.0, "breathing": 0.5, "ar": 0.3, "smooth_noise": 10.0}
    first, second = (series_of(scan_of(design, 12, **still)) for design in (one, other))
    assert np.array_equal(first, second)
    third = series_of(scan_of(other, 12, **{**still, "activation": 2.0}))
    assert not np.array_equal(first, third)


def test_one_effect_does_not_change_the_chance_of_another() -> None:
    still, moving = (series_of(scan_of(**{**STILL, "motion": scale})) for scale in (0.0, 1.0))
    scan = scan_of(**{**STILL, "motion": 1.0})
    air = np.ones(np.prod(scan._shape), dtype=bool)
    air[scan._reached] = False
    air = air.reshape(scan._shape[::-1]).T
    # The noise's height follows from volume 1, which is the same in both.
    assert np.array_equal(still[air], moving[air])
    assert not np.array_equal(still, moving)


def test_the_seed_is_all_the_chance_there_is() -> None:
    one, again, other = (series_of(scan_of(**SMALL, seed=seed)) for seed in (1, 1, 2))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)
    scan = scan_of(**SMALL)
    assert np.array_equal(series_of(scan), series_of(scan))


def test_the_first_volumes_are_not_saturated_yet() -> None:
    scan = scan_of(**STILL)
    brain = scan.masks()["brain"]
    means = series_of(scan)[brain].mean(axis=0)
    assert means[0] > 1.2 * means[-1]
    assert (np.diff(means[:4]) < 0).all()
    assert_allclose(means[6:], means[-1], rtol=2e-3)


@pytest.mark.parametrize(
    ("option", "check"),
    [
        ({"gain": 1.1}, lambda with_, without: with_.mean() / without.mean() - 1.1),
        ({"drift": 5.0}, lambda with_, without: 0.0 if np.ptp(with_[8:]) > 10 * np.ptp(without[8:]) else 1.0),
        ({"breathing": 3.0}, lambda with_, without: 0.0 if with_[8:].std() > 10 * without[8:].std() else 1.0),
        ({"task_motion": 2.0}, lambda with_, without: 0.0 if not np.array_equal(with_, without) else 1.0),
    ],
)
def test_an_option_does_what_it_says(
    option: dict[str, float], check: Callable[[np.ndarray, np.ndarray], float]
) -> None:
    brain = scan_of(**STILL).masks()["brain"]
    without, with_ = (series_of(scan_of(**{**STILL, **more}))[brain].mean(axis=0) for more in ({}, option))
    assert abs(check(with_, without)) < 2e-3


def test_a_head_out_of_view_is_refused() -> None:
    with pytest.raises(SourceError, match="shift of 400 mm"):
        scan_of(**STILL, shift=400.0)


def test_intensities_stay_within_sixteen_bits() -> None:
    series = series_of(scan_of(volumes=18, gain=100.0, **STILL))
    assert series.max() == 32767
    assert series.min() >= 0
