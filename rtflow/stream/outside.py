"""What a run gives to, and hears from, those outside of its graph: displays, triggers, the participant."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rtflow.documents import Delivered, Event, Frame, Result
from rtflow.errors import in_words
from rtflow.server.run_clock import RunClock
from rtflow.stream.chronicle import Chronicle
from rtflow.stream.executor import Decisions, Step
from rtflow.stream.given import Resumed
from rtflow.stream.volume import VolumeInFlight

if TYPE_CHECKING:
    from rtflow.server.thread import Server


class Outside:
    """Hands values over, and makes documents of what is said.

    Parameters
    ----------
    chronicle
        Of the run.
    clock
        Told of every volume and trigger.
    resumed, decisions
        Of the run that goes on or is replayed.
    """

    def __init__(
        self, chronicle: Chronicle, clock: RunClock, resumed: Resumed | None, decisions: Decisions | None
    ) -> None:
        self._chronicle = chronicle
        self._clock = clock
        self._resumed = resumed
        for event in decisions.events if decisions is not None else ():
            if event.name == "trigger":
                clock.trigger(event.data["n"], event.data["at"])

    def emit(self, document: Event | Delivered) -> None:
        """Put a document into the journal; an Event of a volume that was done before was told before."""
        if not isinstance(document, Event):
            self._chronicle.add(document)
            return
        if self._resumed is not None and document.volume in self._resumed.results:
            return
        self._chronicle.add(document)
        if document.name == "trigger":
            self._doubt(self._clock.trigger(document.data["n"], document.data["at"]))

    @contextlib.contextmanager
    def heard(self, server: Server | None) -> Iterator[None]:
        """While in here, what agents say becomes documents."""
        if server is None:
            yield
            return
        server.attend(self.emit, self._clock)
        try:
            yield
        finally:
            server.attend(None)

    def came(self, frame: Frame, tr: float | None) -> None:
        """A frame has come; the repetition time as far as the source knows it by now."""
        if not frame.missing:
            self._clock.tr = self._clock.tr or tr
            self._clock.volume(frame.volume, frame.received)
            self._doubt(self._clock.doubt())

    def hand_over(self, sinks: Sequence[Step], item: VolumeInFlight, result: Result) -> None:
        """Give what the sinks have for a volume to those it is for; first to those who are far away."""
        for step in sinks:
            try:
                step.interface.offer(result, item.slots[step.index])
            except Exception as error:
                self._failed(step, item.volume, error)
        for step in sinks:
            self._deliver(step, item, result)

    def show(self, server: Server | None, item: VolumeInFlight, names: Sequence[str]) -> None:
        """Leave a volume's outputs with the server, for whoever looks on; nothing is done with them here."""
        if server is not None and not item.frame.missing:
            server.show(self._chronicle.run_uid, item.volume, names, item.slots)

    def settle(self, sinks: Sequence[Step]) -> None:
        """The stream is over: hear what is still to be said of its last volumes."""
        for step in sinks:
            try:
                step.interface.settle()
            except Exception as error:
                self._failed(step, None, error)

    def _deliver(self, step: Step, item: VolumeInFlight, result: Result) -> None:
        sink: Any = step.interface
        if self._resumed is not None and (sink.channel, item.volume) in self._resumed.delivered:
            return
        try:
            given = sink.deliver(result, item.slots[step.index])
        except Exception as error:
            self._failed(step, item.volume, error)
        else:
            if given:
                self._chronicle.add(Delivered(volume=item.volume, channel=sink.channel))

    def _failed(self, step: Step, volume: int | None, error: Exception) -> None:
        data = {"error": in_words(error)}
        self._chronicle.add(Event(name="delivery_failed", volume=volume, node=step.name, data=data))

    def _doubt(self, says: str) -> None:
        if says:
            self._chronicle.add(Event(name="trigger_doubtful", data={"says": says}))
