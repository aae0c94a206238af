"""Runs that change, end otherwise, or begin beside another, through both ways in; and their folder."""

import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from arrivals import TR, VOLUMES, check_values, scan, truth
from numpy.typing import NDArray
from ways import ALL, Came, Put, frames, layouts, stream, until, ways, whole

from rtflow.dicom.writing import ScanSeries, write_volume
from rtflow.errors import SourceError
from rtflow.source_settings import FolderSource
from rtflow.sources import open_source
from rtflow.sources.simulation.scanner import Scanner

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


@pytest.mark.fault("another matrix, voxel size or orientation in mid-run")
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


@pytest.mark.fault("a scan stopped and started again")
@ways
@layouts
def test_stopped_and_started_again(layout: str, way: str, tmp_path: Path) -> None:
    stopped, again = restarted(layout)
    # No event tells of what is written before a new folder is watched: a rescan finds it.
    steps = [*stopped, frames(2), *again]
    came = stream(way, steps, tmp_path, patience=2.0, new_folders=True)
    assert [frame.volume for frame in came.frames] == ALL
    assert came.missing == [3, 4, 5, 6]
    assert came.reason(4) == "series 6 'func_task-feedback' began before it came"
    (event,) = came.told("next_series")
    assert "series 6" in event.data["says"]


@pytest.mark.fault("a second run in the same folder")
@layouts
def test_a_second_run_in_the_same_folder(layout: str, tmp_path: Path) -> None:
    """Both finished: which is meant is not guessed. One there, the next to come: by the settings."""
    one, other = restarted(layout)
    incoming = tmp_path / "incoming"
    for put in (*one, *other):
        (incoming / put.folder).mkdir(parents=True, exist_ok=True)
        (incoming / put.folder / put.name).write_bytes(put.data)
    with pytest.raises(
        SourceError,
        match=r"several series: series 5 .*; series 6 .*choose one: --set source\.series=5 or --set source",
    ):
        open_source(FolderSource(path=str(incoming)))
    source = open_source(FolderSource(path=str(incoming), series=6, idle=0.0))
    assert [frame.missing for frame in source.frames(threading.Event())] == [""] * VOLUMES
    shutil.rmtree(incoming)
    came = stream("folder", other, tmp_path, before=one, existing=False)
    assert came.missing == []
    (left,) = came.told("left_alone")
    assert left.data["files"] == len(one)


@pytest.mark.fault("files of a former run already there")
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


def rebuild(folder: Path, how: str) -> Callable[[Came], object]:
    def moved(_: Came) -> None:
        folder.rename(folder.with_name("elsewhere"))

    def removed(_: Came) -> None:
        shutil.rmtree(folder)

    return {"moved": moved, "removed": removed}[how]


@pytest.mark.fault("the folder vanishes and comes back")
@layouts
@pytest.mark.parametrize("how", ["moved", "removed"])
def test_the_folder_vanishes_and_comes_back(layout: str, how: str, tmp_path: Path) -> None:
    tiny, incoming = scan(layout), tmp_path / "incoming"

    def troubles(count: int) -> Callable[[Came], None]:
        return until(lambda came: len(came.told("source_trouble")) >= count)

    def back(_: Came) -> None:
        elsewhere = incoming.with_name("elsewhere")
        if elsewhere.exists():
            elsewhere.rename(incoming)
        (incoming / "005").mkdir(parents=True, exist_ok=True)
        for put in whole(tiny, 3, 4):  # they came there meanwhile
            (incoming / "005" / put.name).write_bytes(put.data)

    def pause(_: Came) -> None:
        threading.Event().wait(1.0)

    # That it is gone, and that it is back, is seen by a rescan. Volume 4 waits for 3 meanwhile, for longer
    # than the patience: time does not count.
    steps = [
        *(*whole(tiny, 1, 2, 4), frames(2)),
        *(rebuild(incoming, how), troubles(1), pause, back, troubles(2)),
        *whole(tiny, 5, 6),
    ]
    came = stream("folder", steps, tmp_path, patience=0.5)
    assert came.missing == []
    check_values(came.frames, truth(layout))
    says = [event.data["says"] for event in came.told("source_trouble")]
    assert says == [f"folder {incoming} is gone", f"folder {incoming} is back"]
