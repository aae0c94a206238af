"""What comes otherwise than it should, through both ways in: in another order, twice, cut off."""

from dataclasses import replace
from pathlib import Path

import pytest
from arrivals import VOLUMES, check_values, scan, truth
from ways import ALL, Put, Step, cut, first, frames, layouts, stream, ways, whole

from rtflow.dicom.identify import read_object


@pytest.mark.fault("images out of order")
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


@pytest.mark.fault("the same object twice")
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


@pytest.mark.fault("the same volume or slice as another object, or under another name")
@ways
@layouts
def test_the_same_volume_as_another_object(layout: str, way: str, tmp_path: Path) -> None:
    """Sent again under another SOPInstanceUID, with other voxels: the first one counts."""
    # What comes before the folder is watched is found in no order that is known: not until then is it tried.
    steps: list[Step] = [*whole(scan(layout), 1), frames(1)]
    for put in whole(scan(layout)):
        uid = read_object(put.data).instance.uid.encode()
        other = uid[:-1] + (b"8" if uid.endswith(b"9") else b"9")
        data = put.data.replace(uid, other)[:-2] + b"\x0f\x01"  # the last voxel
        assert read_object(data).instance.uid.encode() == other
        another = Put(f"re_{put.name}", data)
        steps += [another] if put in steps else [put, another]
    came = stream(way, steps, tmp_path)
    assert came.missing == []
    check_values(came.frames, truth(layout))
    assert "another_image" in came.names


@pytest.mark.fault("a file cut off, then completed")
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


@pytest.mark.fault("a file cut off for ever")
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
