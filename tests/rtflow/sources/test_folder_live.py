"""A folder as a scanner fills it: written by another thread, file by file, and read while it is."""

import datetime
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from scanning import AFFINE, SERIES, Scanner, collect, put, told, volume_file

from rtflow.dicom.convert import to_incrementals
from rtflow.dicom.identify import read_object
from rtflow.dicom.writing import ScanSeries
from rtflow.documents import Frame
from rtflow.errors import SourceError
from rtflow.source_settings import FolderSource
from rtflow.sources import open_source


def test_files_written_while_it_runs(tmp_path: Path) -> None:
    frames = collect(tmp_path, *(lambda n=n: put(tmp_path, n) for n in range(1, 9)), volumes=8)
    assert told(frames) == list(range(1, 9))
    received = [frame.received for frame in frames]
    assert received == sorted(received)
    for frame in frames:
        again = to_incrementals([read_object(frame.parts[0].data)], frame.volume)
        assert to_incrementals(frame.payload, frame.volume) == again


def test_out_of_order_twice_and_in_pieces(tmp_path: Path) -> None:
    def piecewise(volume: int) -> Iterator[Callable[[], object]]:
        data, path = volume_file(volume), tmp_path / f"slow_{volume}.dcm"
        yield lambda: path.write_bytes(data[:200])
        yield lambda: path.write_bytes(data[:-300])
        yield lambda: path.write_bytes(data)

    def moved(volume: int) -> None:
        outside = tmp_path.parent / f"{tmp_path.name}-{volume}.dcm"
        outside.write_bytes(volume_file(volume))
        outside.rename(tmp_path / f"moved_{volume}.dcm")

    def renamed(volume: int) -> None:
        put(tmp_path, volume, name=".being-written").rename(tmp_path / f"renamed_{volume}.dcm")

    def linked(volume: int) -> None:
        outside = tmp_path.parent / f"{tmp_path.name}-{volume}.dcm"
        outside.write_bytes(volume_file(volume))
        os.link(outside, tmp_path / f"linked_{volume}.dcm")

    actions: list[Callable[[], object]] = [
        lambda: put(tmp_path, 10, name="0000.dcm"),
        lambda: put(tmp_path, 2),
        lambda: put(tmp_path, 1),
        *piecewise(3),
        lambda: put(tmp_path, 3, name="again.dcm"),
        lambda: moved(4),
        lambda: linked(6),
        lambda: renamed(5),
        lambda: (tmp_path / "log.txt").write_text("x" * 300),
        lambda: put(tmp_path, 8),
        lambda: put(tmp_path, 10),
        lambda: put(tmp_path, 9),
        lambda: put(tmp_path, 7),
    ]
    frames = collect(tmp_path, *actions, volumes=10)
    assert told(frames) == list(range(1, 11))
    assert all(frame.parts[0].data == volume_file(frame.volume) for frame in frames)


def test_what_never_comes_is_given_up(tmp_path: Path) -> None:
    def write() -> None:
        put(tmp_path, 1)
        (tmp_path / "two.dcm").write_bytes(volume_file(2)[:-10])
        put(tmp_path, 4)

    frames = collect(tmp_path, write, volumes=4, patience=5.0)
    assert told(frames) == [1, -2, -3, 4]
    assert frames[1].missing.startswith("two.dcm is cut off")
    assert frames[2].missing == "it did not come within 1 s of volume 4"


def test_a_folder_made_below_is_watched(tmp_path: Path) -> None:
    below = tmp_path / "2024" / "series"
    actions = (lambda: below.mkdir(parents=True), lambda: put(below, 1), lambda: put(below, 2))
    assert told(collect(tmp_path, *actions, volumes=2)) == [1, 2]


def test_what_was_there_belongs_to_the_run_and_the_rest_comes(tmp_path: Path) -> None:
    for volume in (1, 2):
        put(tmp_path, volume)
    frames = collect(tmp_path, lambda: put(tmp_path, 3), lambda: put(tmp_path, 4), volumes=4)
    assert told(frames) == [1, 2, 3, 4]


def test_what_was_there_may_be_left_out(tmp_path: Path) -> None:
    old = ScanSeries(AFFINE, number=4)
    for volume in (1, 2, 3):
        put(tmp_path, volume, old)
    actions = (lambda: put(tmp_path, 1), lambda: put(tmp_path, 2))
    assert told(collect(tmp_path, *actions, volumes=2, existing=False)) == [1, 2]


def test_the_plan_makes_the_rest_missing_when_the_scan_stops(tmp_path: Path) -> None:
    planned = ScanSeries(AFFINE, planned=5, tr=0.2)
    frames = collect(tmp_path, lambda: [put(tmp_path, volume, planned) for volume in (1, 2)], idle=1.0)
    assert told(frames) == [1, 2, -3, -4, -5]
    assert frames[-1].missing == "it had not come when no new volume had come for 1 s"


def test_a_new_series_ends_the_run(tmp_path: Path) -> None:
    later = ScanSeries(AFFINE, number=6, uid="1.2.3.2", began=SERIES.began + datetime.timedelta(minutes=10))
    actions = [lambda: put(tmp_path, 1), lambda: put(tmp_path, 2), lambda: put(tmp_path, 1, later)]
    frames = collect(tmp_path, *actions, volumes=3)
    assert told(frames) == [1, 2, -3]
    assert frames[2].missing == "series 6 'func_task-feedback' began before it came"


def test_two_series_at_once_are_not_guessed_between(tmp_path: Path) -> None:
    corrected = ScanSeries(AFFINE, number=6, uid="1.2.3.1", tr=0.2, name="MoCoSeries")
    with pytest.raises(SourceError, match=r"two series .* at once: series 5 .* and series 6 'MoCoSeries'"):
        collect(tmp_path, lambda: put(tmp_path, 1), lambda: put(tmp_path, 1, corrected))
    shutil.rmtree(tmp_path)
    tmp_path.mkdir()
    actions = [lambda n=n, s=s: put(tmp_path, n, s) for n in (1, 2) for s in (SERIES, corrected)]
    frames = collect(tmp_path, *actions, volumes=2, series=6)
    assert told(frames) == [1, 2]
    assert {read_object(frame.parts[0].data).instance.series.number for frame in frames} == {6}


def test_it_stops_soon_when_told_to(tmp_path: Path) -> None:
    stopping = threading.Event()
    frames: list[Frame] = []
    source = open_source(FolderSource(path=str(tmp_path), wait=600.0))
    thread = threading.Thread(target=lambda: frames.extend(source.frames(stopping)))
    thread.start()
    put(tmp_path, 1)
    while not frames:
        assert thread.is_alive()
        time.sleep(0.005)
    stopping.set()
    thread.join(20.0)
    assert not thread.is_alive()
    assert told(frames) == [1]


def test_a_slow_consumer_loses_nothing(tmp_path: Path) -> None:
    """Volumes that came in time are not given up because nobody had time to look."""
    spec = FolderSource(path=str(tmp_path), volumes=6, idle=0.5, patience=1.0)
    frames = open_source(spec).frames(threading.Event())
    with Scanner(*(lambda n=n: put(tmp_path, n) for n in (1, 3, 2, 4, 6, 5))):
        first = next(frames)
    time.sleep(1.0)
    assert told([first, *frames]) == [1, 2, 3, 4, 5, 6]


def test_without_events_the_rescans_find_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a network share, which sends none."""

    class Deaf:
        def schedule(self, *_: object, **__: object) -> None:
            raise OSError("inotify watch limit reached")

        def stop(self) -> None:
            pass

    monkeypatch.setattr("rtflow.sources.observing._observer", Deaf)
    actions = (lambda n=n: put(tmp_path, n) for n in (1, 3, 2, 4))
    assert told(collect(tmp_path, *actions, volumes=4)) == [1, 2, 3, 4]


@pytest.mark.realdata
def test_a_real_series_written_live_with_the_last_volume_first(
    series: Callable[[str], Path], tmp_path: Path
) -> None:
    names = sorted((series("siemens_E11_mosaic_rtcloud") / "dicom").iterdir())
    actions = [lambda path=path: shutil.copyfile(path, tmp_path / path.name) for path in names]
    frames = collect(tmp_path, *actions, volumes=10, patience=100.0)
    assert told(frames) == list(range(1, 11))
