"""The agents that a server knows."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Iterator

from rtflow.server.channel import Channel, Emit
from rtflow.server.messages import BeginRun
from rtflow.server.scanner_channel import ScannerChannel
from rtflow.server.subject_channel import SubjectChannel

_KINDS: dict[str, type[Channel]] = {"scanner": ScannerChannel, "subject": SubjectChannel}
_GONE = 16
"""Agents of a kind that were here, that no run has spoken of: so many are remembered."""


class Channels:
    """Each agent is there from when it is first spoken of, or comes by itself.

    Those that a run has spoken of stay. Others are forgotten some time after they have gone, so that nobody
    fills the list with names.

    Parameters
    ----------
    loop
        The server's event loop.
    changed
        Called, in the loop's thread, when a connection begins or ends.

    Attributes
    ----------
    run
        The run that is under way: subjects that come later hear of it.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, changed: Callable[[Channel, str], None]) -> None:
        self._loop = loop
        self._changed = changed
        self._known: dict[tuple[str, str], Channel] = {}
        self._of_runs: set[Channel] = set()
        self._here: Counter[Channel] = Counter()
        self._lock = threading.Lock()
        self._emit: Emit | None = None
        self.run: BeginRun | None = None

    def find(self, kind: str, name: str) -> Channel:
        """The channel of an agent that a run speaks of; may be called from any thread."""
        with self._lock:
            channel = self._channel(kind, name)
            self._of_runs.add(channel)
            return channel

    def may_connect(self, kind: str, name: str, instance: str) -> bool:
        """Whether an agent may come now by this name; it is not remembered for that."""
        known = self._known.get((kind, name))
        return known is None or known.may_connect(instance)

    @contextlib.contextmanager
    def coming(self, kind: str, name: str) -> Iterator[Channel]:
        """The channel of an agent that has come by itself, and is here for as long as the block lasts."""
        with self._lock:
            channel = self._channel(kind, name)
            self._here[channel] += 1
        try:
            yield channel
        finally:
            with self._lock:
                self._here[channel] -= 1
                self._here += Counter()  # which forgets whoever is here no more
                self._forget(kind)

    def attend(self, emit: Emit | None) -> None:
        """Tell all that subjects say to a run that begins, or to nobody; from any thread."""
        self._emit = emit
        for channel in self:
            channel.emit = emit

    def __iter__(self) -> Iterator[Channel]:
        with self._lock:
            return iter(list(self._known.values()))

    def _channel(self, kind: str, name: str) -> Channel:
        known = self._known.get((kind, name))
        if known is None:
            known = self._known[kind, name] = _KINDS[kind](name, self._loop, self._changed)
            known.emit = self._emit
            if kind == "subject" and self.run is not None:
                known.begin_run(self.run)
        return known

    def _forget(self, kind: str) -> None:
        gone = [
            channel
            for channel in self._known.values()
            if channel.kind == kind and channel not in self._of_runs and channel not in self._here
        ]
        gone.sort(key=lambda channel: channel.since, reverse=True)
        for channel in gone[_GONE:]:
            del self._known[kind, channel.name]
