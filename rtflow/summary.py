"""What a run came to: counts, latencies and the latest values, gathered document by document.

Gathering is quick and safe from any thread, so that it may stand in the way of the engine; working
out percentiles is left to whoever looks.
"""

from __future__ import annotations

import re
import threading
from array import array
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from rtflow.documents import (
    AnyDocument,
    Event,
    Result,
    RunStart,
    RunStop,
    Scalar,
    VolumeMissing,
    VolumeReceived,
)
from rtflow.engine import exit_status
from rtflow.settings import Limits

STATUSES = ("ok", "late", "missing", "failed")
KEPT_MESSAGES = 20
"""Different messages that are kept: a fault that words itself anew each time must not fill the memory."""

KEPT_VALUES = 60
"""Latest feedback values that are kept, for a display."""


def percentile(values: Sequence[float], percent: float) -> float:
    """The value below which so many percent lie, between two of them by a straight line.

    Parameters
    ----------
    values
        At least one value, in ascending order.
    percent
        0 to 100.

    >>> percentile([1.0, 2.0, 4.0], 75)
    3.0
    """
    at = (len(values) - 1) * percent / 100
    below = int(at)
    above = min(below + 1, len(values) - 1)
    return values[below] + (at - below) * (values[above] - values[below])


def spread(values: Sequence[float]) -> dict[str, float] | None:
    """Median, 95th percentile and maximum; None of nothing."""
    if not values:
        return None
    ordered = sorted(values)
    return {"p50": percentile(ordered, 50), "p95": percentile(ordered, 95), "max": ordered[-1]}


def published(values: Mapping[str, Scalar], name: str) -> dict[str, Scalar]:
    """The values of one name, by the node that published each.

    >>> published({"decode.value": 0.5, "decode.kind": "evidence"}, "value")
    {'decode': 0.5}
    """
    split = ((key.rpartition("."), value) for key, value in values.items())
    return {node: value for (node, _, last), value in split if last == name}


@dataclass
class Seen:
    """A summary as it stood at one moment.

    Parameters
    ----------
    start, stop
        The first and last documents of the run, once they are there.
    last
        The latest Result.
    began
        When the first volume came.
    newest
        Number of the latest volume that came or was given up.
    counts
        Number of Results of each status.
    suspect
        Number of volumes that came and were done, and whose quality is suspect.
    failing
        How many of the latest volumes failed one after the other; missing ones do not count.
    latencies
        Milliseconds from last byte to Result, of each volume that has been through the graph.
    feedback
        Latest feedback values, and the kind of the last one.
    shown
        The latest of each value that the settings want shown.
    errors, doubts
        How many volumes each message stands in.
    notes
        What the source had to say, and how many times; of how far it has come, the latest.
    """

    start: RunStart | None = None
    stop: RunStop | None = None
    last: Result | None = None
    began: float = 0.0
    newest: int = 0
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(STATUSES, 0))
    suspect: int = 0
    failing: int = 0
    latencies: Sequence[float] = field(default_factory=lambda: array("d"))
    feedback: Sequence[float] = ()
    kind: str = ""
    shown: dict[str, Scalar] = field(default_factory=dict)
    errors: dict[str, int] = field(default_factory=dict)
    doubts: dict[str, int] = field(default_factory=dict)
    notes: dict[str, int] = field(default_factory=dict)

    @property
    def done(self) -> int:
        """Number of Results."""
        return sum(self.counts.values())


class Summary:
    """Gathers the documents of a run.

    Memory grows by eight bytes per volume and node, and by nothing else.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen = Seen()
        self._latencies = array("d")
        self._timings: dict[str, array[float]] = {}
        self._feedback: deque[float] = deque(maxlen=KEPT_VALUES)
        self._errors: Counter[str] = Counter()
        self._doubts: Counter[str] = Counter()
        self._notes: Counter[str] = Counter()
        self._standing: dict[str, str] = {}

    def add(self, document: AnyDocument) -> None:
        """Take in one document."""
        with self._lock:
            seen = self._seen
            match document:
                case RunStart():
                    seen.start = document
                case VolumeReceived() | VolumeMissing():
                    seen.began = seen.began or document.received
                    seen.newest = max(seen.newest, document.volume)
                case Event(name=name, data={"says": str(says), "of": _}):  # how far something has come
                    self._notes.pop(self._standing.get(name, ""), None)
                    self._standing[name] = says
                    _count(self._notes, says)
                case Event(name="note", data={"says": str(says), "who": str(who)}):
                    _count(self._notes, f"{said_by(who, document.volume)}: {says}")
                case Event(data={"says": str(says)}):
                    _count(self._notes, says)
                case Result():
                    self._add_result(document)
                case RunStop():
                    seen.stop = document

    def _add_result(self, result: Result) -> None:
        seen = self._seen
        seen.last = result
        seen.counts[result.status] += 1
        seen.suspect += result.quality == "suspect" and result.status in ("ok", "late")
        if result.status != "missing":
            seen.failing = seen.failing + 1 if result.status == "failed" else 0
        if result.status in ("ok", "late"):
            self._latencies.append(result.latency)
        for node, milliseconds in result.timings.items():
            self._timings.setdefault(node, array("d")).append(milliseconds)
        for node, value in published(result.values, "value").items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                self._feedback.append(float(value))
                seen.kind = str(result.values.get(f"{node}.kind") or node)
        wanted = seen.start.settings.get("show", ()) if seen.start else ()
        latest = seen.shown | result.values if wanted else {}
        seen.shown = {name: latest[name] for name in wanted if name in latest}
        for node, message in result.errors.items():
            _count(self._errors, f"{node}: {of_any_volume(message, result.volume)}")
        for reason in result.reasons:
            _count(self._doubts, of_any_volume(reason, result.volume))

    def seen(self) -> Seen:
        """How things stand; a copy of its own."""
        with self._lock:
            return Seen(
                **{
                    **vars(self._seen),
                    "counts": dict(self._seen.counts),
                    "latencies": self._latencies[:],
                    "feedback": tuple(self._feedback),
                    "shown": dict(self._seen.shown),
                    "errors": dict(self._errors),
                    "doubts": dict(self._doubts),
                    "notes": dict(self._notes),
                }
            )

    def timings(self) -> dict[str, Sequence[float]]:
        """Milliseconds of each node's calls."""
        with self._lock:
            return {node: times[:] for node, times in self._timings.items()}

    def as_dict(self) -> dict[str, Any]:
        """All of it, as what JSON can hold.

        ``accuracy`` is there if a node at the end of the run gave a field of that name, ``reason`` if the
        run did not end well. Latencies and times of nodes are milliseconds, None without any.
        """
        seen = self.seen()
        start, stop = seen.start or RunStart(workflow=""), seen.stop or RunStop(status="failed")
        limits = msgspec.convert(start.settings.get("limits", {}), Limits)
        told: dict[str, Any] = {
            "run_uid": start.run_uid,
            "status": stop.status,
            "exit_status": exit_status(stop, limits),
            "workflow": start.workflow,
            "source": start.source,
            "volumes": {"planned": start.volumes, **seen.counts, **stop.counts, "suspect": seen.suspect},
            "values": {**seen.shown, **stop.values},
            "latency_ms": spread(seen.latencies),
            "nodes": {node: spread(times) for node, times in self.timings().items()},
            "errors": seen.errors,
            "doubts": seen.doubts,
            "notes": seen.notes,
            "outputs": dict(stop.outputs),
            "seconds": max(stop.time - start.time, 0.0),
        }
        accuracies = [value for value in published(stop.values, "accuracy").values() if value is not None]
        if accuracies:
            told["accuracy"] = accuracies[-1]
        if stop.reason:
            told["reason"] = stop.reason
        return told


def said_by(who: str, volume: int | None) -> str:
    """Who took a note, and when.

    >>> said_by("anna", 12), said_by("anna", None)
    ('note of anna at volume 12', 'note of anna before the first volume')
    """
    return f"note of {who} " + (f"at volume {volume}" if volume else "before the first volume")


_RESIDUAL = re.compile(r" \(residual [0-9.]+\)")


def of_any_volume(message: str, volume: int) -> str:
    """What is said of a volume, without what differs when the same is said of others: number and residual.

    >>> of_any_volume("volume 19 has 74x74x36 voxels", 19)
    'the volume has 74x74x36 voxels'
    >>> of_any_volume("it is not alike (residual 0.57)", 20)
    'it is not alike'
    """
    return _RESIDUAL.sub("", re.sub(rf"\bvolume {volume}\b", "the volume", message))


def consecutive(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """The first and the last of those that follow one another, of numbers in ascending order.

    >>> consecutive([1, 3, 4, 5, 9])
    [(1, 1), (3, 5), (9, 9)]
    """
    found: list[tuple[int, int]] = []
    for number in numbers:
        if found and number == found[-1][1] + 1:
            found[-1] = found[-1][0], number
        else:
            found.append((number, number))
    return found


def _count(counter: Counter[str], message: str) -> None:
    kept = message if message in counter or len(counter) < KEPT_MESSAGES else "others"
    counter[kept] = counter.pop(kept, 0) + 1  # the latest is the last, also if it was said before
