"""The server's thread, as the thread sees it that begins and ends it."""

import asyncio

from subjects import serving


def test_a_server_may_be_ended_where_another_event_loop_runs() -> None:
    async def story() -> int:
        with serving() as server:
            return server.port

    assert asyncio.run(story()) > 0
