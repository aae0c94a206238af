"""What a volume costs: each node alone, and the whole graph of the template experiment, on one core.

Volumes are simulated (a head that moves and responds) before anything is measured. Each node is called as the
engine calls it, on what the nodes before it gave; its times are those of the processor, which other programs
do not lengthen. The template runs as it does live, with its threads and its journal on disk, one volume at a
time, and its times are by the clock, from the frame to its Result; beside them stands the processor's time
of the whole process. All that runs has one core.
"""

from __future__ import annotations

import gc
import os
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

import rtflow.workflows
from rtflow import nodes
from rtflow.bench.report import Bar, BenchReport, bar, machine, versions
from rtflow.design import DesignSettings
from rtflow.documents import AnyDocument, Frame, Part, Result, now
from rtflow.engine import execute, new_context
from rtflow.settings import load_settings
from rtflow.source_settings import SimulateSource
from rtflow.sources.simulator import SimulatorSource
from rtflow.stream import RunContext, StreamInterface
from rtflow.workflow_file import load_workflow

#: Matrix and voxel size (mm) of each scan.
SCANS = (((64, 64, 36), 3.3), ((110, 110, 72), 2.0), ((140, 140, 96), 1.6))
_LIMITS = {(64, 64, 36): 20.0, (110, 110, 72): 60.0}  # ms, of the template
_FIRST = 2.0

_TR = 2.0
_DUMMIES = 2
# 41 volumes: rest, then four blocks with rest between them; two blocks train.
_DESIGN = DesignSettings(blocks=4, block=12.0, rest=6.0, opening=16.0)
_SETTLING = 3  # calls of a node that are not counted: what is made once is made in them


@dataclass(frozen=True)
class Call:
    """A node that is measured.

    Parameters
    ----------
    name
        Of its class; a node with another set of options has them in brackets.
    options
        Of the interface.
    takes
        Input to (node, output); all that is given at the time.
    """

    name: str
    options: dict[str, Any]
    takes: dict[str, tuple[str, str]]

    @property
    def interface(self) -> type[StreamInterface]:
        """The class."""
        made: type[StreamInterface] = getattr(nodes, self.name.partition("(")[0])
        return made


def calls() -> list[Call]:
    """The nodes in the order of a graph, each fed by those before it."""
    design = _DESIGN.design()
    conditions = list(_DESIGN.conditions)
    volume = {"incremental": ("SkipDummies", "incremental")}
    aligned = {"incremental": ("Realign", "incremental")}
    inside = {"mask": ("Mask", "mask")}
    features = {"features": ("ApplyMask", "features")}
    labels = {name: ("Labels", name) for name in ("trial_type", "trial", "phase")}
    said = {"trial_type": labels["trial_type"], "phase": labels["phase"]}
    moved = {"framewise_displacement": ("Realign", "framewise_displacement"), "motion": ("Realign", "motion")}
    return [
        Call("DicomToBids", {}, {"frame": ("", "frame")}),
        Call("SkipDummies", {"volumes": _DUMMIES}, {"incremental": ("DicomToBids", "incremental")}),
        Call("SliceTiming", {}, volume),
        Call("Labels", {"design": design, "lag": 4.0, "train_trials": 2}, volume),
        Call("Realign", {}, volume),
        Call(
            "Echoes",
            {"calibration": 5},
            {
                "echoes": ("DicomToBids", "echoes"),
                "aligned": ("Realign", "incremental"),
                "transform": ("Realign", "transform"),
                "reference": ("Realign", "reference"),
                "trusted": ("Realign", "trusted"),
            },
        ),
        Call("Mask", {}, {"reference": ("Realign", "reference")}),
        Call("Confounds", {}, aligned | inside | moved),
        Call("Smooth", {"fwhm": 5.0}, aligned),
        Call("ApplyMask", {}, {"incremental": ("Smooth", "incremental")} | inside),
        Call("Region", {}, aligned | inside | {"trial_type": labels["trial_type"]}),
        Call(
            "Denoise",
            {"nuisance": ["motion"], "drift": "polynomial"},
            features | volume | {"motion": moved["motion"]} | said,
        ),
        Call(
            "GLM",
            {"nuisance": ["motion"], "design": design, "contrast": " - ".join(conditions)},
            features | volume | {"motion": moved["motion"]},
        ),
        Call("Decode", {"conditions": conditions}, features | labels),
        Call(
            "Connectivity",
            {},
            volume | {"first": ("ApplyMask", "mean"), "second": ("Region", "mean")},
        ),
        Call("RegionOfFeatures", {}, volume | features | {"trial_type": labels["trial_type"]}),
        Call(
            "Feedback",
            {"smoothing": "exponential"},
            volume | labels | {"value": ("Decode", "value"), "kind": ("Decode", "kind")},
        ),
    ]


def node_times(
    frames: Sequence[Frame], folder: Path, chosen: Sequence[Call] | None = None
) -> dict[str, list[float]]:
    """Milliseconds of processor time of each node, for each volume that it could be called for.

    Parameters
    ----------
    frames
        Of a run, with several echoes.
    folder
        Where the nodes may write.
    chosen
        The nodes; default those of `calls` that there are.
    """
    wanted = [call for call in calls() if call.name.partition("(")[0] in nodes.__all__]
    wanted = wanted if chosen is None else list(chosen)
    context = RunContext("bench", folder / "run", folder / "bids", folder / "session", tr=_TR)
    made: dict[str, StreamInterface] = {}
    for call in wanted:
        made[call.name] = call.interface(**call.options)
        made[call.name].start_run(replace(context, volumes=len(frames)))
    times: dict[str, list[float]] = {call.name: [] for call in wanted}
    for frame in frames:
        given: dict[str, dict[str, Any]] = {"": {"frame": frame}}
        for call in wanted:
            interface = made[call.name]
            inputs = {
                name: given[node][output]
                for name, (node, output) in call.takes.items()
                if output in given.get(node, {}) and name in interface.inputs.copyable_trait_names()
            }
            needed = {*interface.inputs.traits(mandatory=True), *interface.needed_inputs()}
            if not needed <= inputs.keys() | call.options.keys():
                continue
            began = time.thread_time()
            outputs = _call(interface, frame.volume, inputs)
            times[call.name].append((time.thread_time() - began) * 1e3)
            given[call.name] = outputs
    for interface in made.values():
        interface.end_run()
    return times


def _call(interface: StreamInterface, volume: int, inputs: dict[str, Any]) -> dict[str, Any]:
    for name, value in inputs.items():
        setattr(interface.inputs, name, value)
    interface.volume = volume
    interface._results = {}
    interface._run_interface(None)
    interface.take_doubts()
    return dict(interface._results)


class _OneByOne:
    """Gives a frame when the one before has its Result."""

    tr = _TR

    def __init__(self, frames: Sequence[Frame]) -> None:
        self.volumes = len(frames)
        self._frames = frames
        self._answered = threading.Event()
        self.spent: list[float] = []

    def frames(self, stopping: threading.Event) -> Iterator[Frame]:
        for frame in self._frames:
            if stopping.is_set():
                return
            self._answered.clear()
            began = time.process_time()
            yield replace(frame, received=now())
            self._answered.wait(60)
            self.spent.append((time.process_time() - began) * 1e3)

    def watch(self, document: AnyDocument) -> None:
        if isinstance(document, Result):
            self._answered.set()


def template_times(frames: Sequence[Frame], folder: Path, run: int = 1) -> tuple[list[float], list[float]]:
    """Milliseconds of each volume of a run of the template experiment.

    Parameters
    ----------
    frames
        Of the run.
    folder
        Output folder. Run 1 leaves reference, mask and decoder there for run 2.
    run
        Index of the run.

    Returns
    -------
    latency, spent
        From the frame to its Result, and what the processor spent on it meanwhile, all threads together.
    """
    file = Path(rtflow.workflows.__path__[0]) / "template.py"
    workflow = load_workflow(file)
    settings: Any = load_settings(workflow.settings_type, file.with_suffix(".toml"), [f"bids.run={run}"])
    settings.source = SimulateSource(speed="max", volumes=len(frames), tr=_TR)
    settings.dummy_volumes = _DUMMIES
    settings.design = _DESIGN
    settings.decoding = msgspec.structs.replace(settings.decoding, train_blocks=2)
    settings.work_dir = str(folder / "work")
    source = _OneByOne(frames)
    found: list[Result] = []

    def observe(document: AnyDocument) -> None:
        source.watch(document)
        if isinstance(document, Result):
            found.append(document)

    stop = execute(workflow, settings, new_context(folder, None, settings), observe=observe, source=source)
    assert stop.status == "completed", stop.reason
    return [result.latency for result in found], source.spent


def simulated(shape: tuple[int, int, int], voxel: float, echoes: int = 1) -> list[Frame]:
    """Frames of a run.

    Slices are said to be interleaved, for `SliceTiming` to have something to do.
    """
    design = _DESIGN.design()
    volumes = round(design.duration / _TR)
    spec = SimulateSource(shape=shape, voxel=voxel, tr=_TR, speed="max", volumes=volumes, echoes=echoes)
    half = (shape[2] + 1) // 2
    times = [(k // 2 + (k % 2) * half) * _TR / (shape[2] + 1) for k in range(shape[2])]
    return [
        replace(frame, parts=tuple(_timed(part, times) for part in frame.parts))
        for frame in SimulatorSource(spec, design).frames(threading.Event())
    ]


def _timed(part: Part, times: Sequence[float]) -> Part:
    """An image as it is, a sidecar with the times of slices."""
    if part.media_type != "application/json":
        return part
    return replace(part, data=msgspec.json.encode(msgspec.json.decode(part.data) | {"SliceTiming": times}))


@contextmanager
def one_core() -> Iterator[None]:
    """This thread, and those that it begins, on the idlest core; numeric libraries with one thread."""
    import psutil
    from threadpoolctl import threadpool_limits

    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    try:
        if allowed is not None:
            busy = psutil.cpu_percent(interval=0.2, percpu=True)
            os.sched_setaffinity(0, {min(allowed, key=lambda core: busy[core] if core < len(busy) else 0.0)})
        with threadpool_limits(1):
            yield
    finally:
        if allowed is not None:
            os.sched_setaffinity(0, allowed)


def run(scans: Sequence[tuple[tuple[int, int, int], float]] = SCANS) -> BenchReport:
    """Measure, and compare."""
    figures: dict[str, float] = {}
    bars: dict[str, Bar] = {}
    for shape, voxel in scans:
        size = "x".join(map(str, shape))
        frames = simulated(shape, voxel, echoes=3)
        single = [replace(frame, parts=frame.parts[:2]) for frame in frames]
        with tempfile.TemporaryDirectory() as folder, one_core():
            for name, taken in node_times(frames, Path(folder) / "nodes").items():
                figures |= _spread(f"{name}:{size}", taken[_SETTLING:])
            gc.collect()
            for run_index in (1, 2):
                times = template_times(single, Path(folder) / "template", run_index)
                figures |= template_figures(f"template_{size}_run_{run_index}", *times)
        for row in (f"template_{size}_run_1", f"template_{size}_run_2"):
            if shape in _LIMITS:
                bars[f"{row}:median_ms"] = bar(figures[f"{row}:median_ms"], _LIMITS[shape])
            bars[f"{row}:first_over_median"] = bar(figures[f"{row}:first_over_median"], _FIRST)
    packages = ("rtflow", "nipype", "numpy", "scipy", "numba", "scikit-learn")
    return BenchReport("nodes", machine(), versions(*packages), figures, bars)


def template_figures(row: str, latency: Sequence[float], spent: Sequence[float]) -> dict[str, float]:
    """What the template takes; dummies count for nothing.

    ``opening`` is the first volume that is used. In run 1 it becomes the reference: all that others are
    compared with is made from it, once, and the mask; ``first`` is then the volume after it, the first one
    that is aligned. In run 2 both are the same: what is needed is there before. The others are over the
    volumes from ``first`` on.
    """
    first = _DUMMIES + (1 if row.endswith("run_1") else 0)
    aligned = latency[first:]
    median = float(np.median(aligned))
    return {
        f"{row}:median_ms": median,
        f"{row}:p95_ms": float(np.percentile(aligned, 95)),
        f"{row}:processor_ms": float(np.median(spent[first:])),
        f"{row}:opening_ms": latency[_DUMMIES],
        f"{row}:first_ms": aligned[0],
        f"{row}:first_over_median": aligned[0] / median,
    }


def _spread(name: str, milliseconds: Sequence[float]) -> dict[str, float]:
    if not milliseconds:
        return {}
    return {
        f"{name}_median_ms": float(np.median(milliseconds)),
        f"{name}_p95_ms": float(np.percentile(milliseconds, 95)),
    }
