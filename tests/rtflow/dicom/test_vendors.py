"""Every vendor's layout: what is read is what was written, and what dcm2niix makes of it."""

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from native import canonical, native_of
from writing import ROTATIONS, noise, placed

from rtflow.bids.incremental import BidsIncremental
from rtflow.dicom.convert import to_incrementals
from rtflow.dicom.identify import read_object
from rtflow.dicom.instance import DicomObject
from rtflow.dicom.writing import VENDORS, ScanSeries, Written, write_run

SHAPE = (16, 12, 8)
INTERLEAVED = [0.0, 1.0, 0.25, 1.25, 0.5, 1.5, 0.75, 1.75]
PAIRS = [0.0, 0.75, 0.25, 0.5] * 2
TIMED = [vendor for vendor in VENDORS if not vendor.startswith("philips")]


def written(
    vendor: str, series: ScanSeries, volumes: int = 2
) -> tuple[list[Written], list[list[np.ndarray]]]:
    data = noise(SHAPE, series, volumes, seed=3)
    return list(write_run(vendor, series, data)), data


def read(files: list[Written], *, seed: int = 0) -> list[DicomObject]:
    """In another order than they were written, and none by its name."""
    objects = [read_object(file.data) for file in files]
    random.Random(seed).shuffle(objects)
    return objects


def converted(objects: list[DicomObject]) -> dict[tuple[int, int], BidsIncremental]:
    """Volume and echo to image, each from all objects there are."""
    volumes = {piece.volume for item in objects for piece in item.instance.pieces}
    return {
        (volume, int(image.entities.get("echo", "1"))): image
        for volume in volumes
        for image in to_incrementals(objects, volume)
    }


def same(ours: BidsIncremental, data: np.ndarray, affine: np.ndarray) -> None:
    """Equal values at equal places, whichever way the arrays lie."""
    left, right = canonical(ours.data, ours.affine), canonical(data, affine)
    np.testing.assert_array_equal(np.asanyarray(left.dataobj), np.asanyarray(right.dataobj))
    np.testing.assert_allclose(left.affine, right.affine, atol=1e-3)


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("orientation", ROTATIONS)
@pytest.mark.parametrize("vendor", VENDORS)
def test_every_orientation(vendor: str, orientation: str, backwards: bool, tmp_path: Path) -> None:
    affine = placed(ROTATIONS[orientation], (3.0, 3.5, 4.0), SHAPE)
    times = INTERLEAVED[::-1] if backwards else INTERLEAVED
    series = ScanSeries(affine, slice_times=times, reversed_slices=backwards, number=7, planned=2)
    files, data = written(vendor, series)
    reference = native_of([file.data for file in files], tmp_path)
    objects = read(files)
    assert {str(item.instance.series) for item in objects} == {"series 7 'func_task-feedback'"}
    assert {item.instance.series.streamed for item in objects} == {True}
    found = converted(objects)
    assert set(found) == {(1, 1), (2, 1)}
    for (volume, _), image in found.items():
        same(image, data[volume - 1][0], affine)
        np.testing.assert_array_equal(image.data, reference.stored[..., volume - 1])
        np.testing.assert_allclose(image.affine, reference.image.affine, atol=1e-3)
        assert image.metadata["RepetitionTime"] == reference.sidecar["RepetitionTime"] == 2.0
        # Slices lie in the same order in both, so their times can be compared as they are.
        assert ("SliceTiming" in image.metadata) == (vendor in TIMED)
        if vendor in TIMED:
            np.testing.assert_allclose(
                image.metadata["SliceTiming"], reference.sidecar["SliceTiming"], atol=1e-5
            )
        for name in ("PhaseEncodingDirection", "PhaseEncodingAxis"):
            assert image.metadata.get(name) == reference.sidecar.get(name)
        for name in ("TotalReadoutTime", "EffectiveEchoSpacing"):
            assert (name in image.metadata) == (vendor in TIMED)
            if vendor in TIMED:
                assert image.metadata[name] == pytest.approx(reference.sidecar[name], rel=1e-5)


@pytest.mark.parametrize("orientation", ROTATIONS)
@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("position", ["HFS", "FFS", "HFP"])
def test_a_marker_on_the_left_stays_on_the_left(vendor: str, orientation: str, position: str) -> None:
    """The person's left is at negative x, however slices and rows run and the person lies."""
    marker = np.array([-9.0, -1.0, 15.0])
    for mirrored in (False, True):
        rotation = ROTATIONS[orientation] @ np.diag([-1.0 if mirrored else 1.0, 1.0, 1.0])
        affine = placed(rotation, (3.0, 3.0, 3.0), SHAPE)
        voxel = np.rint(np.linalg.inv(affine) @ [*marker, 1.0]).astype(int)[:3]
        data = np.zeros(SHAPE, np.int16)
        data[tuple(voxel)] = 100
        where = (affine @ [*voxel, 1.0])[:3]
        series = ScanSeries(affine, patient_position=position)
        objects = read([*write_run(vendor, series, [[data]])])
        image = converted(objects)[1, 1]
        ((i, j, k),) = np.argwhere(image.data == 100)
        found = (image.affine @ [i, j, k, 1.0])[:3]
        np.testing.assert_allclose(found, where, atol=1e-2)
        assert found[0] < 0


@pytest.mark.parametrize("vendor", VENDORS)
def test_echoes_and_bands(vendor: str) -> None:
    affine = placed(ROTATIONS["oblique"], (3.0, 3.5, 4.0), SHAPE)
    series = ScanSeries(
        affine, tr=1.0, echo_times=(0.0125, 0.03, 0.0475), slice_times=PAIRS, multiband=2, planned=2
    )
    files, data = written(vendor, series)
    objects = read(files)
    assert {item.instance.echoes for item in objects} == {3}
    found = converted(objects)
    assert set(found) == {(volume, echo) for volume in (1, 2) for echo in (1, 2, 3)}
    for (volume, echo), image in found.items():
        same(image, data[volume - 1][echo - 1], affine)
        assert image.metadata["EchoTime"] == series.echo_times[echo - 1]
        assert image.metadata["EchoNumber"] == echo
        assert image.entities["echo"] == str(echo)
        if vendor in TIMED:
            assert image.metadata["MultibandAccelerationFactor"] == 2
            assert image.metadata["PulseSequenceType"] == "Multiband Gradient Echo EPI"


@pytest.mark.parametrize(
    ("changes", "kind", "part"),
    [({}, "bold", "mag"), ({"image_type": "phase"}, "bold", "phase"), ({"sbref": True}, "sbref", "mag")],
)
@pytest.mark.parametrize("vendor", VENDORS)
def test_phase_and_reference_are_told_apart(
    vendor: str, changes: dict[str, object], kind: str, part: str
) -> None:
    series = replace(ScanSeries(placed(ROTATIONS["axial"], (3.0, 3.5, 4.0), SHAPE)), **changes)
    for item in read(written(vendor, series, 1)[0]):
        found = item.instance.series
        assert (found.kind, found.part) == (kind, part)
        assert found.streamed == (not changes)


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_volume_that_lacks_a_slice_is_refused(vendor: str) -> None:
    series = ScanSeries(placed(ROTATIONS["axial"], (3.0, 3.5, 4.0), SHAPE))
    objects = read(written(vendor, series, 1)[0])
    for item in objects:
        assert item.instance.slices == (1 if item.instance.mosaic else SHAPE[2])
    if len(objects) > 1:
        with pytest.raises(Exception, match=r"7 of 8 slices|one is missing"):
            to_incrementals(objects[1:], 1)
