"""Simulated scans as real dcm2niix reads them: the simulated volumes, at their places and times."""

import datetime
import json
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import nibabel as nib
import numpy as np
import pytest
from numpy.testing import assert_allclose
from writing import NATIVE

from rtflow.dicom.writing import VENDORS
from rtflow.errors import UsageError
from rtflow.source_settings import SimulateSource
from rtflow.sources.simulation.delivery import FolderTarget, deliver
from rtflow.sources.simulation.faults import Faults
from rtflow.sources.simulation.protocol import BEGAN, POSITIONS, ScanProtocol, slice_times
from rtflow.sources.simulation.scanner import PAUSE, Scanner
from rtflow.sources.simulator import SimulatorSource
from rtflow.trials import Design

SPEC = SimulateSource(shape=(26, 24, 12), voxel=7.0, tr=1.5, volumes=4, speed="max")
TIMED = [vendor for vendor in VENDORS if not vendor.startswith("philips")]


def scanner_of(vendor: str = "siemens-mosaic", spec: SimulateSource = SPEC, **protocol: Any) -> Scanner:
    return Scanner(spec, ScanProtocol(vendor=vendor, **protocol))


def offline(scanner: Scanner, folder: Path) -> dict[tuple[str, float], tuple[np.ndarray, np.ndarray, dict]]:
    """What dcm2niix makes of a scan: folder and echo time to voxels, affine (both RAS+) and sidecar."""
    deliver(scanner, FolderTarget(folder / "scan"), speed="max")
    found = {}
    for series in sorted((folder / "scan").iterdir()):
        made = folder / "nifti" / series.name
        made.mkdir(parents=True)
        command = [NATIVE, "-b", "y", "-ba", "n", "-z", "n", "-f", "%s_%e_%p", "-o", made, series]
        subprocess.run(command, check=True, capture_output=True)
        for path in made.glob("*.nii"):
            image = nib.load(path)
            stored = nib.Nifti1Image(np.asanyarray(image.dataobj.get_unscaled()), image.affine)
            upright = nib.as_closest_canonical(stored)
            sidecar = json.loads(path.with_suffix(".json").read_text())
            found[series.name, sidecar["EchoTime"]] = (np.asarray(upright.dataobj), upright.affine, sidecar)
    return found


def upright(volumes: list[np.ndarray], affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Images of shape (k, j, i) as one RAS+ series."""
    image = nib.as_closest_canonical(nib.Nifti1Image(np.stack([v.T for v in volumes], axis=-1), affine))
    return np.asarray(image.dataobj), image.affine


def replaced(spec: SimulateSource, **more: Any) -> SimulateSource:
    return msgspec.structs.replace(spec, **more)


@pytest.mark.parametrize("vendor", VENDORS)
def test_dcm2niix_reads_the_simulated_source_back(vendor: str, tmp_path: Path) -> None:
    spec = SimulateSource(shape=(26, 24, 12), voxel=7.0, tr=1.5, volumes=18, speed="max", seed=3)
    scanner = scanner_of(vendor, spec)
    ((voxels, affine, sidecar),) = offline(scanner, tmp_path).values()
    source = SimulatorSource(spec)
    assert source.design == scanner.design
    expected, expected_affine = upright(list(source._scan.volumes()), source._scan.affine)
    assert np.array_equal(voxels, expected)
    assert_allclose(affine, expected_affine, atol=1e-3)
    assert sidecar["RepetitionTime"] == 1.5
    assert sidecar["SeriesDescription"] == "func_task-feedback"
    if vendor in TIMED:
        assert_allclose(sidecar["SliceTiming"], scanner.slice_times, atol=2e-4)


@pytest.mark.parametrize("orientation", ["axial", "sagittal", "coronal"])
@pytest.mark.parametrize("vendor", VENDORS)
def test_echoes_bands_and_orientations(vendor: str, orientation: str, tmp_path: Path) -> None:
    echo_times = (0.013, 0.028, 0.043)
    scanner = scanner_of(
        vendor, echo_times=echo_times, multiband=3, orientation=orientation, moving=True, position="FFS"
    )
    images = offline(scanner, tmp_path)
    assert sorted(time for _, time in images) == list(echo_times)
    scan = scanner._takes[0].scan
    for number, (key, (voxels, affine, sidecar)) in enumerate(sorted(images.items())):
        expected, expected_affine = upright([echoes[number] for echoes in scan.images()], scan.affine)
        assert np.array_equal(voxels, expected)
        assert_allclose(affine, expected_affine, atol=1e-3)
        assert sidecar["PatientPosition"] == "FFS"
        assert key[1] == echo_times[number]
        if vendor in TIMED:
            assert sidecar["MultibandAccelerationFactor"] == 3
            assert_allclose(sidecar["SliceTiming"], scanner.slice_times, atol=2e-4)


@pytest.mark.parametrize("vendor", VENDORS)
def test_what_comes_beside_the_run_has_series_of_its_own(vendor: str, tmp_path: Path) -> None:
    scanner = scanner_of(vendor, sbref=True, localizer=True, phase=True)
    roles = [(role.role, role.series.number) for role in scanner.series]
    assert roles == [("localizer", 3), ("sbref", 4), ("magnitude", 5), ("phase", 6)]
    images = offline(scanner, tmp_path)
    names = ["003_localizer", "004_func_task-feedback_SBRef", "005_func_task-feedback"]
    names.append("006_func_task-feedback_phase")
    assert sorted({name for name, _ in images}) == names
    scan = scanner._takes[0].scan
    volumes = list(scan.images(phase=True))
    for name, at in zip(names[2:], (0, 1), strict=True):
        expected, _ = upright([images[at] for images in volumes], scan.affine)
        assert np.array_equal(images[name, 0.03][0], expected)
    reference, _ = upright([scan.reference()[0]], scan.affine)
    assert np.array_equal(images[names[1], 0.03][0], reference[..., 0])
    assert "PHASE" in images[names[3], 0.03][2]["ImageType"]


@pytest.mark.parametrize("vendor", VENDORS)
def test_the_same_settings_give_the_same_bytes(vendor: str) -> None:
    def made(**more: Any) -> list[tuple[str, bytes]]:
        scanner = Scanner(
            replaced(SPEC, **more), ScanProtocol(vendor=vendor, sbref=True, localizer=True, phase=True)
        )
        return [(one.name, one.data) for one in scanner.objects()]

    first = made()
    assert made() == first
    assert made(speed=3.0) == first
    other = made(seed=2)
    assert len(other) == len(first)
    # Every object differs: the identity of each comes from the settings too.
    assert not {data for _, data in other} & {data for _, data in first}


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("more", [{}, {"sbref": True, "localizer": True, "phase": True}])
def test_every_object_is_due_in_its_turn(vendor: str, more: dict) -> None:
    scanner = scanner_of(vendor, echo_times=(0.013, 0.028), **more)
    objects = list(scanner.objects())
    assert [one.volume for one in objects] == [due.volume for due in scanner.due]
    times = [due.at for due in scanner.due]
    assert times == sorted(times)
    assert times[0] >= 0.0
    first = 1.5 * (bool(more) * 2)
    for one, due in zip(objects, scanner.due, strict=True):
        if one.volume and vendor != "philips-enhanced":
            # There as soon as it can be, and before the next volume.
            assert 0 <= due.at - first - 1.5 * one.volume < 0.25 * 1.5 + 1e-9
    assert len({(one.folder, one.name) for one in objects}) == len(objects)


def test_a_late_reconstruction_is_followed_by_a_burst() -> None:
    scanner = scanner_of("ge", replaced(SPEC, volumes=30, jitter=2.0))
    times = np.array([due.at for due in scanner.due])
    assert (np.diff(times) >= 0).all()
    assert (np.diff(times)[11::12] == 0).any()


def test_a_scan_that_is_started_again_is_a_new_series_from_the_beginning() -> None:
    scanner = Scanner(SPEC, ScanProtocol(vendor="ge", sbref=True), restart=3)
    roles = [(role.role, role.series.number, role.scan, role.seed) for role in scanner.series]
    assert roles == [
        *(("sbref", 4, 1, 2), ("magnitude", 5, 1, 2)),
        *(("sbref", 6, 2, 1), ("magnitude", 7, 2, 1)),
    ]
    plain = scanner_of("ge")
    again = [one for one in scanner.objects() if one.series.number == 7]
    assert len(again) == 4 * 12
    # Made from the settings' own seed, so its images are those of a scan that was never stopped.
    pairs = zip(scanner._takes[1].scan.volumes(), plain._takes[0].scan.volumes(), strict=True)
    assert all(np.array_equal(one, other) for one, other in pairs)
    stopped, run = (role.series for role in scanner.series if role.role == "magnitude")
    assert run.began - stopped.began == datetime.timedelta(seconds=3 * 1.5 + PAUSE + 1.5)
    assert scanner.missing() == {5: [3, 4], 7: []}
    whole = [scanner.due[n].volume for n in scanner.schedule.whole if scanner.due[n].scan == 1]
    assert sorted(whole) == [0] * 12 + [1] * 12 + [2] * 12 + [3] * 6
    truth, before = scanner.truth(), scanner.truth_of_stopped()
    assert before is not None
    assert (truth.spec.seed, before.spec.seed) == (1, 2)
    assert plain.truth_of_stopped() is None


def test_bright_images_are_written_with_all_their_bits(tmp_path: Path) -> None:
    scanner = scanner_of("siemens-mosaic", replaced(SPEC, gain=8.0))
    ((voxels, _, _),) = offline(scanner, tmp_path).values()
    expected, _ = upright(list(scanner._takes[0].scan.volumes()), scanner._takes[0].scan.affine)
    assert expected.max() > 8192
    assert np.array_equal(voxels, expected)


def test_a_run_too_short_for_the_design_is_rest() -> None:
    assert scanner_of().design == Design(())
    assert scanner_of(spec=replaced(SPEC, volumes=17)).design.trials


@pytest.mark.parametrize("order", ["ascending", "descending", "interleaved"])
@pytest.mark.parametrize(("slices", "multiband"), [(1, 1), (7, 1), (12, 1), (12, 3), (12, 12), (20, 2)])
@pytest.mark.parametrize("vendor", ["siemens-xa", "ge"])
def test_slices_share_the_volume_evenly(order: str, slices: int, multiband: int, vendor: str) -> None:
    times = np.array(slice_times(slices, 2.4, order, multiband, vendor=vendor))
    shots = slices // multiband
    assert_allclose(np.sort(times), np.repeat(np.arange(shots) * 2.4 / shots, multiband), atol=1e-4)
    assert_allclose(times.reshape(multiband, shots), np.tile(times[:shots], (multiband, 1)))
    if order != "interleaved":
        assert (np.diff(times[:shots]) * (1 if order == "ascending" else -1) > 0).all()


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"vendor": "simens-xa"}, "no vendor 'simens-xa'; did you mean 'siemens-xa'"),
        ({"multiband": 5}, "multiband 5 does not divide 12 slices; choose one of 1, 2, 3, 4, 6, 12"),
        ({"slice_order": "random"}, "no slice order 'random'; known are ascending"),
        ({"orientation": "tilted"}, "no orientation 'tilted'"),
        ({"position": "XXX"}, f"no position 'XXX'; known are {POSITIONS[0]}"),
        ({"echo_times": (0.04, 0.03)}, "echo times: expected seconds above 0, each later"),
        ({"echo_times": (0.03, 2.0)}, "the last echo, at 2 s, comes after TR, 1.5 s"),
        ({"number": 2, "sbref": True, "localizer": True}, "series number: 2 leaves none"),
    ],
)
def test_what_a_scanner_cannot_be_set_to(more: dict, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        scanner_of(**more)


def test_a_scan_that_cannot_be_stopped() -> None:
    with pytest.raises(UsageError, match="stopped in volume 9; it has 4"):
        Scanner(SPEC, restart=9)
    with pytest.raises(UsageError, match="writes one object when the scan ends"):
        Scanner(SPEC, ScanProtocol(vendor="philips-enhanced"), restart=2)
    with pytest.raises(UsageError, match="give one of them"):
        Scanner(SPEC, faults=Faults(abort=1), restart=2)


def test_faults_do_not_change_what_is_scanned() -> None:
    plain = list(scanner_of("ge").objects())
    wrong = list(Scanner(SPEC, ScanProtocol(vendor="ge"), faults=Faults(drop=1.0, truncate=1.0)).objects())
    assert [one.data for one in plain] == [one.data for one in wrong]
    assert plain[0].series.began == BEGAN
