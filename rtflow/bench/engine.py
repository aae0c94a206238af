"""What the engine costs: ten trivial nodes in a row, beside stock Nipype on the same graph.

``overhead`` is what a stage does with a volume from taking it up to having its Result: ten nodes called,
their outputs moved, values published and hashed. ``latency`` and ``round_trip`` are those of a whole run,
with its threads and its journal on disk: from the frame to the Result (the frame is journalled and handed
to another thread), and until the next frame is asked for (the Result is journalled).
"""

from __future__ import annotations

import gc
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from nipype import Node, Workflow
from nipype.interfaces.base import BaseInterfaceInputSpec, SimpleInterface, TraitedSpec, traits

from rtflow.bench.report import BenchReport, bar, machine, spread, versions
from rtflow.documents import Frame, Part, Result, now
from rtflow.journal import Journal
from rtflow.stream import RunContext, StreamPlugin, StreamSource
from rtflow.stream.compile import compile_graph
from rtflow.stream.executor import Step, run_stage
from rtflow.stream.volume import VolumeInFlight, result_of

_NODES = 10
_SHAPE = (64, 64, 36)  # of float32: 590 kB
_VOLUMES = 2000
_STOCK_VOLUMES = 3


class _PassInput(BaseInterfaceInputSpec):  # type: ignore[misc]
    number = traits.Float(mandatory=True)
    data = traits.Any()


class _PassOutput(TraitedSpec):  # type: ignore[misc]
    number = traits.Float()
    data = traits.Any()


class Pass(SimpleInterface):  # type: ignore[misc]
    """Adds one; an ordinary Nipype interface."""

    input_spec = _PassInput
    output_spec = _PassOutput

    def _run_interface(self, runtime: Any) -> Any:
        self._results["number"] = self.inputs.number + 1
        self._results["data"] = self.inputs.data
        return runtime


class _BeginInput(BaseInterfaceInputSpec):  # type: ignore[misc]
    frame = traits.Any(mandatory=True)
    with_data = traits.Bool(False, usedefault=True)


class Begin(SimpleInterface):  # type: ignore[misc]
    """Makes a number, and an array if wanted, of a frame."""

    input_spec = _BeginInput
    output_spec = _PassOutput

    def _run_interface(self, runtime: Any) -> Any:
        self._results["number"] = 0.0
        self._results["data"] = np.zeros(_SHAPE, np.float32) if self.inputs.with_data else 0.0
        return runtime


class _SourceOutput(TraitedSpec):  # type: ignore[misc]
    frame = traits.Any()


class OneByOne(StreamSource):
    """Gives a frame when the one before has its Result."""

    output_spec = _SourceOutput


class _OneByOneFrames:
    tr = None
    volumes = _VOLUMES

    def __init__(self, count: int) -> None:
        self.count = count
        self.answered = threading.Event()
        self.asked: list[float] = []

    def frames(self, stopping: threading.Event) -> Iterator[Frame]:
        data = bytes(1000)
        for volume in range(1, self.count + 1):
            self.answered.clear()
            self.asked.append(time.perf_counter())
            yield Frame(volume, now(), (Part("volume", "application/octet-stream", data),))
            self.answered.wait(10)
        self.asked.append(time.perf_counter())

    def watch(self, document: Any) -> None:
        if isinstance(document, Result):
            self.answered.set()


def graph(base_dir: str, with_data: bool) -> Workflow:
    """A source and ten nodes in a row, each connected to the next by a number and an array."""
    flow = Workflow(name="engine", base_dir=base_dir)
    before = Node(Begin(with_data=with_data), name="node01")
    flow.connect(Node(OneByOne(), name="scanner"), "frame", before, "frame")
    for number in range(2, _NODES + 1):
        node = Node(Pass(), name=f"node{number:02d}")
        flow.connect([(before, node, [("number", "number"), ("data", "data")])])
        before = node
    flow.config["execution"] = {"create_report": "false"}
    return flow


def stream_times(with_data: bool, count: int = _VOLUMES) -> tuple[list[float], list[float]]:
    """Seconds per volume of a whole run: latency, and round trip."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        source = _OneByOneFrames(count)
        journal = Journal(root / "run")
        plugin = StreamPlugin(
            context=RunContext("bench", root / "run", root / "bids", root / "session"),
            source=source,
            keeper=journal,
            observers=(source.watch,),
        )
        graph(folder, with_data).run(plugin=plugin)
        journal.close()
        latency = [result.latency / 1e3 for result in plugin.results]
        trips = np.diff(source.asked).tolist()
    warm = count // 10
    return latency[warm:], trips[warm:]


class _GraphPlugin:
    """Takes the expanded graph, and runs nothing."""

    def __init__(self) -> None:
        self.plugin_args: dict[str, Any] = {}
        self.graph: Any = None

    def run(self, graph: Any, config: Any, updatehash: bool = False) -> None:
        del config, updatehash
        self.graph = graph


def overhead_times(with_data: bool, count: int = _VOLUMES) -> list[float]:
    """Seconds that a stage spends on each volume."""
    with tempfile.TemporaryDirectory() as folder:
        plugin = _GraphPlugin()
        graph(folder, with_data).run(plugin=plugin)
        plan = compile_graph(plugin.graph, "engine")
        root = Path(folder)
        steps = [Step(node, None, lambda event: None) for node in plan.nodes if node is not plan.source]
        for step in steps:
            step.begin(RunContext("bench", root, root, root), root, {})
        names = [node.name for node in plan.nodes]
        times = []
        gc.collect()
        gc.freeze()
        for volume in range(1, count + 1):
            frame = Frame(volume, now())
            began = time.perf_counter()
            item = VolumeInFlight(frame, len(names), plan.source.index)
            run_stage(steps, item)
            result_of(item, names, None, None)
            times.append(time.perf_counter() - began)
        gc.unfreeze()
    return times[count // 10 :]


def stock_times(with_data: bool, count: int = _STOCK_VOLUMES) -> list[float]:
    """Seconds per volume for the same ten nodes by Nipype's Linear plugin, each volume a new frame."""
    times = []
    with tempfile.TemporaryDirectory() as folder:
        for volume in range(count):
            flow = graph(f"{folder}/{volume}", with_data)
            first = flow.get_node("node01")
            flow.remove_nodes([flow.get_node("scanner")])
            first.inputs.frame = volume
            began = time.perf_counter()
            flow.run(plugin="Linear")
            times.append(time.perf_counter() - began)
    return times


def run() -> BenchReport:
    """Measure, and compare."""
    figures: dict[str, float] = {}
    bars = {}
    for with_data, name in ((False, "scalars"), (True, "volume_590kB")):
        overhead = overhead_times(with_data)
        latency, trips = stream_times(with_data)
        stock = stock_times(with_data)
        figures |= spread(f"overhead_{name}", overhead)
        figures |= spread(f"latency_{name}", latency) | spread(f"round_trip_{name}", trips)
        figures[f"stock_linear_{name}_median_ms"] = float(np.median(stock)) * 1e3
        median = figures[f"overhead_{name}_median_ms"]
        # Stock Nipype keeps its results on disk; the fair ratio is with our journal, not with the bare stage.
        stock_ms = figures[f"stock_linear_{name}_median_ms"]
        figures[f"stock_over_round_trip_{name}"] = stock_ms / figures[f"round_trip_{name}_median_ms"]
        bars[f"overhead_{name}_median_ms"] = bar(median, 0.05)
        bars[f"overhead_{name}_p99_ms"] = bar(figures[f"overhead_{name}_p99_ms"], 1.0)
    return BenchReport("engine", machine(), versions("rtflow", "nipype", "numpy"), figures, bars)
