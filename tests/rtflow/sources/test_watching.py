"""A watched folder, file by file: names that are used again, and how far time may count."""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from scanning import put, told, volume_file

from rtflow.documents import now
from rtflow.source_settings import FolderSource
from rtflow.sources import open_source
from rtflow.sources.feed import Arrival
from rtflow.sources.watching import Watcher

Write = Callable[[Path, bytes], object]


def over(path: Path, data: bytes) -> None:
    part = path.with_name(".part")
    part.write_bytes(data)
    part.replace(path)


ways = pytest.mark.parametrize("write", [over, Path.write_bytes], ids=["renamed", "in place"])


def next_of(watcher: Watcher) -> Arrival:
    until = now() + 60.0
    while now() < until:
        for arrival in watcher.arrivals(0.1):
            return arrival
    raise AssertionError("nothing came")


@pytest.mark.fault("another object under a name that was there before")
@ways
@pytest.mark.parametrize("events", [True, False])
def test_another_object_under_the_same_name_is_brought(write: Write, events: bool, tmp_path: Path) -> None:
    """As where a scanner keeps its newest volume in `latest.dcm`; with events, and without, as on a share."""
    watcher = Watcher(tmp_path)
    if events:
        watcher.__enter__()
    try:
        for volume in range(1, 5):
            write(tmp_path / "latest.dcm", volume_file(volume))
            arrival = next_of(watcher)
            assert arrival.data == volume_file(volume)
            watcher.done(arrival)
    finally:
        watcher.__exit__(None, None, None)


@ways
def test_it_is_brought_though_the_one_before_waits_for_its_turn(write: Write, tmp_path: Path) -> None:
    with Watcher(tmp_path) as watcher:
        held = []
        for volume in (2, 1):
            write(tmp_path / "latest.dcm", volume_file(volume))
            held.append(next_of(watcher))
        assert [arrival.data for arrival in held] == [volume_file(2), volume_file(1)]
        for arrival in held:
            watcher.done(arrival)
        write(tmp_path / "latest.dcm", volume_file(3))
        assert next_of(watcher).data == volume_file(3)


def test_the_same_object_is_brought_once_whenever_its_times_are_set(tmp_path: Path) -> None:
    """Servers of shares set times a while after a file was written, and some copying programs do."""
    with Watcher(tmp_path) as watcher:
        path = put(tmp_path, 1)
        held = next_of(watcher)
        os.utime(path, (1e9, 1e9))
        path.write_bytes(path.read_bytes())
        put(tmp_path, 2)
        second = next_of(watcher)
        assert second.data == volume_file(2)
        watcher.done(held)
        watcher.done(second)
        os.utime(path, (1e9, 1e9))
        put(tmp_path, 3)
        assert next_of(watcher).data == volume_file(3)


def test_what_was_caught_half_written_is_brought_again_though_nobody_has_refused_it_yet(
    tmp_path: Path,
) -> None:
    """An agent is told long after it has sent a file that it was not whole."""
    watcher, path, data = Watcher(tmp_path), tmp_path / "1.dcm", volume_file(1)
    for share in (0.9, 1.0):
        path.write_bytes(data[: int(share * len(data))])
        watcher.heard(str(path))
        (arrival,) = watcher.arrivals(0.0)
        assert len(arrival.data) == int(share * len(data))
        if share < 1.0:
            half = arrival
    watcher.refuse(half)
    watcher.done(arrival)
    assert list(watcher.arrivals(0.0)) == []


def test_a_rescan_brings_files_in_the_order_in_which_they_came(tmp_path: Path) -> None:
    """The first to be brought says what run it is: its series, its matrix."""
    watcher = Watcher(tmp_path)
    names = [f"{number * 7 % 12:02d}.dcm" for number in range(12)]
    last = 0
    for name in names:
        while (path := put(tmp_path, 1, name=name)).stat().st_ctime_ns == last:
            time.sleep(0.001)  # the clock of a file system is coarse
        last = path.stat().st_ctime_ns
    found: list[str] = []
    until = now() + 60.0
    while len(found) < len(names) and now() < until:
        found += [arrival.name for arrival in watcher.arrivals(0.1)]
    assert found == names


def test_a_folder_listens_from_the_beginning_of_the_run_and_holds_nothing_after_its_end(
    tmp_path: Path,
) -> None:
    """While nodes warm up, for seconds, a scan may be stopped and started again."""
    incoming = tmp_path / "incoming"
    incoming.mkdir()
    threads = set(threading.enumerate())
    source = open_source(FolderSource(path=str(incoming), volumes=2, idle=600.0))
    source.begin(tmp_path / "run", lambda _: None)
    listening = set(threading.enumerate()) - threads
    put(incoming, 1)
    put(incoming, 2)
    assert told(list(source.frames(threading.Event()))) == [1, 2]
    source.end()
    assert listening
    assert not any(thread.is_alive() for thread in listening)
    again = open_source(FolderSource(path=str(incoming)))
    again.begin(tmp_path / "again", lambda _: None)
    again.end()  # a node failed at set-up: no frame was asked for
    assert set(threading.enumerate()) <= threads


def test_a_run_of_one_name(tmp_path: Path) -> None:
    over(tmp_path / "latest.dcm", volume_file(1))
    source = open_source(FolderSource(path=str(tmp_path), volumes=4, idle=600.0))
    frames = []
    for frame in source.frames(threading.Event()):
        frames.append(frame)
        over(tmp_path / "latest.dcm", volume_file(frame.volume + 1))
    assert told(frames) == [1, 2, 3, 4]


def test_time_waits_for_what_only_a_rescan_finds_though_an_event_told_of_another(tmp_path: Path) -> None:
    """On a share, this machine's own files are told of, and those of others are not."""
    watcher = Watcher(tmp_path)
    watcher.heard(str(put(tmp_path, 1)))
    watcher.done(next_of(watcher))
    put(tmp_path, 2)
    watcher.done(next_of(watcher))
    put(tmp_path, 3)
    there = now()
    brought = None
    until = there + 60.0
    while brought is None and now() < until:
        brought = next(iter(watcher.arrivals(0.01)), None)
        assert brought is not None or watcher.brought_until <= there
    assert brought is not None
