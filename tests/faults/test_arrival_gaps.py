"""What never comes, or too late, through both ways in."""

from pathlib import Path

import pytest
from arrivals import check_values, scan, truth
from ways import Put, a_slice_a_file, first, frames, layouts, stream, until, ways, whole

from rtflow.dicom.identify import read_object


@pytest.mark.fault("one slice, or one echo, never")
@ways
@a_slice_a_file
def test_a_slice_is_missing(layout: str, way: str, tmp_path: Path) -> None:
    bad = first(layout, 3)
    came = stream(way, [put for put in whole(scan(layout)) if put != bad], tmp_path, patience=0.2)
    assert came.missing == [3]
    planes = len(whole(scan(layout), 3))
    assert came.reason(3) == f"only {planes - 1} of {planes} slices came"
    check_values(came.frames, truth(layout))


@pytest.mark.fault("one slice, or one echo, never")
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


@pytest.mark.fault("one volume never")
@ways
@layouts
def test_a_volume_is_missing(layout: str, way: str, tmp_path: Path) -> None:
    came = stream(way, whole(scan(layout), 1, 2, 4, 5, 6), tmp_path, patience=0.2)
    assert came.missing == [3]
    assert came.reason(3) == "it did not come within 0.2 s of volume 4"
    check_values(came.frames, truth(layout))


@pytest.mark.fault("the last volume never")
@ways
@layouts
def test_the_last_volume_is_missing(layout: str, way: str, tmp_path: Path) -> None:
    came = stream(way, whole(scan(layout), 1, 2, 3, 4, 5), tmp_path, idle=2.0)
    assert came.missing == [6]
    assert came.reason(6) == "it had not come when no new volume had come for 2 s"
    check_values(came.frames, truth(layout))


@pytest.mark.fault("a volume after it was given up")
@ways
@layouts
def test_too_late(layout: str, way: str, tmp_path: Path) -> None:
    """A volume that comes after it was given up: its Result stands."""
    # Volume 6 is not sent before 3 was given up and came: the run is not over before.
    steps = [
        *whole(scan(layout), 1, 2, 4, 5),
        frames(5),
        *whole(scan(layout), 3),
        until(lambda came: bool(came.told("too_late"))),
        *whole(scan(layout), 6),
    ]
    came = stream(way, steps, tmp_path, patience=0.2)
    assert came.missing == [3]
    assert [event.volume for event in came.told("too_late")] == [3]
    check_values(came.frames, truth(layout))
