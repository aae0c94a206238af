"""What a server is doing: a table of states, and the one that it is in."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Literal

from rtflow.documents import now
from rtflow.errors import RunError

State = Literal["idle", "preparing", "running", "finishing"]

STEPS: dict[State, tuple[State, ...]] = {
    "idle": ("preparing",),
    "preparing": ("running", "finishing", "idle"),  # idle: it could not begin
    "running": ("finishing",),
    "finishing": ("idle",),
}
"""From each state, those that may follow."""


class States:
    """The state of a server; may be used from any thread.

    Parameters
    ----------
    changed
        Called with each new state, in the thread that enters it.

    Attributes
    ----------
    now
        The state.
    since
        When it was entered, seconds since 1970.
    """

    def __init__(self, changed: Callable[[State], None] = lambda state: None) -> None:
        self.now: State = "idle"
        self.since = now()
        self._changed = changed
        self._lock = threading.Lock()

    def enter(self, state: State) -> None:
        """Go on to a state.

        Raises
        ------
        RunError
            If it does not follow the present one.
        """
        if not self.try_to_enter(state):
            raise RunError(f"a server that is {self.now} cannot be {state} next")

    def try_to_enter(self, state: State) -> bool:
        """Go on to a state if it follows the present one; whether it does."""
        with self._lock:
            if state not in STEPS[self.now]:
                return False
            self.now, self.since = state, now()
        self._changed(state)
        return True
