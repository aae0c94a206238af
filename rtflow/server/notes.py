"""What the server itself has to say of a run: agents that come and go, and how far their clocks are off."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

from rtflow.documents import Event
from rtflow.errors import RtflowError
from rtflow.server.channel import Channel, Emit
from rtflow.server.clock import Offset

_NOTICED = 0.001
"""Seconds that an offset must change by, beyond what is uncertain of it, to be told again."""


class Notes:
    """Makes Events of the run that is under way; everything is called from the event loop's thread."""

    def __init__(self) -> None:
        self._emit: Emit | None = None
        self._told: dict[Channel, Offset] = {}

    def begin(self, emit: Emit | None, channels: Iterable[Channel]) -> None:
        """A run takes notes from now on (None: none does); it is told who is there."""
        self._emit = emit
        self._told.clear()
        if emit is not None:
            for channel in channels:
                if channel.link.connected:
                    self.changed(channel, "connected")

    def changed(self, channel: Channel, what: str) -> None:
        """An agent has come or gone."""
        self._say(
            f"agent_{what}",
            channel,
            says=f"{channel.kind} '{channel.name}' "
            + ("is connected" if what == "connected" else "was lost: it is waited for"),
        )
        self._told.pop(channel, None)

    def look_at_clocks(self, channels: Iterable[Channel]) -> None:
        """Tell the offset of each agent's clock, if it is new or other than what was told."""
        for channel in channels:
            offset = channel.link.clock.offset
            if self._emit is None or offset is None or not channel.link.connected:
                continue
            before = self._told.get(channel)
            if before is None or _differ(before, offset):
                self._told[channel] = offset
                self._say("clock", channel, offset=offset.seconds, round_trip=offset.round_trip)

    def _say(self, name: str, channel: Channel, **data: object) -> None:
        if self._emit is not None:
            with contextlib.suppress(RtflowError):  # the run has ended, or its disk is full: it says so
                self._emit(Event(name=name, data={"channel": channel.kind, "agent": channel.name, **data}))


def _differ(before: Offset, after: Offset) -> bool:
    return abs(after.seconds - before.seconds) > _NOTICED + (before.round_trip + after.round_trip) / 2
