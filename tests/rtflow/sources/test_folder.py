"""A folder as a scanner fills it: written by another thread, file by file, and read while it is."""

import datetime
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from rtflow.dicom.convert import to_incremental
from rtflow.dicom.identify import DicomObject, read_object
from rtflow.dicom.write import MosaicSeries, write_mosaic
from rtflow.documents import Frame
from rtflow.errors import SourceError
from rtflow.source_settings import FolderSource
from rtflow.sources import open_source

AFFINE = np.diag([-3.0, 3.0, 3.0, 1.0])
SERIES = MosaicSeries(AFFINE, tr=0.2, uid="1.2.3.1")


def volume_file(volume: int, series: MosaicSeries = SERIES) -> bytes:
    data = np.random.default_rng(volume).integers(0, 4000, (8, 8, 5), dtype=np.int16)
    return write_mosaic(series, data, volume)


def put(folder: Path, volume: int, series: MosaicSeries = SERIES, name: str = "") -> Path:
    path = folder / (name or f"{series.number}_{volume:04d}.dcm")
    path.write_bytes(volume_file(volume, series))
    return path


def told(frames: list[Frame]) -> list[int]:
    """Volumes, negative where one is missing."""
    return [-frame.volume if frame.missing else frame.volume for frame in frames]


def collect(folder: Path, **options: object) -> list[Frame]:
    """All frames; a test that is not about time has so much of it that a slow machine cannot fail it."""
    spec = FolderSource(path=str(folder), **{"idle": 600.0, "patience": 1e4, **options})  # type: ignore[arg-type]
    return list(open_source(spec).frames(threading.Event()))


class Scanner:
    """Writes files from a thread of its own, one action at a time."""

    def __init__(self, *actions: Callable[[], object], every: float = 0.02) -> None:
        self._actions, self._every = actions, every
        self._thread = threading.Thread(target=self._run)
        self._error: BaseException | None = None

    def _run(self) -> None:
        try:
            for action in self._actions:
                time.sleep(self._every)
                action()
        except BaseException as error:
            self._error = error

    def __enter__(self) -> "Scanner":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join()
        if self._error is not None:
            raise self._error


# What is there at the start


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
    planned = MosaicSeries(AFFINE, planned=3)
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
    planned = MosaicSeries(AFFINE, planned=100)
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
    put(tmp_path, 2, MosaicSeries(AFFINE, number=6), name="b_2.dcm")
    assert told(collect(tmp_path, idle=0.0, pattern="a_*.dcm")) == [1]


def test_several_series_are_never_guessed_between(tmp_path: Path) -> None:
    other = MosaicSeries(AFFINE, number=9, name="func_task-rest")
    put(tmp_path, 1)
    put(tmp_path, 1, other)
    put(tmp_path, 2, other)
    with pytest.raises(SourceError) as caught:
        collect(tmp_path)
    assert "series 5 'func_task-feedback' (1 files); series 9 'func_task-rest' (2 files)" in str(caught.value)
    assert "series=NUMBER" in str(caught.value)
    assert told(collect(tmp_path, idle=0.0, series=9)) == [1, 2]
    with pytest.raises(SourceError, match="does not hold the chosen series"):
        collect(tmp_path, series=7)


def test_several_echoes_are_chosen_between(tmp_path: Path) -> None:
    for echo in (1, 2):
        put(tmp_path, 1, MosaicSeries(AFFINE, echo=echo), name=f"e{echo}.dcm")
    with pytest.raises(SourceError, match="echo=NUMBER"):
        collect(tmp_path)
    (frame,) = collect(tmp_path, idle=0.0, echo=2)
    assert to_incremental(read_object(frame.parts[0].data)).metadata["EchoNumber"] == 2


def test_what_cannot_be_a_source(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="does not exist"):
        collect(tmp_path / "nowhere")
    file = tmp_path / "file"
    file.write_bytes(b"x" * 200)
    with pytest.raises(SourceError, match="expected a folder"):
        collect(file)
    with pytest.raises(SourceError, match=r"no fMRI volume .*: no DICOM \(1 file\); supported: Siemens"):
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
    held = vars(source)["_found"]
    assert len(held) == 5
    assert all(file.data == b"" and file.item is None for file in held)


# Live


def test_files_written_while_it_runs(tmp_path: Path) -> None:
    with Scanner(*(lambda n=n: put(tmp_path, n) for n in range(1, 9))):
        frames = collect(tmp_path, volumes=8)
    assert told(frames) == list(range(1, 9))
    received = [frame.received for frame in frames]
    assert received == sorted(received)
    for frame in frames:
        assert isinstance(frame.payload, DicomObject)
        again = to_incremental(read_object(frame.parts[0].data))
        assert to_incremental(frame.payload) == again


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
    with Scanner(*actions):
        frames = collect(tmp_path, volumes=10)
    assert told(frames) == list(range(1, 11))
    assert all(frame.parts[0].data == volume_file(frame.volume) for frame in frames)


def test_what_never_comes_is_given_up(tmp_path: Path) -> None:
    def write() -> None:
        put(tmp_path, 1)
        (tmp_path / "two.dcm").write_bytes(volume_file(2)[:-10])
        put(tmp_path, 4)

    with Scanner(write):
        frames = collect(tmp_path, volumes=4, patience=5.0)
    assert told(frames) == [1, -2, -3, 4]
    assert frames[1].missing.startswith("two.dcm is cut off")
    assert frames[2].missing == "it did not come within 1 s of volume 4"


def test_a_folder_made_below_is_watched(tmp_path: Path) -> None:
    below = tmp_path / "2024" / "series"
    with Scanner(lambda: below.mkdir(parents=True), lambda: put(below, 1), lambda: put(below, 2)):
        assert told(collect(tmp_path, volumes=2)) == [1, 2]


def test_what_was_there_belongs_to_the_run_and_the_rest_comes(tmp_path: Path) -> None:
    for volume in (1, 2):
        put(tmp_path, volume)
    with Scanner(lambda: put(tmp_path, 3), lambda: put(tmp_path, 4)):
        assert told(collect(tmp_path, volumes=4)) == [1, 2, 3, 4]


def test_what_was_there_may_be_left_out(tmp_path: Path) -> None:
    old = MosaicSeries(AFFINE, number=4)
    for volume in (1, 2, 3):
        put(tmp_path, volume, old)
    with Scanner(lambda: put(tmp_path, 1), lambda: put(tmp_path, 2)):
        assert told(collect(tmp_path, volumes=2, existing=False)) == [1, 2]


def test_the_plan_makes_the_rest_missing_when_the_scan_stops(tmp_path: Path) -> None:
    planned = MosaicSeries(AFFINE, planned=5, tr=0.2)
    with Scanner(lambda: [put(tmp_path, volume, planned) for volume in (1, 2)]):
        frames = collect(tmp_path, idle=1.0)
    assert told(frames) == [1, 2, -3, -4, -5]
    assert frames[-1].missing == "no new volume came for 1 s"


def test_a_new_series_ends_the_run(tmp_path: Path) -> None:
    later = MosaicSeries(AFFINE, number=6, uid="1.2.3.2", began=SERIES.began + datetime.timedelta(minutes=10))
    with Scanner(lambda: put(tmp_path, 1), lambda: put(tmp_path, 2), lambda: put(tmp_path, 1, later)):
        frames = collect(tmp_path, volumes=3)
    assert told(frames) == [1, 2, -3]
    assert frames[2].missing == "series 6 'func_task-feedback' began before it came"


def test_two_series_at_once_are_not_guessed_between(tmp_path: Path) -> None:
    corrected = MosaicSeries(AFFINE, number=6, uid="1.2.3.1", tr=0.2, name="MoCoSeries")
    with (
        Scanner(lambda: put(tmp_path, 1), lambda: put(tmp_path, 1, corrected)),
        pytest.raises(SourceError, match=r"two series .* at once: series 5 .* and series 6 'MoCoSeries'"),
    ):
        collect(tmp_path)
    shutil.rmtree(tmp_path)
    tmp_path.mkdir()
    actions = [lambda n=n, s=s: put(tmp_path, n, s) for n in (1, 2) for s in (SERIES, corrected)]
    with Scanner(*actions):
        frames = collect(tmp_path, volumes=2, series=6)
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

    monkeypatch.setattr("rtflow.sources.watching._observer", Deaf)
    with Scanner(*(lambda n=n: put(tmp_path, n) for n in (1, 3, 2, 4))):
        assert told(collect(tmp_path, volumes=4)) == [1, 2, 3, 4]


# Real series


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
        assert frame.payload.instance.volume == frame.volume


@pytest.mark.realdata
def test_a_real_series_written_live_with_the_last_volume_first(
    series: Callable[[str], Path], tmp_path: Path
) -> None:
    names = sorted((series("siemens_E11_mosaic_rtcloud") / "dicom").iterdir())
    actions = [lambda path=path: shutil.copyfile(path, tmp_path / path.name) for path in names]
    with Scanner(*actions, every=0.05):
        frames = collect(tmp_path, volumes=10, patience=100.0)
    assert told(frames) == list(range(1, 11))


@pytest.mark.parametrize("content", [b"notes of the scan\n", b"x" * 500])
def test_a_folder_of_other_files_is_refused_at_once(tmp_path, content) -> None:
    (tmp_path / "notes.txt").write_bytes(content)
    with pytest.raises(SourceError, match="holds no fMRI volume that can be read: no DICOM"):
        open_source(FolderSource(path=str(tmp_path)))


def test_a_file_that_has_just_been_begun_is_waited_for(tmp_path) -> None:
    (tmp_path / "1.dcm").write_bytes(bytes(64))
    open_source(FolderSource(path=str(tmp_path)))
