"""The server's thread, as the thread sees it that begins and ends it."""

import asyncio
import contextlib
import http.client
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import displays
import pytest
from displays import Display
from subjects import serving

from rtflow.server import sockets
from rtflow.server.channel import Channel
from rtflow.server.thread import Server

#: Of Linux; Python has no name for it.
TCP_NOTSENT_LOWAT = 25


def test_a_server_may_be_ended_where_another_event_loop_runs() -> None:
    async def story() -> int:
        with serving() as server:
            return server.port

    assert asyncio.run(story()) > 0


def test_a_server_at_all_addresses_is_reached_by_both_families() -> None:
    async def nobody(request: Any) -> Any:
        raise AssertionError

    both = socket.has_dualstack_ipv6()  # a machine may have no IPv6
    with Server("::" if both else "0.0.0.0", 0, authorise=nobody) as server:
        for address in ("127.0.0.1", "::1") if both else ("127.0.0.1",):
            connection = http.client.HTTPConnection(address, server.port, timeout=20)
            connection.request("GET", "/nothing")
            assert connection.getresponse().status == 404
            connection.close()


def connected_at(port: int, stack: contextlib.ExitStack) -> list[socket.socket]:
    """Copies of this process' ends of connections to a port of its own."""
    found = []
    for path in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # gone meanwhile, or not connected
            if path.readlink().name.startswith("socket:"):
                one = stack.enter_context(socket.socket(fileno=os.dup(int(path.name))))
                if one.family == socket.AF_INET and port in (one.getsockname()[1], one.getpeername()[1]):
                    found.append(one)
    return found


def test_small_things_are_sent_at_once_by_both_ends() -> None:
    with serving() as server, Display(server.url) as display, contextlib.ExitStack() as stack:
        display.until(lambda: display.link.connected)
        ends = connected_at(server.port, stack)
        assert {one.getsockname()[1] == server.port for one in ends} == {True, False}
        for one in ends:
            assert one.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert one.getsockopt(socket.IPPROTO_TCP, TCP_NOTSENT_LOWAT) == sockets._UNSENT


def test_what_goes_wrong_with_a_look_at_the_clocks_does_not_end_the_looks_after_it() -> None:
    looked = threading.Event()

    with serving() as server:

        class Channels:
            times = 0

            def __iter__(self) -> Iterator[Channel]:
                self.times += 1
                if self.times == 1:
                    raise ValueError("something went wrong")
                looked.set()
                return iter(())

        look = server._notes.look_at_clocks
        channels = Channels()
        server._notes.look_at_clocks = lambda _: look(channels)  # type: ignore[method-assign]
        assert looked.wait(60.0)


def test_what_an_agent_speaks_is_no_reason_for_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with displays.serving() as server, Display(server.url) as display:
        display.until(lambda: display.link.connected)
    assert [record.getMessage() for record in caplog.records if record.name.startswith("aiohttp")] == []
