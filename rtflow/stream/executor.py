"""Calling the nodes of one stage for one volume after another, under each node's policy."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from time import perf_counter_ns
from typing import Any

from nipype.interfaces.base import Undefined

from rtflow.documents import Event
from rtflow.errors import DeadlineError, VolumeError, in_words
from rtflow.stream.calls import Call
from rtflow.stream.interface import StreamInterface
from rtflow.stream.plan import PlannedNode
from rtflow.stream.process import Worker, WorkerLostError
from rtflow.stream.volume import DONE, EMPTY, FAILED, SKIPPED, WITHHELD, VolumeInFlight, seal

_ABSENT: Any = object()


class Decisions:
    """What time decided in the run that is replayed, or goes on.

    Parameters
    ----------
    events
        Events of the recorded run; they stay at hand.
    late
        Volumes whose Result was late there.
    complete
        Volumes for which all is decided, and nothing is left to the clock; None means all there are. The
        others may have been cut off half-way: what was decided of them holds.
    """

    def __init__(
        self, events: Iterable[Event], late: Iterable[int] = (), complete: Iterable[int] | None = None
    ) -> None:
        events = tuple(events)
        self.lost = {
            (event.volume, event.node): bool(event.data.get("killed"))
            for event in events
            if event.name in ("deadline_missed", "worker_lost")
        }
        self.late = frozenset(late)
        self.events = events
        self._complete = None if complete is None else frozenset(complete)

    def all_known(self, volume: int) -> bool:
        """Whether the clock has nothing to decide for a volume."""
        return self._complete is None or volume in self._complete


class Step:
    """One node of the stream, called once per volume from one thread.

    Parameters
    ----------
    planned
        The node.
    decisions
        Of the run that is replayed; None in a live run, which decides by the clock.
    tell
        Puts an Event into the journal.
    """

    def __init__(
        self, planned: PlannedNode, decisions: Decisions | None, tell: Callable[[Event], object]
    ) -> None:
        self.planned = planned
        self.name = planned.name
        self.index = planned.index
        self.interface = planned.node.interface
        self.is_stream = isinstance(self.interface, StreamInterface)
        self._inputs = self.interface.inputs
        self._bindings = planned.bindings
        # Plain tuples: this is walked for every node of every volume.
        self._single = [(b.field, *b.producers[0], b.needed) for b in planned.bindings if not b.gathered]
        self._gathered = [b for b in planned.bindings if b.gathered]
        self._decisions = decisions
        self._tell = tell
        self._last: dict[str, Any] | None = None
        self._worker: Worker | None = None
        self._call = Call(self.interface) if planned.mode == "thread" else None
        self._started = False
        self._abandoned = False

    def begin(self, context: Any, directory: Path, files: dict[str, str]) -> None:
        """Make the state of a run; a worker process is started, but not waited for."""
        if self._call is not None:
            self._call.begin(directory, context.seed)
            if self.is_stream:
                self.interface.start_run(context)
        else:
            self._worker = Worker(self.name, self.interface, context, directory, files)
            self._worker.start()
        self._started = True

    def wait_ready(self) -> None:
        """Wait for the worker process, if there is one."""
        if self._worker is not None:
            self._worker.wait_ready()

    def end(self) -> None:
        """Close what `begin` opened."""
        if not self._started:
            return
        self._started = False
        if self._worker is not None:
            self._worker.stop()
        elif self.is_stream:
            self.interface.end_run()

    def abandon(self) -> None:
        """Call the node no more, from whatever thread; a call in a worker process is killed."""
        self._abandoned = True
        if self._worker is not None:
            self._worker.kill()

    def run(self, item: VolumeInFlight) -> None:
        """Take a volume through the node; nothing that the node does is raised."""
        if self._abandoned:
            return
        began = perf_counter_ns()
        index = self.index
        inputs: dict[str, Any] = {}
        try:
            state = self._gather(item, inputs)
            if state != DONE:
                item.states[index] = state
                if state == SKIPPED:
                    item.skipped.append(self.name)
                self.gap(item)
                return
            outputs = self._attempt(item, inputs)
        except BaseException as error:  # a node that calls sys.exit() has failed, not the run
            self._fail(item, error)
        else:
            item.slots[index] = self._last = seal(outputs)
            if item.stale and any(p[0] in item.stale for b in self._bindings for p in b.producers):
                item.stale.add(index)
        item.timings[self.name] = (perf_counter_ns() - began) / 1e6

    def gap(self, item: VolumeInFlight) -> None:
        """Tell a stateful node that it does not see this volume."""
        if not self.planned.stateful:
            return
        try:
            if self._worker is not None:
                self._worker.gap(item.volume, self.planned.limit)
            else:
                self.interface.gap(item.volume)
        except BaseException as error:
            item.errors.setdefault(self.name, f"gap: {in_words(error)}")

    def _gather(self, item: VolumeInFlight, inputs: dict[str, Any]) -> int:
        """Fill ``inputs``; DONE, or why the node cannot run."""
        state = DONE
        slots = item.slots
        for field, producer, output, function, needed in self._single:
            value = slots[producer].get(output, _ABSENT)
            if value is _ABSENT:
                if needed:
                    # Nothing came although the producer ran: it withheld this output.
                    state = max(state, item.states[producer] or WITHHELD)
                value = Undefined
            elif function is not None:
                try:
                    value = function(value)
                except Exception as error:
                    raise VolumeError(f"function on the edge to '{field}': {in_words(error)}") from error
            inputs[field] = value
        for binding in self._gathered:
            values = [slots[producer].get(output, _ABSENT) for producer, output, _ in binding.producers]
            for (producer, _, _), value in zip(binding.producers, values, strict=True):
                if value is _ABSENT:
                    state = max(state, item.states[producer] or WITHHELD)
            inputs[binding.field] = values
        return state

    def _attempt(self, item: VolumeInFlight, inputs: dict[str, Any]) -> dict[str, Any]:
        lost = self._lost(item.volume)
        if lost:
            raise DeadlineError("its worker process was lost in the recorded run")
        if self._worker is not None:
            limit = self.planned.limit if self._by_clock(item.volume) else None
            outputs, doubts = self._worker.call(item.volume, inputs, limit)
        else:
            assert self._call is not None
            target = self._inputs
            for field, value in inputs.items():
                setattr(target, field, value)
            if self.is_stream:
                self.interface.volume = item.volume
                self.interface.deadline = self.planned.limit if self._by_clock(item.volume) else None
            deadline = self.planned.deadline
            began = perf_counter_ns() if deadline else 0
            outputs = self._call(item.volume)
            doubts = self.interface.take_doubts() if self.is_stream else []
            took = (perf_counter_ns() - began) / 1e9 if deadline else 0.0
            if deadline and lost is None and took > deadline and self._by_clock(item.volume):
                raise DeadlineError(f"took longer than {deadline:g} s")
        if lost is not None:
            raise DeadlineError("missed its deadline in the recorded run")
        if doubts:
            item.doubts += doubts
        return outputs

    def _fail(self, item: VolumeInFlight, error: BaseException) -> None:
        message = in_words(error)
        if self.is_stream:
            self.interface.take_doubts()  # of a volume that failed; the next one must not inherit them
        killed = self._worker is not None and isinstance(error, (DeadlineError, WorkerLostError))
        told = self._lost(item.volume) is not None
        by_clock = isinstance(error, (DeadlineError, WorkerLostError)) and self._by_clock(item.volume)
        if by_clock and not told:
            name = "worker_lost" if isinstance(error, WorkerLostError) else "deadline_missed"
            self._tell(Event(name=name, volume=item.volume, node=self.name, data={"killed": killed}))
        policy = self.planned.on_error
        if policy == "last" and self._last is not None:
            item.slots[self.index] = self._last
            item.stale.add(self.index)
            item.doubts.append(f"{self.name}: {message}")
        elif policy == "fail":
            item.states[self.index] = FAILED
            item.slots[self.index] = EMPTY
            item.errors[self.name] = message
        else:
            item.states[self.index] = SKIPPED
            item.slots[self.index] = EMPTY
            item.skipped.append(self.name)
            item.doubts.append(f"{self.name}: {message}")
        if killed and self._worker is not None and self.planned.stateful:
            self._worker.gap_later(item.volume)

    def _lost(self, volume: int) -> bool | None:
        """None, or that the call missed its deadline before: and whether it was killed for that."""
        return None if self._decisions is None else self._decisions.lost.get((volume, self.name))

    def _by_clock(self, volume: int) -> bool:
        return self._decisions is None or not self._decisions.all_known(volume)


def run_stage(steps: list[Step], item: VolumeInFlight) -> None:
    """Take a volume through the nodes of one stage, in order."""
    if item.frame.missing:
        for step in steps:
            step.gap(item)
        return
    for step in steps:
        step.run(item)
