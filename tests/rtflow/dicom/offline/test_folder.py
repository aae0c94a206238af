"""Folders to files: every vendor's layout, and every kind of series."""

import datetime
import gzip
import shutil
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from exports import AFFINE, SHAPE, about, edit, export, make_anatomy, only, stored, voxels

from rtflow.dicom.offline import convert_folder, list_folder
from rtflow.dicom.writing import VENDORS, ScanSeries

TILTED = np.eye(4)
TILTED[:3, :3] = np.array([[-0.96, 0.0, 0.28], [0.0, 1.0, 0.0], [0.28, 0.0, 0.96]]) @ np.diag([3.0, 3.0, 3.3])
CORONAL = np.array([[-3.0, 0, 0, 10], [0, 0, -3.0, -20], [0, 3.0, 0, -5], [0, 0, 0, 1]])
SAGITTAL = np.array([[0, 0, -3.0, 10], [3.0, 0, 0, -20], [0, 3.0, 0, -5], [0, 0, 0, 1]])


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("echo_times", [(0.03,), (0.013, 0.028)], ids=["one echo", "two echoes"])
def test_every_vendor_comes_out_as_it_was_scanned(tmp_path: Path, vendor: str, echo_times) -> None:
    series = ScanSeries(TILTED, tr=1.5, echo_times=echo_times, name="func task", planned=3)
    data = voxels(series, 3)
    paths = export(tmp_path / "in", vendor, series, data)
    # The last first, and other folders: nothing may hang on order or names.
    for count, path in enumerate(reversed(paths)):
        target = tmp_path / "in" / f"{count % 3}" / f"{count:05d}.IMA"
        target.parent.mkdir(exist_ok=True)
        path.rename(target)
    told = convert_folder(tmp_path / "in", tmp_path / "out")
    one = only(told)
    assert told.complete
    assert told.left == ()
    assert (one.volumes, one.shape, one.echoes, one.kind) == (3, SHAPE, len(echo_times), "bold")
    assert one.tr == pytest.approx(1.5)
    assert len(one.files) == len(echo_times)
    for echo, file in enumerate(one.files):
        image = nib.load(tmp_path / "out" / file)
        expected = np.stack([volume[echo] for volume in data], axis=-1)
        np.testing.assert_array_equal(stored(tmp_path / "out" / file), expected)
        np.testing.assert_allclose(image.affine, TILTED, atol=1e-3)
        assert image.header["pixdim"][4] == np.float32(1.5)
        assert image.header.get_xyzt_units() == ("mm", "sec")
        fields = about(tmp_path / "out" / file)
        assert fields["EchoTime"] == pytest.approx(echo_times[echo])
        assert (fields["SeriesNumber"], fields["NumberOfVolumes"]) == (series.number, 3)
        assert fields["SeriesInstanceUID"] == one.uid
        assert "MissingVolumes" not in fields
    names = [f"5_func_task_e{echo}" for echo in (1, 2)] if len(echo_times) > 1 else ["5_func_task"]
    assert one.files == tuple(f"{name}.nii.gz" for name in names)


def test_uncompressed_and_compressed_files_hold_the_same_and_are_the_same_each_time(tmp_path: Path) -> None:
    series = ScanSeries(AFFINE)
    export(tmp_path / "in", "ge", series, voxels(series, 4))
    for out in ("a", "b"):
        convert_folder(tmp_path / "in", tmp_path / out)
    convert_folder(tmp_path / "in", tmp_path / "plain", compressed=False)
    packed = next((tmp_path / "a").glob("*.nii.gz"))
    assert packed.read_bytes() == (tmp_path / "b" / packed.name).read_bytes()
    assert gzip.decompress(packed.read_bytes()) == (tmp_path / "plain" / packed.stem).read_bytes()
    assert (tmp_path / "plain" / packed.stem).stat().st_size == 352 + 4 * 2 * int(np.prod(SHAPE))


def test_one_volume_is_a_file_of_three_dimensions(tmp_path: Path) -> None:
    series = ScanSeries(AFFINE, sbref=True)
    export(tmp_path / "in", "siemens-mosaic", series, voxels(series, 1))
    one = only(convert_folder(tmp_path / "in", tmp_path / "out"))
    assert (one.kind, one.volumes) == ("sbref", 1)
    assert one.files == ("5_func_task-feedback_SBRef.nii.gz",)
    assert nib.load(tmp_path / "out" / one.files[0]).shape == SHAPE


def test_diffusion_is_converted_and_what_lacks_is_said(tmp_path: Path) -> None:
    series = ScanSeries(AFFINE)
    for path in export(tmp_path / "in", "siemens-mosaic", series, voxels(series, 3)):
        edit(path, ImageType=["ORIGINAL", "PRIMARY", "DIFFUSION", "NONE", "MOSAIC"], SequenceName="ep_b1000")
    one = only(convert_folder(tmp_path / "in", tmp_path / "out"))
    assert (one.kind, one.volumes) == ("spin-echo", 3)
    assert one.notes == ("weighted by diffusion: directions and b-values are not written",)


def test_two_runs_of_one_number_are_two(tmp_path: Path) -> None:
    runs = [ScanSeries(AFFINE, uid=f"1.2.3.{uid}", name="bold") for uid in (1, 2)]
    for index, run in enumerate(runs):
        export(tmp_path / "in" / str(index), "siemens-mosaic", run, voxels(run, 2 + index))
    told = convert_folder(tmp_path / "in", tmp_path / "out")
    assert [one.volumes for one in told.series] == [2, 3]
    assert [one.files for one in told.series] == [("5_bold.nii.gz",), ("5_bold_2.nii.gz",)]


def test_a_localizer_becomes_a_file_for_each_of_its_planes(tmp_path: Path) -> None:
    data = {}
    for plane, affine in (("axial", AFFINE), ("coronal", CORONAL), ("sagittal", SAGITTAL)):
        series = ScanSeries(affine, number=1, name="localizer")
        (data[plane],) = voxels(series, 1)
        make_anatomy(
            export(tmp_path / "in", "siemens-xa-classic", series, [data[plane]], stem=plane), number=1
        )
    told = convert_folder(tmp_path / "in", tmp_path / "out")
    assert told.complete
    assert [one.files[0] for one in told.series] == [f"1_localizer_{plane}.nii.gz" for plane in sorted(data)]
    assert {one.kind for one in told.series} == {"anatomy"}
    for plane, affine in (("axial", AFFINE), ("coronal", CORONAL), ("sagittal", SAGITTAL)):
        image = nib.load(tmp_path / "out" / f"1_localizer_{plane}.nii.gz")
        np.testing.assert_allclose(image.affine, affine, atol=1e-3)
        np.testing.assert_array_equal(np.asanyarray(image.dataobj), data[plane][0])


def test_planes_of_an_anatomy_are_one_volume_however_they_are_counted(tmp_path: Path) -> None:
    series = ScanSeries(AFFINE, number=2, name="t1")
    data = voxels(series, 1, (8, 10, 7))
    paths = export(tmp_path / "in", "siemens-xa-classic", series, data)
    make_anatomy(paths, number=2)
    for count, path in enumerate(paths, start=1):
        edit(path, AcquisitionNumber=count)
    one = only(convert_folder(tmp_path / "in", tmp_path / "out"))
    assert (one.kind, one.volumes, one.shape) == ("anatomy", 1, (8, 10, 7))
    np.testing.assert_array_equal(stored(tmp_path / "out" / one.files[0]), data[0][0])


def test_matrix_changes_make_two_files(tmp_path: Path) -> None:
    series = ScanSeries(AFFINE, name="bold")
    first = export(tmp_path / "in", "siemens-mosaic", series, voxels(series, 4))
    export(tmp_path / "large", "siemens-mosaic", series, voxels(series, 4, (12, 12, 4)))
    for path in first[2:]:
        shutil.copy(tmp_path / "large" / path.name, path)
    told = convert_folder(tmp_path / "in", tmp_path / "out")
    assert [(one.volumes, one.shape) for one in told.series] == [(2, SHAPE), (2, (12, 12, 4))]
    assert len({one.files for one in told.series}) == 2


def test_positions_that_are_corrected_while_scanning_are_said(tmp_path: Path) -> None:
    series = ScanSeries(AFFINE)
    data = voxels(series, 3)
    folder = tmp_path / "in"
    for volume in range(3):
        moved = AFFINE.copy()
        moved[2, 3] += 0.4 * volume
        files = export(folder, "siemens-mosaic", replace(series, affine=moved), data)
        for path in files:
            number = int(path.name[-5:])
            if number == volume + 1:
                path.rename(folder / f"kept{number}")
            else:
                path.unlink()
    one = only(convert_folder(folder, tmp_path / "out"))
    assert one.volumes == 3
    assert "0.8 mm" in one.notes[0]
    np.testing.assert_allclose(nib.load(tmp_path / "out" / one.files[0]).affine, AFFINE, atol=1e-4)


def test_phase_images_are_a_file_of_their_own(tmp_path: Path) -> None:
    for number, image_type in ((5, "magnitude"), (6, "phase")):
        series = ScanSeries(AFFINE, number=number, image_type=image_type, name="bold")
        export(tmp_path / "in", "siemens-xa", series, voxels(series, 2))
    told = convert_folder(tmp_path / "in", tmp_path / "out")
    assert [(one.part, one.files) for one in told.series] == [
        ("mag", ("5_bold.nii.gz",)),
        ("phase", ("6_bold_ph.nii.gz",)),
    ]
    assert about(tmp_path / "out" / "6_bold_ph.nii.gz")["Units"] == "arbitrary"


def test_output_within_the_input_is_not_taken_for_it(tmp_path: Path) -> None:
    series = ScanSeries(AFFINE)
    export(tmp_path, "ge", series, voxels(series, 2))
    for _ in range(2):
        told = convert_folder(tmp_path, tmp_path / "out", overwrite=True)
        assert told.left == ()


def test_listing_writes_nothing_and_tells_the_same(tmp_path: Path) -> None:
    series = ScanSeries(AFFINE, name="bold")
    paths = export(tmp_path / "in", "ge", series, voxels(series, 3))
    paths[0].unlink()
    before = sorted(tmp_path.rglob("*"))
    listed = list_folder(tmp_path / "in")
    assert sorted(tmp_path.rglob("*")) == before
    converted = convert_folder(tmp_path / "in", tmp_path / "out")
    assert replace(only(listed), files=()) == replace(only(converted), files=())
    assert only(listed).files == ("5_bold",)
    assert listed.left == converted.left


def test_series_are_listed_in_the_order_of_the_console(tmp_path: Path) -> None:
    began = datetime.datetime(2024, 5, 17, 10, 30)
    for number in (12, 3, 7):
        series = ScanSeries(AFFINE, number=number, began=began - datetime.timedelta(minutes=number))
        export(tmp_path / "in", "siemens-xa", series, voxels(series, 1))
    told = convert_folder(tmp_path / "in", tmp_path / "out")
    assert [one.number for one in told.series] == [3, 7, 12]
