"""Tiny scans of every layout, and ways for their objects to arrive: in memory, by a clock of their own."""

from __future__ import annotations

import threading
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import TracebackType

import numpy as np
from arrivals_workflow import digest
from numpy.typing import NDArray

from rtflow.dicom.convert import to_incrementals
from rtflow.dicom.identify import read_object
from rtflow.documents import Event, Frame
from rtflow.nodes.convert import frame_to_incrementals
from rtflow.source_settings import DicomSource, ScannerTable, SimulateSource
from rtflow.sources.dicom_stream import DicomStream
from rtflow.sources.feed import Arrival
from rtflow.sources.simulation.faults import Action, Due
from rtflow.sources.simulation.protocol import ScanProtocol, echo_times
from rtflow.sources.simulation.scanner import Scanner, ScanObject

TR = 1.0
VOLUMES = 6
ENTITIES = {"subject": "01", "task": "rest"}

#: Vendor and number of echoes: files a volume, files an echo, files a slice, and files a slice and echo.
LAYOUTS = {
    "mosaic": ("siemens-mosaic", 1),
    "mosaic-echoes": ("siemens-mosaic", 2),
    "xa": ("siemens-xa", 1),
    "xa-echoes": ("siemens-xa", 2),
    "xa-classic": ("siemens-xa-classic", 1),
    "ge": ("ge", 1),
    "ge-echoes": ("ge", 2),
    "philips": ("philips", 1),
    "philips-echoes": ("philips", 2),
}
WHOLE_RUN = {"philips-enhanced": ("philips-enhanced", 1)}


@dataclass(frozen=True)
class TinyScan:
    """All objects of a scan in scanner order, with the times at which they are due."""

    scanner: Scanner
    objects: tuple[ScanObject, ...]

    @property
    def due(self) -> tuple[Due, ...]:
        return self.scanner.due

    def of(self, volume: int) -> list[ScanObject]:
        return [item for item in self.objects if item.volume == volume]


@cache
def scan(layout: str, volumes: int = VOLUMES, seed: int = 1, number: int = 5, tr: float = TR) -> TinyScan:
    vendor, echoes = (LAYOUTS | WHOLE_RUN)[layout]
    spec = SimulateSource(tr=tr, volumes=volumes, shape=(8, 8, 4), voxel=24.0, seed=seed)
    scanner = Scanner(spec, ScanProtocol(vendor=vendor, echo_times=echo_times(echoes), number=number))
    return TinyScan(scanner, tuple(scanner.objects()))


@cache
def truth(layout: str, volumes: int = VOLUMES, seed: int = 1, number: int = 5) -> dict[int, list[NDArray]]:
    """The voxels of each volume, echo by echo, read in one piece from objects that nothing happened to."""
    tiny = scan(layout, volumes, seed, number)
    found = {}
    for volume in range(1, volumes + 1):
        mine = tiny.objects if layout in WHOLE_RUN else tiny.of(volume)
        items = [read_object(item.data) for item in mine]
        found[volume] = [np.asarray(one.data) for one in to_incrementals(items, volume, ENTITIES)]
    return found


def digests_of(layout: str, volumes: int, lost: Container[int] = ()) -> list[int | None]:
    """What the workflow of `arrivals_workflow` makes of each volume, if these are missing."""
    found: list[int | None] = []
    value = 0
    for volume, echoes in truth(layout, volumes).items():
        if volume not in lost:
            value = digest(echoes, value)
        found.append(None if volume in lost else value)
    return found


def check_values(frames: Iterable[Frame], right: dict[int, list[NDArray]]) -> None:
    """Every frame that is there holds the voxels of its volume, decoded or not."""
    for frame in frames:
        if frame.missing:
            assert not frame.parts
            continue
        for one in (frame, Frame(frame.volume, frame.received, frame.parts)):
            echoes = frame_to_incrementals(one, ENTITIES)
            assert len(echoes) == len(right[frame.volume])
            for echo, expected in zip(echoes, right[frame.volume], strict=True):
                assert echo.volume == frame.volume
                np.testing.assert_array_equal(echo.data, expected)


def missing(frames: Iterable[Frame]) -> list[int]:
    return [frame.volume for frame in frames if frame.missing]


class ScheduledFeed:
    """A feed in memory: what comes is known, and time passes when it is waited for.

    Parameters
    ----------
    coming
        When, under which name, and what. Bytes under a name that was there before take their place, as
        those of a file do.
    slow
        Seconds that the consumer takes for each object.
    """

    hint = ""

    def __init__(self, coming: Iterable[tuple[float, str, bytes]], *, slow: float = 0.0) -> None:
        self._coming = sorted(coming, key=lambda one: one[0])
        self._slow = slow
        self._at = 0.0
        self._brought_until = 0.0
        self.open: dict[str, Arrival] = {}
        self.refused: dict[str, bytes] = {}
        self._finished: set[str] = set()

    def clock(self) -> float:
        return self._at

    def __enter__(self) -> ScheduledFeed:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    @property
    def brought_until(self) -> float:
        return self._brought_until

    def troubles(self) -> list[str]:
        return []

    def before(self) -> Iterator[Arrival]:
        return iter(())

    def arrivals(self, timeout: float) -> Iterator[Arrival]:
        first = self._coming[0][0] if self._coming else float("inf")
        self._at = max(self._at, min(self._at + timeout, first))
        until = self._at
        while self._coming and self._coming[0][0] <= until:
            at, name, data = self._coming.pop(0)
            if name in self.open or name in self._finished or self.refused.get(name) == data:
                continue
            self.open[name] = arrival = Arrival(name, Path(name), data, at)
            yield arrival
            self._at += self._slow
        self._brought_until = until

    def done(self, arrival: Arrival) -> None:
        self.open.pop(arrival.name, None)
        self._finished.add(arrival.name)

    def refuse(self, arrival: Arrival) -> None:
        self.refused[arrival.name] = self.open.pop(arrival.name).data


def coming(tiny: TinyScan, actions: Iterable[Action]) -> list[tuple[float, str, bytes]]:
    """The actions of a schedule as what comes into a feed."""
    found = []
    for action in sorted(actions, key=lambda action: action.at):
        if action.object is None:
            stray = tiny.scanner.stray(action)
            found.append((action.at, stray.name, stray.data))
            continue
        item = tiny.objects[action.object]
        name = f"copy of {item.folder}/{item.name}" if action.copy else f"{item.folder}/{item.name}"
        size = len(item.data) if action.share >= 1.0 else int(action.share * len(item.data))
        found.append((action.at, name, item.data[:size]))
    return found


def streamed(
    feed: ScheduledFeed, spec: ScannerTable | None = None, **options: object
) -> tuple[list[Frame], list[Event]]:
    """All frames that come of a feed, and what was told beside."""
    spec = spec or DicomSource(address=":0", **options)  # type: ignore[arg-type]
    stream = DicomStream(feed, spec, "memory", feed.clock)
    events: list[Event] = []
    stream.account._emit = events.append
    return list(stream.frames(threading.Event())), events
