"""What comes besides the images of the run, through both ways in."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from arrivals import check_values, scan, truth
from ways import Put, layouts, stream, ways, whole

from rtflow.errors import SourceError
from rtflow.sources.simulation.faults import STRAYS
from rtflow.sources.simulation.others import localizer, stray
from rtflow.sources.simulation.sending import split


def corrected(layout: str) -> list[Put]:
    """What prospective motion correction makes of each volume, as a series of its own."""
    return whole(scan(layout, seed=2, number=6), folder="006")


@pytest.mark.fault("two series interleaved (original and motion-corrected)")
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


@pytest.mark.fault("physiology, reports, localizers among the images")
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
    assert len(kept) == 4
    assert len([path for path in kept if path.parent.name == "physio"]) == 1
    (summed,) = came.told("not_streamed")
    assert "without an image" in summed.data["other"]


@pytest.mark.fault("files of zero bytes, or no DICOM at all")
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


@pytest.mark.fault("files of zero bytes, or no DICOM at all")
@layouts
def test_objects_that_hold_no_image(layout: str, tmp_path: Path) -> None:
    """What can be sent that holds no image: its data set is a single element, zeros, or noise."""
    tiny = scan(layout)
    rng = np.random.default_rng(0)
    start = whole(tiny, 1)[0].data
    _, _, at = split(start) or ("", "", 0)
    junk = [
        Put(f"{name}.dcm", start[:at] + data)
        for name, data in (
            ("short", b"\x08\0\x60\0CS\2\0MR"),
            ("zeros", bytes(5000)),
            ("noise", rng.bytes(5000)),
        )
    ]
    came = stream("dicom", [*junk, *whole(tiny, 1, 2, 3), *junk, *whole(tiny, 4, 5, 6)], tmp_path)
    assert came.missing == []
    check_values(came.frames, truth(layout))
    (summed,) = came.told("not_streamed")
    assert summed.data["other"]


@pytest.mark.fault("files of zero bytes, or no DICOM at all")
def test_pipes_links_and_hidden_files_do_no_harm(tmp_path: Path) -> None:
    """To open a pipe would wait for its other end; a link to the folder itself would lead round and round."""
    incoming = tmp_path / "incoming"
    incoming.mkdir()
    os.mkfifo(incoming / "0001.dcm")
    (incoming / "loop").symlink_to(incoming)
    (incoming / "nowhere.dcm").symlink_to(incoming / "gone.dcm")
    hidden = [Put(put.name, put.data, folder=".tmp") for put in whole(scan("mosaic"))]
    assert stream("folder", [*hidden, *whole(scan("mosaic"))], tmp_path).names == set()
