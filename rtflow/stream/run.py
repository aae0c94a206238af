"""One run of a compiled graph: set-up, the stream, the nodes at the end."""

from __future__ import annotations

import contextlib
import gc
import itertools
import shutil
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import msgspec

from rtflow.documents import Ending, Event, Frame, Result, RunStart, RunStop, Scalar
from rtflow.errors import RtflowError, RunError, in_words
from rtflow.items import publish, release
from rtflow.server.run_clock import RunClock
from rtflow.server.states import State
from rtflow.stream.algebra import one_thread
from rtflow.stream.calls import seed_shared
from rtflow.stream.chronicle import Chronicle
from rtflow.stream.executor import Step
from rtflow.stream.given import Given, Volumes
from rtflow.stream.interface import StreamInterface, StreamSink
from rtflow.stream.outside import Outside
from rtflow.stream.pipeline import Pipeline
from rtflow.stream.plan import Plan, PlannedNode
from rtflow.stream.steps import telling
from rtflow.stream.stock import EndNode, named_outputs, run_at_set_up
from rtflow.stream.volume import VolumeInFlight, result_of, scalars

_GRACE = 10.0
_ONLOOKERS_LIMIT = 5.0


class StreamRun:
    """Carries one run from RunStart to RunStop."""

    def __init__(self, given: Given, plan: Plan, updatehash: bool, results: list[Result]) -> None:
        self.given = given
        self.results = results
        self.stop: RunStop | None = None
        self.plan = plan
        self.updatehash = updatehash
        self.resumed = given.resumed
        self.chronicle = Chronicle(
            given.context.run_uid,
            given.keeper,
            given.observers,
            first=given.resumed.documents if given.resumed else 0,
        )
        if given.resumed:
            self.chronicle.counts.update(given.resumed.counts)
        clock = RunClock(given.context.tr)
        self.outside = Outside(self.chronicle, clock, given.resumed, given.decisions)
        self.context = replace(
            given.context,
            emit=self.outside.emit,
            clock=clock,
            decisions=given.decisions,
            delivered=given.resumed.delivered if given.resumed else (),
            was_ended=given.stopping.is_set,
        )
        self.names = [node.name for node in plan.nodes]
        self.steps = [
            Step(node, given.decisions, self.chronicle.add)
            for node in plan.when("volume")
            if node is not plan.source
        ]
        self.sinks = [step for step in self.steps if isinstance(step.interface, StreamSink)]
        self.ends = [EndNode(node) for node in plan.when("end")]
        self.source: Volumes = given.source or plan.source.node.interface
        self.own_source: Any = plan.source.node.interface if given.source is None else None
        # Nodes at set-up may tell the source where to look: it cannot be opened before they have run.
        self.source_known = given.source is not None or not plan.source.constants
        self.constants: dict[int, Any] = {}
        self.values: dict[str, Scalar] = {}
        self.went_on = False  # a run that was taken up has seen something new
        self.status: Ending = "completed"
        self.reason = ""

    def execute(self) -> None:
        """Run it all; RunStop is written however it ends, unless it cannot be written."""
        if self.source_known:
            self._open_source()  # what is wrong with it is said before anything is written
        try:
            if self.resumed is None:
                self.chronicle.add(self._start())
            with self.outside.heard(self.context.server):
                self._execute()
        finally:
            self.chronicle.wait_for_onlookers(_ONLOOKERS_LIMIT)

    def _execute(self) -> None:
        error: BaseException | None = None
        try:
            with self._prepared():
                try:
                    self._set_up()
                    self._tell_server("running")
                    error = self._stream()
                finally:
                    self._tell_server("finishing")
                    self._end_steps()
                if self.status == "completed":
                    self._end_nodes()
                self._publish()
        except KeyboardInterrupt:
            self._abort()
        except BaseException as raised:
            error = raised
        if error is not None:
            self._failed(error)
            if self.resumed is not None and not self.went_on:
                self.chronicle.cut_off = True  # nothing came of it: it can be tried once more
        self.chronicle.close()
        if not self.chronicle.cut_off:
            try:
                self.stop = self.chronicle.add(self._run_stop())
            except RtflowError as unwritten:  # the disk is full: what was first in the way is said
                error = error or unwritten
        if isinstance(error, RtflowError):
            raise error
        if error is not None:
            raise RunError(self.reason) from error

    def _tell_server(self, state: State) -> None:
        if self.context.server is not None:
            self.context.server.enter(state)

    def _run_stop(self) -> RunStop:
        return RunStop(
            status=self.status,
            reason=self.reason,
            counts=dict(self.chronicle.counts),
            values=self.values,
            outputs={
                "run": str(self.context.run_dir),
                "bids": str(self.context.bids_dir),
                "session": str(self.context.session_dir),
            },
        )

    def _failed(self, error: BaseException) -> None:
        self.status = "failed"
        self.reason = in_words(error)

    def _start(self) -> RunStart:
        start = self.given.start or RunStart(workflow=self.plan.name)
        known = {"tr": self.context.tr, "volumes": self.context.volumes}
        seeds = {"run": self.context.seed}
        nodes = {node.name: node.describe() for node in self.plan.nodes}
        return msgspec.structs.replace(start, nodes=nodes, seeds=seeds, **known)

    @contextlib.contextmanager
    def _prepared(self) -> Iterator[None]:
        """One thread for the linear algebra, quick hand-offs between ours, and no long collections."""
        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-4)
        gc.collect()
        gc.freeze()
        try:
            with one_thread():
                yield
        finally:
            gc.unfreeze()
            sys.setswitchinterval(interval)

    def _open_source(self) -> None:
        if self.context.replaying or (self.resumed is not None and self.source_known):
            return  # the nodes know no more, and no less, than they did: RunStart has it
        tr, volumes = self.context.tr or self.source.tr, self.context.volumes or self.source.volumes
        self.context = replace(self.context, tr=tr, volumes=volumes)

    def _set_up(self) -> None:
        if self.source_known:
            self._begin_source()  # what is sent while nodes warm up is not lost
        self.constants = run_at_set_up(self.plan, self.updatehash, self.chronicle.add)
        work = self.context.run_dir / "work"
        if self.context.resuming:
            shutil.rmtree(work, ignore_errors=True)  # files of its volumes are written anew
        work.mkdir(parents=True, exist_ok=True)
        for node in (self.plan.source, *(step.planned for step in self.steps)):
            self._set_constants(node)
        if not self.source_known:
            self._open_source()
            self._begin_source()
        seed_shared(self.context.seed)
        for step in self.steps:
            step.begin(self.context, work / step.name, self.given.files)
        for step in self.steps:
            step.wait_ready()
        gc.collect()
        gc.freeze()

    def _begin_source(self) -> None:
        if self.own_source is not None:
            self.own_source.start_run(self.context)

    def _set_constants(self, node: PlannedNode) -> None:
        for field, producer, output, function in node.constants:
            value = getattr(self.constants[producer], output)
            setattr(node.node.interface.inputs, field, value if function is None else function(value))

    def _stream(self) -> BaseException | None:
        stages = sorted({step.planned.stage for step in self.steps}) or [0]
        pipeline = Pipeline(
            [[step for step in self.steps if step.planned.stage == stage] for stage in stages],
            accept=self._accept,
            take_off=lambda frame: VolumeInFlight(frame, len(self.names), self.plan.source.index),
            finish=self._finish,
            backlog=self.given.backlog,
            drop=self.given.drop,
            directory=self.context.run_dir / "work",
        )
        pipeline.stopping = self.given.stopping
        pipeline.start(self._frames(pipeline.stopping))
        over = self._wait(pipeline)
        error = pipeline.error  # as it is now: what giving up a volume makes of its node is none of the run's
        if over:
            self.outside.settle(self.sinks)
        if error is not None:
            self._failed(error)
        elif pipeline.stopping.is_set():
            self._abort()
        if not over:
            # Closed first: what comes back from a hanging node then must not speak any more.
            self._close_volumes()
            for step in self.steps:
                step.abandon()
        self._close_volumes()
        return error

    def _wait(self, pipeline: Pipeline) -> bool:
        """Wait for the end of the stream; False if something hangs and is given up."""
        try:
            while not pipeline.join(0.2):
                if pipeline.stopping.is_set():
                    return pipeline.join(_GRACE)  # a node that hangs must not hold the end of the run
        except KeyboardInterrupt:
            pipeline.stop()
            # A second Ctrl-C does not wait for what is under way.
            with contextlib.suppress(KeyboardInterrupt):
                return pipeline.join(_GRACE)
            return False
        return True

    def _frames(self, stopping: threading.Event) -> Iterator[Frame]:
        """The recorded frames if the run goes on, then those of the source; each volume once, in order."""
        last = 0
        for frame in itertools.chain(
            self.resumed.frames if self.resumed else (), _deferred(self.source, stopping)
        ):
            if self.resumed and frame.volume <= last:
                continue  # a source that begins anew has it again
            if frame.volume != last + 1:
                raise RunError(
                    f"the source gave volume {frame.volume} after volume {last}; it must give every volume "
                    "once, in order from 1, and say which are missing"
                )
            last = frame.volume
            yield frame

    def _abort(self) -> None:
        self.status = "aborted"
        self.reason = "stopped by the operator"

    def _accept(self, frame: Frame) -> None:
        self.outside.came(frame, self.source.tr)
        if self.resumed is not None and frame.volume in self.resumed.recorded:
            if frame.volume not in self.resumed.results:
                self.chronicle.reopen(frame)
        else:
            self.went_on = True
            self.chronicle.frame(frame)

    def _finish(self, item: VolumeInFlight) -> None:
        source = self.plan.source.index
        item.slots[source] = {}  # the frame is not an output to publish
        decisions = self.given.decisions
        decided = decisions is not None and decisions.all_known(item.volume)
        late = item.volume in decisions.late if decisions is not None and decided else None
        result, is_late = result_of(item, self.names, self._deadline(), late)
        before = self.resumed.results.get(item.volume) if self.resumed else None
        if before is None:
            if is_late and not decided:
                self.chronicle.add(Event(name="late", volume=item.volume))
            result = self.chronicle.add(result)
        elif before != result.values_sha256:
            self.chronicle.add(
                Event(
                    name="resume_differs",
                    volume=item.volume,
                    data={"was": before, "is": result.values_sha256},
                )
            )
        self.results.append(result)
        self.outside.hand_over(self.sinks, item, result)
        self.outside.show(self.context.server, item, self.names)
        for end in self.ends:
            end.gather(item.slots)

    def _deadline(self) -> float | None:
        deadline = self.given.deadline
        if deadline != "tr":
            return deadline
        tr = self.context.tr or self.source.tr  # a folder learns it from the first header
        return tr / self.given.pace if tr else None

    def _end_steps(self) -> None:
        ends = [(step.name, step.end) for step in self.steps]
        if self.own_source is not None:
            ends.insert(0, (self.plan.source.name, self.own_source.end_run))
        for name, end in ends:
            try:
                end()
            except Exception as error:
                self.status = "failed"
                self.reason = self.reason or f"{name}: end of run: {in_words(error)}"

    def _end_nodes(self) -> None:
        outputs = dict(self.constants)
        for end in self.ends:
            interface = end.planned.node.interface
            with telling(self.chronicle.add, "end", end.planned.name):
                if isinstance(interface, StreamInterface):
                    interface.start_run(self.context)
                outputs[end.planned.index] = found = end.run(outputs, self.context.run_dir / "work")
            for name, value in scalars(named_outputs(found)).items():
                self.values[f"{end.planned.name}.{name}"] = value

    def _publish(self) -> None:
        """Leave to the session what was saved; what was held only if the run came to its end."""
        context, whole = self.context, self.status == "completed"
        if whole and len(self.results) >= (context.volumes or 0):
            release(context.run_dir)
        places = context.run_dir, context.session_dir
        if not context.replaying and (kept_out := publish(*places, whole=whole)):
            self.chronicle.add(Event(name="session", data={"says": kept_out}))

    def _close_volumes(self) -> None:
        volumes = self.chronicle.close()
        # What cannot be written now is done when the run is taken up.
        for volume in volumes if not self.chronicle.cut_off else ():
            result = Result(
                volume=volume,
                status="failed",
                errors={"run": self.reason or "the run ended before this volume was done"},
                quality="suspect",
                reasons=("the run ended before this volume was done",),
            )
            self.results.append(self.chronicle.add(result))


def _deferred(source: Volumes, stopping: threading.Event) -> Iterator[Frame]:
    yield from source.frames(stopping)  # not asked before the recorded frames are through
