"""What is not whole, there twice, or none of it: what becomes of it, and what is said."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from exports import AFFINE, SHAPE, about, edit, export, make_anatomy, only, stored, voxels

from rtflow.dicom.offline import convert_folder, list_folder
from rtflow.dicom.writing import ScanSeries
from rtflow.errors import OutputError, SourceError


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


def test_volumes_scattered_over_a_long_run_are_not_filled_up_to_it(tmp_path: Path) -> None:
    series = ScanSeries(AFFINE)
    data = voxels(series, 3)
    paths = export(tmp_path / "in", "siemens-mosaic", series, data)
    for path, number in zip(paths, (1, 30000, 60000), strict=True):
        edit(path, AcquisitionNumber=number)
    told = convert_folder(tmp_path / "in", tmp_path / "out")
    one = only(told)
    assert not told.complete
    assert "only 3 of the volumes 1 to 60000 are there" in told.left[0].reason
    expected = np.stack([volume[0] for volume in data], axis=-1)
    np.testing.assert_array_equal(stored(tmp_path / "out" / one.files[0]), expected)
    assert about(tmp_path / "out" / one.files[0])["NumberOfVolumes"] == 3


def test_what_no_file_holds_does_not_end_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, volumes in ((4, 6), (5, 3)):
        series = ScanSeries(AFFINE, number=number)
        export(tmp_path / "in", "siemens-mosaic", series, voxels(series, volumes))
    monkeypatch.setattr("rtflow.bids.image_file._VOLUMES_MAX", 5)
    told = convert_folder(tmp_path / "in", tmp_path / "out")
    assert (only(told).number, only(told).volumes) == (5, 3)
    assert (told.left[0].wanted, told.left[0].reason) == (True, "6 volumes: a NIfTI-1 file holds 1 to 5")


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
