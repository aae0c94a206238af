"""Folders to files: every vendor's layout, and what is left with its reason."""

import datetime
import gzip
import json
import shutil
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from exports import AFFINE, SHAPE, edit, export, make_anatomy, voxels

from rtflow.dicom.offline import Conversion, convert_folder, list_folder
from rtflow.dicom.offline.folder import SeriesReport
from rtflow.dicom.writing import VENDORS, ScanSeries
from rtflow.errors import OutputError, SourceError

TILTED = np.eye(4)
TILTED[:3, :3] = np.array([[-0.96, 0.0, 0.28], [0.0, 1.0, 0.0], [0.28, 0.0, 0.96]]) @ np.diag([3.0, 3.0, 3.3])
CORONAL = np.array([[-3.0, 0, 0, 10], [0, 0, -3.0, -20], [0, 3.0, 0, -5], [0, 0, 0, 1]])
SAGITTAL = np.array([[0, 0, -3.0, 10], [3.0, 0, 0, -20], [0, 3.0, 0, -5], [0, 0, 0, 1]])


def stored(path: Path) -> np.ndarray:
    return np.asanyarray(nib.load(path).dataobj.get_unscaled())


def about(path: Path) -> dict:
    return json.loads(path.with_name(path.name.partition(".nii")[0] + ".json").read_text())


def only(told: Conversion) -> SeriesReport:
    (one,) = told.series
    return one


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


def test_a_volume_that_lacks_a_slice_is_zeros_in_its_place(tmp_path: Path) -> None:
    series = ScanSeries(AFFINE)
    data = voxels(series, 5)
    paths = export(tmp_path / "in", "ge", series, data)
    per_volume = SHAPE[2]
    paths[2 * per_volume + 1].unlink()  # of volume 3
    for path in paths[3 * per_volume : 4 * per_volume]:  # all of volume 4
        path.unlink()
    told = convert_folder(tmp_path / "in", tmp_path / "out")
    one = only(told)
    assert not told.complete
    assert one.missing == {3: "3 of 4 slices", 4: "no image of it"}
    found = stored(tmp_path / "out" / one.files[0])
    assert found.shape == (*SHAPE, 5)
    assert not found[..., 2:4].any()
    for volume in (0, 1, 4):
        np.testing.assert_array_equal(found[..., volume], data[volume][0])
    fields = about(tmp_path / "out" / one.files[0])
    assert fields["NumberOfVolumes"] == 5
    assert fields["MissingVolumes"] == [3, 4]
    assert fields["MissingVolumesReasons"] == ["3 of 4 slices", "no image of it"]


@pytest.mark.parametrize("vendor", ["ge", "siemens-xa-classic", "philips"])
def test_volumes_cut_off_at_either_end_are_left_away(tmp_path: Path, vendor: str) -> None:
    series = ScanSeries(AFFINE)
    data = voxels(series, 4)
    paths = export(tmp_path / "in", vendor, series, data)
    for at in (0, 3 * SHAPE[2]):  # a slice of the first volume, and one of the last
        paths[at].unlink()
    told = convert_folder(tmp_path / "in", tmp_path / "out")
    one = only(told)
    assert not told.complete
    assert one.missing == {1: "3 of 4 slices", 4: "3 of 4 slices"}
    expected = np.stack([data[1][0], data[2][0]], axis=-1)
    np.testing.assert_array_equal(stored(tmp_path / "out" / one.files[0]), expected)
    fields = about(tmp_path / "out" / one.files[0])
    assert (fields["NumberOfVolumes"], fields["FirstVolume"]) == (2, 2)
    assert fields["VolumesLeftOut"] == [1, 4]
    assert "MissingVolumes" not in fields


def test_an_echo_that_is_missing_takes_the_whole_volume_along(tmp_path: Path) -> None:
    series = ScanSeries(AFFINE, echo_times=(0.01, 0.02))
    data = voxels(series, 3)
    paths = export(tmp_path / "in", "siemens-mosaic", series, data)
    paths[3].unlink()  # the second echo of volume 2
    one = only(convert_folder(tmp_path / "in", tmp_path / "out"))
    assert one.missing == {2: "echo 2: 0 of 1 slices"}
    for echo, file in enumerate(one.files):
        found = stored(tmp_path / "out" / file)
        assert not found[..., 1].any()
        np.testing.assert_array_equal(found[..., 2], data[2][echo])


def test_copies_are_said_and_written_once(tmp_path: Path) -> None:
    series = ScanSeries(AFFINE)
    data = voxels(series, 3)
    paths = export(tmp_path / "in", "siemens-mosaic", series, data)
    shutil.copy(paths[2], tmp_path / "in" / "0000")
    again = tmp_path / "in" / "again"
    shutil.copy(paths[1], again)
    edit(again, SOPInstanceUID="1.2.3.4")  # sent once more, as another object
    told = convert_folder(tmp_path / "in", tmp_path / "out")
    assert told.complete
    (left,) = told.left
    assert (left.files, left.wanted) == (2, False)
    assert "copies" in left.reason
    expected = np.stack([volume[0] for volume in data], axis=-1)
    np.testing.assert_array_equal(stored(tmp_path / "out" / only(told).files[0]), expected)


def test_two_that_claim_one_place_and_differ_are_not_chosen_from(tmp_path: Path) -> None:
    series = ScanSeries(AFFINE)
    data = voxels(series, 3)
    paths = export(tmp_path / "in", "ge", series, data)
    other = export(tmp_path / "other", "ge", series, voxels(replace(series, number=6), 3))
    shutil.copy(other[5], tmp_path / "in" / "x")
    edit(tmp_path / "in" / "x", SOPInstanceUID="1.2.3.4")
    told = convert_folder(tmp_path / "in", tmp_path / "out")
    assert not told.complete
    assert list(only(told).missing) == [2]
    assert paths[5].name in only(told).missing[2]
    assert "differ" in only(told).missing[2]


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


def test_an_anatomy_with_a_gap_between_its_planes_is_left(tmp_path: Path) -> None:
    series = ScanSeries(AFFINE, number=2, name="t1")
    paths = export(tmp_path / "in", "siemens-xa-classic", series, voxels(series, 1, (8, 10, 7)))
    make_anatomy(paths, number=2)
    paths[3].unlink()
    told = convert_folder(tmp_path / "in", tmp_path / "out")
    assert told.series == ()
    (left,) = told.left
    assert left.wanted
    assert "one is missing" in left.reason
    assert list((tmp_path / "out").iterdir()) == []


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


def test_what_is_none_of_it_is_told_with_its_reason(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    series = ScanSeries(AFFINE)
    paths = export(folder, "ge", series, voxels(series, 2))
    (folder / "empty").touch()
    (folder / "notes.txt").write_text("hello " * 100)
    (folder / ".hidden").write_bytes(paths[0].read_bytes())
    (folder / ".git").mkdir()
    (folder / ".git" / "x").write_bytes(paths[0].read_bytes())
    (folder / "up").symlink_to(folder)
    (folder / "link").symlink_to(paths[0])
    (folder / "DICOMDIR").write_bytes(
        bytes(128)
        + b"DICM"
        + b"\x02\x00\x02\x00UI\x14\x001.2.840.10008.1.3.10"
        + b"\x02\x00\x10\x00UI\x14\x001.2.840.10008.1.2.1\0"
    )
    told = convert_folder(folder, tmp_path / "out")
    assert told.complete
    assert only(told).volumes == 2
    assert {(left.what, left.reason, left.wanted) for left in told.left} == {
        ("files of another kind", "empty", False),
        ("files of another kind", "no DICOM", False),
        ("DICOM without an image", "an index of files (DICOMDIR)", False),
    }


def test_what_should_have_been_converted_is_wanted(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    series = ScanSeries(AFFINE)
    good = export(folder, "ge", series, voxels(series, 3))
    data = good[-1].read_bytes()
    good[-1].write_bytes(data[:-20])
    other = export(folder, "ge", replace(series, number=8, name="unknown"), voxels(series, 1))
    for path in other:
        edit(path, Manufacturer="Acme Magnets")
    (folder / "away").symlink_to(tmp_path / "nothing")
    told = convert_folder(folder, tmp_path / "out")
    assert not told.complete
    assert only(told).missing == {3: "3 of 4 slices"}
    assert only(told).volumes == 2
    wanted = {left.what: left for left in told.left if left.wanted}
    acme = next(left for what, left in wanted.items() if "Acme Magnets" in what)
    assert "supported: MR images of Siemens, GE and Philips" in acme.reason
    assert acme.files == SHAPE[2]
    assert "links that lead nowhere" in wanted["files that cannot be read"].reason
    assert any("cut off" in left.reason for left in wanted.values())


def test_a_picture_is_nothing_that_was_wanted(tmp_path: Path) -> None:
    series = ScanSeries(AFFINE)
    (path,) = export(tmp_path / "in", "siemens-mosaic", series, voxels(series, 1))
    edit(path, SOPClassUID="1.2.840.10008.5.1.4.1.1.7")
    told = convert_folder(tmp_path / "in", tmp_path / "out")
    assert told.series == ()
    assert told.complete
    assert "picture" in told.left[0].reason


def test_a_volume_that_cannot_be_decoded_is_found_out_while_writing(tmp_path: Path) -> None:
    series = ScanSeries(AFFINE)
    data = voxels(series, 5)
    paths = export(tmp_path / "in", "siemens-mosaic", series, data)
    edit(paths[1], BitsAllocated=32, Rows=SHAPE[1])  # as many bytes, and no pixels that can be read
    for compressed in (True, False):
        told = convert_folder(tmp_path / "in", tmp_path / f"out{compressed}", compressed=compressed)
        bold = max(told.series, key=lambda one: one.volumes)
        found = stored(tmp_path / f"out{compressed}" / bold.files[0])
        assert found.shape == (*SHAPE, 5)
        assert not found[..., 1].any()
        np.testing.assert_array_equal(found[..., 4], data[4][0])
        assert not told.complete


def test_nothing_is_overwritten_unasked(tmp_path: Path) -> None:
    series = ScanSeries(AFFINE, name="bold")
    export(tmp_path / "in", "ge", series, voxels(series, 2))
    out = tmp_path / "out"
    out.mkdir()
    (out / "5_bold.nii").write_text("precious")
    with pytest.raises(OutputError, match=r"5_bold\.nii is there already; .*--overwrite"):
        convert_folder(tmp_path / "in", out)
    assert [path.name for path in out.iterdir()] == ["5_bold.nii"]
    convert_folder(tmp_path / "in", out, overwrite=True)
    assert sorted(path.name for path in out.iterdir()) == ["5_bold.json", "5_bold.nii.gz"]


def test_an_interrupted_conversion_leaves_no_half_written_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    series = ScanSeries(AFFINE, name="bold")
    export(tmp_path / "in", "ge", series, voxels(series, 4))

    def stop(what: str, done: int, total: int) -> None:
        assert total == (16 if what == "files" else 4)
        if (what, done) == ("volumes", 3):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert_folder(tmp_path / "in", tmp_path / "out", progress=stop)
    assert list((tmp_path / "out").iterdir()) == []


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


def test_folders_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SourceError, match="is a file"):
        convert_folder(tmp_path / "file", tmp_path / "out")
    with pytest.raises(SourceError, match="does not exist"):
        list_folder(tmp_path / "nowhere")
    (tmp_path / "full").mkdir()
    series = ScanSeries(AFFINE)
    export(tmp_path / "full", "ge", series, voxels(series, 1))
    with pytest.raises(OutputError, match="cannot be made"):
        convert_folder(tmp_path / "full", tmp_path / "file" / "out")


def test_series_are_listed_in_the_order_of_the_console(tmp_path: Path) -> None:
    began = datetime.datetime(2024, 5, 17, 10, 30)
    for number in (12, 3, 7):
        series = ScanSeries(AFFINE, number=number, began=began - datetime.timedelta(minutes=number))
        export(tmp_path / "in", "siemens-xa", series, voxels(series, 1))
    told = convert_folder(tmp_path / "in", tmp_path / "out")
    assert [one.number for one in told.series] == [3, 7, 12]
