"""A folder as a scanner left it."""

import io
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from scanning import AFFINE, collect, put, told, volume_file

from rtflow.dicom.convert import to_incrementals
from rtflow.dicom.writing import ScanSeries, write_volume
from rtflow.documents import Event
from rtflow.errors import SourceError
from rtflow.source_settings import FolderSource
from rtflow.sources import open_source


def test_a_finished_folder_is_replayed_in_order(tmp_path: Path) -> None:
    for number, volume in enumerate((3, 1, 2, 5, 4)):
        put(tmp_path, volume, name=f"{number}.ima")
    source = open_source(FolderSource(path=str(tmp_path), idle=0.0))
    assert (source.tr, source.volumes) == (0.2, 5)
    frames = list(source.frames(threading.Event()))
    assert told(frames) == [1, 2, 3, 4, 5]
    for frame in frames:
        assert frame.parts[0].data == volume_file(frame.volume)
        assert frame.parts[0].media_type == "application/dicom"
        assert frame.acquired is not None
    assert frames[1].acquired - frames[0].acquired == pytest.approx(0.2)  # type: ignore[operator]


def test_it_ends_at_once_where_the_plan_is_fulfilled(tmp_path: Path) -> None:
    planned = ScanSeries(AFFINE, planned=3)
    for volume in (1, 2, 3):
        put(tmp_path, volume, planned)
    # Not after a silence: the files are new, but they are all there.
    assert told(collect(tmp_path)) == [1, 2, 3]


@pytest.mark.parametrize(
    ("options", "expected"), [({}, [-1, 2, -3, 4]), ({"volumes": 6}, [-1, 2, -3, 4, -5, -6])]
)
def test_gaps_and_what_is_demanded_are_missing(
    options: dict[str, int], expected: list[int], tmp_path: Path
) -> None:
    planned = ScanSeries(AFFINE, planned=100)
    for volume in (2, 4):
        put(tmp_path, volume, planned)
    assert told(collect(tmp_path, idle=0.0, **options)) == expected


def test_fewer_may_be_asked_for(tmp_path: Path) -> None:
    for volume in range(1, 6):
        put(tmp_path, volume)
    assert told(collect(tmp_path, volumes=3)) == [1, 2, 3]


def test_a_repeated_file_is_one_volume(tmp_path: Path) -> None:
    for volume in (1, 2, 3):
        put(tmp_path, volume)
    shutil.copy(tmp_path / "5_0003.dcm", tmp_path / "5_0000.dcm")
    assert told(collect(tmp_path, idle=0.0)) == [1, 2, 3]


def test_a_cut_off_file_is_a_missing_volume_with_its_reason(tmp_path: Path) -> None:
    for volume in (1, 2):
        put(tmp_path, volume)
    (tmp_path / "5_0003.dcm").write_bytes(volume_file(3)[:-50])
    source = open_source(FolderSource(path=str(tmp_path), idle=0.0))
    assert source.volumes == 3
    frames = list(source.frames(threading.Event()))
    assert told(frames) == [1, 2, -3]
    assert frames[2].missing.startswith("5_0003.dcm is cut off: ")


def test_other_files_do_not_matter(tmp_path: Path) -> None:
    put(tmp_path, 1)
    (tmp_path / "notes.txt").write_text("the participant was tired\n" * 100)
    (tmp_path / "empty").touch()
    (tmp_path / ".5_0002.dcm.partial").write_bytes(volume_file(2))
    below = tmp_path / "below"
    below.mkdir()
    put(below, 2)
    assert told(collect(tmp_path, idle=0.0)) == [1, 2]


def test_a_pattern_picks(tmp_path: Path) -> None:
    put(tmp_path, 1, name="a_1.dcm")
    put(tmp_path, 2, ScanSeries(AFFINE, number=6), name="b_2.dcm")
    assert told(collect(tmp_path, idle=0.0, pattern="a_*.dcm")) == [1]


def test_several_series_are_never_guessed_between(tmp_path: Path) -> None:
    other = ScanSeries(AFFINE, number=9, name="func_task-rest")
    put(tmp_path, 1)
    put(tmp_path, 1, other)
    put(tmp_path, 2, other)
    with pytest.raises(SourceError) as caught:
        collect(tmp_path)
    assert "series 5 'func_task-feedback' (1 files); series 9 'func_task-rest' (2 files)" in str(caught.value)
    assert "choose one: --set source.series=" in str(caught.value)
    assert told(collect(tmp_path, idle=0.0, series=9)) == [1, 2]
    # The chosen series may be yet to come.
    with pytest.raises(SourceError, match=r"within 0\.1 s of the series to be streamed; there are: series 5"):
        collect(tmp_path, series=7, wait=0.1)


def test_all_echoes_come_in_one_frame(tmp_path: Path) -> None:
    series = ScanSeries(AFFINE, echo_times=(0.02, 0.04))
    data = np.zeros((8, 8, 5), np.int16)
    for volume in (1, 2):
        for echo, written in enumerate(write_volume("siemens-mosaic", series, [data, data + 1], volume), 1):
            if (volume, echo) != (2, 2):
                (tmp_path / f"{volume}_{echo}.dcm").write_bytes(written.data)
    whole, gap = collect(tmp_path, idle=0.0)
    assert told([whole, gap]) == [1, -2]
    assert gap.missing == "echo 2 of 2 did not come"
    first, second = to_incrementals(whole.payload, 1)
    assert (first.metadata["EchoTime"], second.metadata["EchoTime"]) == (0.02, 0.04)
    assert second.entities == {"echo": "2"}
    assert (second.data == 1).all()


def test_what_cannot_be_a_source(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="does not exist"):
        collect(tmp_path / "nowhere")
    file = tmp_path / "file"
    file.write_bytes(b"x" * 200)
    with pytest.raises(SourceError, match="expected a folder"):
        collect(file)
    with pytest.raises(SourceError, match=r"no fMRI volume .*: no DICOM \(1 file\); supported: MR images"):
        collect(tmp_path)


def test_an_empty_folder_is_waited_on_and_then_given_up(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"no volume came into .* within 0.3 s"):
        collect(tmp_path, wait=0.3)


def test_a_file_that_vanishes_before_its_turn_is_missing(tmp_path: Path) -> None:
    paths = [put(tmp_path, volume) for volume in (1, 2, 3)]
    frames = open_source(FolderSource(path=str(tmp_path), idle=0.0)).frames(threading.Event())
    first = next(frames)
    paths[1].unlink()
    rest = list(frames)
    assert told([first, *rest]) == [1, -2, 3]
    assert "5_0002.dcm can no longer be read" in rest[0].missing


def test_frames_of_files_that_lie_there_are_not_kept(tmp_path: Path) -> None:
    """What was surveyed holds no bytes: they are read when their turn comes."""
    for volume in range(1, 6):
        put(tmp_path, volume)
    source = open_source(FolderSource(path=str(tmp_path), idle=0.0))
    held = source._stream._found  # type: ignore[attr-defined]
    assert len(held) == 5
    assert all(stored.arrival.data == b"" and stored.item is None for stored in held)


@pytest.mark.parametrize("content", [b"notes of the scan\n", b"x" * 500])
def test_a_folder_of_other_files_is_refused_at_once(tmp_path, content) -> None:
    (tmp_path / "notes.txt").write_bytes(content)
    with pytest.raises(SourceError, match="holds no fMRI volume that can be read: no DICOM"):
        open_source(FolderSource(path=str(tmp_path)))


@pytest.mark.parametrize("name", ["bold.nii", "bold.nii.gz", "BOLD.NII"])
def test_a_folder_of_nifti_images_says_which_source_takes_them(tmp_path, name) -> None:
    (tmp_path / "sub-01").mkdir()
    (tmp_path / "sub-01" / name).write_bytes(b"x" * 500)
    with pytest.raises(SourceError, match=r"no DICOM but NIfTI, which the source 'bids:DIR' takes .*1 file"):
        open_source(FolderSource(path=str(tmp_path)))


def test_a_file_that_has_just_been_begun_is_waited_for(tmp_path) -> None:
    (tmp_path / "1.dcm").write_bytes(bytes(64))
    open_source(FolderSource(path=str(tmp_path)))


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "volumes"), [("siemens_E11_mosaic_rtcloud", 10), ("siemens_Trio_mosaic_opennft155", 155)]
)
def test_real_series(name: str, volumes: int, series: Callable[[str], Path]) -> None:
    folder = series(name) / "dicom"
    source = open_source(FolderSource(path=str(folder), idle=0.0))
    assert source.volumes == volumes
    frames = list(source.frames(threading.Event()))
    assert told(frames) == list(range(1, volumes + 1))
    for frame in frames:
        assert frame.payload[0].instance.volume == frame.volume


def test_echoes_that_are_all_numbered_one_are_not_mixed(tmp_path: Path) -> None:
    """As research sequences write them: the echo time tells them apart, and nothing says which is meant."""
    told_of: list[Event] = []
    for time, name in ((0.02, "a"), (0.04, "b")):
        series = ScanSeries(AFFINE, echo_times=(time,), uid="1.2.3.7")
        data = np.full((8, 8, 5), 100, np.int16)
        for written in write_volume("ge", series, [data], 1):
            dataset = pydicom.dcmread(io.BytesIO(written.data))
            dataset.SOPInstanceUID += f".{name == 'b':d}"
            dataset.save_as(tmp_path / f"{name}{written.name}", enforce_file_format=True)
    source = open_source(FolderSource(path=str(tmp_path), idle=0.0))
    source.begin(tmp_path.parent / "run", told_of.append)
    (frame,) = source.frames(threading.Event())
    assert {part.name[0] for part in frame.parts} == {"a"}
    assert "another_image" in {event.name for event in told_of}
    (tmp_path / "a_first_of_the_second").write_bytes(next(tmp_path.glob("b*")).read_bytes())
    next(tmp_path.glob("a*[0-9]")).rename(tmp_path / "z")
    told_of.clear()
    source = open_source(FolderSource(path=str(tmp_path), idle=0.0))
    source.begin(tmp_path.parent / "run", told_of.append)
    list(source.frames(threading.Event()))
    says = {event.data["says"] for event in told_of if event.name == "another_acquisition"}
    assert any("that of the run at" in words for words in says)


def test_another_image_of_a_volume_is_told_of(tmp_path: Path) -> None:
    told_of: list[Event] = []
    put(tmp_path, 1)
    dataset = pydicom.dcmread(tmp_path / "5_0001.dcm")
    dataset.SOPInstanceUID += ".1"
    dataset.save_as(tmp_path / "other.dcm", enforce_file_format=True)
    shutil.copy(tmp_path / "5_0001.dcm", tmp_path / "again.dcm")
    source = open_source(FolderSource(path=str(tmp_path), idle=0.0))
    source.begin(tmp_path.parent / "run", told_of.append)
    assert told(list(source.frames(threading.Event()))) == [1]
    names = {event.name: event.data["file"] for event in told_of if "file" in event.data}
    assert names == {"another_image": "other.dcm", "twice": "again.dcm"}
