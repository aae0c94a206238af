"""What a run is told of its agent: what it says of itself, and whether it is there."""

from __future__ import annotations

import threading

from rtflow.server.allowance import Allowance

_TROUBLES, _EACH_SECOND = 100, 1.0
"""Troubles that an agent may tell at once, and in the long run."""


class AgentTroubles:
    """Gathers them, each once; every method may be called from any thread.

    Parameters
    ----------
    name
        Of the agent.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._said: dict[str, None] = {}  # in their order
        self._lock = threading.Lock()
        self._allowance = Allowance(_TROUBLES, _EACH_SECOND)
        self._was_connected: bool | None = None

    def say(self, trouble: str) -> None:
        """Something is wrong on this host."""
        with self._lock:
            self._said[trouble] = None

    def hear(self, says: str) -> None:
        """The agent says that something is wrong on its own host."""
        if self._allowance.take():
            self.say(f"agent {self._name!r}: {says}")
        elif self._allowance.refused == 1:
            self.say(f"agent {self._name!r} tells more troubles than can be; what is beyond is dropped")

    def take(self, *, connected: bool, opened: bool) -> list[str]:
        """What was said since the last call, and whether the agent has come or gone.

        Parameters
        ----------
        connected
            Whether it is there now.
        opened
            Whether it has ever opened its source for the run.
        """
        with self._lock:
            if self._was_connected is None and not connected and not opened:
                self._said[f"the agent {self._name!r} is not connected: it is waited for"] = None
            self._was_connected = connected
            said, self._said = list(self._said), {}
        return said
