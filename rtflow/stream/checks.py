"""What a graph may not be, each told with the node, the cause and the way out."""

from __future__ import annotations

from typing import Any

import numpy as np
from nipype.interfaces.base import Undefined, isdefined

from rtflow.errors import CompileError
from rtflow.stream.interface import StreamInterface, StreamSink
from rtflow.stream.plan import PlannedNode


def check_inputs(node: Any, entry: PlannedNode) -> None:
    """Every mandatory input is set or connected."""
    connected = {binding.field for binding in entry.bindings} | {constant[0] for constant in entry.constants}
    for name, spec in node.interface.inputs.traits(mandatory=True).items():
        there = [name, *(spec.xor or ())]
        # A join has inputs of its own for what it joins, beside those of its interface.
        given = [
            getattr(inputs, field, Undefined)
            for inputs in (node.inputs, node.interface.inputs)
            for field in there
        ]
        if not connected.intersection(there) and not any(isdefined(value) for value in given):
            raise CompileError(
                entry.name,
                f"its mandatory input '{name}' is neither set nor connected",
                "set it or connect it",
            )


def check_needed(interface: Any, entry: PlannedNode) -> None:
    """What the options of a node make mandatory is set or connected, unless an option is only known later."""
    if not isinstance(interface, StreamInterface):
        return
    connected = {binding.field for binding in entry.bindings} | {constant[0] for constant in entry.constants}
    for name, why in interface.needed_inputs().items():
        if name not in connected and not isdefined(getattr(interface.inputs, name)):
            raise CompileError(entry.name, f"its input '{name}' is not connected: {why}", f"connect '{name}'")


def check_once(interface: Any, entry: PlannedNode) -> None:
    """What runs once is made for it."""
    moment = "once, at set-up" if entry.when == "set-up" else "once, at the end of the run"
    if entry.stateful or isinstance(interface, StreamSink):
        does = "keeps state from volume to volume" if entry.stateful else "delivers a value for each volume"
        raise CompileError(
            entry.name,
            f"{does}, but would run {moment}",
            "connect it to what comes from the source each volume",
        )


def check_each(interface: Any, entry: PlannedNode) -> None:
    """What runs with every volume is not made for the end of the run."""
    if getattr(interface, "at_end", False):
        fields = [binding.field for binding in entry.bindings]
        raise CompileError(
            entry.name,
            "is for the end of the run, and would run with every volume",
            f"make it a JoinNode(..., joinsource=<source>, joinfield={fields}) in place of a Node",
        )
    if isinstance(interface, StreamInterface) and (refused := interface.not_each_volume()):
        raise CompileError(entry.name, *refused)


def check_items(planned: list[PlannedNode]) -> None:
    """What a node takes of this run is saved in it, as far as that is known: see `Session`."""
    interfaces = [entry.node.interface for entry in planned]
    streaming = [one for one in interfaces if isinstance(one, StreamInterface)]
    if not all(type(one).__module__.startswith("rtflow.nodes.") for one in streaming):
        return  # a node of one's own may save under any name
    names = [getattr(one.inputs, "save", "") for one in streaming]
    saved = sorted({name for name in names if isdefined(name) and name})
    for entry in planned:
        needed = entry.node.interface.needed_items() if entry.node.interface in streaming else ()
        for name in needed:
            if name not in saved:
                raise CompileError(
                    entry.name,
                    f"takes '{name}' of this run, and the run saves {', '.join(saved) or 'nothing'}",
                    "name an item that it saves, or set save on the node that makes it",
                )


def check_apart(planned: list[PlannedNode]) -> None:
    """No two nodes may have the same interface (its inputs and state are one), or the same channel."""
    interfaces: dict[int, str] = {}
    channels: dict[str, str] = {}
    for entry in planned:
        interface = entry.node.interface
        if other := interfaces.get(id(interface)):
            raise CompileError(
                entry.name,
                f"has the very same interface object as {other}, and so the same inputs and state",
                "make an interface for each Node",
            )
        interfaces[id(interface)] = entry.name
        if isinstance(interface, StreamSink):
            if other := channels.get(interface.channel):
                raise CompileError(
                    entry.name,
                    f"delivers on channel '{interface.channel}' as {other} does: one value hides the other",
                    "keep one of the two, or derive a class with another channel",
                )
            channels[interface.channel] = entry.name


def check_cached(node: Any, entry: PlannedNode) -> None:
    """What stock Nipype caches takes no arrays."""
    for name, value in node.inputs.get().items():
        if holds_array(value):
            raise cached_array(entry.name, name)


def cached_array(node: str, field: str) -> CompileError:
    """The error of an array as the input of a node that stock Nipype caches."""
    return CompileError(
        node,
        f"takes an array ('{field}') at set-up, where stock Nipype tells arrays apart by how they print",
        "pass a file, or connect the node downstream of the source",
    )


def holds_array(value: Any) -> bool:
    """Whether a value is an array, or a list, tuple or dict with one in it."""
    if isinstance(value, np.ndarray):
        return True
    if isinstance(value, dict):
        return any(holds_array(item) for item in value.values())
    return isinstance(value, (list, tuple)) and any(holds_array(item) for item in value)
