"""The server's thread, as the thread sees it that begins and ends it."""

import asyncio
import http.client
import socket
import threading
from collections.abc import Iterator
from typing import Any

import displays
import pytest
from displays import Display
from subjects import serving

from rtflow.server.channel import Channel
from rtflow.server.thread import Server


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
