"""The subject's host, as the server knows it."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Collection
from typing import Any, Literal

import msgspec

from rtflow.documents import Delivered, Event, now
from rtflow.errors import UsageError
from rtflow.server.allowance import Allowance
from rtflow.server.asking import Asking
from rtflow.server.channel import Channel, Emit
from rtflow.server.messages import (
    BeginRun,
    Body,
    EndRun,
    Kept,
    Piece,
    Received,
    Reply,
    Response,
    Shown,
    StimulusEvent,
    Trigger,
    Value,
)
from rtflow.server.wire import Hello

_BACK = 6.0
"""Seconds at the end of a run in which a display that was lost may come back for the last values."""

_UNREAD = 10_000
"""What was said and no node has taken; all of it stands in the journal."""

_EARLY = 2_000
"""What was said of a run that is still to go on, at most: the display came back before it did."""

_DOCUMENTS, _EACH_SECOND = 3_000, 50.0
"""Responses, triggers and events that one display may tell at once, and in the long run."""

_Told = Received | Shown | Response | Trigger | StimulusEvent


class SubjectChannel(Channel):
    """Values for the participant's display, and what comes back.

    What is offered stays until the display's host has worked on it; one that connects in the middle of a run,
    or comes back, also as another process, gets what has not been received of this run, in order. What it
    says becomes documents at once, with times on the server's clock: `Delivered`, and Events ``response``,
    ``trigger`` and ``stimulus``. What it says of a run that is not yet there, or goes on later, waits for it.
    """

    kind = "subject"

    def __init__(self, *arguments, **named) -> None:  # type: ignore[no-untyped-def]
        super().__init__(*arguments, **named)
        self.asking = Asking(self._loop, self.link, self.name)
        self._said = threading.Condition()
        self._offered: set[int] = set()
        self._reached: dict[str, set[int]] = {"received": set(), "shown": set()}
        self._early: deque[_Told] = deque(maxlen=_EARLY)
        self._unread: deque[Event] = deque(maxlen=_UNREAD)
        self._listening = False
        self._allowance = Allowance(_DOCUMENTS, _EACH_SECOND)

    # In the loop's thread

    async def work(self, body: Body, parts: list[bytes]) -> None:
        """Make a document of what the display says; of an earlier run nothing is taken any more.

        Raises
        ------
        ProtocolError
            If a subject may not say it.
        """
        if isinstance(body, _Told):
            self._hear(self._by_our_clock(body))
        elif isinstance(body, Reply | Piece | Kept):
            self.asking.hear(body, parts)
        else:
            await super().work(body, parts)

    def _by_our_clock(self, body: _Told) -> _Told:
        if isinstance(body, StimulusEvent):
            return msgspec.structs.replace(body, onset=self._ours(body.onset))
        return msgspec.structs.replace(body, at=self._ours(body.at))

    def _ours(self, at: float) -> float:
        return self.link.clock.to_ours(at)

    def _hear(self, body: _Told) -> None:
        """Make a document of it, or keep it for the run that it is of."""
        run = self._run
        if run is not None and not body.run_uid:
            body = msgspec.structs.replace(body, run_uid=run.run_uid)
        if not body.run_uid:
            return  # of no run
        if run is None or self.emit is None:
            self._early.append(body)
        elif body.run_uid != run.run_uid:
            return
        elif isinstance(body, Received | Shown):
            self._deliver(body, self.emit)
        else:
            self._tell(body, self.emit)

    def _deliver(self, body: Received | Shown, emit: Emit) -> None:
        stage: Literal["received", "shown"] = "shown" if isinstance(body, Shown) else "received"
        if body.volume in self._reached[stage]:
            return
        if body.volume not in self._offered:
            self._early.append(body)  # a run that goes on is still to say what it had offered
            return
        late = isinstance(body, Shown) and body.late
        emit(Delivered(volume=body.volume, channel=self.name, stage=stage, at=body.at, late=late))
        with self._said:
            self._reached[stage].add(body.volume)
            self._said.notify_all()

    def _tell(self, body: Response | Trigger | StimulusEvent, emit: Emit) -> None:
        if not self._allowance.take():
            if self._allowance.refused == 1:
                says = f"display '{self.name}' tells more than can be; what is beyond is dropped"
                emit(Event(name="display_floods", data={"display": self.name, "says": says}))
            return
        data: dict[str, str | float | bool]
        if isinstance(body, Response):
            what, data = "response", {"button": body.button, "at": body.at}
        elif isinstance(body, Trigger):
            what, data = "trigger", {"n": body.n, "at": body.at}
        else:
            what, data = "stimulus", {"name": body.name, "onset": body.onset, "duration": body.duration}
            data["after"] = now() - (body.onset + body.duration)  # a node says what is late
        event = Event(name=what, data={"display": self.name, **data})
        emit(event)
        if what != "trigger":
            self._unread.append(event)

    def catch_up(self) -> None:
        """Hear what was said before the run did."""
        early = list(self._early)
        self._early.clear()
        for body in early:
            self._hear(body)

    def _begin(self, run: BeginRun) -> None:
        if self._connection is None or self._connection.done():
            self.link.forget()  # of earlier runs: nobody is to be shown it any more
        self._allowance = Allowance(_DOCUMENTS, _EACH_SECOND)
        super()._begin(run)

    def began_anew(self, hello: Hello) -> None:
        """Another process than before is at the other end."""
        self.asking.began_anew(hello.methods)
        super().began_anew(hello)

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
        """Let the display have a value as soon as it is there; returns at once.

        Raises
        ------
        ProtocolError
            If it cannot be sent; nobody waits for it then.
        """
        with self._said:
            self.post(value)
            first = not self._offered
            self._offered.add(value.volume)
        if first and not self.link.connected:
            self._say_missing("is not connected: values wait for it, and stand in the run's feedback folder")
        self._look_back()

    def _say_missing(self, says: str) -> None:
        if self.emit is not None and self.expected:
            data = {"display": self.name, "says": f"display '{self.name}' {says}"}
            self.emit(Event(name="display_missing", data=data))

    def was_received(self, volumes: Collection[int]) -> None:
        """These were received before the run was cut off; that they are shown may still be told."""
        with self._said:
            self._offered.update(volumes)
            self._reached["received"].update(volumes)
        self._look_back()

    def _look_back(self) -> None:
        if self._early:
            self._loop.call_soon_threadsafe(self.catch_up)

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
        if self._offered and not self._reached["received"] and not self.link.connected:
            self._say_missing("was not there: nobody has received the values")
        if self._allowance.refused and self.emit is not None:
            data = {"display": self.name, "says": f"dropped in all: {self._allowance.refused}"}
            self.emit(Event(name="display_floods", data=data))
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
        """Give the responses and events of this run to whoever calls `take`.

        Raises
        ------
        UsageError
            If another node does so: each would lack what the other takes.
        """
        if self._listening:
            raise UsageError(
                f"two nodes SubjectInput listen to the display '{self.name}'; connect one to both places"
            )
        self._listening = True

    def take(self) -> list[Event]:
        """What the participant did, and the display showed, since the last call: Events, in order."""
        taken = []
        while self._unread:
            taken.append(self._unread.popleft())
        return taken

    def stop_listening(self) -> None:
        """Keep nothing any more."""
        self._listening = False
        self._unread.clear()

    def end_run(self, end: EndRun) -> None:
        """The run is over."""
        self.stop_listening()
        super().end_run(end)
