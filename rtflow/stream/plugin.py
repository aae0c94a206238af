"""The face that Nipype sees: ``workflow.run(plugin=StreamPlugin(...))``."""

from __future__ import annotations

import threading
import uuid
from pathlib import Path
from typing import Any, Literal

from rtflow.documents import Result, RunStart, RunStop
from rtflow.stream.chronicle import Keeper, Observer
from rtflow.stream.compile import compile_graph
from rtflow.stream.executor import Decisions
from rtflow.stream.given import Given, Resumed, Volumes
from rtflow.stream.interface import RunContext
from rtflow.stream.plan import Plan
from rtflow.stream.run import StreamRun


class StreamPlugin:
    """Runs a Nipype workflow once per volume.

    Parameters
    ----------
    out
        Output folder: ``out/bids``, ``out/runs/RUN_UID``, ``out/session``.
    context
        All places of the run, instead of ``out``.
    start
        What RunStart says beside what the graph says.
    keeper
        Where documents and frames are kept; without one they are only in ``results``.
    observers
        Called with each document, in the order of their numbers, each from a thread of its own.
    source
        Where volumes come from instead of the graph's own source: a recorded run, say.
    decisions
        Of the run that is replayed.
    resumed
        Of the run that goes on.
    deadline
        Seconds from a volume's last byte after which its Result is late. ``tr`` takes the source's repetition
        time, divided by ``pace``.
    pace
        How many times faster than a scanner the source runs.
    backlog
        How many volumes may wait between two threads.
    drop
        Whether a volume that finds the backlog full is given up instead of waited for.
    stopping
        Set it, from any thread, to end the run.
    files
        Modules that were loaded from a file, which worker processes must load too: name to path.

    Attributes
    ----------
    results : list of Result
        One for each volume, in order.
    stop : RunStop or None
        How the run ended.

    Examples
    --------
    ::

        plugin = StreamPlugin(out="rtflow-out")
        workflow.run(plugin=plugin)
        plugin.results[0].values["region.value"]
    """

    def __init__(
        self,
        out: str | Path = "rtflow-out",
        *,
        context: RunContext | None = None,
        start: RunStart | None = None,
        keeper: Keeper | None = None,
        observers: tuple[Observer, ...] = (),
        source: Volumes | None = None,
        decisions: Decisions | None = None,
        resumed: Resumed | None = None,
        deadline: float | Literal["tr"] | None = None,
        pace: float = 1.0,
        backlog: int = 1,
        drop: bool = False,
        stopping: threading.Event | None = None,
        files: dict[str, str] | None = None,
    ) -> None:
        self.plugin_args: dict[str, Any] = {}
        if context is None:
            root = Path(out).absolute()
            run_uid = uuid.uuid4().hex[:12]
            context = RunContext(
                run_uid=run_uid,
                run_dir=root / "runs" / run_uid,
                bids_dir=root / "bids",
                session_dir=root / "session",
            )
        self.context = context
        self.stopping = stopping or threading.Event()
        self.results: list[Result] = []
        self.stop: RunStop | None = None
        self._given = Given(
            context=context,
            start=start,
            keeper=keeper,
            observers=observers,
            source=source,
            decisions=decisions,
            resumed=resumed,
            deadline=deadline,
            pace=pace,
            backlog=backlog,
            drop=drop,
            stopping=self.stopping,
            files=files or {},
        )

    def run(self, graph: Any, config: Any, updatehash: bool = False) -> None:
        """Run the expanded graph; called by Nipype.

        Raises
        ------
        CompileError
            If the graph cannot be run as a stream; nothing has been written then.
        RtflowError
            If the run failed; its RunStop has been written.
        """
        del config
        nodes = list(graph.nodes())
        name = nodes[0].fullname.split(".")[0] if nodes else "workflow"
        self.run_plan(compile_graph(graph, name), updatehash)

    def run_plan(self, plan: Plan, updatehash: bool = False) -> None:
        """Run a graph that was compiled before; its nodes may have been through runs already.

        Raises
        ------
        RtflowError
            If the run failed; its RunStop has been written.
        """
        run = StreamRun(self._given, plan, updatehash, self.results)
        try:
            run.execute()
        finally:
            self.stop = run.stop
