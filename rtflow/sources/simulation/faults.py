"""What goes wrong on the way from a scanner: a schedule of faults, drawn from a seed.

A pure function: objects with the times at which they are due, and the faults to expect, give the list of
actions by which the objects come to be there, and an account of what was done to which. Nothing here knows
files or DICOM, so that any arrival logic can be driven by it.

>>> objects = [Due(volume=n, at=2.0 * n) for n in range(1, 101)]
>>> schedule = make_schedule(objects, Faults(drop=0.1, delay=0.1), tr=2.0, seed=3)
>>> lost = schedule.missing(objects)
>>> lost == [(1, fault.volume) for fault in schedule.faults if fault.fault == "drop"] and len(lost) > 2
True
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from rtflow.errors import UsageError

STRAYS = ("physio", "report", "empty", "text")
"""What is no image and comes among the images: two kinds of DICOM objects, and two files that are none."""

_SHARES = ("drop", "duplicate", "delay", "reorder", "truncate", "stray")


@dataclass(frozen=True)
class Due:
    """An object, and when its last byte would be there if nothing went wrong.

    Parameters
    ----------
    volume
        Number of the volume that it belongs to, from 1; 0 for an object that belongs to none.
    at
        Seconds from the start of the first volume.
    scan
        Number of the scan, from 1: a scan that is started again after it was stopped is the next one.
    spared
        Whether nothing happens to it, for nobody waits for it: a phase image, a localizer. It is not taken
        if the scan was stopped before.
    """

    volume: int
    at: float
    scan: int = 1
    spared: bool = False


@dataclass(frozen=True, kw_only=True)
class Faults:
    """What to expect. Shares are of volumes, from 0 to 1, so that they mean the same for every vendor.

    A volume of several objects is hit as a whole or in one object, which is as likely.

    Parameters
    ----------
    drop
        Share of volumes that lose objects.
    duplicate
        Share of volumes of which objects come once more, within 2 TR, under another name.
    delay
        Share of volumes of which objects come late, by ``lateness``.
    reorder
        Share of volumes whose objects come in another order, or that change places with the next volume.
    truncate
        Share of volumes of which objects are cut off; every other one is completed within 1.5 TR.
    stray
        Share of volumes before which something comes that is no image: one of `STRAYS`.
    abort
        Volume in which scan 1 is stopped: of its objects only the first half comes, of later ones none.
    lateness
        Least and greatest delay, TR.
    strays
        The kinds to choose from.

    Raises
    ------
    UsageError
        If a share is none, or a number is out of its range.
    """

    drop: float = 0.0
    duplicate: float = 0.0
    delay: float = 0.0
    reorder: float = 0.0
    truncate: float = 0.0
    stray: float = 0.0
    abort: int | None = None
    lateness: tuple[float, float] = (0.5, 3.0)
    strays: tuple[str, ...] = STRAYS

    def __post_init__(self) -> None:
        for name in _SHARES:
            share = getattr(self, name)
            if not 0.0 <= share <= 1.0:
                raise UsageError(
                    f"{name}: expected a share of volumes from 0 to 1, got {share:g}; 0.05 is 5 %"
                )
        if self.abort is not None and self.abort < 1:
            raise UsageError(f"abort: expected the number of a volume, from 1, got {self.abort}")
        if not 0.0 <= self.lateness[0] <= self.lateness[1]:
            raise UsageError(
                f"lateness: expected the least and the greatest delay in TR, got {self.lateness}"
            )

    def __bool__(self) -> bool:
        """Whether anything goes wrong at all."""
        return any(getattr(self, name) for name in (*_SHARES, "abort"))


@dataclass(frozen=True)
class Action:
    """Something comes to be there.

    Parameters
    ----------
    at
        Seconds from the start of the first volume.
    object
        Number of the object in the sequence that was given, from 0; None for a stray.
    share
        How much of its bytes is there from then on. An object that was cut off before grows to it.
    copy
        Whether it comes under a name of its own, beside the object that was there.
    stray
        Kind of a stray.
    before
        Scan and volume before which a stray comes; no two come before the same.
    """

    at: float
    object: int | None
    share: float = 1.0
    copy: bool = False
    stray: str = ""
    before: tuple[int, int] | None = None


@dataclass(frozen=True)
class Fault:
    """What was done to which objects.

    Parameters
    ----------
    fault
        Name of the field of `Faults`.
    scan, volume
        Whose objects; a reordering may reach into the next volume, whose objects are then listed too.
    objects
        Numbers of the objects, from 0.
    seconds
        Delay of a delayed object; time to the copy, or to the completion of an object that was cut off
        (None if it stays so).
    share
        How much of a truncated object came at first.
    stray
        Kind of a stray.
    """

    fault: str
    scan: int
    volume: int
    objects: tuple[int, ...] = ()
    seconds: float | None = None
    share: float | None = None
    stray: str = ""


@dataclass(frozen=True)
class Schedule:
    """All that comes, in the order of its times, and what was done to it."""

    actions: tuple[Action, ...]
    faults: tuple[Fault, ...] = ()
    whole: frozenset[int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        there = (one.object for one in self.actions if one.object is not None and one.share >= 1.0)
        object.__setattr__(self, "whole", frozenset(there))

    def missing(self, objects: Sequence[Due]) -> list[tuple[int, int]]:
        """Scan and volume of which not all that counts is there in the end; ``whole`` holds the objects."""
        lost = {
            (due.scan, due.volume)
            for number, due in enumerate(objects)
            if due.volume and not due.spared and number not in self.whole
        }
        return sorted(lost)


def make_schedule(objects: Sequence[Due], faults: Faults, *, tr: float, seed: int = 1) -> Schedule:
    """How objects come, when this is what goes wrong.

    The chance of each volume and fault is its own: a longer run, or one more kind of fault, leaves
    the others as they were. An object that is dropped suffers nothing else.

    Parameters
    ----------
    objects
        In the order in which the scanner makes them.
    faults
        What to expect.
    tr
        Repetition time, seconds.
    seed
        What all chance comes from.

    Returns
    -------
    Schedule
        At equal times actions keep the order of their objects.
    """
    made = _Making(objects, faults, tr, seed)
    return made.schedule()


class _Making:
    def __init__(self, objects: Sequence[Due], faults: Faults, tr: float, seed: int) -> None:
        self._objects, self._faults, self._tr, self._seed = objects, faults, tr, seed
        self._at = [due.at for due in objects]
        self._gone: set[int] = set()
        self._told: list[Fault] = []
        self._more: list[Action] = []
        self._first: dict[int, float] = {}  # share of what is cut off
        self._volumes: dict[tuple[int, int], list[int]] = {}
        for number, due in enumerate(objects):
            if due.volume and not due.spared:
                self._volumes.setdefault((due.scan, due.volume), []).append(number)

    def schedule(self) -> Schedule:
        self._abort()
        for kind in ("drop", "delay", "reorder", "duplicate", "truncate", "stray"):
            for chance, key in self._hit(kind):
                getattr(self, f"_{kind}")(chance, key)
        actions = [
            Action(at, number, self._first.get(number, 1.0))
            for number, at in enumerate(self._at)
            if number not in self._gone
        ]
        # Sorting is stable: what comes once more follows what came first.
        ordered = sorted([*actions, *self._more], key=lambda action: action.at)
        told = sorted(self._told, key=lambda fault: (fault.scan, fault.volume))
        return Schedule(tuple(ordered), tuple(told))

    def _hit(self, kind: str) -> Iterator[tuple[np.random.Generator, tuple[int, int]]]:
        share = getattr(self._faults, kind)
        if not share:
            return
        for scan, volume in self._volumes:
            chance = np.random.default_rng([self._seed, _SHARES.index(kind), scan, volume])
            if chance.random() < share:
                yield chance, (scan, volume)

    def _tell(self, kind: str, key: tuple[int, int], objects: Iterable[int] = (), **more: object) -> None:
        self._told.append(Fault(kind, *key, tuple(objects), **more))  # type: ignore[arg-type]

    def _some(self, chance: np.random.Generator, key: tuple[int, int]) -> list[int]:
        """All objects of a volume that are left, or one of them."""
        left = [number for number in self._volumes[key] if number not in self._gone]
        whole, which = chance.random(2)
        return left if whole < 0.5 or len(left) < 2 else [left[int(which * len(left))]]

    def _abort(self) -> None:
        last = self._faults.abort
        if last is None:
            return
        inside = self._volumes.get((1, last))
        if inside is None:
            raise UsageError(f"abort: the scan has no volume {last}; choose one that it has")
        self._gone.update(inside[len(inside) // 2 :])
        self._gone.update(
            number
            for number, due in enumerate(self._objects)
            if due.scan == 1 and (due.volume > last or (due.spared and due.volume == last))
        )
        self._tell("abort", (1, last), sorted(self._gone))

    def _drop(self, chance: np.random.Generator, key: tuple[int, int]) -> None:
        if chosen := self._some(chance, key):
            self._gone.update(chosen)
            self._tell("drop", key, chosen)

    def _delay(self, chance: np.random.Generator, key: tuple[int, int]) -> None:
        if chosen := self._some(chance, key):
            seconds = float(chance.uniform(*self._faults.lateness)) * self._tr
            for number in chosen:
                self._at[number] += seconds
            self._tell("delay", key, chosen, seconds=seconds)

    def _reorder(self, chance: np.random.Generator, key: tuple[int, int]) -> None:
        own = [number for number in self._volumes[key] if number not in self._gone]
        after = [n for n in self._volumes.get((key[0], key[1] + 1), ()) if n not in self._gone]
        if chance.random() < 0.5 and len(own) > 1:
            order = [own[n] for n in chance.permutation(len(own))]
        elif own and after:
            order = after + own
        else:
            return
        times = sorted(self._at[number] for number in order)
        moved = [number for number, at in zip(order, times, strict=True) if self._at[number] != at]
        for number, at in zip(order, times, strict=True):
            self._at[number] = at
        if moved:
            self._tell("reorder", key, sorted(moved))

    def _duplicate(self, chance: np.random.Generator, key: tuple[int, int]) -> None:
        if chosen := self._some(chance, key):
            seconds = float(chance.uniform(0.0, 2.0)) * self._tr
            self._more += [Action(self._at[number] + seconds, number, copy=True) for number in chosen]
            self._tell("duplicate", key, chosen, seconds=seconds)

    def _truncate(self, chance: np.random.Generator, key: tuple[int, int]) -> None:
        if chosen := self._some(chance, key):
            share, later = float(chance.uniform(0.02, 0.98)), float(chance.uniform(0.1, 1.5)) * self._tr
            completed = bool(chance.random() < 0.5)
            for number in chosen:
                self._first[number] = share
                if completed:
                    self._more.append(Action(self._at[number] + later, number))
            self._tell("truncate", key, chosen, share=share, seconds=later if completed else None)

    def _stray(self, chance: np.random.Generator, key: tuple[int, int]) -> None:
        left = [number for number in self._volumes[key] if number not in self._gone]
        if left:
            kind = self._faults.strays[int(chance.random() * len(self._faults.strays))]
            at = self._at[left[0]] - float(chance.random()) * self._tr / 2
            self._more.append(Action(max(at, 0.0), None, stray=kind, before=key))
            self._tell("stray", key, stray=kind)
