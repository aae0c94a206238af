"""What stock Nipype runs: the nodes at set-up, cached as always, and those at the end of the run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nipype.interfaces.base import Bunch, isdefined
from nipype.pipeline.engine import JoinNode, Node
from nipype.pipeline.engine.nodes import NodeExecutionError

from rtflow.errors import CompileError, RunError
from rtflow.stream.checks import cached_array, holds_array
from rtflow.stream.plan import Plan, PlannedNode
from rtflow.stream.steps import Tell, telling

_ABSENT: Any = object()


def run_at_set_up(plan: Plan, updatehash: bool, tell: Tell) -> dict[int, Any]:
    """Run the nodes that do not depend on the source; their outputs by index.

    Parameters
    ----------
    plan
        The compiled graph.
    updatehash
        Whether the cache takes what is there for what would be computed.
    tell
        Told of each node that begins and ends.

    Raises
    ------
    CompileError
        If a node takes an array: Nipype's cache knows an array by its printed form, which two
        different arrays may share.
    RunError
        If a node fails.
    """
    outputs: dict[int, Any] = {}
    for planned in plan.when("set-up"):
        try:
            with telling(tell, "set-up", planned.name):
                for field, producer, output, function in planned.constants:
                    value = getattr(outputs[producer], output)
                    if holds_array(value if function is None else function(value)):
                        raise cached_array(planned.name, field)
                outputs[planned.index] = planned.node.run(updatehash=updatehash).outputs
        except CompileError:
            raise
        except (Exception, SystemExit) as error:
            raise RunError(f"{planned.name}: failed at set-up: {_said(error)}") from error
    return outputs


class EndNode:
    """A node that runs once, at the end of the run, on what was gathered from its volumes.

    What it joins is held in memory for the whole run: scalars and paths, not volumes.
    """

    def __init__(self, planned: PlannedNode) -> None:
        self.planned = planned
        self._joined: dict[str, list[Any]] = {}
        self._error: Exception | None = None
        self._is_join = isinstance(planned.node, JoinNode)
        if self._is_join:
            self._joined = {binding.field: [] for binding in planned.bindings}

    def gather(self, slots: list[dict[str, Any]]) -> None:
        """Take what one volume gave; a value that it withheld leaves no hole."""
        if not self._is_join:
            return
        for binding in self.planned.bindings:
            producer, output, function = binding.producers[0]
            value = slots[producer].get(output, _ABSENT)
            if value is _ABSENT:
                continue
            try:
                self._joined[binding.field].append(value if function is None else function(value))
            except Exception as error:  # it is this node's, and this node runs at the end
                self._error = self._error or error

    def run(self, outputs: dict[int, Any], directory: Path) -> Any:
        """Run the node by stock Nipype, in a folder of this run.

        Raises
        ------
        RunError
            If it fails.
        """
        node = self.planned.node
        if self._is_join:
            unique = node._unique
            node = Node(node.interface, name=node.name, base_dir=str(directory))
        else:
            node.base_dir = str(directory)
            node._output_dir = None  # it was named when Nipype expanded the graph
            node.input_source = {}
        try:
            if self._error is not None:
                raise self._error
            for field, producer, output, function in self.planned.constants:
                value = getattr(outputs[producer], output)
                setattr(node.inputs, field, value if function is None else function(value))
            if self._is_join:
                for field, values in self._joined.items():
                    setattr(node.inputs, field, list(dict.fromkeys(values)) if unique else values)
            else:
                for binding in self.planned.bindings:
                    producer, output, function = binding.producers[0]
                    value = getattr(outputs[producer], output)
                    if isdefined(value):
                        setattr(node.inputs, binding.field, value if function is None else function(value))
            return node.run().outputs
        except (Exception, SystemExit) as error:
            raise RunError(f"{self.planned.name}: failed at the end of the run: {_said(error)}") from error


def named_outputs(outputs: Any) -> dict[str, Any]:
    """The outputs of a node as a dict; those of a MapNode are another kind of object."""
    return dict(outputs.items() if isinstance(outputs, Bunch) else outputs.get())


def _said(error: BaseException) -> str:
    """An error in a line; Nipype puts the traceback of the interface's own into its message."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if isinstance(error, NodeExecutionError) and lines:
        return lines[-1]
    return f"{type(error).__name__}: {' '.join(lines)}"
