"""One run on the scanner's host, from a source that knows its volumes: a data set, a recorded run."""

from __future__ import annotations

import contextlib
import queue
from collections.abc import Callable
from typing import TYPE_CHECKING

from rtflow.agents.kept_run import KeptRun
from rtflow.agents.protection import Protection
from rtflow.agents.sending import POLL, Outlet, Sender
from rtflow.documents import Event, Frame
from rtflow.errors import UsageError, needs_all
from rtflow.server.messages import BeginRun, Done, PartName, SourceEnded, SourceOpened, VolumeSent
from rtflow.server.scanner_channel import ScannerChannel
from rtflow.source_settings import AnySource, BidsSource, OpenNeuroSource

if TYPE_CHECKING:
    from rtflow.sources import Source

_AWAY, _AWAY_BYTES = 16, 64 << 20
"""So many volumes, or bytes, may be on their way: the source is not asked for more until the server has one
for good."""


_EXTRA = ("boto3", "botocore", "nibabel", "numpy")
"""What ``requirements-openneuro.txt`` adds to what agents need."""


def open_volumes(spec: AnySource) -> Source:
    """Open a source of volumes.

    Raises
    ------
    UsageError
        If it cannot be opened, or only the agents' part of rtflow is installed.
    """
    try:
        from rtflow.sources import open_source

        return open_source(spec)
    except ModuleNotFoundError as error:
        if isinstance(spec, OpenNeuroSource | BidsSource) and error.name in _EXTRA:
            raise UsageError(
                f"this source needs more than agents do, and {error.name} is missing; install it with: "
                "pip install -r requirements-openneuro.txt (or install rtflow again without --no-deps)"
            ) from None
        raise needs_all("this source", error) from None


class VolumeSender(Sender):
    """Sends the volumes of a source, from its first one or from where an earlier process stood.

    Parameters
    ----------
    open_source
        Opens the source for a run.
    """

    def __init__(
        self,
        run: BeginRun,
        kept: KeptRun,
        protection: Protection,
        outlet: Outlet,
        tell: Callable[[str], None],
        open_source: Callable[[], Source],
    ) -> None:
        super().__init__(run, kept, protection, outlet, tell)
        self._open_source = open_source
        self._away: dict[int, tuple[VolumeSent, tuple[bytes, ...]]] = {}
        self._opened: SourceOpened | None = None
        self._ended: SourceEnded | None = None

    def send_all(self) -> None:
        """Send all volumes, then wait until the run is over: the server may ask for some again."""
        source = self._open_source()
        try:
            source.begin(self.kept.folder, self._tell_event)
            self._opened = SourceOpened(
                run_uid=self.run_uid, brings="volumes", volumes=source.volumes, tr=source.tr
            )
            self.post(self._opened)
            self.tell_begun()
            for frame in source.frames(self.ending):
                self._answer(0.0)  # first what an earlier server still lacks, then this one
                if not self.kept.is_done(str(frame.volume)):
                    self._send(frame)
                while self._is_enough_away() and not self.ending.is_set():
                    self._answer(POLL)
        finally:
            source.end()
        if not self.ending.is_set():
            self._ended = SourceEnded(run_uid=self.run_uid)
            self.post(self._ended)
        while not self.ending.is_set():
            self._answer(POLL)

    def _is_enough_away(self) -> bool:
        size = sum(len(part) for _, parts in self._away.values() for part in parts)
        return len(self._away) >= _AWAY or size >= _AWAY_BYTES

    def _send(self, frame: Frame) -> None:
        safe = [self.protection.of_part(part.name, part.media_type, part.data) for part in frame.parts]
        missing = frame.missing
        if sum(len(data) for _, data in safe) > ScannerChannel.size_limit:
            missing = f"volume {frame.volume} is larger than {ScannerChannel.size_limit >> 20} MB"
            safe = []
            self.trouble(missing)
        body = VolumeSent(
            run_uid=self.run_uid,
            volume=frame.volume,
            received=frame.received,
            acquired=frame.acquired,
            missing=missing[:2000],
            parts=tuple(
                PartName(name=name[:255], media_type=part.media_type)
                for (name, _), part in zip(safe, frame.parts, strict=bool(safe))
            ),
        )
        data = tuple(data for _, data in safe)
        self._away[frame.volume] = body, data
        self.post(body, data)
        self.told.sent += 1

    def _answer(self, timeout: float) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                answer = self.answers.get(timeout=timeout) if timeout else self.answers.get_nowait()
                timeout = 0.0
                if isinstance(answer, Done):
                    if answer.key.isdecimal():
                        gone = self._away.pop(int(answer.key), None)
                        self.mark_done(answer.key, sent=gone is not None)
                elif isinstance(answer, BeginRun) and self._opened is not None:
                    self.post(self._opened)
                    for body, data in self._away.values():
                        self.post(body, data)
                    if self._ended is not None:
                        self.post(self._ended)

    def _tell_event(self, event: Event) -> None:
        says = event.data.get("says")
        if says:
            self.trouble(str(says))
