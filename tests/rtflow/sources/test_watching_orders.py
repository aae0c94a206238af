"""A watched folder under any order of writing, events, rescans and answers: each object is brought whole."""

import itertools
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from scanning import volume_file

from rtflow.sources.feed import Arrival
from rtflow.sources.watching import Watcher

NAMES = ("a.dcm", "b.dcm")
OBJECTS = [volume_file(volume) for volume in range(1, 5)]

names = st.sampled_from(NAMES)


class Orders(RuleBasedStateMachine):
    """A writer, the operating system's events, and whoever takes what is brought and answers, soon or late.

    Time is the machine's own, and each write has a time of its own, as with a clock that is fine enough.
    """

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.patch = pytest.MonkeyPatch()
        self.time = 1e9
        self.patch.setattr("rtflow.sources.watching.now", lambda: self.time)
        self.times = itertools.count(10**18, 10**9)
        self.watcher = Watcher(self.folder)
        self.there: dict[str, tuple[int, bool]] = {}
        self.at_once = True
        self.untold: list[str] = []
        self.held: list[tuple[Arrival, bool]] = []
        self.taken: list[tuple[str, bytes]] = []

    def teardown(self) -> None:
        try:
            self.settle()
        finally:
            self.patch.undo()
            shutil.rmtree(self.folder)

    def write(self, name: str, number: int, size: int) -> None:
        path = self.folder / name
        path.write_bytes(OBJECTS[number][:size])
        changed = next(self.times)
        os.utime(path, ns=(changed, changed))

    def closed(self, name: str) -> None:
        self.untold.append(name)

    @rule(name=names, share=st.sampled_from([0.0, 0.3, 0.6, 0.95]))
    def write_a_part(self, name: str, share: float) -> None:
        number, whole = self.there.get(name, (NAMES.index(name), False))
        if not whole:
            self.there[name] = number, False
            self.write(name, number, int(share * len(OBJECTS[number])))

    @rule(name=names)
    def write_the_rest(self, name: str) -> None:
        number, whole = self.there.get(name, (NAMES.index(name), False))
        if not whole:
            self.there[name] = number, True
            self.write(name, number, len(OBJECTS[number]))
            self.closed(name)

    @rule(name=names)
    def begin_the_next_in_its_place(self, name: str) -> None:
        number, whole = self.there.get(name, (-1, False))
        if whole and number < len(NAMES):
            self.there[name] = number + len(NAMES), True
            self.write(name, number + len(NAMES), len(OBJECTS[number + len(NAMES)]))
            self.closed(name)

    @rule(name=names)
    def set_its_times(self, name: str) -> None:
        if name in self.there:
            changed = next(self.times)
            os.utime(self.folder / name, ns=(changed, changed))

    @rule()
    def an_event_tells(self) -> None:
        if self.untold:
            self.time += 0.001
            self.watcher.heard(str(self.folder / self.untold.pop(0)))

    @rule()
    def an_event_is_lost(self) -> None:
        if self.untold and self.there[self.untold[0]][0] < len(NAMES):
            del self.untold[0]

    @initialize(at_once=st.booleans())
    def is_taken_by(self, at_once: bool) -> None:
        """A stream, which answers at once; or an agent, which is answered later."""
        self.at_once = at_once

    @rule(seconds=st.sampled_from([0.25, 0.001, 2.5]))
    def take(self, seconds: float) -> None:
        self.time += seconds
        for arrival in self.watcher.arrivals(0.0):
            whole = arrival.data in OBJECTS
            self.held.append((arrival, whole))
            if self.at_once:
                self.answer(len(self.held) - 1)

    @rule(which=st.integers(0, 9))
    def answer(self, which: int) -> None:
        if which < len(self.held):
            arrival, whole = self.held.pop(which)
            if whole:
                self.taken.append((arrival.name, arrival.data))
                self.watcher.done(arrival)
            else:
                self.watcher.refuse(arrival)

    @invariant()
    def time_does_not_run_ahead(self) -> None:
        assert self.watcher.brought_until <= self.time

    def settle(self) -> None:
        while self.untold:
            self.an_event_tells()
        for _ in range(6):  # in less time than after which all is tried again
            self.take(0.25)
            while self.held:
                self.answer(0)
        for name, (number, whole) in self.there.items():
            assert not whole or (name, OBJECTS[number]) in self.taken
        count = len(self.taken)
        self.take(10.0)
        self.take(10.0)
        assert len(self.taken) == count


Orders.TestCase.settings = settings(max_examples=300, stateful_step_count=30, deadline=None)
TestOrders = Orders.TestCase
