"""What every source of volumes offers, and how one keeps time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from rtflow.documents import Event, Frame, now
from rtflow.source_settings import Speed


class Source(Protocol):
    """Where the volumes of one run come from.

    Opening a source validates all that can be known without waiting, and raises `SourceError`.

    Attributes
    ----------
    tr
        Repetition time in seconds, None as long as it is not known.
    volumes
        Planned number of volumes, None as long as it is not known.
    uri
        What the source was opened from, as a URI.
    """

    def begin(self, run_dir: Path, emit: Callable[[Event], None]) -> None:
        """There is a run now: what is to be told and kept of what is no volume goes to it.

        May be called once, before `frames`; a source that has nothing to tell does nothing.
        """

    def end(self) -> None:
        """The run is over: hold nothing open; may be called at any time, also twice."""

    @property
    def tr(self) -> float | None:
        """Repetition time in seconds, if known."""

    @property
    def volumes(self) -> int | None:
        """Planned number of volumes, if known."""

    @property
    def uri(self) -> str:
        """What the source was opened from."""

    def frames(self, stopping: threading.Event) -> Iterator[Frame]:
        """Frames in the order of their volumes, one for each; ends soon after ``stopping`` is set."""


class Pacer:
    """Releases volumes at the scanner's pace, or so many times faster.

    A late consumer is not waited for: what is due goes out at once, as it would from a scanner.

    Parameters
    ----------
    speed
        Factor on the scanner's pace, or ``max`` for no waiting.
    """

    def __init__(self, speed: Speed) -> None:
        self._speed = speed
        self._start: float | None = None

    def wait(self, at: float, stopping: threading.Event) -> bool:
        """Wait until scanner time ``at`` (seconds); the first call sets the clock and does not wait.

        Returns
        -------
        bool
            False if ``stopping`` was set.
        """
        if self._speed == "max":
            return not stopping.is_set()
        if self._start is None:
            self._start = now() - at / self._speed
        left = self._start + at / self._speed - now()
        return not (stopping.wait(left) if left > 0 else stopping.is_set())
