"""A port as the source of a run, with what an earlier process had received."""

import os
import threading
from pathlib import Path

import pytest
from scanning import told, volume_file

from rtflow.documents import Event, now
from rtflow.source_settings import DicomSource
from rtflow.sources import open_source
from rtflow.sources.receiving import Receiver
from rtflow.sources.spool import Spool


def received(folder: Path, *volumes: int) -> list[Path]:
    spool = Spool(folder)
    spool.open()
    paths = [spool.keep(f"1.2.{volume}", volume_file(volume)) for volume in volumes]
    spool.close()
    return paths


@pytest.mark.fault(
    "objects are received that the run did not use (after its last volume, of the next series)"
)
def test_what_a_run_did_not_use_is_kept_and_told(tmp_path: Path) -> None:
    """It was acknowledged, so its sender will not send it again."""
    folder = tmp_path / "received"
    *_, third, fourth = received(folder, 1, 2, 3, 4)
    events: list[Event] = []
    source = open_source(DicomSource(address="127.0.0.1:0", volumes=2))
    source.begin(tmp_path, events.append)
    assert told(list(source.frames(threading.Event()))) == [1, 2]
    assert sorted(folder.glob("*.dcm")) == [third, fourth]
    says = [event.data["says"] for event in events if event.name == "source_trouble"]
    assert says == [f"received, and still in {folder} at the end: 2 objects"]


def test_what_was_received_before_the_clock_was_set_back_is_not_of_the_future(tmp_path: Path) -> None:
    """Silence and patience count from what came last: a run would never end."""
    (path,) = received(tmp_path / "spool", 1)
    os.utime(path, (now() + 1e6, now() + 1e6))
    with Receiver("127.0.0.1", 0, spool=tmp_path / "spool") as receiver:
        assert receiver.brought_until <= now()
        (arrival,) = receiver.arrivals(60.0)
        assert arrival.received <= now()


def test_a_spool_that_cannot_be_cleared_does_not_end_the_run(tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    first, second = received(folder, 1, 2)
    with Receiver("127.0.0.1", 0, spool=folder) as receiver:
        one, other = receiver.arrivals(60.0)
        for path in (first, second.with_suffix(".refused")):
            path.unlink(missing_ok=True)
            path.mkdir()
        receiver.done(one)
        receiver.refuse(other)
        cleared, aside = receiver.troubles()
    assert f"cannot be removed from {folder}" in cleared
    assert f"cannot be set aside in {folder}" in aside
