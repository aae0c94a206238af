"""The agent on the scanner's host: sends what the scanner writes while there is a run, and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import rtflow
from rtflow.agents.allowed import Allowed
from rtflow.agents.answering import Answering
from rtflow.agents.connecting import Place, stay_connected
from rtflow.agents.files import FileService
from rtflow.agents.kept_run import KeptRun, forget_old, forget_run
from rtflow.agents.protection import Protection
from rtflow.agents.replaying import VolumeSender, open_volumes
from rtflow.agents.sending import ObjectSender, Outlet, Sender
from rtflow.agents.services import Method, declaration
from rtflow.agents.state import State
from rtflow.errors import OutputError, ProtocolError, RtflowError, SourceError, UsageError
from rtflow.server.link import Link
from rtflow.server.messages import (
    Again,
    BeginRun,
    Body,
    Done,
    EndRun,
    Kept,
    Piece,
    Request,
    SourceEnded,
    Trouble,
)
from rtflow.server.outbox import Part
from rtflow.server.wire import Hello
from rtflow.source_settings import AgentSource, AnySource, DicomSource, FolderSource
from rtflow.sources.feed import Feed
from rtflow.sources.left_alone import keep_left_alone
from rtflow.sources.receiving import Receiver
from rtflow.sources.watching import Watcher

_FAREWELL = 1.0
_LARGEST = 8 << 20


class ScannerAgent:
    """The agent.

    Parameters
    ----------
    source
        Where objects or volumes come from; None if it only serves files and methods.
    state
        Its folder.
    protection
        What is done to all that leaves.
    tell
        Called with each change, in words.
    files
        What of this host the server may have.
    services
        Methods that it may call.

    Raises
    ------
    UsageError
        If the source cannot be one of this host's.
    """

    def __init__(
        self,
        source: AnySource | None,
        state: State,
        protection: Protection,
        tell: Callable[[str], None],
        *,
        files: Allowed | None = None,
        services: dict[str, Method] | None = None,
    ) -> None:
        self._source = source
        self._state = state
        self._protection = protection
        self._tell = tell
        self._sender: Sender | None = None
        self._loop = asyncio.get_running_loop()
        self._ending = asyncio.Event()
        methods = services or {}
        allowed = files or Allowed([], [])
        about = {"rtflow": rtflow.__version__, "files": allowed.offers}
        told = declaration(methods)
        self.link = Link(
            self._work, about=about, methods=told, met=self._met, failed=self._failed, size_limit=_LARGEST
        )
        handlers = FileService(allowed, protection).handlers
        self._answering = Answering(self.link, methods, handlers)
        _check(source)
        protection.prepare()
        forget_old(state.folder / "runs")

    @property
    def standing(self) -> str:
        """How it stands, in a line."""
        there = "connected" if self.link.connected else "not connected"
        if self._sender is None:
            return f"{there}; no run"
        told = self._sender.told
        line = f"{there}; run {told.run_uid}: {told.sent} sent, {told.done} taken"
        if self.link.waiting():
            line += f", {self.link.waiting()} on their way"
        return line + (f", {told.withheld} withheld" if told.withheld else "")

    async def serve(self, place: Place) -> None:
        """Be there for the server until `end` is called.

        Raises
        ------
        UsageError, ProtocolError
            If the server refuses this agent for good.
        """
        staying = asyncio.ensure_future(stay_connected(self.link, place, self._tell, self._ending))
        ending = asyncio.ensure_future(self._ending.wait())
        try:
            await asyncio.wait({staying, ending}, return_when=asyncio.FIRST_COMPLETED)
            if staying.done():
                staying.result()
        finally:
            await self._end_sender()
            await self._answering.end()
            if self.link.connected:
                self.link.hang_up("the agent was ended")
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._disconnected(), _FAREWELL)
            for task in (staying, ending):
                task.cancel()
            await asyncio.gather(staying, ending, return_exceptions=True)

    def end(self) -> None:
        """Come to an end; may be called from any thread, and from the handler of a signal."""
        self._loop.call_soon_threadsafe(self._ending.set)

    async def _disconnected(self) -> None:
        while self.link.connected:
            await asyncio.sleep(0.01)

    # What the server says

    async def _work(self, body: Body, parts: list[bytes]) -> None:
        if isinstance(body, BeginRun):
            await self._begin(body)
        elif isinstance(body, EndRun):
            await self._end(body)
        elif isinstance(body, Done | Again):
            self._answer(body)
        elif isinstance(body, Request | Piece | Kept):
            self._answering.hear(body, parts)
        else:
            raise ProtocolError(f"a scanner's host is not told {type(body).__name__}")

    def _met(self, hello: Hello, anew: bool) -> None:
        self._answering.met(hello, anew)

    def _failed(self, error: Exception) -> None:
        self._tell(str(error) if isinstance(error, RtflowError) else f"{type(error).__name__}: {error}")

    async def _begin(self, run: BeginRun) -> None:
        if self._source is None:
            says = "started without --watch, --listen-dicom or --source: it sends no volumes"
            self._tell(f"run {run.run_uid} asks for volumes, and this agent was {says}")
            self.link.post(Trouble(run_uid=run.run_uid, says=says))
            return
        if self._sender is not None:
            if self._sender.run_uid == run.run_uid and self._sender.is_alive():
                self._sender.hear(run)
                return
            await self._end_sender()
        folder = self._state.run_folder(run.run_uid)
        try:
            kept = KeptRun(folder)
        except OutputError as error:
            self.link.post(SourceEnded(run_uid=run.run_uid, error=str(error)[:2000]))
            raise
        self._sender = self._make_sender(run, kept, self._source)
        self._sender.start()

    async def _end(self, end: EndRun) -> None:
        sender = self._sender
        if sender is not None and sender.run_uid == end.run_uid:
            await self._end_sender()
            told = sender.told
            self._tell(f"run {end.run_uid} is over ({end.status}): {told.sent} sent, {told.done} taken")
        folder = self._state.run_folder(end.run_uid)
        if folder.is_dir() and (left := forget_run(folder)):
            self._tell(f"received, and not used by the run: {left} objects in {folder / 'received'}")

    async def _end_sender(self) -> None:
        sender, self._sender = self._sender, None
        if sender is not None:
            await asyncio.to_thread(sender.end)

    def _answer(self, answer: Done | Again) -> None:
        if self._sender is not None and self._sender.run_uid == answer.run_uid:
            self._sender.hear(answer)
        elif isinstance(answer, Done) and self._state.run_folder(answer.run_uid).is_dir():
            kept = KeptRun(self._state.run_folder(answer.run_uid))  # of a run that may be taken up later
            kept.mark_done(answer.key)
            kept.close()

    # What is sent

    def _make_sender(self, run: BeginRun, kept: KeptRun, source: AnySource) -> Sender:
        outlet = Outlet(self._post, self.link.waiting, lambda: self.link.connected)
        given = run, kept, self._protection, outlet, self._tell
        if isinstance(source, FolderSource | DicomSource):
            return ObjectSender(*given, partial(open_feed, source))
        return VolumeSender(*given, partial(open_volumes, source))

    def _post(self, body: Body, parts: Sequence[Part]) -> None:
        self._loop.call_soon_threadsafe(self.link.post, body, parts)


def open_feed(source: FolderSource | DicomSource, run: BeginRun, kept: KeptRun) -> Feed:
    """What brings the objects of a run: files that came since it began, or what the scanner sends meanwhile.

    Raises
    ------
    SourceError
        If the folder is not there, or what is kept of the run cannot be read.
    """
    if isinstance(source, DicomSource):
        host, _, port = source.address.rpartition(":")
        return Receiver(
            host.strip("[]"),
            int(port),
            ae_title=source.ae_title,
            calling=source.calling,
            peers=source.peers,
            spool=kept.received,
        )
    folder = Path(source.path).expanduser()
    if not folder.is_dir():
        raise SourceError(f"the watched folder {folder} is not there")
    pattern = run.pattern if run.pattern != "*" else source.pattern
    watcher = Watcher(folder, pattern, existing=run.existing)
    if not run.existing:
        try:
            keep_left_alone(watcher, kept.left_alone)
        except (OSError, ValueError) as error:
            raise SourceError(f"{kept.left_alone} cannot be kept ({error}); give another --state") from None
    return watcher


def _check(source: AnySource | None) -> None:
    """Say what is wrong with a source now, not when a run begins."""
    if isinstance(source, AgentSource):
        raise UsageError(
            "an agent cannot be the source of an agent; give --watch, --listen-dicom or --source"
        )
    if isinstance(source, FolderSource):
        folder = Path(source.path).expanduser()
        if not folder.is_dir():
            raise UsageError(f"no folder {folder} to watch; create it or correct the path")
    elif isinstance(source, DicomSource):
        host, _, port = source.address.rpartition(":")
        Receiver(host.strip("[]"), int(port), spool=Path()).check_address()
    elif source is not None:
        open_volumes(source).end()
