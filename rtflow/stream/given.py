"""What a run is given beside its graph."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal, Protocol

from rtflow.documents import Frame, RunStart
from rtflow.stream.chronicle import Keeper, Observer
from rtflow.stream.executor import Decisions
from rtflow.stream.interface import RunContext


class Volumes(Protocol):
    """Where volumes come from."""

    @property
    def tr(self) -> float | None:
        """Repetition time in seconds, as far as it is known."""

    @property
    def volumes(self) -> int | None:
        """Number of volumes, as far as it is known."""

    def frames(self, stopping: threading.Event) -> Iterator[Frame]:
        """Frames in the order of their volumes; ends soon after ``stopping`` is set."""


@dataclass
class Resumed:
    """What the journal of an interrupted run says has been done.

    Parameters
    ----------
    results
        Hash of the values of each volume that has a Result.
    frames
        The recorded frames, in order; the graph's own source goes on behind them.
    delivered
        Volumes whose value has reached the subject's side, by channel.
    recorded
        Volumes whose frame is in the journal.
    counts
        Number of Results of each status.
    documents
        Number of documents in the journal.
    """

    results: dict[int, str] = field(default_factory=dict)
    frames: Iterable[Frame] = ()
    delivered: set[tuple[str, int]] = field(default_factory=set)
    recorded: set[int] = field(default_factory=set)
    counts: dict[str, int] = field(default_factory=dict)
    documents: int = 0


@dataclass(frozen=True)
class Given:
    """What `rtflow.stream.StreamPlugin` was told; its parameters say what each is."""

    context: RunContext
    start: RunStart | None
    keeper: Keeper | None
    observers: tuple[Observer, ...]
    source: Volumes | None
    decisions: Decisions | None
    resumed: Resumed | None
    deadline: float | Literal["tr"] | None
    pace: float
    backlog: int
    drop: bool
    stopping: threading.Event
    files: dict[str, str]
