"""Pacing, and which source is opened for which table."""

import threading
from pathlib import Path

from rtflow.source_settings import FolderSource, SimulateSource
from rtflow.sources import open_source
from rtflow.sources.base import Pacer
from rtflow.sources.folder import FolderStream
from rtflow.sources.simulator import SimulatorSource


class Clock(threading.Event):
    """An event that is waited for without time passing but here."""

    def __init__(self) -> None:
        super().__init__()
        self.at = 100.0

    def wait(self, timeout: float | None = None) -> bool:
        self.at += timeout or 0.0
        return self.is_set()


def test_volumes_go_out_at_their_time(monkeypatch) -> None:
    clock = Clock()
    monkeypatch.setattr("rtflow.sources.base.now", lambda: clock.at)
    pacer = Pacer(2.0)
    assert pacer.wait(10.0, clock)
    assert clock.at == 100.0
    assert pacer.wait(12.0, clock)
    assert clock.at == 101.0
    clock.at += 7.0  # the consumer is late: what is due goes out, and nothing is made up for
    assert pacer.wait(14.0, clock)
    assert clock.at == 108.0
    assert pacer.wait(30.0, clock)
    assert clock.at == 110.0
    clock.set()
    assert not pacer.wait(32.0, clock)


def test_full_speed_never_waits() -> None:
    clock = Clock()
    pacer = Pacer("max")
    assert pacer.wait(0.0, clock)
    assert pacer.wait(1e9, clock)
    assert clock.at == 100.0
    clock.set()
    assert not pacer.wait(2e9, clock)


def test_each_kind_is_opened(tmp_path: Path) -> None:
    assert isinstance(open_source(FolderSource(path=str(tmp_path))), FolderStream)
    assert isinstance(open_source(SimulateSource(volumes=30)), SimulatorSource)
