"""The process of the dashboard, from its beginning to its end."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from rtflow.dash_app.engine import EnginePlace


@dataclass(frozen=True)
class DashboardOptions:
    """What a dashboard is started with.

    Parameters
    ----------
    engine
        What it shows.
    access
        Folder of the accounts: who may log in.
    host, port
        Where it listens; port 0 takes any that is free.
    tls
        Certificate and key; None for plain connections.
    names
        Names that others reach it by.
    desktop
        Socket of a VNC server, for operators; None for no desktop.
    """

    engine: EnginePlace
    access: Path
    host: str = "127.0.0.1"
    port: int = 0
    tls: ssl.SSLContext | None = None
    names: tuple[str, ...] = field(default=("localhost",))
    desktop: Path | None = None


async def serve(
    options: DashboardOptions,
    ready: Callable[[int], None],
    ends_with: TextIO | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> None:
    """Serve until it is told to end: SIGINT, SIGTERM, or its terminal closes.

    Parameters
    ----------
    options
        As given by the user.
    ready
        Called with the port once pages can be loaded.
    ends_with
        When this comes to its end, so does the dashboard: the process beside which it was started is gone.
    tell
        Called with a line whenever the engine is lost, or is there again.
    """
    from rtflow.access.audit import AuditLog
    from rtflow.access.store import Access
    from rtflow.dash_app.engine import Engine
    from rtflow.dash_app.page import make_page
    from rtflow.dash_app.web import Web
    from rtflow.server.guard import Guard

    access = Access(options.access)
    guard = Guard(access, AuditLog(access.folder / "audit.jsonl"), names=options.names)
    engine = Engine(options.engine)
    shown = options.desktop is not None
    web = Web(engine, guard, lambda port: make_page(engine, port, desktop=shown), options.desktop, tell)
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup has it
            loop.add_signal_handler(number, ended.set)
    if ends_with is not None:
        threading.Thread(target=_await_end, args=(ends_with, loop, ended), daemon=True).start()
    try:
        async with web.opened(options.host, options.port, options.tls) as port:
            ready(port)
            await ended.wait()
    finally:
        guard.log.close()


def _await_end(stream: TextIO, loop: asyncio.AbstractEventLoop, ended: asyncio.Event) -> None:
    with contextlib.suppress(OSError, ValueError):
        while stream.read(1):
            pass
    with contextlib.suppress(RuntimeError):  # the loop is over already
        loop.call_soon_threadsafe(ended.set)
