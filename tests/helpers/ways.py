"""The two ways in, for real: files written into a folder, and objects sent to a port."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from arrivals import VOLUMES, TinyScan, scan

from rtflow.documents import Event, Frame
from rtflow.errors import RunError
from rtflow.source_settings import DicomSource, FolderSource
from rtflow.sources import Source, open_source
from rtflow.sources.simulation.delivery import FolderTarget, Target
from rtflow.sources.simulation.sending import Address, Sender

WAYS = ("folder", "dicom")
LIMIT = 60.0
ALL = list(range(1, VOLUMES + 1))

#: A file a volume, a file a slice, and several echoes of both.
layouts = pytest.mark.parametrize("layout", ["mosaic", "xa-echoes", "ge", "philips-echoes"])
a_slice_a_file = pytest.mark.parametrize("layout", ["xa-classic", "ge", "philips-echoes"])
ways = pytest.mark.parametrize("way", WAYS)

PATIENT: dict[str, object] = {"idle": 600.0, "patience": 1e4, "wait": 600.0}


@dataclass(frozen=True)
class Put:
    """Something is written, or sent: bytes under a name, of which there were ``have`` before."""

    name: str
    data: bytes
    have: int = 0
    folder: str = "005"


def whole(tiny: TinyScan, *volumes: int, folder: str = "005") -> list[Put]:
    """All objects of these volumes (of all, if none is named), as the scanner makes them."""
    return [
        Put(item.name, item.data, folder=folder)
        for item in tiny.objects
        if not volumes or item.volume in volumes
    ]


def first(layout: str, volume: int) -> Put:
    """The first object of a volume."""
    return whole(scan(layout), volume)[0]


def cut(put: Put) -> Put:
    """All but the end of its pixel data."""
    return replace(put, data=put.data[:-20])


@dataclass
class Came:
    """What a source made of what came; it grows while the source is open."""

    source: Source
    run_dir: Path
    frames: list[Frame] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    @property
    def missing(self) -> list[int]:
        return [frame.volume for frame in self.frames if frame.missing]

    def reason(self, volume: int) -> str:
        return self.frames[volume - 1].missing

    def told(self, name: str) -> list[Event]:
        return [one for one in self.events if one.name == name]

    def in_words(self) -> str:
        """What came so far, for whoever waits for more."""
        there = [f"{frame.volume}{' missing' * bool(frame.missing)}" for frame in self.frames]
        says = [f"{one.name} ({one.volume}): {one.data.get('says')}" for one in self.events]
        return f"volumes: {', '.join(there) or 'none'}; told: {'; '.join(says) or 'nothing'}"

    @property
    def names(self) -> set[str]:
        return {one.name for one in self.events} - {"listening"}


Step = Put | Callable[[Came], object]


def until(condition: Callable[[Came], bool]) -> Callable[[Came], None]:
    """A step that waits for what is sure to come of the steps before it."""

    def wait(came: Came) -> None:
        end = time.monotonic() + LIMIT
        while not condition(came):
            assert time.monotonic() < end, f"what was waited for did not come; {came.in_words()}"
            time.sleep(0.005)

    return wait


def frames(count: int) -> Callable[[Came], None]:
    """A step that waits until so many frames came."""
    return until(lambda came: len(came.frames) >= count)


def stream(
    way: str,
    steps: Sequence[Step],
    tmp_path: Path,
    *,
    before: Iterable[Put] = (),
    every: float = 0.005,
    new_folders: bool = False,
    **options: object,
) -> Came:
    """What comes of the steps, done one after the other while a source is open.

    Parameters
    ----------
    before
        What is in the folder when the source is opened.
    new_folders
        Whether the folders of the series are made when their first files are.
    """
    incoming, run_dir = tmp_path / "incoming", tmp_path / "run"
    incoming.mkdir(exist_ok=True)
    for step in steps:
        if isinstance(step, Put) and not new_folders:
            (incoming / step.folder).mkdir(exist_ok=True)
    for put in before:
        FolderTarget(incoming).put(put.folder, put.name, put.data, 0)
    chosen = PATIENT | options
    if way == "folder":
        source = open_source(FolderSource(path=str(incoming), **chosen))  # type: ignore[arg-type]
    else:
        source = open_source(DicomSource(address="127.0.0.1:0", **chosen))  # type: ignore[arg-type]
    came = Came(source, run_dir)
    source.begin(run_dir, came.events.append)
    errors: list[BaseException] = []
    over, stopping = threading.Event(), threading.Event()

    def deliver() -> None:
        target: Target = FolderTarget(incoming, "in-place")
        if way == "dicom":
            target = Sender(Address("127.0.0.1", source.port))  # type: ignore[attr-defined]
        with target:
            for step in steps:
                time.sleep(every)
                if over.is_set():  # nobody listens any more
                    return
                if isinstance(step, Put):
                    target.put(step.folder, step.name, step.data, step.have)
                else:
                    step(came)

    def work() -> None:
        try:
            deliver()
        except RunError as error:
            # A receiver that has all it wants ends the association; if it has not, frames are missing.
            if way != "dicom":
                errors.append(error)
        except BaseException as error:
            errors.append(error)
        if not errors and not over.wait(LIMIT):
            errors.append(AssertionError(f"no end within {LIMIT:g} s of the last step; {came.in_words()}"))
        stopping.set()

    scanner = threading.Thread(target=work)
    scanner.start()
    try:
        came.frames.extend(source.frames(stopping))
    finally:
        over.set()
        source.end()
        scanner.join()
    if errors:
        raise errors[0]
    return came
