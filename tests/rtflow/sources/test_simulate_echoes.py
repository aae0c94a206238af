"""Echoes, slices at their own times, phase: what the scan makes of them, against what was put in."""

import itertools

import numpy as np
import pytest
from numpy.testing import assert_allclose

from rtflow.source_settings import SimulateSource
from rtflow.sources.simulation import anatomy
from rtflow.sources.simulation.plan import make_plan
from rtflow.sources.simulation.protocol import slice_times
from rtflow.sources.simulation.scan import Scan
from rtflow.sources.simulator import SimulatorSource
from rtflow.trials import Design, Trial

SMALL = {"shape": (26, 30, 20), "voxel": 7.0, "tr": 2.0, "volumes": 18}
STILL = {**SMALL, "motion": 0.0, "drift": 0.0}
ECHOES = (0.013, 0.028, 0.043)
BLOCK = Design((Trial(14.0, 30.0, "scene"),))


def scan_of(design: Design = BLOCK, *, at: float = 0.0, volumes: int = 18, spec: dict = SMALL, **how) -> Scan:
    made = SimulateSource(**spec)
    return Scan(made, make_plan(made, design, volumes, at), **how)


def test_a_single_echo_at_the_reference_is_the_simulated_source() -> None:
    source = SimulatorSource(SimulateSource(speed="max", **SMALL), BLOCK)
    two = scan_of(echo_times=(anatomy.REFERENCE_ECHO, 0.05))
    for one, (first, second) in zip(source._scan.volumes(), two.images(), strict=True):
        assert np.array_equal(one, first)
        assert not np.array_equal(first, second)


def test_tissue_decays_at_its_rate_and_faster_beside_the_air() -> None:
    early, late = (anatomy.make_head(2.0, echo_time=time) for time in (0.010, 0.050))
    # The middles of large pieces of tissue, and the sphenoid sinus.
    points = np.array([[-4, 12, 10], [-25, -15, 30], [0, 34, -24]], dtype=float)
    indices = early.indices(points.T)
    rates = np.log(anatomy.read(early.signal, indices) / anatomy.read(late.signal, indices)) / 0.040
    fluid, white, sinus = rates
    assert_allclose(white, 22.0, rtol=0.05)
    assert fluid < 12.0
    assert sinus > white + 20.0


def test_the_response_grows_with_the_echo_time() -> None:
    spec = {**STILL, "tsnr": 1e6, "activation": 3.0}
    scan = scan_of(spec=spec, echo_times=(*ECHOES, anatomy.REFERENCE_ECHO))
    mask = scan.masks()["parahippocampal"].T
    # Volume 18 lies within the trial, volume 8 before it and after saturation.
    before, within = ([image[mask].mean(dtype=float) for image in _volume(scan, n)] for n in (8, 18))
    change = np.array(within) / np.array(before) - 1
    assert change[-1] > 0.01
    # Rounding to whole numbers is the rest.
    assert_allclose(change[:-1] / change[-1], np.array(ECHOES) / anatomy.REFERENCE_ECHO, rtol=0.03)


def _volume(scan: Scan, number: int) -> tuple[np.ndarray, ...]:
    return list(scan.images())[number - 1]


def test_the_noise_of_an_echo_is_its_own_and_as_strong_as_that_of_the_others() -> None:
    scan = scan_of(spec=STILL, echo_times=ECHOES)
    images = np.array(list(scan.images()), dtype=float)
    air = np.ones(images.shape[2:], dtype=bool)
    air.reshape(-1)[scan._reached] = False
    noise = images[:, :, air]
    assert_allclose(noise.mean(axis=(0, 2)), noise[:, 0].mean(), rtol=0.02)
    for one in range(3):
        for other in range(one):
            together = np.corrcoef(noise[:, one].ravel(), noise[:, other].ravel())[0, 1]
            assert abs(together) < 5 / np.sqrt(noise[:, one].size)


def test_each_slice_shows_its_own_moment() -> None:
    spec = {**SMALL, "tsnr": 1e9, "motion": 4.0, "breathing": 2.0, "drift": 2.0}
    times = slice_times(20, 2.0, "interleaved", multiband=4)
    moving = list(scan_of(spec=spec, slice_times=times).volumes())
    still = list(scan_of(spec=spec).volumes())
    for time in set(times):
        then = list(scan_of(spec=spec, at=time).volumes())
        slices = [number for number, one in enumerate(times) if one == time]
        for there, expected, at_start in zip(moving, then, still, strict=True):
            # A voxel at the rim may be read in one and not in the other: it holds next to nothing.
            assert_allclose(there[slices], expected[slices], atol=1)
            if time:
                assert not np.array_equal(there[slices], at_start[slices])


def test_the_head_goes_on_from_one_volume_to_the_next() -> None:
    spec = SimulateSource(**SMALL)
    starts, near_ends = (make_plan(spec, BLOCK, 18, at).motion for at in (0.0, 2.0 - 1e-9))
    assert_allclose(near_ends[:-1], starts[1:], atol=1e-6)
    assert np.abs(np.diff(starts, axis=0)).max() > 1e-3
    breathing = SimulateSource(**SMALL, breathing=1.0)
    starts, near_ends = (make_plan(breathing, BLOCK, 18, at).breath for at in (0.0, 2.0 - 1e-9))
    assert_allclose(near_ends[:-1], starts[1:], atol=0.02)


def test_phase_turns_with_the_echo_time() -> None:
    scan = scan_of(spec={**STILL, "tsnr": 1e6}, echo_times=ECHOES)
    images = next(scan.images(phase=True))
    assert len(images) == 6
    assert all(np.array_equal(a, b) for a, b in zip(images, next(scan.images()), strict=False))
    brain = scan.masks()["brain"].T
    angles = [(image[brain] - 2048.0) / 4096.0 * 2.0 * np.pi for image in images[3:]]
    assert min(image.min() for image in images[3:]) >= 0
    assert max(image.max() for image in images[3:]) <= 4095
    turned = [np.angle(np.exp(1j * (late - early))) for early, late in itertools.pairwise(angles)]
    assert_allclose(turned[0], turned[1], atol=0.02)
    assert np.ptp(turned[0]) > 0.5


def test_the_reference_is_bright_and_without_noise() -> None:
    scan = scan_of(spec=STILL, echo_times=ECHOES)
    brain = scan.masks()["brain"].T
    reference, first = scan.reference(), next(scan.images())
    for one, other in zip(reference, first, strict=True):
        assert_allclose(one[brain], other[brain], atol=6 * scan.sigma)
    air = np.ones(brain.shape, dtype=bool)
    air.reshape(-1)[scan._reached] = False
    assert not reference[0][air].any()
    assert first[0][air].any()


def test_no_value_exceeds_the_peak() -> None:
    scan = scan_of(spec={**STILL, "tsnr": 20.0}, echo_times=ECHOES)
    assert 0.7 * scan.peak < max(image.max() for images in scan.images() for image in images) < scan.peak


@pytest.mark.parametrize("orientation", anatomy.ORIENTATIONS)
def test_a_capsule_on_the_left_is_on_the_left_in_every_orientation(orientation: str) -> None:
    scan = scan_of(
        spec={**STILL, "capsule": True, "shape": (36, 36, 36), "voxel": 7.0}, orientation=orientation
    )
    assert np.linalg.det(scan.affine[:3, :3]) < 0
    image = next(scan.volumes()).T.astype(float)
    places = scan.affine[:3, :3] @ np.indices(image.shape).reshape(3, -1) + scan.affine[:3, 3:]
    near = np.linalg.norm(places.T - anatomy.CAPSULE, axis=1).reshape(image.shape)
    mirrored = np.linalg.norm(places.T - anatomy.CAPSULE * np.array([-1, 1, 1]), axis=1).reshape(image.shape)
    assert image[near < 6].mean() > 5 * image[mirrored < 6].mean()
    planes = {"sagittal": 0, "coronal": 1, "axial": 2, "oblique": 2}
    assert np.argmax(np.abs(scan.affine[:3, 2])) == planes[orientation]
