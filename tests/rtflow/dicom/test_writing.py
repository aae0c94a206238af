"""What each vendor's scanner writes, as dcm2niix reads it back."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from writing import ROTATIONS, along_k, noise, placed, round_trip

from rtflow.dicom.writing import VENDORS, ScanSeries

SHAPE = (16, 12, 8)
# Every second slice first, as dcm2niix reckons that GE does: it does not read GE's times themselves.
INTERLEAVED = [0.0, 1.0, 0.25, 1.25, 0.5, 1.5, 0.75, 1.75]
# Eight slices in pairs; GE excites the last two of an even number in turn.
PAIRS = {"ge": [0.0, 0.75, 0.25, 0.5] * 2}

# What dcm2niix also says of real series of these vendors; of missing or uneven slices it says nothing.
USUAL = {
    "siemens-mosaic": r"ProtocolSliceNumber' .*reversed|Assuming mosaics saved in reverse order",
    "siemens-xa-classic": r"Siemens XA .*exported as .*classic|Volumes stacked despite varying series number",
    "philips": r"Instance Number \(0020,0013\) order is not spatial|Philips Scaling",
    "philips-enhanced": r"hint: export as classic|Philips Scaling",
}
TIMED = [vendor for vendor in VENDORS if not vendor.startswith("philips")]


def said_nothing_else(vendor: str, said: list[str]) -> bool:
    usual = USUAL.get(vendor, "$^") + "|Slices not stacked: echo varies"
    return all(re.search(usual, line) for line in said)


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("orientation", ROTATIONS)
@pytest.mark.parametrize("vendor", VENDORS)
def test_every_orientation(vendor: str, orientation: str, backwards: bool, tmp_path: Path) -> None:
    affine = placed(ROTATIONS[orientation], (3.0, 3.5, 4.0), SHAPE)
    times = INTERLEAVED[::-1] if backwards else INTERLEAVED
    series = ScanSeries(
        affine, slice_times=times, planned=3, reversed_slices=backwards, flip_angle=70.0, number=7
    )
    result = round_trip(vendor, series, noise(SHAPE, series, 3), tmp_path)
    ((_, read_affine),), (sidecar,) = result.images, result.sidecars
    assert said_nothing_else(vendor, result.said), result.said
    assert sidecar["RepetitionTime"] == 2.0
    assert sidecar["EchoTime"] == 0.03
    assert sidecar["FlipAngle"] == 70.0
    assert sidecar["SeriesDescription"] == sidecar["ProtocolName"] == "func_task-feedback"
    assert sidecar["SeriesNumber"] == (7001 if vendor == "siemens-xa-classic" else 7)
    if vendor in TIMED:
        np.testing.assert_allclose(along_k(sidecar, read_affine, series), times, atol=1e-5)
        assert sidecar["PhaseEncodingDirection"] == "j-"
        assert sidecar["EffectiveEchoSpacing"] == pytest.approx(0.0005)
    else:
        assert "SliceTiming" not in sidecar
        assert sidecar["PhaseEncodingAxis"] == "j"


@pytest.mark.parametrize("position", ["FFS", "HFP"])
@pytest.mark.parametrize("vendor", VENDORS)
def test_positions_are_the_patients(vendor: str, position: str, tmp_path: Path) -> None:
    affine = placed(ROTATIONS["oblique"], (3.0, 3.0, 3.0), SHAPE)
    series = ScanSeries(affine, patient_position=position, slice_times=INTERLEAVED, planned=2)
    result = round_trip(vendor, series, noise(SHAPE, series, 2), tmp_path)
    assert result.sidecars[0]["PatientPosition"] == position


@pytest.mark.parametrize("direction", ["i", "i-", "j", "j-"])
@pytest.mark.parametrize("vendor", VENDORS)
def test_phase_encoding(vendor: str, direction: str, tmp_path: Path) -> None:
    affine = placed(ROTATIONS["axial"], (3.0, 3.0, 3.0), SHAPE)
    series = ScanSeries(affine, phase_encoding=direction, slice_times=INTERLEAVED, planned=2)
    (sidecar,) = round_trip(vendor, series, noise(SHAPE, series, 2), tmp_path).sidecars
    if vendor in TIMED:
        assert sidecar["PhaseEncodingDirection"] == direction
        lines = SHAPE["ij".index(direction[0])]
        assert sidecar["TotalReadoutTime"] == pytest.approx(0.0005 * (lines - 1), rel=1e-4)
    else:
        assert sidecar["PhaseEncodingAxis"] == direction[0]


@pytest.mark.parametrize("vendor", VENDORS)
def test_echoes_are_told_apart_and_bands_known(vendor: str, tmp_path: Path) -> None:
    affine = placed(ROTATIONS["oblique"], (3.0, 3.5, 4.0), SHAPE)
    times = PAIRS.get(vendor, [0.0, 0.5, 0.25, 0.75] * 2)
    series = ScanSeries(
        affine, tr=1.0, echo_times=(0.012, 0.03, 0.05), slice_times=times, multiband=2, planned=3
    )
    result = round_trip(vendor, series, noise(SHAPE, series, 3), tmp_path)
    assert said_nothing_else(vendor, result.said), result.said
    assert [sidecar["EchoTime"] for sidecar in result.sidecars] == [0.012, 0.03, 0.05]
    assert [sidecar["EchoNumber"] for sidecar in result.sidecars] == [1, 2, 3]
    for sidecar, (_, read_affine) in zip(result.sidecars, result.images, strict=True):
        if vendor in TIMED:
            np.testing.assert_allclose(along_k(sidecar, read_affine, series), times, atol=1e-5)
            assert sidecar["MultibandAccelerationFactor"] == 2


@pytest.mark.parametrize("vendor", VENDORS)
def test_phase_images_say_so(vendor: str, tmp_path: Path) -> None:
    affine = placed(ROTATIONS["axial"], (3.0, 3.5, 4.0), SHAPE)
    series = ScanSeries(affine, image_type="phase", planned=2)
    result = round_trip(vendor, series, noise(SHAPE, series, 2), tmp_path)
    assert "PHASE" in result.sidecars[0]["ImageType"]
    magnitude = replace(series, image_type="magnitude")
    result = round_trip(vendor, magnitude, noise(SHAPE, magnitude, 2), tmp_path / "magnitude")
    assert "PHASE" not in result.sidecars[0]["ImageType"]


@pytest.mark.parametrize("vendor", VENDORS)
def test_single_band_references_say_so(vendor: str, tmp_path: Path) -> None:
    affine = placed(ROTATIONS["axial"], (3.0, 3.5, 4.0), SHAPE)
    series = ScanSeries(affine, sbref=True, multiband=2, planned=1)
    (sidecar,) = round_trip(vendor, series, noise(SHAPE, series, 1), tmp_path).sidecars
    assert sidecar["SeriesDescription"] == "func_task-feedback_SBRef"
    if vendor.startswith("siemens"):
        assert sidecar["ImageComments"] == "Single-band reference"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    vendor=st.sampled_from(VENDORS),
    shape=st.tuples(st.integers(4, 20), st.integers(4, 20), st.integers(3, 12)),
    backwards=st.booleans(),
    unsigned=st.booleans(),
    volumes=st.integers(2, 3),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_place_shape_and_value(
    vendor: str,
    shape: tuple[int, int, int],
    backwards: bool,
    unsigned: bool,
    volumes: int,
    seed: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    rng = np.random.default_rng(seed)
    rotation = Rotation.random(random_state=seed % 1000).as_matrix() @ np.diag([1, 1, rng.choice([-1, 1])])
    affine = placed(rotation, tuple(rng.uniform(1, 5, 3)), shape)
    series = ScanSeries(affine, planned=volumes, reversed_slices=backwards, tr=1.97)
    data = noise(shape, series, volumes, seed)
    if unsigned and vendor != "ge":
        data = [[echo.astype(np.uint16) * 16 + 15 for echo in echoes] for echoes in data]
    (sidecar,) = round_trip(vendor, series, data, tmp_path_factory.mktemp("any")).sidecars
    assert sidecar["RepetitionTime"] == pytest.approx(1.97)
