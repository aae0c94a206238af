"""GE and Philips series that differ from the usual ones, by their scanner or an export."""

import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from native import native
from pydicom.dataset import Dataset
from variants import SERIES, SHAPE, edited, equal, files, images, read
from writing import noise

from rtflow.dicom.identify import read_object
from rtflow.dicom.instance import Piece, UnsupportedError
from rtflow.dicom.writing import write_run
from rtflow.errors import DicomError


def test_a_group_delay_makes_the_repetition_longer(tmp_path: Path) -> None:
    """As dcm2niix has it: what passes from volume to volume, not what the header calls RepetitionTime."""
    (tmp_path / "dicom").mkdir()
    data = []
    for number, one in enumerate(files("ge", replace(SERIES, slice_times=()))):
        data.append(edited(one, lambda dataset: setattr(dataset[0x0043, 0x107C], "value", 0.5)))
        (tmp_path / "dicom" / f"{number}.dcm").write_bytes(data[-1])
    (reference,) = native(tmp_path / "dicom", tmp_path / "nifti")
    objects = read(data)
    assert {item.instance.tr for item in objects} == {2.0}
    first, second = (
        next(item.instance.acquired for item in objects if item.instance.volume == volume)
        for volume in (1, 2)
    )
    assert second - first == pytest.approx(2.0)
    for image in images(objects).values():
        assert image.metadata["RepetitionTime"] == reference.sidecar["RepetitionTime"] == 2.0
        np.testing.assert_allclose(image.metadata["SliceTiming"], reference.sidecar["SliceTiming"], atol=1e-5)


@pytest.mark.parametrize("echoes", ["all the first", "each from one"])
def test_ge_echoes_that_are_not_told_apart_are_refused(echoes: str) -> None:
    """Research sequences say EchoNumbers 1 for all, or number each echo's images from 1: never guessed."""
    series = replace(SERIES, echo_times=(0.01, 0.03, 0.05))
    refused = 0
    for one in files("ge", series):
        dataset = pydicom.dcmread(io.BytesIO(one))
        if echoes == "all the first":
            changed = edited(one, lambda dataset: setattr(dataset, "EchoNumbers", 1))
        else:
            number, slices = int(dataset.InstanceNumber) - 1, SHAPE[2]
            own = number // (slices * 3) * slices + number % slices + 1
            changed = edited(one, lambda dataset, own=own: setattr(dataset, "InstanceNumber", own))
        said = ""
        try:
            read_object(changed)
        except UnsupportedError as error:
            said = str(error)
            refused += 1
        pattern = r"image \d+ is of echo \d by EchoNumbers, and of echo \d of 3 by its number"
        assert not said or re.search(pattern, said)
    assert refused >= SHAPE[2] * 2 * 2 - SHAPE[2]


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("26\\LX\\MR Software release:DV26.0_R03_1831.b", [0.0, 0.9, 0.3, 1.2, 0.6]),
        ("27\\LX\\MR Software release:DV27.0_R02_1747.a", [0.0, 0.9, 0.3, 1.2, 0.6]),
        ("27\\LX\\MR Software release:DV27.0_R03_1831.b", [0.0, 1.125, 0.375, 0.75]),
        ("28\\LX\\MR29.1_EA_2039.g", [0.0, 1.125, 0.375, 0.75]),
        ("30\\LX\\SIGNA_LX1.MR30.0_R01_2242.a", [0.0, 1.125, 0.375, 0.75]),
    ],
)
def test_the_last_two_of_an_even_number_of_excitations(
    version: str, expected: list[float], tmp_path: Path
) -> None:
    """Eight slices in pairs: releases before 27.3 add an excitation, later ones swap the last two."""
    shape = (16, 12, 8)
    series = replace(SERIES, slice_times=[0.0, 1.125, 0.375, 0.75] * 2, multiband=2)
    (tmp_path / "dicom").mkdir()
    data = []
    for number, file in enumerate(write_run("ge", series, noise(shape, series, 2))):
        data.append(
            edited(file.data, lambda dataset: setattr(dataset, "SoftwareVersions", version.split("\\")))
        )
        (tmp_path / "dicom" / f"{number}.dcm").write_bytes(data[-1])
    (reference,) = native(tmp_path / "dicom", tmp_path / "nifti")
    found = images(read(data))[1, 1].metadata["SliceTiming"]
    assert found[: len(expected)] == pytest.approx(expected)
    np.testing.assert_allclose(found, reference.sidecar["SliceTiming"], atol=1e-5)


def test_enhanced_objects_of_ge_are_refused() -> None:
    data = edited(
        files("siemens-xa")[0], lambda dataset: setattr(dataset, "Manufacturer", "GE MEDICAL SYSTEMS")
    )
    with pytest.raises(
        UnsupportedError, match="enhanced objects of GE are not supported; export classic ones"
    ):
        read_object(data)


def test_philips_magnitude_and_phase_in_one_series() -> None:
    """Both in one series, told apart by ImageType; only the magnitude is streamed."""
    magnitude = files("philips")
    phase = files("philips", replace(SERIES, image_type="phase"))
    objects = read([*magnitude, *phase])
    parts = {item.instance.series.part: item.instance.series for item in objects}
    assert set(parts) == {"mag", "phase"}
    assert (parts["mag"].streamed, parts["phase"].streamed) == (True, False)
    assert parts["mag"].uid == parts["phase"].uid
    mine = [item for item in objects if item.instance.series.streamed]
    equal(images(mine), images(read(magnitude)))


def test_philips_magnitude_and_phase_in_one_enhanced_object() -> None:
    """The magnitude is taken, whichever comes first."""
    (magnitude,) = files("philips-enhanced")
    (phase,) = files("philips-enhanced", replace(SERIES, image_type="phase"))
    both, other = (pydicom.dcmread(io.BytesIO(data)) for data in (phase, magnitude))
    frames = [*both.PerFrameFunctionalGroupsSequence, *other.PerFrameFunctionalGroupsSequence]
    both.PerFrameFunctionalGroupsSequence = frames
    both.PixelData = both.PixelData + other.PixelData
    both.NumberOfFrames = len(frames)
    stream = io.BytesIO()
    both.save_as(stream, enforce_file_format=True)
    item = read_object(stream.getvalue())
    assert item.instance.series.streamed
    assert item.instance.slices == SHAPE[2]
    equal(images([item]), images(read([magnitude])))


@pytest.mark.parametrize("indexed", [False, True])
def test_philips_frames_in_any_order(indexed: bool) -> None:
    """With and without what says how the frames are ordered."""
    (plain,) = files("philips-enhanced", volumes=3)

    def shuffle(dataset: Dataset) -> None:
        order = np.random.default_rng(5).permutation(dataset.NumberOfFrames)
        size = dataset.Rows * dataset.Columns * 2
        frames, pixels = dataset.PerFrameFunctionalGroupsSequence, dataset.PixelData
        dataset.PerFrameFunctionalGroupsSequence = [frames[index] for index in order]
        dataset.PixelData = b"".join(pixels[index * size : (index + 1) * size] for index in order)
        if not indexed:
            if "DimensionIndexSequence" in dataset:
                del dataset.DimensionIndexSequence
            for frame in dataset.PerFrameFunctionalGroupsSequence:
                if "DimensionIndexValues" in frame.FrameContentSequence[0]:
                    del frame.FrameContentSequence[0].DimensionIndexValues

    equal(images(read([edited(plain, shuffle)])), images(read([plain])))


def test_philips_without_what_counts_its_volumes_is_refused() -> None:
    data = edited(files("philips")[0], lambda dataset: delattr(dataset, "TemporalPositionIdentifier"))
    with pytest.raises(DicomError, match="no TemporalPositionIdentifier"):
        read_object(data)


def test_philips_values_are_those_that_are_stored() -> None:
    """Scaling differs from slice to slice at times: it is handed on in the metadata, and not applied."""

    def scale(dataset: Dataset) -> None:
        dataset.RescaleSlope, dataset.RescaleIntercept = "2.5", "-3"

    plain = files("philips")
    found, expected = images(read([edited(one, scale) for one in plain])), images(read(plain))
    equal(found, expected)
    assert found[1, 1].metadata["PhilipsRescaleSlope"] == 2.5
    assert found[1, 1].metadata["PhilipsRescaleIntercept"] == -3.0


@pytest.mark.parametrize(
    ("vendor", "names"),
    [
        ("siemens-mosaic", ["SIEMENS", "Siemens", "Siemens Healthineers", "SIEMENS HEALTHCARE"]),
        ("ge", ["GE MEDICAL SYSTEMS", "GE Healthcare", "GE HEALTHCARE"]),
        ("philips", ["Philips Medical Systems", "Philips", "Philips Healthcare"]),
    ],
)
def test_a_vendor_has_several_names(vendor: str, names: list[str]) -> None:
    for name in names:
        data = edited(files(vendor)[0], lambda dataset, name=name: setattr(dataset, "Manufacturer", name))
        assert read_object(data).instance.pieces[0] == Piece(
            1, place=read_object(data).instance.pieces[0].place
        )
