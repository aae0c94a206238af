"""What a node may know of the run it is in, and how it is told."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nipype.interfaces.base import SimpleInterface

from rtflow.documents import Delivered, Event, Frame, Result
from rtflow.errors import CompileError
from rtflow.server.run_clock import RunClock

if TYPE_CHECKING:
    from rtflow.server.thread import Server
    from rtflow.stream.executor import Decisions


def _ignore(event: Event | Delivered) -> None:
    del event


def _never() -> bool:
    return False


@dataclass(frozen=True)
class RunContext:
    """What lives outside the graph and reaches a node through `StreamInterface.start_run`.

    Parameters
    ----------
    run_uid
        Identity of the run.
    run_dir
        ``OUT/runs/RUN_UID``: journal, feedback files, work.
    bids_dir
        ``OUT/bids``: the raw data set.
    session_dir
        Where references, masks and models of the session stand.
    subject
        BIDS label of the participant, if it is known.
    tr
        Repetition time in seconds as far as it was known before the first volume.
    volumes
        Planned number of volumes, if known.
    seed
        Seed of everything random in the nodes.
    replaying
        Whether this run repeats a recorded one.
    resuming
        Whether this run goes on after a crash; what it wrote before is written anew.
    emit
        Puts an `Event` (or, for a sink, a `Delivered`) into the journal.
    server
        The port that agents are connected to, where the run has one; it stays in this process.
    clock
        When volumes are acquired, on this host's clock; it learns while the run lasts.
    decisions
        What time decided in the run that is replayed, or goes on; None in a live run.
    delivered
        Channel and volume of what has reached the subject's side before the run was cut off.
    was_ended
        Tells whether somebody has ended the run before its source did; it stays in this process.
    """

    run_uid: str
    run_dir: Path
    bids_dir: Path
    session_dir: Path
    subject: str = ""
    tr: float | None = None
    volumes: int | None = None
    seed: int = 0
    replaying: bool = False
    resuming: bool = False
    emit: Callable[[Event | Delivered], None] = _ignore
    server: Server | None = None
    clock: RunClock = field(default_factory=RunClock)
    decisions: Decisions | None = None
    delivered: Collection[tuple[str, int]] = ()
    was_ended: Callable[[], bool] = _never

    def in_worker(self) -> RunContext:
        """The same for a worker process, where ``emit`` is another: its events come with its answers."""
        return replace(self, emit=_ignore, server=None, clock=RunClock(), delivered=(), was_ended=_never)


class StreamInterface(SimpleInterface):  # type: ignore[misc]
    """A Nipype interface that knows runs and volumes.

    Between `start_run` and `end_run`, ``_run_interface`` is called once per volume, always from one
    thread (those two from another). State belongs to the run: it is made in `start_run`, never in
    ``__init__`` (Nipype copies interfaces). Outputs go into ``self._results`` as in any SimpleInterface;
    an output that is left out is withheld: what needs it does not run for this volume.

    Attributes
    ----------
    stateful
        Whether the outputs depend on earlier volumes. Such a node is told of every volume that it does
        not see (`gap`), and is refused by stock Nipype.
    at_end
        Whether it is for the end of the run; with every volume it is refused then.
    volume
        Number of the volume at hand; set before each call.
    each_volume
        Whether it runs with every volume, as its place in the graph has it; set when that is compiled.
    own_worker
        Whether it has a worker of its own, and gives up by itself a call that is late.
    deadline
        Seconds that the call at hand may take, for one that has such a worker; None in a replay.
    """

    stateful = False
    at_end = False
    volume = 0
    each_volume = False
    own_worker = False
    deadline: float | None = None

    def start_run(self, context: RunContext) -> None:
        """Make the state of a run."""

    def end_run(self) -> None:
        """Close what `start_run` opened; called once, however the run ends."""

    def gap(self, volume: int) -> None:
        """Volume ``volume`` will not come to this node."""

    def snapshot(self) -> Any:
        """The state, to be given to `restore` in another process; must pickle.

        A node whose outputs do not depend on it, and which is not `stateful` for that, may have one, too.
        """
        raise NotImplementedError

    def restore(self, state: Any) -> None:
        """Go on from a state that `snapshot` gave."""
        raise NotImplementedError

    @classmethod
    def keeps_state(cls) -> bool:
        """Whether there is a state that goes from one process to the next: `snapshot` and `restore` are."""
        ours = StreamInterface
        return cls.snapshot is not ours.snapshot and cls.restore is not ours.restore

    def needed_items(self) -> Collection[str]:
        """Session items that nodes of this run must save for it; a graph in which none does is refused."""
        return ()

    def needed_inputs(self) -> Mapping[str, str]:
        """Inputs that the options make mandatory, each with the reason; a graph without them is refused."""
        return {}

    def not_each_volume(self) -> tuple[str, str] | None:
        """Why it cannot run with every volume, and what to do; None if it can."""
        return None

    def doubt(self, reason: str) -> None:
        """Mark the volume at hand as suspect; the reason stands in its Result."""
        self.__dict__.setdefault("_doubts", []).append(reason)

    def take_doubts(self) -> list[str]:
        """What `doubt` has gathered since the last call."""
        doubts: list[str] = self.__dict__.pop("_doubts", [])
        return doubts

    def _pre_run_hook(self, runtime: Any) -> Any:
        # Only Interface.run, and so only stock Nipype, comes through here.
        if self.stateful:
            raise CompileError(
                type(self).__name__,
                "keeps state from volume to volume, and stock Nipype would begin each volume anew",
                "run the workflow with plugin=StreamPlugin(), or put the whole run into one stock node: "
                "rtflow.workflows.whole_run.WholeRun",
            )
        return runtime


class StreamSource(StreamInterface):
    """The node that volumes come from; its output field is ``frame``.

    A graph has one. ``tr`` (seconds) and ``volumes`` say what is planned, as far as that is known before
    the first volume.
    """

    tr: float | None = None
    volumes: int | None = None

    def frames(self, stopping: threading.Event) -> Iterator[Frame]:
        """Frames in the order of their volumes; ends soon after ``stopping`` is set."""
        raise NotImplementedError


class StreamSink(StreamInterface):
    """A node that gives values to somebody outside: once the Result is in the journal."""

    channel = ""

    def offer(self, result: Result, outputs: Mapping[str, Any]) -> None:
        """Hand the same to whoever is on another machine, and says later that it has it; before `deliver`.

        Must not wait. Also called for volumes that were delivered before the run was cut off: the node leaves
        out what ``context.delivered`` has.
        """

    def settle(self) -> None:
        """The stream is over: wait a moment for what those on other machines still have to say."""

    def deliver(self, result: Result, outputs: Mapping[str, Any]) -> bool:
        """Hand over what the node gave for one volume; False if there was nothing to hand over.

        Called in the order of the volumes, once the Result is in the journal, from the thread of the last
        stage: the node may be at a later volume by then, and what is handed over must come from the
        arguments.

        Parameters
        ----------
        result
            The Result of the volume.
        outputs
            The node's own outputs for that volume; empty if it gave none.
        """
        raise NotImplementedError
