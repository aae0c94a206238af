"""A recorded run as a source: the same frames, at the pace of the run or without waiting."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from rtflow.documents import Event, Frame, now
from rtflow.errors import JournalError, SourceError
from rtflow.journal import Recording
from rtflow.source_settings import JournalSource
from rtflow.sources.base import Pacer


class JournalReplay:
    """Frames of a recorded run.

    Parameters
    ----------
    spec
        Where the run is, and how fast to play it.

    Raises
    ------
    SourceError
        If there is no journal.
    """

    def __init__(self, spec: JournalSource) -> None:
        try:
            self._recording = Recording(Path(spec.path))
        except JournalError as error:
            raise SourceError(str(error)) from None
        self._speed = spec.speed
        self.uri = f"journal:{spec.path}"
        self.tr = self._recording.start.tr
        self.volumes: int | None = len(self._recording.volumes) or None

    def begin(self, run_dir: Path, emit: Callable[[Event], None]) -> None:
        """Nothing comes from here but volumes."""

    def end(self) -> None:
        """Nothing is open but while frames are asked for."""

    def frames(self, stopping: threading.Event) -> Iterator[Frame]:
        """Frames in the order in which they came; ends soon after ``stopping`` is set.

        By the clock of the recorded run, not from frame to frame: the error does not add up.
        """
        pacer = Pacer(self._speed)
        for frame in self._recording.frames():
            if not pacer.wait(frame.received, stopping):
                return
            yield replace(frame, received=now())
