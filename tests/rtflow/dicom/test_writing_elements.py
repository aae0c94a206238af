"""The elements that are written: those of real series, their numbering, and whom they name."""

import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from writing import ROTATIONS, noise, placed

from rtflow.dicom.csa import read_csa, read_protocol
from rtflow.dicom.writing import VENDORS, ScanSeries, write_run, write_volume
from rtflow.errors import UsageError

SHAPE = (8, 6, 5)
AFFINE = placed(ROTATIONS["oblique"], (3.0, 3.5, 4.0), SHAPE)
TIMES = [0.0, 0.6, 0.2, 0.8, 0.4]
SERIES = ScanSeries(AFFINE, tr=1.0, slice_times=TIMES, planned=4, number=7)
IN_SLICES = ["siemens-xa-classic", "ge", "philips"]

# Empty or absent in the series at hand, whose sites did not fill them in; written so that there is
# something to find for whoever removes what identifies people.
FILLED_IN = {0x00080081, 0x00081030, 0x00081050, 0x00081070, 0x00400254}

REAL = {
    "siemens-mosaic": "siemens_D13_mosaic_multiecho",
    "siemens-xa": "siemens_XA30_enhanced_fa7",
    "siemens-xa-classic": "siemens_XA30_classic_fa7",
    "ge": "ge_Architect_HB3_48",
    "philips": "philips_classic_magdeburg",
}


def datasets(vendor: str, series: ScanSeries, volumes: int = 2) -> list[Dataset]:
    """The objects of a run, values checked against their representations."""
    pydicom.config.settings.reading_validation_mode = pydicom.config.RAISE
    try:
        read = [
            pydicom.dcmread(io.BytesIO(file.data))
            for file in write_run(vendor, series, noise(SHAPE, series, volumes))
        ]
        for dataset in read:
            assert list(elements(dataset))
        return read
    finally:
        pydicom.config.settings.reading_validation_mode = pydicom.config.WARN


def elements(dataset: Dataset, path: tuple[int, ...] = ()) -> Iterator[tuple[tuple[int, ...], DataElement]]:
    """All elements, those of nested sequences under the tags that lead there."""
    for element in dataset:
        here = (*path, int(element.tag))
        yield here, element
        if element.VR == "SQ":
            for item in element.value:
                yield from elements(item, here)


@pytest.mark.realdata
@pytest.mark.parametrize("vendor", REAL)
def test_elements_are_those_of_a_real_series(vendor: str, series: Callable[[str], Path]) -> None:
    file = min(path for path in (series(REAL[vendor]) / "dicom").rglob("*") if path.is_file())
    real = {path: element.VR for path, element in elements(pydicom.dcmread(file, stop_before_pixels=True))}
    ours = {
        path: element.VR
        for path, element in elements(datasets(vendor, replace(SERIES, multiband=1))[0])
        if path != (0x7FE00010,)
    }
    assert len(ours) >= 100
    assert {path for path in set(ours) - set(real) if path[-1] not in FILLED_IN} == set()
    assert {path: (kind, real[path]) for path, kind in ours.items() if real.get(path, kind) != kind} == {}


@pytest.mark.parametrize("vendor", VENDORS)
def test_objects_are_sound(vendor: str) -> None:
    series = replace(SERIES, echo_times=(0.012, 0.03))
    read = datasets(vendor, series, 3)
    uids = {dataset.SOPInstanceUID for dataset in read}
    assert len(uids) == len(read)
    numbers = {(dataset.SeriesInstanceUID, dataset.InstanceNumber) for dataset in read}
    assert len(numbers) == len(read)
    for dataset in read:
        assert dataset.file_meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID
        assert dataset.file_meta.MediaStorageSOPClassUID == dataset.SOPClassUID
        tags = [int(tag) for tag in dataset.keys()]  # noqa: SIM118
        assert tags == sorted(tags)
        assert dataset.pixel_array.dtype == np.dtype("int16" if vendor == "ge" else "uint16")
        assert dataset.StudyInstanceUID == series.uid
        assert all(len(element.value) <= 64 for _, element in elements(dataset) if element.VR == "UI")


def test_mosaics_count_volumes_and_files() -> None:
    read = datasets("siemens-mosaic", replace(SERIES, echo_times=(0.012, 0.03)))
    counted = [(d.AcquisitionNumber, d.EchoNumbers, d.InstanceNumber, d.ImageType[3]) for d in read]
    assert counted == [(1, 1, 1, "TE1"), (1, 2, 2, "TE2"), (2, 1, 3, "TE1"), (2, 2, 4, "TE2")]


def test_the_protocol_says_what_was_planned() -> None:
    (mosaic,) = datasets("siemens-mosaic", SERIES, 1)
    csa = mosaic.private_block(0x29, "SIEMENS CSA HEADER")
    protocol = read_protocol(csa[0x20].value)
    assert (protocol["lRepetitions"], protocol["sSliceArray.lSize"]) == ("3", "5")
    (enhanced,) = datasets("siemens-xa", SERIES, 1)
    groups = enhanced.SharedFunctionalGroupsSequence[0].private_block(0x21, "SIEMENS MR SDS 01")
    nested = groups[0xFE].value[0].private_block(0x21, "SIEMENS MR SDS 01")
    assert read_protocol(nested[0x19].value)["lRepetitions"] == "3"
    classic, *_ = datasets("siemens-xa-classic", SERIES, 1)
    assert (
        read_protocol(classic.private_block(0x21, "SIEMENS MR SDS 01")[0x19].value)["sSliceArray.lSize"]
        == "5"
    )
    (unplanned,) = datasets("siemens-mosaic", replace(SERIES, planned=None), 1)
    assert "lRepetitions" not in read_protocol(
        unplanned.private_block(0x29, "SIEMENS CSA HEADER")[0x20].value
    )


def test_reversed_mosaics_say_so_twice() -> None:
    (mosaic,) = datasets("siemens-mosaic", replace(SERIES, reversed_slices=True), 1)
    csa = mosaic.private_block(0x29, "SIEMENS CSA HEADER")
    assert read_csa(csa[0x10].value, {"ProtocolSliceNumber"}) == {"ProtocolSliceNumber": ["4"]}
    assert read_protocol(csa[0x20].value)["sSliceArray.ucImageNumbTra"] == "0x1"
    times = mosaic.private_block(0x19, "SIEMENS MR HEADER")[0x29].value
    np.testing.assert_allclose(times, [1000 * time for time in TIMES[::-1]])


def test_enhanced_frames_tell_their_times() -> None:
    first, second = datasets("siemens-xa", SERIES, 2)
    for volume, dataset in enumerate((first, second), start=1):
        contents = [group.FrameContentSequence[0] for group in dataset.PerFrameFunctionalGroupsSequence]
        seconds = [float(content.FrameAcquisitionDateTime[12:]) for content in contents]
        np.testing.assert_allclose(seconds, [volume - 1 + time for time in TIMES])
        assert [content.TemporalPositionIndex for content in contents] == [volume] * 5
        assert (dataset.AcquisitionNumber, dataset.InstanceNumber) == (volume, volume)
    assert first.SeriesInstanceUID == second.SeriesInstanceUID


def test_each_classic_volume_is_its_own_series() -> None:
    read = datasets("siemens-xa-classic", SERIES, 3)
    assert [d.SeriesNumber for d in read[::5]] == [7001, 7002, 7003]
    assert len({d.SeriesInstanceUID for d in read}) == 3
    assert len({d.SeriesTime for d in read}) == 1
    assert {d.RelatedSeriesSequence[0].SeriesInstanceUID for d in read} == {SERIES.series_uid}
    assert [d.InstanceNumber for d in read] == [1, 2, 3, 4, 5] * 3
    np.testing.assert_allclose([float(d.AcquisitionTime[4:]) for d in read[5:10]], [1 + t for t in TIMES])


def test_ge_numbers_slices_then_echoes_then_volumes() -> None:
    read = datasets("ge", replace(SERIES, echo_times=(0.012, 0.03)), 2)
    assert [d.InstanceNumber for d in read] == list(range(1, 21))
    assert [d.EchoNumbers for d in read[::5]] == [1, 2, 1, 2]
    relation = [d.private_block(0x21, "GEMS_RELA_01") for d in read]
    assert {block[0x4F].value for block in relation} == {5}
    timers = [float(block[0x5E].value) for block in relation]
    np.testing.assert_allclose(np.subtract(timers, timers[0])[10:15], [1 + time for time in TIMES])
    assert len({(d.AcquisitionNumber, d.AcquisitionTime) for d in read}) == 1


def test_philips_numbers_volumes_within_slices() -> None:
    read = datasets("philips", SERIES, 2)
    slices = [d.private_block(0x2001, "Philips Imaging DD 001")[0x0A].value for d in read]
    assert slices == [1, 2, 3, 4, 5] * 2
    assert [d.TemporalPositionIdentifier for d in read] == [1] * 5 + [2] * 5
    # Four volumes are planned.
    assert [d.InstanceNumber for d in read] == [1, 5, 9, 13, 17, 2, 6, 10, 14, 18]
    scale = read[0].private_block(0x2005, "Philips MR Imaging DD 001")[0x0E].value
    assert (scale, read[0].RescaleSlope) == (pytest.approx(0.005), 1.25)


def test_philips_enhanced_frames_run_over_volumes_first() -> None:
    (whole,) = datasets("philips-enhanced", SERIES, 3)
    index = [
        g.FrameContentSequence[0].DimensionIndexValues[1:] for g in whole.PerFrameFunctionalGroupsSequence
    ]
    assert [tuple(values) for values in index] == [(k, v) for k in range(1, 6) for v in range(1, 4)]
    assert (whole.NumberOfFrames, whole.NumberOfTemporalPositions) == (15, 3)


@pytest.mark.parametrize("vendor", VENDORS)
def test_persons_and_places_are_named(vendor: str) -> None:
    named = {
        "patient_name": "Planted^Name",
        "patient_id": "PLANTED-ID",
        "birth_date": "19660606",
        "institution": "Planted Institute",
        "address": "Planted Street 7",
        "station": "PLANTEDAWP",
        "device_serial": "PLANTED7",
        "operator": "Planted^Operator",
        "physician": "Planted^Physician",
        "accession": "PLANTED-ACC",
    }
    series = replace(SERIES, **named)
    for file in write_run(vendor, series, noise(SHAPE, series, 1)):
        for text in (*named.values(), series.uid):
            assert text.encode() in file.data


@pytest.mark.parametrize("vendor", IN_SLICES)
def test_a_slice_is_a_file(vendor: str) -> None:
    data = noise(SHAPE, SERIES, 1)[0]
    files = write_volume(vendor, SERIES, data, 1)
    assert len(files) == SHAPE[2]
    for place, file in enumerate(files):
        np.testing.assert_array_equal(
            pydicom.dcmread(io.BytesIO(file.data)).pixel_array, data[0][:, ::-1, place].T
        )


@pytest.mark.parametrize(
    ("vendor", "changes", "data", "said"),
    [
        ("other", {}, np.zeros(SHAPE, np.int16), "vendor 'other': expected one of siemens-mosaic"),
        ("ge", {"echo_times": (0.01, 0.02)}, np.zeros(SHAPE, np.int16), "expected 2 echoes"),
        ("ge", {}, np.zeros(SHAPE, np.float32), "int16 or uint16, got 3 of float32"),
        ("ge", {}, np.full(SHAPE, 40000, np.uint16), "at most 32767"),
        ("philips", {}, np.full(SHAPE, 5000, np.int16), r"int16 within 0\.\.4095"),
        ("siemens-xa", {}, np.zeros((8, 6, 4), np.int16), "slice_times: expected 4"),
        ("philips", {"planned": 1}, np.zeros(SHAPE, np.int16), "volume 2"),
        ("philips-enhanced", {}, np.zeros(SHAPE, np.int16), "written by write_run"),
    ],
)
def test_what_no_scanner_writes(vendor: str, changes: dict, data: np.ndarray, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        write_volume(vendor, replace(SERIES, **changes), [data], 2)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"phase_encoding": "k"}, "expected i, i-, j or j-"),
        ({"echo_times": ()}, "one echo at least"),
        ({"affine": np.array([[3, 1, 0, 0], [0, 3, 0, 0], [0, 0, 3, 0], [0, 0, 0, 1.0]])}, "right angles"),
    ],
)
def test_what_no_series_is(changes: dict, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        replace(SERIES, **changes)


def test_a_run_of_no_volume_is_no_object() -> None:
    with pytest.raises(UsageError, match="one volume at least"):
        list(write_run("philips-enhanced", SERIES, []))
