"""The server's thread, as the thread sees it that begins and ends it."""

import asyncio
import http.client
import socket
from typing import Any

from subjects import serving

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
