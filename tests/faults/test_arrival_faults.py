"""Every fault of docs/faults.md by which objects do not come as they should, through both ways in."""

import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from arrivals import TR, VOLUMES, check_values, scan, truth
from numpy.typing import NDArray
from ways import WAYS, Put, stream, whole

from rtflow.dicom.identify import read_object
from rtflow.dicom.writing import ScanSeries, write_volume
from rtflow.errors import SourceError
from rtflow.source_settings import FolderSource
from rtflow.sources import open_source
from rtflow.sources.simulation.faults import STRAYS
from rtflow.sources.simulation.others import localizer, stray
from rtflow.sources.simulation.scanner import Scanner

ALL = list(range(1, VOLUMES + 1))

#: A file a volume, a file a slice, and several echoes of both.
layouts = pytest.mark.parametrize("layout", ["mosaic", "xa-echoes", "ge", "philips-echoes"])
a_slice_a_file = pytest.mark.parametrize("layout", ["xa-classic", "ge", "philips-echoes"])
ways = pytest.mark.parametrize("way", WAYS)


def first(layout: str, volume: int) -> Put:
    """The first object of a volume."""
    return whole(scan(layout), volume)[0]


def cut(put: Put) -> Put:
    """All but the end of its pixel data."""
    return replace(put, data=put.data[:-20])


# What comes, but otherwise than it should


@ways
@layouts
def test_out_of_order(layout: str, way: str, tmp_path: Path) -> None:
    steps = whole(scan(layout))
    steps = [*steps[len(steps) // 2 :][::-1], *steps[: len(steps) // 2][::-1]]
    came = stream(way, steps, tmp_path)
    assert [frame.volume for frame in came.frames] == ALL
    assert came.missing == []
    assert came.names == set()
    check_values(came.frames, truth(layout))


@ways
@layouts
def test_the_same_object_twice(layout: str, way: str, tmp_path: Path) -> None:
    steps = [one for put in whole(scan(layout)) for one in (put, replace(put, name=f"again_{put.name}"))]
    came = stream(way, steps, tmp_path)
    assert came.missing == []
    check_values(came.frames, truth(layout))
    # Each volume is told of once, however many slices it has; the last one may be over before.
    told = [event.volume for event in came.told("twice")]
    assert told[: VOLUMES - 1] == ALL[: VOLUMES - 1]
    assert len(told) == len(set(told))
    (summed,) = came.told("not_streamed")
    assert summed.data["repeats"]["twice"] >= len(steps) // 2 - len(whole(scan(layout), 1))


@ways
@layouts
def test_the_same_volume_as_another_object(layout: str, way: str, tmp_path: Path) -> None:
    """Sent again under another SOPInstanceUID, with other voxels: the first one counts."""
    steps = []
    for put in whole(scan(layout)):
        uid = read_object(put.data).instance.uid.encode()
        other = uid[:-1] + (b"8" if uid.endswith(b"9") else b"9")
        data = put.data.replace(uid, other)[:-2] + b"\x0f\x01"  # the last voxel
        assert read_object(data).instance.uid.encode() == other
        steps += [put, Put(f"re_{put.name}", data)]
    came = stream(way, steps, tmp_path)
    assert came.missing == []
    check_values(came.frames, truth(layout))
    assert "another_image" in came.names


@ways
@layouts
def test_cut_off_and_then_complete(layout: str, way: str, tmp_path: Path) -> None:
    steps = []
    for put in whole(scan(layout)):
        part = cut(put)
        steps += [part, replace(put, have=len(part.data))]
    came = stream(way, steps, tmp_path)
    assert came.missing == []
    check_values(came.frames, truth(layout))


@ways
@layouts
def test_cut_off_for_ever(layout: str, way: str, tmp_path: Path) -> None:
    bad = first(layout, 3)
    steps = [cut(put) if put == bad else put for put in whole(scan(layout))]
    came = stream(way, steps, tmp_path, patience=0.2)
    assert came.missing == [3]
    assert "is cut off: " in came.reason(3)
    assert "of pixel data" in came.reason(3)
    check_values(came.frames, truth(layout))


# What does not come


@ways
@a_slice_a_file
def test_a_slice_is_missing(layout: str, way: str, tmp_path: Path) -> None:
    bad = first(layout, 3)
    came = stream(way, [put for put in whole(scan(layout)) if put != bad], tmp_path, patience=0.2)
    assert came.missing == [3]
    planes = len(whole(scan(layout), 3))
    assert came.reason(3) == f"only {planes - 1} of {planes} slices came"
    check_values(came.frames, truth(layout))


@ways
@pytest.mark.parametrize("layout", ["mosaic-echoes", "xa-echoes", "ge-echoes", "philips-echoes"])
def test_an_echo_is_missing(layout: str, way: str, tmp_path: Path) -> None:
    def echo(put: Put) -> int:
        return read_object(put.data).instance.pieces[0].echo

    third = whole(scan(layout), 3)
    steps = [put for put in whole(scan(layout)) if put not in third or echo(put) != 2]
    came = stream(way, steps, tmp_path, patience=0.2)
    assert came.missing == [3]
    assert came.reason(3) == "echo 2 of 2 did not come"
    check_values(came.frames, truth(layout))


@ways
@layouts
def test_a_volume_is_missing(layout: str, way: str, tmp_path: Path) -> None:
    came = stream(way, whole(scan(layout), 1, 2, 4, 5, 6), tmp_path, patience=0.2)
    assert came.missing == [3]
    assert came.reason(3) == "it did not come within 0.2 s of volume 4"
    check_values(came.frames, truth(layout))


@ways
@layouts
def test_the_last_volume_is_missing(layout: str, way: str, tmp_path: Path) -> None:
    came = stream(way, whole(scan(layout), 1, 2, 3, 4, 5), tmp_path, idle=2.0)
    assert came.missing == [6]
    assert came.reason(6) == "it had not come when no new volume had come for 2 s"
    check_values(came.frames, truth(layout))


@ways
@layouts
def test_too_late(layout: str, way: str, tmp_path: Path) -> None:
    """A volume that comes after it was given up: its Result stands."""
    # Volume 6 is not sent before 3 was given up and came: the run is not over before.
    given_up = threading.Event()
    steps = [
        *whole(scan(layout), 1, 2, 4, 5),
        lambda: given_up.wait(1.5),
        *whole(scan(layout), 3),
        *whole(scan(layout), 6),
    ]
    came = stream(way, steps, tmp_path, patience=0.2)
    assert came.missing == [3]
    assert [event.volume for event in came.told("too_late")] == [3]
    check_values(came.frames, truth(layout))


# What comes besides


def corrected(layout: str) -> list[Put]:
    """What prospective motion correction makes of each volume, as a series of its own."""
    return whole(scan(layout, seed=2, number=6), folder="006")


@ways
@pytest.mark.parametrize("layout", ["mosaic", "xa", "xa-classic"])
def test_original_and_corrected_series(layout: str, way: str, tmp_path: Path) -> None:
    original, moco = whole(scan(layout)), corrected(layout)
    assert len(original) == len(moco)
    both = [put for pair in zip(original, moco, strict=True) for put in pair]
    with pytest.raises(SourceError, match=r"two series come into .* at once: series [56] .* and series [56]"):
        stream(way, both, tmp_path)
    shutil.rmtree(tmp_path)
    tmp_path.mkdir()
    # The first of one is lost, and the second comes before the other's: still no new scan.
    per = len(whole(scan(layout), 1))
    with pytest.raises(SourceError, match="two series"):
        stream(way, [*original[:per], *moco[per : 2 * per], *original[per:]], tmp_path)
    for number in (5, 6):
        shutil.rmtree(tmp_path)
        tmp_path.mkdir()
        came = stream(way, both, tmp_path, series=number)
        assert came.missing == []
        check_values(came.frames, truth(layout, seed=1 if number == 5 else 2, number=number))
        (aside,) = came.told("set_aside")
        assert aside.data["series"] == 11 - number


@ways
@layouts
def test_other_things_among_the_images(layout: str, way: str, tmp_path: Path) -> None:
    tiny = scan(layout)
    vendor = tiny.scanner.protocol.vendor
    run = tiny.scanner.series[0].series
    others = replace(run, number=3, name="others", uid="1.2.3.99", planned=None)
    strays = [stray(kind, vendor, others, n) for n, kind in enumerate(STRAYS, 1)]
    strays += localizer(vendor, replace(others, number=1))
    steps = [Put(one.name, one.data, folder="003") for one in strays]
    came = stream(way, [*steps, *whole(tiny, 1, 2, 3), *steps, *whole(tiny, 4, 5, 6)], tmp_path)
    assert came.missing == []
    check_values(came.frames, truth(layout))
    (aside,) = came.told("set_aside")
    assert "anatomy" in aside.data["says"]
    kept = [path for path in (came.run_dir / "aside").rglob("*") if path.is_file()]
    assert len(kept) == 3
    (summed,) = came.told("not_streamed")
    assert "without an image" in summed.data["other"]


@layouts
def test_empty_files_and_files_that_are_no_dicom(layout: str, tmp_path: Path) -> None:
    tiny = scan(layout)
    rng = np.random.default_rng(0)
    junk = [
        Put("empty.dcm", b""),
        Put("short.dcm", b"x"),
        Put("notes.txt", b"the participant was tired\n" * 100),
        Put("zeros.dcm", bytes(5000)),
        Put("noise.dcm", rng.bytes(5000)),
        Put("damaged.dcm", bytes(128) + b"DICM" + rng.bytes(5000)),
    ]
    came = stream("folder", [*junk, *whole(tiny), *junk], tmp_path, before=whole(tiny, 1)[:1])
    assert came.missing == []
    check_values(came.frames, truth(layout))
    (summed,) = came.told("not_streamed")
    for kind in ("empty", "no DICOM"):
        assert kind in summed.data["other"]


def test_pipes_links_and_hidden_files_do_no_harm(tmp_path: Path) -> None:
    """To open a pipe would wait for its other end; a link to the folder itself would lead round and round."""
    import os

    incoming = tmp_path / "incoming"
    incoming.mkdir()
    os.mkfifo(incoming / "0001.dcm")
    (incoming / "loop").symlink_to(incoming)
    (incoming / "nowhere.dcm").symlink_to(incoming / "gone.dcm")
    hidden = [Put(put.name, put.data, folder=".tmp") for put in whole(scan("mosaic"))]
    assert stream("folder", [*hidden, *whole(scan("mosaic"))], tmp_path).names == set()


# What changes


AFFINE = np.diag([-3.0, 3.0, 3.0, 1.0])


def turned(degrees: float) -> NDArray[np.float64]:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    matrix = np.eye(4)
    matrix[1:3, 1:3] = [[c, -s], [s, c]]
    return matrix @ AFFINE


CHANGES: dict[str, tuple[NDArray[np.float64], tuple[int, int, int], str]] = {
    "matrix": (AFFINE, (12, 12, 4), "its matrix is "),
    "slices": (AFFINE, (8, 8, 6), "its matrix is "),
    "orientation": (turned(30.0), (8, 8, 4), "its slices are turned against those of the run"),
    "voxels": (AFFINE @ np.diag([1.1, 1.1, 1.0, 1.0]), (8, 8, 4), "its voxels are 3.3x3.3 mm"),
}


def made(vendor: str, echoes: int, volume: int, affine: NDArray, shape: tuple[int, int, int]) -> list[Put]:
    times = (0.02, 0.04)[:echoes]
    series = ScanSeries(affine, tr=TR, uid="1.2.3.1", planned=VOLUMES, echo_times=times)
    data = np.random.default_rng(volume).integers(0, 4000, (echoes, *shape), dtype=np.int16)
    return [Put(one.name, one.data) for one in write_volume(vendor, series, list(data), volume)]


@ways
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(("vendor", "echoes"), [("siemens-mosaic", 1), ("siemens-xa", 2), ("ge", 1)])
def test_the_geometry_changes(change: str, vendor: str, echoes: int, way: str, tmp_path: Path) -> None:
    if change == "slices" and vendor != "siemens-xa":
        return  # GE numbers slices through the run; a mosaic's are counted by its size
    affine, shape, reason = CHANGES[change]
    steps = [
        put
        for volume in ALL
        for put in (
            made(vendor, echoes, volume, affine, shape)
            if volume in (3, 4)
            else made(vendor, echoes, volume, AFFINE, (8, 8, 4))
        )
    ]
    came = stream(way, steps, tmp_path, patience=0.2)
    assert came.missing == [3, 4]
    assert reason in came.reason(3)
    assert sorted(event.volume or 0 for event in came.told("another_acquisition")) == [3, 4]


# Runs that end otherwise, or begin


def restarted(layout: str) -> tuple[list[Put], list[Put]]:
    """The objects of a scan that is stopped in volume 3, and those of the one that follows."""
    tiny = scan(layout)
    scanner = Scanner(tiny.scanner.spec, tiny.scanner.protocol, restart=3)
    items = list(zip(scanner.due, scanner.objects(), strict=True))
    there = {action.object for action in scanner.schedule.actions}
    kept = [
        (due, Put(one.name, one.data, folder=one.folder)) for n, (due, one) in enumerate(items) if n in there
    ]
    return [put for due, put in kept if due.scan == 1], [put for due, put in kept if due.scan == 2]


@ways
@layouts
def test_stopped_and_started_again(layout: str, way: str, tmp_path: Path) -> None:
    stopped, again = restarted(layout)
    came = stream(way, [*stopped, *again], tmp_path, patience=2.0, new_folders=True)
    assert [frame.volume for frame in came.frames] == ALL
    assert came.missing == [3, 4, 5, 6]
    assert came.reason(4) == "series 6 'func_task-feedback' began before it came"
    (event,) = came.told("next_series")
    assert "series 6" in event.data["says"]


@layouts
def test_a_second_run_in_the_same_folder(layout: str, tmp_path: Path) -> None:
    """Both finished: which is meant is not guessed. One there, the next to come: by the settings."""
    one, other = restarted(layout)
    incoming = tmp_path / "incoming"
    for put in (*one, *other):
        (incoming / put.folder).mkdir(parents=True, exist_ok=True)
        (incoming / put.folder / put.name).write_bytes(put.data)
    with pytest.raises(
        SourceError, match=r"several series: series 5 .*; series 6 .*choose one .* series=NUMBER"
    ):
        open_source(FolderSource(path=str(incoming)))
    source = open_source(FolderSource(path=str(incoming), series=6, idle=0.0))
    assert [frame.missing for frame in source.frames(threading.Event())] == [""] * VOLUMES
    shutil.rmtree(incoming)
    came = stream("folder", other, tmp_path, before=one, existing=False)
    assert came.missing == []
    (left,) = came.told("left_alone")
    assert left.data["files"] == len(one)


@layouts
def test_files_of_a_former_run_are_part_of_the_run_or_left_alone(layout: str, tmp_path: Path) -> None:
    tiny = scan(layout)
    came = stream("folder", whole(tiny, 4, 5, 6), tmp_path, before=whole(tiny, 1, 2, 3))
    assert came.missing == []
    check_values(came.frames, truth(layout))
    shutil.rmtree(tmp_path)
    tmp_path.mkdir()
    came = stream(
        "folder", whole(tiny, 4, 5, 6), tmp_path, before=whole(tiny, 1, 2, 3), existing=False, patience=0.2
    )
    assert came.missing == [1, 2, 3]
    (left,) = came.told("left_alone")
    assert left.data["files"] == len(whole(tiny, 1, 2, 3))


# The folder itself


def rebuild(folder: Path, how: str) -> Callable[[], None]:
    def moved() -> None:
        folder.rename(folder.with_name("elsewhere"))

    def removed() -> None:
        shutil.rmtree(folder)

    return {"moved": moved, "removed": removed}[how]


@layouts
@pytest.mark.parametrize("how", ["moved", "removed"])
def test_the_folder_vanishes_and_comes_back(layout: str, how: str, tmp_path: Path) -> None:
    tiny, incoming = scan(layout), tmp_path / "incoming"
    told = threading.Event()

    def back() -> None:
        told.wait(1.0)  # that it is gone is seen by a rescan
        elsewhere = incoming.with_name("elsewhere")
        if elsewhere.exists():
            elsewhere.rename(incoming)
        (incoming / "005").mkdir(parents=True, exist_ok=True)
        for put in whole(tiny, 3, 4):  # they came there meanwhile
            (incoming / "005" / put.name).write_bytes(put.data)

    def seen() -> None:
        told.wait(1.0)

    steps = [*whole(tiny, 1, 2), seen, rebuild(incoming, how), back, seen, *whole(tiny, 5, 6)]
    # Less patience than the folder is gone for: time does not count meanwhile.
    came = stream("folder", steps, tmp_path, patience=0.5)
    assert came.missing == []
    check_values(came.frames, truth(layout))
    says = [event.data["says"] for event in came.told("source_trouble")]
    assert says == [f"folder {incoming} is gone", f"folder {incoming} is back"]
