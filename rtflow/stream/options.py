"""How a node is treated in the stream: set on the node, read when the graph is compiled."""

from __future__ import annotations

from typing import Any, Literal, TypeVar

import msgspec

from rtflow.errors import CompileError

OnError = Literal["fail", "skip", "last"]
Mode = Literal["thread", "process"]
_KEY = "rtflow"
NodeT = TypeVar("NodeT")

COMMAND_LIMIT = 60.0
"""Seconds after which a call in a worker process is killed if its node has no deadline."""


class StreamOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of one node; None leaves the choice to the compiler.

    Parameters
    ----------
    on_error
        What an error of the node does: ``fail`` fails the volume, ``skip`` leaves the node and what follows
        from it out of this volume, ``last`` repeats the node's last good outputs, marked stale.
    deadline
        Seconds that one call may take. In a worker process the call is killed then; in a thread its
        outputs are discarded when they come.
    stage
        Number of the thread that calls the node; may not decrease along an edge.
    mode
        ``thread``, or ``process`` for a worker process of the node's own.
    """

    on_error: OnError = "fail"
    deadline: float | None = None
    stage: int | None = None
    mode: Mode | None = None


def stream(
    node: NodeT,
    *,
    on_error: OnError = "fail",
    deadline: float | None = None,
    stage: int | None = None,
    mode: Mode | None = None,
) -> NodeT:
    """Set how a node is treated in the stream, and return the node.

    Parameters are those of `StreamOptions`.

    Raises
    ------
    CompileError
        If an option has a value that it cannot have.

    Examples
    --------
    >>> from nipype import IdentityInterface, Node
    >>> region = stream(Node(IdentityInterface(["value"]), name="region"), on_error="last", deadline=0.5)
    >>> options_of(region).on_error
    'last'
    """
    name = str(getattr(node, "name", node))
    if deadline is not None and not deadline > 0:
        raise CompileError(name, f"deadline={deadline!r} is not a positive number of seconds", "give seconds")
    if isinstance(stage, int) and stage < 0:
        raise CompileError(name, f"stage={stage} is negative", "number the stages from 0")
    arguments = {"on_error": on_error, "deadline": deadline, "stage": stage, "mode": mode}
    try:
        options = msgspec.convert(arguments, StreamOptions)
    except msgspec.ValidationError as error:
        raise CompileError(name, f"stream options are wrong: {error}", "see rtflow.stream.stream") from None
    node.plugin_args = {**(getattr(node, "plugin_args", None) or {}), _KEY: options}  # type: ignore[attr-defined]
    return node


def options_of(node: Any) -> StreamOptions:
    """The options of a node; those of the defaults if none were set."""
    options = (getattr(node, "plugin_args", None) or {}).get(_KEY)
    return options if isinstance(options, StreamOptions) else StreamOptions()
