"""Examples for a decoder, and its fit in a thread of its own."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np

from rtflow.nodes.decoding.classifier import Values

T = TypeVar("T")


@dataclass
class Examples:
    """Training volumes, one entry each in every list.

    Parameters
    ----------
    samples
        Shape (voxels,) each, float32; gone once they are taken.
    labels, volumes, times
        Trial type, number and seconds of each.
    censored
        Numbers of those that were left out for motion.
    """

    samples: list[Values] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    volumes: list[int] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    censored: list[int] = field(default_factory=list)

    def add(self, values: Values, label: str, volume: int, time: float) -> None:
        """One more."""
        self.samples.append(np.array(values, dtype=np.float32))
        self.labels.append(label)
        self.volumes.append(volume)
        self.times.append(time)

    def take(self) -> Values:
        """All samples, shape (volumes, voxels); they are not kept."""
        samples, self.samples = self.samples, []
        return np.stack(samples)


class Training(Generic[T]):
    """Work that goes on in a thread while volumes are answered, until somebody waits for it.

    Volumes wait at a place that the design sets, not at the time at which the thread happens to be done: the
    results of a run do not depend on how fast a machine is.
    """

    def __init__(self) -> None:
        self._future: Future[T] | None = None

    def begin(self, work: Callable[[], T]) -> None:
        """Start; there is one at a time."""
        pool = ThreadPoolExecutor(1, thread_name_prefix="training")
        self._future = pool.submit(work)
        pool.shutdown(wait=False)

    def finish(self) -> T | None:
        """Wait for what was begun, and give it once, or raise what it raised; None if nothing was begun."""
        future, self._future = self._future, None
        return None if future is None else future.result()
