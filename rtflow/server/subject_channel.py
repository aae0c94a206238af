"""The subject's host, as the server knows it."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Collection
from typing import Any, Literal

from rtflow.documents import Delivered, Event, now
from rtflow.errors import ProtocolError, UsageError
from rtflow.server.asking import Asking
from rtflow.server.channel import Channel
from rtflow.server.messages import (
    BeginRun,
    Body,
    EndRun,
    Piece,
    Received,
    Reply,
    Response,
    Shown,
    StimulusEvent,
    Trigger,
    Value,
)

LATE = 1.0
"""Seconds after the end of what was shown: an event that is told later came over a lost connection."""

_BACK = 6.0
"""Seconds at the end of a run in which a display that was lost may come back for the last values."""

_UNREAD = 10_000
"""What was said and no node has taken; all of it stands in the journal."""


class SubjectChannel(Channel):
    """Values for the participant's display, and what comes back.

    What is offered stays until the display's host has worked on it; one that connects in the middle of a run,
    or comes back, also as another process, gets what has not been received of this run, in order. What it
    says becomes documents at once, with times on the server's clock: `Delivered`, and Events ``response``,
    ``trigger`` and ``stimulus``.
    """

    kind = "subject"

    def __init__(self, *arguments, **named) -> None:  # type: ignore[no-untyped-def]
        super().__init__(*arguments, **named)
        self.asking = Asking(self._loop, self.link, self.name)
        self._said = threading.Condition()
        self._offered: set[int] = set()
        self._reached: dict[str, set[int]] = {"received": set(), "shown": set()}
        self._unread: deque[Event] | None = None

    # In the loop's thread

    async def work(self, body: Body, parts: list[bytes]) -> None:
        """Make a document of what the display says; of an earlier run nothing is taken any more.

        Raises
        ------
        ProtocolError
            If a subject may not say it, or its time is no number.
        """
        if isinstance(body, Received | Shown):
            stage: Literal["received", "shown"] = "shown" if isinstance(body, Shown) else "received"
            self._deliver(body.run_uid, body.volume, stage, self._ours(body.at))
        elif isinstance(body, Response):
            self._tell(body.run_uid, "response", button=body.button, at=self._ours(body.at))
        elif isinstance(body, Trigger):
            self._tell(body.run_uid, "trigger", n=body.n, at=self._ours(body.at))
        elif isinstance(body, StimulusEvent):
            onset, duration = self._ours(body.onset), body.duration
            late = now() - (onset + duration) > LATE
            self._tell(body.run_uid, "stimulus", name=body.name, onset=onset, duration=duration, late=late)
        elif isinstance(body, Reply | Piece):
            await self.asking.hear(body, parts)
        else:
            await super().work(body, parts)

    def _ours(self, at: float) -> float:
        if not math.isfinite(at):
            raise ProtocolError(f"expected a time in seconds, got {at}")
        return self.link.clock.to_ours(at)

    def _deliver(self, run_uid: str, volume: int, stage: Literal["received", "shown"], at: float) -> None:
        reached = self._reached[stage]
        if self._run is None or run_uid != self._run.run_uid or volume not in self._offered - reached:
            return
        if self.emit is not None:
            self.emit(Delivered(volume=volume, channel=self.name, stage=stage, at=at))
        with self._said:
            reached.add(volume)
            self._said.notify_all()

    def _tell(self, run_uid: str, what: str, **data: str | float | bool) -> None:
        if self._run is None or run_uid not in ("", self._run.run_uid) or self.emit is None:
            return
        event = Event(name=what, data={"display": self.name, **data})
        self.emit(event)
        if self._unread is not None and what != "trigger":
            self._unread.append(event)

    def _begin(self, run: BeginRun) -> None:
        if self._connection is None or self._connection.done():
            self.link.forget()  # of earlier runs: nobody is to be shown it any more
        super()._begin(run)

    def began_anew(self) -> None:
        """Another process than before is at the other end."""
        self.asking.began_anew(self._about)
        super().began_anew()

    # From any thread

    def call(self, method: str, /, *, timeout: float = 5.0, **arguments: Any) -> Any:
        """Call a method of a service of the subject's host; as `ScannerChannel.call`."""
        return self.asking.call(method, arguments, timeout)

    def begin_run(self, run: BeginRun) -> None:
        """Tell the display, and one that takes its place, that there is a run."""
        with self._said:
            self._offered.clear()
            for reached in self._reached.values():
                reached.clear()
        super().begin_run(run)

    def offer(self, value: Value) -> None:
        """Let the display have a value as soon as it is there; returns at once."""
        with self._said:
            self._offered.add(value.volume)
        self.post(value)

    def was_received(self, volumes: Collection[int]) -> None:
        """These were received before the run was cut off; that they are shown may still be told."""
        with self._said:
            self._offered.update(volumes)
            self._reached["received"].update(volumes)

    def settle(self, limit: float) -> bool:
        """Wait until the display has received all that was offered, and shown it if it says so.

        For one that never was there nobody waits; one that was lost has a few seconds to come back.

        Parameters
        ----------
        limit
            Seconds, at most.

        Returns
        -------
        bool
            Whether it has.
        """
        began = time.monotonic()
        with self._said:
            # One that was there, and comes back, finds the run still there.
            away = _BACK if self.since or self._reached["received"] else 0.0
            while not self._all_said():
                if time.monotonic() - began >= (limit if self.link.connected else max(limit, away)):
                    return False
                if not self.link.connected and not away:
                    return False
                self._said.wait(0.05)  # it may come or go meanwhile
        return True

    def _all_said(self) -> bool:
        shown = self._reached["shown"]  # what is shown has been received
        there = self._reached["received"] | shown
        return self._offered <= there and (not shown or self._offered <= shown)

    def listen(self) -> None:
        """Keep responses and events for `take` from now on.

        Raises
        ------
        UsageError
            If another node does so: each would lack what the other takes.
        """
        if self._unread is not None:
            raise UsageError(
                f"two nodes SubjectInput listen to the display '{self.name}'; connect one to both places"
            )
        self._unread = deque(maxlen=_UNREAD)

    def take(self) -> list[Event]:
        """What the participant did, and the display showed, since the last call: Events, in order."""
        unread, taken = self._unread, []
        while unread:
            taken.append(unread.popleft())
        return taken

    def stop_listening(self) -> None:
        """Keep nothing any more."""
        self._unread = None

    def end_run(self, end: EndRun) -> None:
        """The run is over."""
        self.stop_listening()
        super().end_run(end)
