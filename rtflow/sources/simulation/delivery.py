"""The objects of a simulated scan on their way: into a folder or to a receiver, at the scanner's pace."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Literal, Protocol

from rtflow.errors import RunError
from rtflow.source_settings import Speed
from rtflow.sources.base import Pacer
from rtflow.sources.simulation.account import Account, copy_name
from rtflow.sources.simulation.faults import Action
from rtflow.sources.simulation.scanner import Scanner, ScanObject

Way = Literal["rename", "in-place", "slow"]
WAYS: tuple[Way, ...] = ("rename", "in-place", "slow")

_PIECES = 8
# Seconds that a file takes that is written slowly, at the scanner's pace.
_SLOW = 0.2


class Target(Protocol):
    """Where objects go; a context manager."""

    def __enter__(self) -> Target:
        """Be ready for objects."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """No more objects come."""

    def put(self, folder: str, name: str, data: bytes, have: int) -> bool:
        """Take an object, or what there is of it.

        Parameters
        ----------
        folder, name
            Of the file.
        data
            All its bytes so far.
        have
            How many of them came before.

        Returns
        -------
        bool
            Whether it was taken; an object that cannot go this way is not.

        Raises
        ------
        RunError
            If it could have been, and was not.
        """


class FolderTarget:
    """Files in a folder, one subfolder a series.

    Parameters
    ----------
    folder
        It is made if it is not there.
    way
        ``rename``: under a name with a dot first, then renamed, so that no part of a file is ever seen.
        ``in-place``: under its own name at once. ``slow``: so too, in eight pieces with pauses between them.
    pause
        Seconds in all that a file written slowly takes.
    """

    def __init__(self, folder: Path, way: Way = "rename", pause: float = _SLOW) -> None:
        self._folder, self._way, self._pause = folder, way, pause
        self._made: set[str] = set()
        self._waiting = threading.Event()

    def __enter__(self) -> FolderTarget:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def put(self, folder: str, name: str, data: bytes, have: int) -> bool:
        """Write a file, or the rest of one."""
        path = self._folder / folder / name
        try:
            if folder not in self._made:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._made.add(folder)
            if self._way == "rename":
                self._renamed(path, data)
            else:
                self._in_place(path, data, have)
        except OSError as error:
            raise RunError(
                f"{path} cannot be written ({error.strerror or error}); what came before it is whole"
            ) from None
        return True

    def _renamed(self, path: Path, data: bytes) -> None:
        part = path.with_name(f".{path.name}.part")
        try:
            part.write_bytes(data)
            part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise

    def _in_place(self, path: Path, data: bytes, have: int) -> None:
        with path.open("ab" if have else "wb", buffering=0) as file:
            if self._way == "in-place":
                file.write(data[have:])
                return
            step = max(-(-(len(data) - have) // _PIECES), 1)
            for start in range(have, len(data), step):
                if start > have:
                    self._waiting.wait(self._pause / (_PIECES - 1))
                file.write(data[start : min(start + step, len(data))])


@dataclass
class Delivered:
    """What was delivered so far.

    Parameters
    ----------
    actions, of
        Actions done, and planned.
    files, size
        Objects that were written or sent, and their bytes.
    volumes
        Volumes of the run of which something came.
    refused
        Objects that cannot go this way.
    """

    of: int
    actions: int = 0
    files: int = 0
    size: int = 0
    refused: int = 0
    seen: set[tuple[int, int]] = field(default_factory=set)

    def add(self, item: ScanObject, size: int, *, taken: bool, more: bool) -> None:
        """One more action: ``size`` bytes of an object of which there were some if ``more``."""
        self.actions += 1
        if not taken:
            self.refused += 1
            return
        self.files += not more
        self.size += size
        if item.volume:
            self.seen.add((item.series.number, item.volume))

    @property
    def volumes(self) -> int:
        """How many volumes something came of."""
        return len(self.seen)

    @property
    def whole(self) -> bool:
        """Whether all that was planned is done."""
        return self.actions == self.of


def deliver(
    scanner: Scanner,
    target: Target,
    *,
    speed: Speed = 1.0,
    truth: Path | None = None,
    stopping: threading.Event | None = None,
    progress: Callable[[Delivered], None] = lambda delivered: None,
) -> Delivered:
    """Bring a scan to where it goes.

    The clock starts when the first object is made. An object is in memory from its making until nothing more
    is to be done with it.

    Parameters
    ----------
    scanner
        The scan, and what goes wrong on the way.
    target
        Where to.
    speed
        Factor on the scanner's pace, or ``max`` for no waiting.
    truth
        Folder for the ground truth, None for none: what `rtflow.sources.simulation.truth.Truth` writes,
        there once the first volume is (and, of a scan that was stopped, in ``stopped``); ``objects.tsv``,
        all that was done, line by line; and ``faults.json``, written at the end.
    stopping
        Ends the delivery after the object that is under way.
    progress
        Told of every action.

    Raises
    ------
    RunError
        If the target does not take an object.
    OutputError
        If the truth cannot be written.
    """
    stopping = stopping or threading.Event()
    delivered = Delivered(len(scanner.schedule.actions))
    account = Account(scanner, truth)
    pacer = Pacer(speed)
    with target:
        try:
            for action, item in _in_order(scanner, account.made):
                # The clock starts here, once the first object is made.
                pacer.wait(0.0, stopping)
                if not pacer.wait(action.at, stopping):
                    break
                name = copy_name(item.name) if action.copy else item.name
                size = len(item.data) if action.share >= 1.0 else int(action.share * len(item.data))
                have = account.have(action)
                taken = target.put(item.folder, name, item.data[:size], have)
                delivered.add(item, size - have, taken=taken, more=have > 0)
                account.did(action, item, name, size, taken=taken)
                progress(delivered)
        finally:
            account.close()
    return delivered


def _in_order(
    scanner: Scanner, made: Callable[[int, ScanObject], None]
) -> Iterator[tuple[Action, ScanObject]]:
    """Every action with its object; objects are made in their order, and none sooner than it must be."""
    actions = scanner.schedule.actions
    uses = Counter(action.object for action in actions)
    held: dict[int, ScanObject] = {}
    coming = enumerate(scanner.objects())

    def take(number: int, item: ScanObject) -> None:
        made(number, item)
        if uses[number]:
            held[number] = item

    for action in actions:
        if action.object is None:
            yield action, scanner.stray(action)
            continue
        while action.object not in held:
            take(*next(coming))
        item = held[action.object]
        uses[action.object] -= 1
        if not uses[action.object]:
            del held[action.object]
        yield action, item
    for number, item in coming:  # what was dropped at the end has a name too
        made(number, item)
