"""Series whose headers do not count volumes: what the whole folder tells, against dcm2niix."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from exports import AFFINE, SHAPE, about, edit, export, only, stored, voxels
from native import canonical, native
from pydicom.dataset import Dataset
from variants import edited

from rtflow.dicom.identify import read_object
from rtflow.dicom.instance import UnsupportedError
from rtflow.dicom.offline import convert_folder
from rtflow.dicom.writing import ScanSeries

RUN = ScanSeries(AFFINE, tr=1.5)


def change(paths: list[Path], how: Callable[[Dataset], object]) -> None:
    for path in paths:
        path.write_bytes(edited(path.read_bytes(), how))


def same_as_native(folder: Path) -> None:
    """Every image that dcm2niix makes of the folder is among ours, and there is no other."""
    told = convert_folder(folder / "in", folder / "out")
    assert told.complete
    files = [folder / "out" / file for one in told.series for file in one.files]
    theirs = native(folder / "in", folder / "native")
    assert len(files) == len(theirs)
    for image in theirs:
        affine = image.image.affine
        expected = np.asanyarray(canonical(image.stored, affine).dataobj)
        (mine,) = [
            file
            for file in files
            if np.array_equal(_canonical(file, affine).reshape(expected.shape), expected)
        ]
        assert about(mine)["RepetitionTime"] == pytest.approx(image.sidecar["RepetitionTime"], rel=1e-4)
        files.remove(mine)


def _canonical(file: Path, affine: np.ndarray) -> np.ndarray:
    return np.asanyarray(canonical(stored(file), affine).dataobj)


def without(*tags: object) -> Callable[[Dataset], None]:
    def remove(dataset: Dataset) -> None:
        for tag in tags:
            del dataset[tag]

    return remove


def private_removed(dataset: Dataset) -> None:
    dataset.remove_private_tags()


def one_position(dataset: Dataset) -> None:
    dataset.TemporalPositionIdentifier = 1


def one_acquisition(dataset: Dataset) -> None:
    dataset.AcquisitionNumber = 1


LACKING = [
    ("philips", without("TemporalPositionIdentifier")),
    ("philips", without((0x2001, 0x1018))),
    ("philips", one_position),
    ("ge", without((0x0021, 0x104F))),
    ("ge", private_removed),
    ("siemens-mosaic", without("AcquisitionNumber")),
    ("siemens-mosaic", one_acquisition),
    ("siemens-xa", one_acquisition),
    ("siemens-xa-classic", private_removed),
]


@pytest.mark.parametrize(("vendor", "change_one"), LACKING)
def test_volumes_are_counted_by_their_places(
    tmp_path: Path, vendor: str, change_one: Callable[[Dataset], None]
) -> None:
    change(export(tmp_path / "in", vendor, RUN, voxels(RUN, 3)), change_one)
    same_as_native(tmp_path)


@pytest.mark.parametrize(
    ("vendor", "change_one", "lacks"),
    [
        ("philips", without("TemporalPositionIdentifier"), "no TemporalPositionIdentifier"),
        ("philips", without((0x2001, 0x1018)), "no number of slices"),
        ("ge", without((0x0021, 0x104F)), "no number of slices"),
        ("siemens-mosaic", without("AcquisitionNumber"), "no AcquisitionNumber"),
    ],
)
def test_live_they_are_refused(
    tmp_path: Path, vendor: str, change_one: Callable[[Dataset], None], lacks: str
) -> None:
    (path, *_) = export(tmp_path / "in", vendor, RUN, voxels(RUN, 1))
    with pytest.raises(UnsupportedError, match=lacks):
        read_object(edited(path.read_bytes(), change_one))


def test_a_plane_that_is_missing_leaves_nothing_to_count(tmp_path: Path) -> None:
    paths = export(tmp_path / "in", "philips", RUN, voxels(RUN, 3))
    change(paths, without("TemporalPositionIdentifier"))
    paths[5].unlink()
    told = convert_folder(tmp_path / "in", tmp_path / "out")
    assert not told.complete
    assert not told.series
    assert "some of its places are there 2 times, others 3 times" in told.left[0].reason


def test_numbers_at_random_tell_no_order(tmp_path: Path) -> None:
    paths = export(tmp_path / "in", "ge", RUN, voxels(RUN, 3))
    change(paths, private_removed)
    numbers = np.random.default_rng(1).permutation(len(paths)) + 1
    for path, number in zip(paths, numbers, strict=True):
        edit(path, InstanceNumber=int(number))
    told = convert_folder(tmp_path / "in", tmp_path / "out")
    assert not told.series
    assert "their numbers run neither through places nor through volumes" in told.left[0].reason


def test_slices_are_what_most_volumes_have_where_only_their_number_is_missing(tmp_path: Path) -> None:
    data = voxels(RUN, 3)
    paths = export(tmp_path / "in", "philips", RUN, data)
    change(paths, without((0x2001, 0x1018)))
    paths[SHAPE[2] + 1].unlink()  # of volume 2
    one = only(convert_folder(tmp_path / "in", tmp_path / "out"))
    assert one.missing == {2: "3 of 4 slices"}
    found = stored(tmp_path / "out" / one.files[0])
    np.testing.assert_array_equal(found[..., 2], data[2][0])


def field_map(folder: Path, parts: int, echoes: int) -> None:
    """A GE field map: images of all parts and echoes of a slice, then those of the next slice."""
    series = replace(RUN, number=8, echo_times=(0.005, 0.007)[:echoes])
    of_part = [
        export(folder, "ge", series, voxels(replace(series, number=20 + part), 1), stem=f"part{part}")
        for part in range(parts)
    ]
    number = 0
    for plane in range(SHAPE[2]):
        for echo in range(echoes):
            for part, paths in enumerate(of_part):
                number += 1
                path = paths[echo * SHAPE[2] + plane]

                def change_one(dataset: Dataset, part: int = part, number: int = number) -> None:
                    dataset.ScanningSequence = "GR"
                    dataset.ImageType = ["ORIGINAL", "PRIMARY", "OTHER"]
                    dataset.InstanceNumber = number
                    dataset.SOPInstanceUID = f"1.2.3.{number}"
                    dataset[0x0043, 0x102F].value = part

                change([path], change_one)


@pytest.mark.parametrize(("parts", "echoes"), [(2, 1), (4, 1), (1, 2)])
def test_parts_and_echoes_of_a_ge_field_map_are_numbered_in_turn(
    tmp_path: Path, parts: int, echoes: int
) -> None:
    field_map(tmp_path / "in", parts, echoes)
    same_as_native(tmp_path)


def test_slices_that_ge_interpolates_are_more_than_it_states(tmp_path: Path) -> None:
    field_map(tmp_path / "in", 1, 1)

    def halve(dataset: Dataset) -> None:
        dataset[0x0021, 0x104F].value = SHAPE[2] // 2

    change(sorted((tmp_path / "in").iterdir()), halve)
    same_as_native(tmp_path)


def test_echoes_that_ge_does_not_tell_apart_are_left(tmp_path: Path) -> None:
    series = replace(RUN, echo_times=(0.01, 0.02))
    paths = export(tmp_path / "in", "ge", series, voxels(series, 2))
    for path in paths:
        edit(path, EchoNumbers=1, EchoTime=10)
    told = convert_folder(tmp_path / "in", tmp_path / "out")
    assert not told.series
    assert "its 2 echoes are not told apart" in told.left[0].reason


def test_weights_of_a_philips_diffusion_series_are_volumes(tmp_path: Path) -> None:
    paths = export(tmp_path / "in", "philips", RUN, voxels(RUN, 4))

    def weigh(dataset: Dataset) -> None:
        volume = dataset.TemporalPositionIdentifier
        dataset.TemporalPositionIdentifier = dataset.NumberOfTemporalPositions = 1
        dataset.ScanningSequence = "SE"
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "M_SE", "M", "SE"]
        dataset.add_new(0x00189087, "FD", 0.0 if volume == 1 else 1000.0)
        dataset.add_new(0x00189089, "FD", [float(axis == volume - 2) for axis in range(3)])

    change(paths, weigh)
    same_as_native(tmp_path)


def test_a_philips_volume_may_take_several_excitations(tmp_path: Path) -> None:
    paths = export(tmp_path / "in", "philips", RUN, voxels(RUN, 3))
    for path in paths:
        edit(path, RepetitionTime=30)
    same_as_native(tmp_path)


def test_a_mosaic_that_has_lost_the_word_is_still_one(tmp_path: Path) -> None:
    for path in export(tmp_path / "in", "siemens-mosaic", RUN, voxels(RUN, 2)):
        edit(path, ImageType=["DERIVED", "PRIMARY", "M", "ND"])
    same_as_native(tmp_path)


def test_parts_of_one_enhanced_object_are_files_of_their_own(tmp_path: Path) -> None:
    data = voxels(RUN, 2), voxels(replace(RUN, number=9), 2)
    (path,) = export(tmp_path / "in", "philips-enhanced", RUN, data[0])
    (other,) = export(tmp_path / "other", "philips-enhanced", replace(RUN, image_type="phase"), data[1])
    phase = pydicom.dcmread(other)

    def join(dataset: Dataset) -> None:
        # The phase first: what comes first does not stand for all.
        dataset.PerFrameFunctionalGroupsSequence = [
            *phase.PerFrameFunctionalGroupsSequence,
            *dataset.PerFrameFunctionalGroupsSequence,
        ]
        dataset.NumberOfFrames = len(dataset.PerFrameFunctionalGroupsSequence)
        dataset.PixelData = phase.PixelData + dataset.PixelData

    change([path], join)
    assert read_object(path.read_bytes()).instance.series.part == "mag"
    told = convert_folder(tmp_path / "in", tmp_path / "out")
    assert told.complete
    assert {one.part for one in told.series} == {"mag", "phase"}
    for one in told.series:
        expected = np.stack([volume[0] for volume in data[one.part == "phase"]], axis=-1)
        found = stored(tmp_path / "out" / one.files[0])
        affine = nib.load(tmp_path / "out" / one.files[0]).affine
        np.testing.assert_array_equal(canonical(found, affine).dataobj, canonical(expected, AFFINE).dataobj)


def test_parts_of_a_ge_run_are_numbered_in_turn(tmp_path: Path) -> None:
    series = replace(RUN, slice_times=(0.0, 0.75, 0.375, 1.125))
    of_part = [
        export(tmp_path / "in", "ge", series, voxels(replace(series, number=20 + part), 3), stem=f"p{part}")
        for part in range(2)
    ]
    for part, paths in enumerate(of_part):
        for index, path in enumerate(paths):

            def change_one(dataset: Dataset, part: int = part, index: int = index) -> None:
                dataset.InstanceNumber = 2 * index + part + 1
                dataset.SOPInstanceUID = f"1.2.3.{dataset.InstanceNumber}"
                dataset[0x0043, 0x102F].value = part

            change([path], change_one)
    same_as_native(tmp_path)
    for file in (tmp_path / "out").glob("*.json"):
        times = json.loads(file.read_text())["SliceTiming"]
        # In the order of the file, whose slices may run the other way.
        assert times in (list(series.slice_times), list(series.slice_times)[::-1])


def test_slice_times_are_those_of_the_first_volume_that_has_them(tmp_path: Path) -> None:
    series = replace(RUN, slice_times=(0.0, 0.75, 0.375, 1.125))
    paths = export(tmp_path / "in", "siemens-xa-classic", series, voxels(series, 3))
    for number, path in enumerate(paths[: SHAPE[2]]):
        edit(path, AcquisitionTime=f"1030{2 * number:02d}.000000")  # longer than the repetition time
    one = only(convert_folder(tmp_path / "in", tmp_path / "out"))
    assert about(tmp_path / "out" / one.files[0])["SliceTiming"] == list(series.slice_times)
