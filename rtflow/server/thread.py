"""A server in a thread of its own, beside a run."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import ssl
import threading
from collections.abc import Collection, Coroutine, Iterator, Mapping, Sequence
from typing import Any

from aiohttp import web

from rtflow.documents import AnyDocument, encode
from rtflow.errors import UsageError, in_words
from rtflow.server.app import Port, make_app
from rtflow.server.channel import Channel, Emit
from rtflow.server.channels import Channels
from rtflow.server.desk import Desk
from rtflow.server.guard import Authorise, Guard
from rtflow.server.images import FindImages
from rtflow.server.listening import Limits, Listener
from rtflow.server.messages import BeginRun, EndRun
from rtflow.server.notes import Notes
from rtflow.server.progress import Progress
from rtflow.server.run_clock import RunClock
from rtflow.server.scanner_channel import ScannerChannel
from rtflow.server.states import State
from rtflow.server.subject_channel import SubjectChannel

_FAREWELL = 2.0
_TENDING = 0.5
_TELLING = 120  # of these turns make a minute


class Server:
    """One port for all agents and onlookers; a context manager.

    Parameters
    ----------
    host, port
        Where to listen; port 0 takes any that is free.
    guard
        Who is let in, by the accounts.
    authorise
        Says who may connect, where there is no guard.
    tls
        Certificate and key; without one it is plain.
    desk
        The operator's orders; without one nothing can be ordered.
    limits
        Of the port.
    names
        Names that others reach it by; pages are served to no other ones.

    Attributes
    ----------
    for_agents
        Whether agents are expected here; else a display that is not there is not told of.

    Raises
    ------
    UsageError
        When it begins, if the address cannot be had.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        guard: Guard | None = None,
        authorise: Authorise | None = None,
        tls: ssl.SSLContext | None = None,
        desk: Desk | None = None,
        limits: Limits | None = None,
        names: Collection[str] = (),
    ) -> None:
        allowed = authorise or (guard.authorise if guard is not None else None)
        if allowed is None:
            raise UsageError("a server needs a guard: somebody must say who may connect")
        self.host, self.port = host, port
        self.names = tuple(names)
        self.for_agents = True
        self._tls, self._limits = tls, limits or Limits()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="server", daemon=True)
        self.channels = Channels(self._loop, self._changed)
        self._notes = Notes()
        self._port = Port(self.channels, self._loop, allowed, guard, desk, names)
        self._runner: web.AppRunner | None = None
        self._tending: asyncio.Task[None] | None = None

    def __enter__(self) -> Server:
        self._thread.start()
        try:
            self._in_loop(self._start())
        except BaseException:
            self._end_thread()
            raise
        return self

    def __exit__(self, *unused: object) -> None:
        try:
            self._in_loop(self._stop())
        finally:
            self._end_thread()
            self._port.log.close()

    @property
    def url(self) -> str:
        """Where agents connect to."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'wss' if self._tls else 'ws'}://{host}:{self.port}"

    @property
    def http(self) -> str:
        """Where the HTTP API is."""
        return self.url.replace("ws", "http", 1)

    def scanner(self, name: str = "scanner") -> ScannerChannel:
        """The channel of a scanner's host."""
        channel = self.channels.find("scanner", name)
        assert isinstance(channel, ScannerChannel)
        return channel

    def subject(self, name: str = "subject") -> SubjectChannel:
        """The channel of a subject's host."""
        channel = self.channels.find("subject", name)
        assert isinstance(channel, SubjectChannel)
        channel.expected = self.for_agents
        return channel

    # Of a run; from any thread

    def begin_run(self, run: BeginRun, images: FindImages | None = None) -> None:
        """Tell all subjects, also those that come later, of a run; scanners hear of it from their source.

        Parameters
        ----------
        run
            The run.
        images
            What can be drawn of an output of its nodes.
        """
        self._port.images.begin(run.run_uid, images)
        self._port.states.try_to_enter("preparing")
        self.channels.run = run
        self._port.begin(run)
        for channel in self.channels:
            if isinstance(channel, SubjectChannel):
                channel.begin_run(run)

    def attend(self, emit: Emit | None, clock: RunClock | None = None) -> None:
        """Tell a run what agents say, do, and what their clocks show; None tells nobody.

        When this returns, the run before hears nothing any more.
        """
        self.channels.attend(emit)
        self._port.clock, self._port.emit = clock, emit

        async def begin() -> None:
            self._notes.begin(emit, self.channels)
            for channel in self.channels:
                if isinstance(channel, SubjectChannel):
                    channel.catch_up()

        self._in_loop(begin())

    def enter(self, state: State) -> None:
        """The run has come so far."""
        self._port.states.try_to_enter(state)

    def observe(self, document: AnyDocument) -> None:
        """A document of the run stands in the journal: whoever looks on is to have it."""
        self._loop.call_soon_threadsafe(self._port.tell, document, encode(document))

    def recall(self, documents: Sequence[AnyDocument]) -> None:
        """A run is taken up again that was cut off: these are its documents so far."""

        async def tell() -> None:
            self._port.progress = Progress()
            for document in documents:
                self._port.tell(document, encode(document))

        self._in_loop(tell())

    def show(
        self, run_uid: str, volume: int, nodes: Sequence[str], outputs: Sequence[Mapping[str, Any]]
    ) -> None:
        """A volume's Result stands in the journal; these are its nodes' outputs, for whoever wants to see."""
        self._port.images.hold(run_uid, volume, nodes, outputs)

    def end_run(self, run_uid: str, status: str | None) -> None:
        """The run is over: ``completed``, ``failed`` or ``aborted``; None if it was cut off and may go on."""
        self.channels.run = None
        self._port.say(f"run {run_uid} has ended: {status}")
        if status is not None:
            for channel in self.channels:
                channel.end_run(EndRun(run_uid=run_uid, status=status))
        self._port.states.try_to_enter("finishing")  # wherever it was cut off
        if self._port.desk is None or not self._port.desk.waits:  # else whoever waits for orders says when
            self._port.states.try_to_enter("idle")

    # In the loop's thread

    def _changed(self, channel: Channel, what: str) -> None:
        if what == "repeated":
            self._port.log.refused("", "repeated message", f"{channel.kind} {channel.name}")
        else:
            self._notes.changed(channel, what)

    async def _tend(self) -> None:
        for turn in itertools.count(1):
            await asyncio.sleep(_TENDING)
            with self._going_on("turn out"):
                await self._port.turn_out()
            with self._going_on("look at clocks"):
                self._notes.look_at_clocks(self.channels)
            if turn % _TELLING == 0:
                with self._going_on("tell untold"):
                    self._port.log.tell_untold()

    @contextlib.contextmanager
    def _going_on(self, what: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # what goes wrong once must not end tending for good
            self._port.log.refused("", what, "", reason=in_words(error))

    async def _start(self) -> None:
        self._runner = web.AppRunner(make_app(self._port), access_log=None)
        await self._runner.setup()
        assert self._runner.server is not None
        log = self._port.log
        try:
            listener = self._port.listener = Listener(
                self._runner.server,
                self.host,
                self.port,
                tls=self._tls,
                limits=self._limits,
                refused=lambda address, why: log.refused("", "connection ended", address, reason=why),
            )
        except UsageError:
            await self._runner.cleanup()
            raise
        self.port = listener.port
        listener.start()
        self._tending = asyncio.ensure_future(self._tend())

    async def _stop(self) -> None:
        assert self._runner is not None
        assert self._port.listener is not None
        await self._port.listener.close()
        # What was posted last, that the run is over for instance, is still to be heard.
        there = [channel.link for channel in self.channels if channel.link.connected]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FAREWELL):
                await asyncio.gather(*(link.emptied() for link in there))
        for link in there:
            link.hang_up("the server ends")
        for channel in self.channels:
            if isinstance(channel, ScannerChannel):
                channel.asking.end()
        if self._tending is not None:
            self._tending.cancel()
            await asyncio.wait([self._tending])
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FAREWELL):
                while any(link.connected for link in there):
                    await asyncio.sleep(0.01)
        await self._runner.shutdown()
        await self._port.listener.end_all()
        await self._runner.cleanup()

    def _in_loop(self, job: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(job, self._loop).result()

    def _end_thread(self) -> None:
        # In its own thread: the one that ends the server may have an event loop of its own that runs.
        self._port.pools.close()
        self._in_loop(self._loop.shutdown_default_executor())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
