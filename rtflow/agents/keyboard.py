"""A scanner's trigger and a response box for a rehearsal: what is typed, line by line."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from rtflow.documents import now
from rtflow.server.messages import Response, Said, Trigger

TRIGGERS = ("", "5")
"""Lines that stand for a trigger: a key alone, or what most trigger boxes type."""


class Typed:
    """Makes triggers, counted from 1 in each run, and responses of lines.

    Parameters
    ----------
    hear
        Called with each.
    current
        Gives the run that is under way; empty without one.

    Examples
    --------
    >>> said = []
    >>> Typed(said.append, lambda: "run-1").read(["5", "", "left"])
    >>> [one.n if isinstance(one, Trigger) else one.button for one in said]
    [1, 2, 'left']
    """

    def __init__(self, hear: Callable[[Said], None], current: Callable[[], str]) -> None:
        self._hear, self._current = hear, current
        self._run_uid, self._triggers = "", 0

    def read(self, lines: Iterable[str]) -> None:
        """Take lines until there are no more."""
        for line in lines:
            self._take(line.strip(), now(), self._current())

    def _take(self, line: str, at: float, run_uid: str) -> None:
        if run_uid != self._run_uid:
            self._run_uid, self._triggers = run_uid, 0
        if line in TRIGGERS:
            self._triggers += 1
            self._hear(Trigger(n=self._triggers, at=at, run_uid=run_uid))
        else:
            self._hear(Response(button=line[:100], at=at, run_uid=run_uid))
