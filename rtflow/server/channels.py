"""The agents that a server knows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

from rtflow.server.channel import Channel, Emit
from rtflow.server.messages import BeginRun
from rtflow.server.scanner_channel import ScannerChannel
from rtflow.server.subject_channel import SubjectChannel

_KINDS: dict[str, type[Channel]] = {"scanner": ScannerChannel, "subject": SubjectChannel}
_MOST = 64


class Channels:
    """Each agent is there from when it is first spoken of.

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
        self._emit: Emit | None = None
        self.run: BeginRun | None = None

    def find(self, kind: str, name: str) -> Channel:
        """The channel of an agent; may be called from any thread."""
        known = self._known.get((kind, name))
        if known is None:
            known = self._known.setdefault((kind, name), _KINDS[kind](name, self._loop, self._changed))
            known.emit = self._emit
            if kind == "subject" and self.run is not None:
                known.begin_run(self.run)
        return known

    def admit(self, kind: str, name: str) -> Channel | None:
        """The channel of an agent that has come by itself; None if too many have."""
        if (kind, name) not in self._known and len(self._known) >= _MOST:
            return None
        return self.find(kind, name)

    def attend(self, emit: Emit | None) -> None:
        """Tell all that subjects say to a run that begins, or to nobody; from any thread."""
        self._emit = emit
        for channel in list(self._known.values()):
            channel.emit = emit

    def __iter__(self) -> Iterator[Channel]:
        return iter(list(self._known.values()))
