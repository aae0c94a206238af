"""Arrivals in any order to volumes in theirs: what is held, what is given up, when a run is over.

Nothing here reads a clock or a file: times come in with the calls, so that every order of events can be
tried in a test.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Release(Generic[T]):
    """One volume that is settled: there, or missing with a reason."""

    volume: int
    item: T | None
    missing: str = ""


class Assembler(Generic[T]):
    """Puts the volumes of one run in order.

    A volume is given up when ``patience`` has passed since a later one came *and* since the one before it
    did. The second condition matters where a stray late volume comes first: the others then still
    have their time. Where no later one comes whole (each lacks a slice, say), a volume is given up when
    ``idle`` has passed since anything of a later one came, and since anything of its own did.

    Parameters
    ----------
    patience
        Seconds.
    idle
        Seconds without anything new after which the run is over.
    volumes
        Number of volumes that was asked for, None if none was.
    planned
        Number of volumes that the headers announce, if they do. It ends the run when it is reached; it grows
        when more volumes come, and it makes volumes missing only if any came live: what was there
        already may be an excerpt, or a scan that was stopped.
    began
        Time at which the waiting began.
    first
        Number of the first volume; those before it are there already.
    """

    def __init__(
        self,
        *,
        patience: float,
        idle: float,
        volumes: int | None = None,
        planned: int | None = None,
        began: float = 0.0,
        first: int = 1,
    ) -> None:
        self._patience = patience
        self._idle = idle
        self._volumes = volumes
        self._planned = planned
        self._live = False
        self._next = first
        self._held: dict[int, tuple[T, float]] = {}
        self._heard: dict[int, tuple[float, float]] = {}
        self._remarks: dict[int, str] = {}
        self._news = began
        self._in_turn = began
        total = planned if volumes is None else volumes
        self._over = total is not None and first > total
        self._ending: tuple[float, str] | None = None

    @property
    def over(self) -> bool:
        """Whether the run has ended; no more volumes are taken."""
        return self._over

    @property
    def expected(self) -> int:
        """Number of the volume whose turn it is."""
        return self._next

    @property
    def deadline(self) -> float:
        """When `tick` will next have something to do, if nothing comes before."""
        return min(self._news + self._idle, self._give_up_at())

    def wants(self, volume: int) -> bool:
        """Whether the volume is yet to come: not there, not given up, and not beyond the last one."""
        beyond = self._volumes is not None and volume > self._volumes
        return not (self._over or volume < self._next or volume in self._held or beyond)

    def heard(self, volume: int, at: float) -> None:
        """Something new of a volume came, if only a slice, or one that is of no use: it is not silent."""
        self._news = max(self._news, at)
        self._live = True
        if volume >= self._next:
            began, _ = self._heard.get(volume, (at, at))
            self._heard[volume] = began, at

    def arrive(self, volume: int, item: T, at: float, *, live: bool = True) -> list[Release[T]]:
        """Take in a volume; what can go out now, in order.

        A volume that was there before, or that was given up, is dropped.
        """
        if not self.wants(volume):
            return []
        if self._planned is not None:
            self._planned = max(self._planned, volume)
        self._live |= live
        self._held[volume] = (item, at)
        self._news = max(self._news, at)
        return self._release()

    def remark(self, volume: int, reason: str) -> None:
        """Why a volume may turn out to be missing: its file is cut off, say."""
        if volume >= self._next:
            self._remarks[volume] = reason

    def tick(self, at: float) -> list[Release[T]]:
        """Time has passed: give up what is overdue, end the run if it has been silent for long."""
        if self._over:
            return []
        if at >= self._news + self._idle:
            return self.finish(f"it had not come when no new volume had come for {self._idle:g} s")
        if self._ending is not None:
            began, why = self._ending
            # Nothing more is expected but what is lacking of what came so far.
            last = max((*self._held, *self._heard), default=0)
            lacking = any(volume not in self._held for volume in range(self._next, last + 1))
            if at >= began + (self._patience if lacking else 0.0):
                return self.finish(why)
        released: list[Release[T]] = []
        while not self._over and at >= self._give_up_at():
            if self._held:
                why = f"it did not come within {self._patience:g} s of volume {min(self._held)}"
            else:
                why = f"it did not come, and nothing more of it for {self._idle:g} s"
            released.append(self._missing(why))
            released += self._release()
        return released

    def end(self, at: float, why: str) -> None:
        """No more volumes are to come; what is lacking of those before may still be on its way."""
        if self._ending is None:
            self._ending = at, why

    def finish(self, why: str) -> list[Release[T]]:
        """End the run: what is held goes out, and what is not there up to the last volume is missing."""
        if self._over:
            return []
        last = max((*self._held, *self._remarks, self._planned or 0 if self._live else 0), default=0)
        if self._volumes is not None:
            last = self._volumes
        released: list[Release[T]] = []
        while self._next <= last:
            if self._next in self._held:
                released += self._release()
            else:
                released.append(self._missing(why))
        self._over = True
        return released

    def _give_up_at(self) -> float:
        if self._held:
            return max(min(at for _, at in self._held.values()), self._in_turn) + self._patience
        later = [began for volume, (began, _) in self._heard.items() if volume > self._next]
        if not later:
            return math.inf
        _, own = self._heard.get(self._next, (-math.inf, -math.inf))
        return max(min(later), own, self._in_turn) + max(self._idle, self._patience)

    def _missing(self, why: str) -> Release[T]:
        volume = self._next
        self._pass()
        return Release(volume, None, self._remarks.pop(volume, why))

    def _pass(self) -> None:
        self._heard.pop(self._next, None)
        self._next += 1
        total = self._planned if self._volumes is None else self._volumes
        if total is not None and self._next > total:
            self._over = True

    def _release(self) -> list[Release[T]]:
        released = []
        while self._next in self._held:
            item, at = self._held.pop(self._next)
            # One that waited for a volume that was given up counts too: those after it have their time.
            self._in_turn = max(self._in_turn, at)
            released.append(Release(self._next, item))
            self._remarks.pop(self._next, None)
            self._pass()
        return released
