"""Every node in one graph, called as the engine calls it: what each gives, volume by volume."""

from __future__ import annotations

import copy
import threading
from collections.abc import Sequence
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from rtflow import nodes
from rtflow.bench.nodes import Call, calls
from rtflow.bids.incremental import BidsIncremental
from rtflow.bids.masked import Features, Mask
from rtflow.documents import Event, Frame
from rtflow.nodes.subject_input import TAKEN
from rtflow.stream.executor import Decisions
from rtflow.stream.interface import RunContext, StreamInterface

Outputs = dict[str, Any]

SAVES = {"Mask": {"save": "mask"}, "GLM": {"save": "glm", "betas": True}}
#: Of a run that is replayed: a button in volume 5.
SAID = Event(
    name=TAKEN,
    volume=5,
    data={"display": "subject", "responses": [{"button": "1", "at": 9.0, "time": 8.5}]},
)
AT_THE_END: dict[str, dict[str, Any]] = {
    "Accuracy": {},
    "KeepItems": {"names": ["mask", "glm"]},
    "SelectVoxels": {"maps": "glm", "within": "mask", "save": "best", "best": 20, "least": 1},
}


def each_volume() -> list[Call]:
    """Nodes that come with each volume, in the order of a graph."""
    made = [replace(call, options=call.options | SAVES.get(call.name, {})) for call in calls()]
    volume = {"incremental": ("DicomToBids", "incremental")}
    value = {"value": ("Feedback", "value"), "kind": ("Feedback", "kind")}
    return [
        *made,
        Call("RecordRun", {}, volume),
        Call("SubjectInput", {}, volume),
        Call("SubjectOutput", {}, value),
    ]


class Graph:
    """The nodes, which go through one run after another.

    Parameters
    ----------
    root
        Each run has a folder of its own in it.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.runs = 0
        self.calls = each_volume()
        self.nodes: dict[str, Any] = {call.name: call.interface(**call.options) for call in self.calls}
        self.nodes |= {name: getattr(nodes, name)(**options) for name, options in AT_THE_END.items()}
        self.taken: dict[str, Outputs] = {}

    def begin(self, volumes: int) -> None:
        """Begin a run in all nodes."""
        self.runs += 1
        folder = self.root / f"run-{self.runs}"
        folders = folder / "run", folder / "bids", folder / "session"
        context = RunContext("same", *folders, tr=2.0, volumes=volumes, seed=3, decisions=Decisions([SAID]))
        for node in self.nodes.values():
            if isinstance(node, StreamInterface):
                node.start_run(context)

    def volume(self, frame: Frame) -> dict[str, Outputs]:
        """One volume through all nodes that it reaches."""
        given: dict[str, Outputs] = {"": {"frame": frame}}
        for call in self.calls:
            node = self.nodes[call.name]
            known = set(node.inputs.copyable_trait_names())
            inputs = {
                name: given[before][output]
                for name, (before, output) in call.takes.items()
                if name in known and output in given.get(before, {})
            }
            needed = {*node.inputs.traits(mandatory=True), *node.needed_inputs()} - {"values"}
            if not needed <= inputs.keys() | call.options.keys():
                continue
            self.taken[call.name] = inputs
            given[call.name] = give(node, frame.volume, inputs)
        return given

    def end(self, correct: Sequence[float]) -> dict[str, Outputs]:
        """End the run; what the nodes of its end give."""
        self.close()
        found = {}
        for name in AT_THE_END:
            node = self.nodes[name]
            if name == "Accuracy":
                node.inputs.correct = list(correct)
            found[name] = give(node, 0, {})
        return found

    def close(self) -> None:
        """End the run in the nodes of each volume."""
        for call in self.calls:
            self.nodes[call.name].end_run()

    def run(self, frames: Sequence[Frame]) -> dict[str, list[Any]]:
        """All outputs of each node over a run, and the file of the one that records."""
        self.begin(len(frames))
        through = [self.volume(frame) for frame in frames]
        decoded = [found.get("Decode", {}) for found in through]
        ended = self.end([one["correct"] for one in decoded if "correct" in one])
        found = {call.name: [plain(one.get(call.name)) for one in through] for call in self.calls}
        bold = Path(through[-1]["RecordRun"]["bold_file"])
        found["RecordRun"] = [bold.name, bold.read_bytes()]
        return found | {name: [plain(one)] for name, one in ended.items()}


def give(node: Any, volume: int, inputs: Outputs) -> Outputs:
    """Call a node for one volume."""
    for name, value in inputs.items():
        setattr(node.inputs, name, value)
    node.volume = volume
    node._results = {}
    node._run_interface(None)
    return dict(node._results)


def plain(value: Any) -> Any:
    """A value as what can be compared bit for bit."""
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, Features):
        return plain(value.values), value.mask.identity
    if isinstance(value, Mask):
        return plain(value.data), value.identity
    if isinstance(value, BidsIncremental):
        return plain(value.data), plain(value.affine), repr(sorted(value.metadata.items())), value.reference
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if is_dataclass(value):
        return [plain(getattr(value, field.name)) for field in fields(value)]
    return repr(value)


def frames_of(scanner: Any, context: RunContext) -> list[Any]:
    """What the source gives in a run."""
    scanner.start_run(context)
    frames = scanner.frames(threading.Event())
    found = [(frame.volume, [part.data for part in frame.parts]) for frame in frames]
    scanner.end_run()
    return found


def spoiled(value: Any, how: str) -> Any:
    """What a node takes, with NaN or zeros in place of its values, or of another shape."""
    if isinstance(value, BidsIncremental):
        data = value.data
        if how == "shape":
            less = np.ascontiguousarray(data[:-2])
            return BidsIncremental(
                less, value.affine, volume=value.volume, metadata=value.metadata, reference=value.reference
            )
        return value.with_data(
            np.full(data.shape, np.nan, np.float32) if how == "nan" else np.zeros_like(data)
        )
    if isinstance(value, Features):
        if how == "shape":
            inside = value.mask.data.copy()
            inside[: len(inside) // 2] = False
            mask = Mask(inside, value.mask.grid)
            return Features(value.values[: mask.indices.size], mask)
        return Features(np.full_like(value.values, np.nan if how == "nan" else 0.0), value.mask)
    if isinstance(value, tuple) and value and isinstance(value[0], BidsIncremental):
        return tuple(spoiled(one, how) for one in value)
    if isinstance(value, Frame):
        return value
    return {"nan": np.nan, "zeros": 0.0, "shape": value}[how] if isinstance(value, float) else value


def numbered(inputs: Outputs, volume: int) -> Outputs:
    """The same as of another volume."""
    return {name: _numbered(value, volume) for name, value in inputs.items()}


def _numbered(value: Any, volume: int) -> Any:
    if isinstance(value, tuple):
        return tuple(_numbered(one, volume) for one in value)
    if isinstance(value, Frame):
        return replace(value, volume=volume)
    if isinstance(value, BidsIncremental):
        value = copy.copy(value)
        value.volume = volume
    return value
