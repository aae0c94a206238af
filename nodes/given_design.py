"""The design that a node was given: the trials themselves, or a file of them."""

from __future__ import annotations

from pathlib import Path

from nipype.interfaces.base import isdefined

from rtflow.design import read_events, require_seconds
from rtflow.errors import UsageError
from rtflow.stream.interface import RunContext, StreamInterface
from rtflow.trials import Design

DESIGN = "what the participant does: a Design, or the path of an events.tsv"


def given_design(node: StreamInterface, context: RunContext | None = None) -> Design | None:
    """What the input ``design`` of a node stands for; None if it was given none.

    Parameters
    ----------
    node
        Has an input ``design``.
    context
        The run that begins. Unless it repeats another one, a design that must be in milliseconds is refused.

    Raises
    ------
    UsageError
        If it is no design, or its file cannot be read.
    """
    given, name = node.inputs.design, type(node).__name__
    if not isdefined(given):
        return None
    if given == "":
        raise UsageError(f"{name}: design is empty; give the path of an events.tsv, or leave design out")
    design = read_events(Path(given).expanduser()) if isinstance(given, str | Path) else given
    if not isinstance(design, Design):
        raise UsageError(
            f"{name}: design should be a Design, or the path of an events.tsv, got {given!r}; "
            "rtflow.design.block_design(...) makes one of blocks"
        )
    if context is not None and not context.replaying:
        require_seconds(design, context.volumes, context.tr)
    return design
