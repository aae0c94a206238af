"""The TCP port gives values to programs that speak its protocol, and to nobody else."""

from __future__ import annotations

import asyncio
import json

import pytest

from rtflow.agents.kept_values import Arrival
from rtflow.agents.lines import Lines
from rtflow.server.messages import Response, Said, Shown, Trigger

PAGE = (
    b"POST / HTTP/1.1\r\nHost: 127.0.0.1:5555\r\nOrigin: https://page.example\r\nContent-Type: text/plain\r\n"
    b'\r\n{"type":"Trigger","n":1}\n{"type":"Response","button":"left"}\n'
)


@pytest.mark.parametrize(
    "sent", [PAGE, b"\x16\x03\x01\n", b"[]\n{}\n", b"1\n"], ids=["page", "tls", "list", "number"]
)
def test_a_web_page_gets_nothing_and_says_nothing(sent) -> None:
    async def go() -> None:
        heard: list[Said] = []
        lines = Lines("127.0.0.1", 0, heard.append, lambda: "run-1", lambda: "run-1")
        await lines.open()
        giving = asyncio.ensure_future(lines.give(Arrival(run_uid="run-1", volume=1, value=0.5)))
        silent = await asyncio.open_connection("127.0.0.1", lines.port)  # as a browser does beforehand
        reader, page = await asyncio.open_connection("127.0.0.1", lines.port)
        page.write(sent)
        async with asyncio.timeout(30):
            assert await _rest(reader) == b""
            assert heard == []
            assert not giving.done()
            reader, display = await asyncio.open_connection("127.0.0.1", lines.port)
            display.write(b"\n{}\n")
            assert json.loads(await reader.readline())["volume"] == 1
            await giving
            await lines.close()
            assert await silent[0].read() == b""
        for writer in (silent[1], page, display):
            writer.close()

    asyncio.run(go())


async def _rest(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read()
    except ConnectionResetError:  # not all that was sent had been read
        return b""


def test_once_a_run_is_over_what_is_said_is_of_no_run_but_what_was_shown_is() -> None:
    async def go() -> list[Said]:
        heard: list[Said] = []
        lines = Lines("127.0.0.1", 0, heard.append, lambda: "run-1", lambda: "")
        await lines.open()
        reader, display = await asyncio.open_connection("127.0.0.1", lines.port)
        for line in (
            {"type": "Trigger", "n": 1, "at": 1},
            {"type": "Shown", "volume": 3, "at": 1},
            {"type": "Response", "button": "left", "at": 1, "run_uid": "run-0"},
            {"type": "Nonsense"},
        ):
            display.write(json.dumps(line).encode() + b"\n")
        async with asyncio.timeout(30):
            assert json.loads(await reader.readline())["type"] == "Error"
            await lines.close()
        display.close()
        return heard

    assert asyncio.run(go()) == [
        Trigger(n=1, at=1.0),
        Shown(volume=3, at=1.0, run_uid="run-1"),
        Response(button="left", at=1.0, run_uid="run-0"),
    ]
