"""The compiled graph: which node runs when, and what each takes from which."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from rtflow.stream.options import Mode, OnError

When = Literal["set-up", "volume", "end"]


@dataclass(frozen=True)
class Binding:
    """One input of a node.

    Parameters
    ----------
    field
        Name of the input.
    producers
        Where its value comes from: (step, output field, function on the edge). Several for the inputs
        that a join over iterables gathers into a list.
    gathered
        Whether the value is a list over ``producers``.
    needed
        Whether the node cannot run without it.
    """

    field: str
    producers: tuple[tuple[int, str, Callable[[Any], Any] | None], ...]
    gathered: bool = False
    needed: bool = True


@dataclass
class PlannedNode:
    """One node of the graph in the order in which it runs; ``index`` is its place in `Plan.nodes`."""

    index: int
    name: str
    when: When
    node: Any = field(repr=False)
    interface: str = ""
    stage: int = 0
    mode: Mode = "thread"
    on_error: OnError = "fail"
    deadline: float | None = None
    limit: float | None = None
    stateful: bool = False
    bindings: tuple[Binding, ...] = ()
    constants: tuple[tuple[str, int, str, Callable[[Any], Any] | None], ...] = ()
    after: tuple[str, ...] = ()

    def describe(self) -> dict[str, Any]:
        """What RunStart says of the node."""
        return {
            "interface": self.interface,
            "when": self.when,
            "stage": self.stage,
            "mode": self.mode,
            "on_error": self.on_error,
            "deadline": self.deadline,
            "outputs": self._outputs(),
        }

    def _outputs(self) -> dict[str, str]:
        """What the interface says of its outputs, of those that it says something of."""
        spec = getattr(self.node.interface, "output_spec", None)
        traits = spec().traits() if spec is not None else {}
        return {name: str(trait.desc) for name, trait in traits.items() if trait.desc}


@dataclass
class Plan:
    """The compiled graph: nodes in an order in which each comes after those it takes values from."""

    name: str
    nodes: tuple[PlannedNode, ...]
    source: PlannedNode

    def when(self, when: When) -> list[PlannedNode]:
        """The nodes that run at set-up, per volume (with the source) or at the end."""
        return [node for node in self.nodes if node.when == when]
