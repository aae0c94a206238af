"""An agent on the scanner's host as the source of a run."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rtflow.documents import Frame, now
from rtflow.errors import SourceError
from rtflow.server.messages import BeginRun
from rtflow.source_settings import AgentSource
from rtflow.source_uri import format_source, no_port_for
from rtflow.sources.account import Emit
from rtflow.sources.agent_feed import AgentFeed
from rtflow.sources.dicom_stream import DicomStream
from rtflow.sources.taking_up import standing

if TYPE_CHECKING:
    from rtflow.server.thread import Server

_POLL = 0.1
_IDLE_TRS, _IDLE = 10, 30.0


class AgentStream:
    """Volumes from what ``rtflow scanner`` sends: DICOM objects, or volumes of a source that knows its own.

    What comes is written to ``received/`` in the folder of the run before the agent is told so, and removed
    once the journal has it: a run that is resumed after a crash goes on with what was left there, and asks
    the agent for what is lacking.

    Parameters
    ----------
    spec
        The source table.
    """

    def __init__(self, spec: AgentSource) -> None:
        self._spec = spec
        self._server: Server | None = None
        self._feed: AgentFeed | None = None
        self._stream: DicomStream | None = None

    @property
    def uri(self) -> str:
        """What the source was opened from."""
        return format_source(self._spec)

    @property
    def tr(self) -> float | None:
        """Repetition time in seconds, once a header was seen or the agent has told it."""
        if self._feed is not None and self._feed.opened is not None and self._feed.opened.tr:
            return self._feed.opened.tr
        return self._stream.tr if self._stream else None

    @property
    def volumes(self) -> int | None:
        """Number of volumes: the setting, else what was planned, once that is known."""
        if self._spec.volumes is not None:
            return self._spec.volumes
        if self._feed is not None and self._feed.opened is not None and self._feed.opened.volumes:
            return self._feed.opened.volumes
        return self._stream.volumes if self._stream else None

    def connect(self, server: Server | None) -> None:
        """The run's server, which the agent is connected to, or will be."""
        self._server = server

    def begin(self, run_dir: Path, emit: Emit) -> None:
        """Tell the agent that there is a run: what comes from now on belongs to it.

        Raises
        ------
        SettingsError
            If the run has no server.
        SourceError
            If nothing can be kept in its folder.
        """
        spec = self._spec
        if self._server is None:
            raise no_port_for(spec)
        channel = self._server.scanner(spec.name)
        told = self._server.channels.run
        run = BeginRun(
            run_uid=run_dir.name,
            workflow=told.workflow if told is not None and told.run_uid == run_dir.name else "",
            volumes=spec.volumes,
            existing=spec.existing,
            pattern=spec.pattern,
        )
        stands = standing(run_dir)
        self._feed = AgentFeed(channel, run, run_dir / "received", began=stands.began)
        self._stream = DicomStream(self._feed, spec, f"agent {spec.name!r}")
        self._stream.begin(run_dir, emit)
        self._feed.begin(stands.last)
        self._stream.tell_troubles()

    def end(self) -> None:
        """Listen to the agent no more."""
        if self._feed is not None:
            self._feed.__exit__(None, None, None)

    def frames(self, stopping: threading.Event) -> Iterator[Frame]:
        """Frames in the order of their volumes, one for each; ends soon after ``stopping`` is set.

        Raises
        ------
        SourceError
            If no volume comes within ``wait`` seconds, if the agent's source fails, or two series come at
            once and none was chosen.
        """
        feed, stream = self._feed, self._stream
        if feed is None or stream is None:
            raise SourceError(f"source '{self.uri}' brings volumes to a run only: it needs the run's server")
        try:
            began = now()
            while not feed.wait_until_open(_POLL):
                stream.tell_troubles()
                if stopping.is_set():
                    return
                if now() - began > self._spec.wait:
                    raise SourceError(self._nothing_came(feed))
            if feed.opened is not None and feed.opened.brings == "volumes":
                yield from self._volumes(feed, stream, stopping)
            else:
                yield from stream.frames(stopping)
        finally:
            self.end()
            stream.tell_troubles()

    def _volumes(self, feed: AgentFeed, stream: DicomStream, stopping: threading.Event) -> Iterator[Frame]:
        """Volumes as the agent's source gives them; those that never come are missing."""
        last, news = feed.volumes_done, now()
        idle = self._spec.idle
        if idle is None:
            idle = max(_IDLE_TRS * (self.tr or 0.0), _IDLE)
        while not stopping.is_set() and not (self.volumes is not None and last >= self.volumes):
            frame = feed.next_volume(_POLL)
            stream.tell_troubles()
            if frame is not None:
                yield frame
                last, news = frame.volume, now()
                feed.volume_done(last)
            elif feed.ended:
                return
            elif feed.brought_until - news > (idle if last else max(idle, self._spec.wait)):
                why = f"it had not come when no new volume had come for {idle:g} s"
                for volume in range(last + 1, (self.volumes or last) + 1):
                    yield Frame(volume, now(), missing=why)
                return

    def _nothing_came(self, feed: AgentFeed) -> str:
        name, wait = self._spec.name, self._spec.wait
        if not feed.connected:
            url = self._server.url if self._server is not None else "wss://HOST:PORT"
            return (
                f"no volume came from agent {name!r} within {wait:g} s: it is not connected; start it on the "
                f"scanner's host ('rtflow scanner --server {url} --name {name} ...'), or wait longer: "
                "'wait=SECONDS' in the source"
            )
        return (
            f"agent {name!r} is connected, and has not opened its source within {wait:g} s; look at what "
            "'rtflow scanner' says on the scanner's host"
        )
