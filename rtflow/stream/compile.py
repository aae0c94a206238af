"""From a Nipype graph to a plan: which node runs when, and what each takes from which."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import networkx as nx
from nipype.interfaces.base import CommandLine
from nipype.pipeline.engine import JoinNode, MapNode, Workflow

from rtflow.errors import CompileError
from rtflow.stream.calls import threads_own_directories, touches_files
from rtflow.stream.checks import (
    check_apart,
    check_cached,
    check_each,
    check_inputs,
    check_items,
    check_needed,
    check_once,
)
from rtflow.stream.interface import StreamInterface, StreamSink, StreamSource
from rtflow.stream.options import COMMAND_LIMIT, Mode, options_of
from rtflow.stream.plan import Binding, Plan, PlannedNode, When


def inspect(workflow: Workflow) -> Plan:
    """The plan of a workflow, without running anything of it.

    Raises
    ------
    CompileError
        If the workflow cannot be run as a stream.
    """

    class InspectPlugin:
        plugin_args: dict[str, Any] = {}  # noqa: RUF012 - Nipype's name for it
        plan: Plan

        def run(self, graph: nx.DiGraph, config: Any, updatehash: bool = False) -> None:
            del config, updatehash
            self.plan = compile_graph(graph, workflow.name)

    plugin = InspectPlugin()
    workflow.config.setdefault("execution", {})["create_report"] = "false"
    workflow.run(plugin=plugin)
    return plugin.plan


def compile_graph(graph: nx.DiGraph, name: str) -> Plan:
    """Compile the expanded graph that Nipype gives to a plugin.

    Parameters
    ----------
    graph
        Nodes, with ``connect`` on the edges.
    name
        Name of the workflow.

    Raises
    ------
    CompileError
        Naming the node, what is wrong and what to do.
    """
    order = list(
        nx.lexicographical_topological_sort(graph, key=lambda node: node.fullname + str(node.itername))
    )
    names = _names(order, name)
    source = _find_source(order, names, name)
    when = _when(graph, order, names, source)
    own_directories = threads_own_directories()
    index = {node: place for place, node in enumerate(order)}
    planned: list[PlannedNode] = []
    for node in order:
        options = options_of(node)
        interface = node.interface
        entry = PlannedNode(
            index=index[node],
            name=names[node],
            when=when[node],
            node=node,
            interface=type(interface).__name__,
            on_error=options.on_error,
            deadline=options.deadline,
            stateful=bool(getattr(interface, "stateful", False)),
            after=tuple(names[before] for before in graph.predecessors(node)),
        )
        planned.append(entry)
        if isinstance(node, MapNode) and when[node] == "volume":
            raise CompileError(
                names[node],
                "is a MapNode, and a node of the stream has one value per volume",
                "let one node take the whole list, or set iterables on a node after the source",
            )
        _bind(graph, node, entry, index, when, names)
        if isinstance(interface, StreamInterface):
            interface.each_volume = entry.when == "volume"
        check_inputs(node, entry)
        check_needed(interface, entry)
        if when[node] == "set-up":
            check_cached(node, entry)
        if when[node] != "volume":
            check_once(interface, entry)
        else:
            check_each(interface, entry)
            entry.mode = _mode(interface, options.mode, own_directories, entry.name)
            if entry.mode == "process" or getattr(interface, "own_worker", False):
                entry.limit = options.deadline or COMMAND_LIMIT
            earlier = [planned[index[n]] for n in graph.predecessors(node) if when[n] == "volume"]
            entry.stage = _stage(
                options.stage, [other for other in earlier if other.node is not source], entry
            )
    check_apart(planned)
    check_items(planned)
    return Plan(name, tuple(planned), planned[index[source]])


def _names(order: list[Any], workflow: str) -> dict[Any, str]:
    """Names without the outer workflow's, told apart by the iterables where a node was multiplied."""
    plain = {node: node.fullname.removeprefix(workflow + ".") for node in order}
    counts = Counter(plain.values())
    return {
        node: base
        if counts[base] == 1
        else f"{base}[{','.join(p.strip('_') for p in node.parameterization)}]"
        for node, base in plain.items()
    }


def _find_source(order: list[Any], names: dict[Any, str], workflow: str) -> Any:
    sources = [node for node in order if isinstance(node.interface, StreamSource)]
    if not sources:
        raise CompileError(
            workflow,
            "has no source of volumes",
            "add Node(ScannerInput(uri=...), name='scanner') and connect it",
        )
    if len(sources) > 1:
        raise CompileError(
            names[sources[1]],
            f"is a second source of volumes beside {names[sources[0]]}",
            "keep one ScannerInput; set no iterables on it nor on a node before it",
        )
    source = sources[0]
    twins = [node for node in order if node.name == source.name and node is not source]
    if twins:
        raise CompileError(
            names[twins[0]],
            f"has the bare name of the source {names[source]}: joinsource='{source.name}' would mean both",
            "rename one of the two",
        )
    return source


def _when(graph: nx.DiGraph, order: list[Any], names: dict[Any, str], source: Any) -> dict[Any, When]:
    """Read off the graph: not downstream of the source, downstream, downstream of a join over it."""
    when: dict[Any, When] = {}
    downstream = nx.descendants(graph, source) | {source}
    for node in order:
        if node not in downstream:
            when[node] = "set-up"
            continue
        joins = isinstance(node, JoinNode) and not node._next_slot_index
        before = {when[other] for other in graph.predecessors(node)}
        if joins and node.joinsource != source.name:
            raise CompileError(
                names[node],
                f"joins over '{node.joinsource}', which is neither the source nor has iterables",
                f"set joinsource='{source.name}' to run at the end of the run",
            )
        if joins and "end" in before:
            raise CompileError(
                names[node],
                "joins over a run that has ended already",
                "make it an ordinary Node: it runs once",
            )
        if joins or "end" in before:
            when[node] = "end"
        else:
            when[node] = "volume"
    return when


def _bind(
    graph: nx.DiGraph,
    node: Any,
    entry: PlannedNode,
    index: dict[Any, int],
    when: dict[Any, When],
    names: dict[Any, str],
) -> None:
    joined_over_run = entry.when == "end" and isinstance(node, JoinNode)
    expanded = isinstance(node, JoinNode) and bool(node._next_slot_index)
    gathered: dict[str, dict[int, tuple[int, str, Callable[[Any], Any] | None]]] = {}
    bindings: list[Binding] = []
    constants = []
    for before in graph.predecessors(node):
        for origin, target in graph[before][node]["connect"]:
            output, function = _origin(origin)
            producer = (index[before], output, function)
            if when[before] == "set-up" and not expanded:
                constants.append((target, *producer))
                continue
            if (
                entry.when == "end"
                and when[before] == "volume"
                and not (joined_over_run and target in node.joinfield)
            ):
                raise CompileError(
                    entry.name,
                    f"runs once, at the end, but takes '{target}' of every volume from {names[before]}",
                    f"put '{target}' into the joinfield of a JoinNode(joinsource=<source>)",
                )
            slot = _slot(node, target) if expanded else None
            if slot:
                gathered.setdefault(slot[0], {})[slot[1]] = producer
            else:
                bindings.append(Binding(target, (producer,), needed=_needed(node.interface, target)))
    for target, slots in gathered.items():
        bindings.append(Binding(target, tuple(slots[n] for n in sorted(slots)), gathered=True))
    entry.bindings = tuple(sorted(bindings, key=lambda binding: binding.field))
    entry.constants = tuple(constants)


def _origin(origin: Any) -> tuple[str, Callable[[Any], Any] | None]:
    if not isinstance(origin, tuple):
        return str(origin), None
    from nipype.utils.functions import create_function_from_source

    output, source, arguments = origin
    function = create_function_from_source(source)
    return str(output), lambda value: function(value, *arguments)


def _slot(node: Any, target: str) -> tuple[str, int] | None:
    """The join field and number behind one of the names that Nipype makes when it multiplies a join."""
    for name in node.joinfield:
        number = target.removeprefix(name + "J")
        if number != target and number.isdigit():
            return name, int(number)
    return None


def _needed(interface: Any, target: str) -> bool:
    # A stock interface was written for a graph in which what is connected comes. Ours say what they need.
    if not isinstance(interface, StreamInterface):
        return True
    trait = interface.inputs.trait(target)
    return bool(trait is not None and trait.mandatory)


def _mode(interface: Any, asked: Mode | None, own_directories: bool, name: str) -> Mode:
    if isinstance(interface, (StreamSource, StreamSink)) or getattr(interface, "own_worker", False):
        if asked == "process":
            raise CompileError(name, "lives in the engine and cannot run in a process", "leave out mode")
        return "thread"
    if asked == "process":
        if getattr(interface, "stateful", False) and not interface.keeps_state():
            raise CompileError(
                name,
                "keeps state, but cannot give it to the next worker process when one is killed",
                "write its snapshot() and restore(), or leave out mode='process'",
            )
        return "process"
    if isinstance(interface, CommandLine):
        if asked == "thread":
            raise CompileError(
                name, "runs a command, which a thread cannot end when it hangs", "leave out mode='thread'"
            )
        return "process"
    if asked is None and not own_directories and touches_files(interface):
        return "process"
    return "thread"


def _stage(asked: int | None, earlier: list[PlannedNode], entry: PlannedNode) -> int:
    least = max((other.stage for other in earlier), default=0)
    if asked is None:
        return least
    if asked < least:
        late = next(other for other in earlier if other.stage > asked)
        raise CompileError(
            entry.name,
            f"is in stage {asked}, but takes a value from {late.name} in stage {late.stage}",
            "let the stage numbers never decrease along an edge",
        )
    return asked
