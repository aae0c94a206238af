"""One volume on its way through the graph, and the Result it ends in."""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np

from rtflow.documents import Frame, Result, Scalar, Status, hash_values, now

# How a node ended for a volume. The order matters: what a node lacks is explained by the gravest reason.
DONE, WITHHELD, SKIPPED, FAILED = range(4)

# How absolute paths begin.
_ROOTS = (os.sep, "file://")

# Whole numbers that a document can hold.
_LEAST, _MOST = -(2**63), 2**64 - 1

EMPTY: dict[str, Any] = {}


class VolumeInFlight:
    """What is known of a volume between its Frame and its Result.

    Attributes
    ----------
    slots
        Outputs of each node, by its index in the plan; empty where it gave none.
    states
        DONE, WITHHELD, SKIPPED or FAILED, by the same index.
    stale
        Indices of nodes whose outputs repeat an earlier volume's, or were computed from such.
    """

    __slots__ = (
        *("doubts", "errors", "frame", "placed", "skipped", "slots", "stale", "states", "timings", "volume"),
    )

    def __init__(self, frame: Frame, size: int, source: int) -> None:
        self.frame = frame
        self.volume = frame.volume
        self.placed = True  # whether it holds one of the places before the first stage
        self.slots: list[dict[str, Any]] = [EMPTY] * size
        self.slots[source] = {"frame": frame}
        self.states = bytearray(size)
        self.timings: dict[str, float] = {}
        self.errors: dict[str, str] = {}
        self.skipped: list[str] = []
        self.stale: set[int] = set()
        self.doubts: list[str] = []


def scalars(outputs: dict[str, Any]) -> dict[str, Scalar]:
    """The outputs that are single values, as plain Python values.

    Absolute paths are left out: they say where a run was, not what it found.
    A whole number of more than 64 bits becomes a float.

    >>> scalars({"value": np.float32(0.5), "mask": np.ones(2), "kind": np.str_("rest"), "file": "/data/x"})
    {'value': 0.5, 'kind': 'rest'}
    """
    found: dict[str, Scalar] = {}
    for name, value in outputs.items():
        if value.__class__ is float or value.__class__ is bool:  # quickly, the most there are
            found[name] = value
            continue
        plain = value.item() if isinstance(value, np.generic) else value
        if isinstance(plain, (bool, float)):
            found[name] = plain
        elif isinstance(plain, int):
            found[name] = plain if _LEAST <= plain <= _MOST else _as_float(plain)
        elif isinstance(plain, str) and not plain.startswith(_ROOTS):
            found[name] = plain
    return found


def _as_float(number: int) -> float:
    try:
        return float(number)
    except OverflowError:
        return math.copysign(math.inf, number)


def seal(outputs: dict[str, Any]) -> dict[str, Any]:
    """Make the arrays among the outputs read-only: they travel by reference."""
    for value in outputs.values():
        if value.__class__ is np.ndarray:
            value.setflags(write=False)
    return outputs


def result_of(
    item: VolumeInFlight, names: list[str], deadline: float | None, late: bool | None
) -> tuple[Result, bool]:
    """The Result of a volume that has been through the graph.

    Parameters
    ----------
    item
        The volume.
    names
        Name of each node, by index.
    deadline
        Seconds from the last byte after which the Result is late, or None.
    late
        What the run that is replayed decided, or None to decide here.

    Returns
    -------
    result, late
        The Result, and whether it came after the deadline.
    """
    values: dict[str, Scalar] = {}
    stale: list[str] = []
    for index, outputs in enumerate(item.slots):
        if not outputs:
            continue
        found = scalars(outputs)
        if not found:
            continue
        prefix = names[index] + "."
        for field, value in found.items():
            values[prefix + field] = value
        if index in item.stale:
            stale += [prefix + field for field in found]
    latency = now() - item.frame.received
    if late is None:
        late = deadline is not None and latency > deadline
    status: Status = "late" if late else "ok"
    if item.errors:
        status = "failed"
    if item.frame.missing:
        status = "missing"
    reasons = list(item.doubts)
    reasons += [f"{name}: skipped" for name in item.skipped]
    if stale:
        reasons.append(f"stale: {', '.join(stale)}")
    if item.frame.missing:
        reasons.append(item.frame.missing)
    result = Result(
        volume=item.volume,
        status=status,
        values=values,
        values_sha256=hash_values(values),
        stale=tuple(stale),
        skipped=tuple(item.skipped),
        errors=item.errors,
        timings=item.timings,
        latency=latency * 1e3,
        margin=None if deadline is None else (deadline - latency) * 1e3,
        quality="suspect" if reasons else "good",
        reasons=tuple(reasons),
    )
    return result, late
