import threading
from pathlib import Path

import pytest

from rtflow.server.desk import BusyError, Desk
from rtflow.server.states import State, States
from rtflow.settings import RunSettings


class Watched(States):
    """States of which one look, by one thread, is told before it is answered."""

    def __init__(self) -> None:
        self.looked, self.go_on = threading.Event(), threading.Event()
        self.watched: threading.Thread | None = None
        super().__init__()

    @property
    def now(self) -> State:
        seen = self._now
        if threading.current_thread() is self.watched:
            self.looked.set()
            self.go_on.wait(0.2)  # whoever waits for the lock cannot say so
        return seen

    @now.setter
    def now(self, state: State) -> None:
        self._now = state


def test_an_order_to_stop_ends_the_run_that_it_was_given_for_and_not_the_next(tmp_path: Path):
    desk = Desk(RunSettings(), tmp_path, waits=True)
    desk.states = states = Watched()
    desk.start()
    first = desk.stopping
    states.watched = threading.Thread(target=desk.stop)
    states.watched.start()
    states.looked.wait()  # it has seen that there is a run, which now ends; and another one is ordered
    desk.done()
    desk.start()
    states.go_on.set()
    states.watched.join()
    assert first.is_set()
    assert not desk.stopping.is_set()


def test_without_a_run_there_is_nothing_to_stop(tmp_path: Path):
    desk = Desk(RunSettings(), tmp_path, waits=True)
    with pytest.raises(BusyError, match="no run"):
        desk.stop()
    assert not desk.stopping.is_set()
