"""A server in a thread of its own, beside a run."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Collection
from concurrent.futures import Future

from aiohttp import web

from rtflow.errors import UsageError
from rtflow.server.app import Authorise, Channels, make_app
from rtflow.server.channel import Channel
from rtflow.server.messages import BeginRun, EndRun
from rtflow.server.scanner_channel import ScannerChannel
from rtflow.server.subject_channel import SubjectChannel

_FAREWELL = 2.0


class Server:
    """One port for all agents; a context manager.

    Parameters
    ----------
    host, port
        Where to listen; port 0 takes any that is free.
    authorise
        Says who may connect.
    tls
        Certificate and key; without one it is plain.
    names
        Names that others reach it by; pages are served to no other ones.

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
        authorise: Authorise,
        tls: ssl.SSLContext | None = None,
        names: Collection[str] = (),
    ) -> None:
        self.host, self.port = host, port
        self._authorise, self._tls, self._names = authorise, tls, names
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="server", daemon=True)
        self._runner: web.AppRunner | None = None
        self.channels = Channels(self._loop, self._changed)

    def __enter__(self) -> Server:
        self._thread.start()
        try:
            self._in_loop(self._start()).result()
        except OSError as error:
            self._end_thread()
            raise UsageError(
                f"cannot listen at {self.host}:{self.port} ({error.strerror or error}); choose another port"
            ) from None
        return self

    def __exit__(self, *unused: object) -> None:
        self._in_loop(self._stop()).result()
        self._end_thread()

    @property
    def url(self) -> str:
        """Where agents connect to."""
        return f"{'wss' if self._tls else 'ws'}://{self.host}:{self.port}"

    def scanner(self, name: str = "scanner") -> ScannerChannel:
        """The channel of a scanner's host."""
        channel = self.channels.find("scanner", name)
        assert isinstance(channel, ScannerChannel)
        return channel

    def subject(self, name: str = "subject") -> SubjectChannel:
        """The channel of a subject's host."""
        channel = self.channels.find("subject", name)
        assert isinstance(channel, SubjectChannel)
        return channel

    def begin_run(self, run: BeginRun) -> None:
        """Tell all subjects, also those that come later, of a run; scanners hear of it from their source."""
        self.channels.run = run
        for channel in self.channels:
            if isinstance(channel, SubjectChannel):
                channel.begin_run(run)

    def end_run(self, run_uid: str, status: str) -> None:
        """The run is over: ``completed``, ``failed`` or ``aborted``."""
        self.channels.run = None
        for channel in self.channels:
            channel.end_run(EndRun(run_uid=run_uid, status=status))

    def _changed(self, channel: Channel, what: str) -> None:
        """An agent has come or gone."""

    async def _start(self) -> None:
        self._runner = web.AppRunner(make_app(self.channels, self._authorise, self._names), access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self.host, self.port, ssl_context=self._tls)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def _stop(self) -> None:
        for channel in self.channels:
            channel.link.hang_up("the server ends")
        if self._runner is not None:
            await self._runner.cleanup()

    def _in_loop(self, job) -> Future[None]:  # type: ignore[no-untyped-def]
        return asyncio.run_coroutine_threadsafe(job, self._loop)

    def _end_thread(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
