"""One subscription for all browsers: nothing is missing, nothing comes twice, and a slow one is let go."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from rtflow.dash_app.engine import EngineError
from rtflow.dash_app.hub import Browser, Hub, Slow
from rtflow.documents import Event, PartRecord, RunStart, VolumeReceived, encode


def lines(run_uid: str, count: int) -> list[str]:
    """Documents of a run, each as its line of JSON."""
    start = RunStart(run_uid=run_uid, seq=0, workflow="test")
    others = [Event(run_uid=run_uid, seq=seq, name="one") for seq in range(1, count)]
    return [encode(one).decode() for one in (start, *others)]


class Engine:
    """An engine's journal: what stands there may be asked for; what comes is told by the test."""

    def __init__(self) -> None:
        self.runs: dict[str, list[str]] = {}
        self.reachable = True

    async def documents(self, run_uid: str, since: int) -> list[bytes]:
        await asyncio.sleep(0)
        if not self.reachable:
            raise EngineError("not there")
        return [line.encode() for line in self.runs.get(run_uid, [])[since : since + 10]]


def seen(sent: list[str]) -> list[tuple[str, int]]:
    """Run and number of each document in what was sent."""
    told = [json.loads(line) for line in sent]
    return [(one["run_uid"], one["seq"]) for one in told if "document" in one]


@contextlib.asynccontextmanager
async def listening(hub: Hub, run_uid: str = "", since: int = 0) -> AsyncIterator[list[str]]:
    """What one browser gets while the block lasts."""
    got: list[str] = []
    async with hub.attended(run_uid, since) as browser:

        async def read() -> None:
            async for text in browser.texts():
                got.extend(text.split("\n"))

        reading = asyncio.ensure_future(read())
        try:
            yield got
        finally:
            await settled()
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def make() -> tuple[Hub, Engine]:
    engine = Engine()
    return Hub(engine), engine  # type: ignore[arg-type]


def feed(hub: Hub, engine: Engine, run_uid: str, told: list[str]) -> None:
    for line in told:
        engine.runs.setdefault(run_uid, []).append(line)
        hub.add(line)


@pytest.mark.parametrize("before", [0, 1, 7, 40, 2000])
def test_a_browser_gets_what_was_and_what_comes_each_once_and_in_order(before: int) -> None:
    async def run() -> None:
        hub, engine = make()
        told = lines("a", before + 5)
        feed(hub, engine, "a", told[:before])
        async with listening(hub) as got:
            await settled()
            feed(hub, engine, "a", told[before:])
        assert seen(got) == [("a", seq) for seq in range(before + 5)]

    asyncio.run(run())


@pytest.mark.parametrize("since", [0, 3, 39, 40, 1500, 1999, 2000])
def test_one_that_comes_back_gets_what_it_missed(since: int) -> None:
    async def run() -> None:
        hub, engine = make()
        told = lines("a", 2003)
        feed(hub, engine, "a", told[:2000])
        async with listening(hub, "a", since) as got:
            feed(hub, engine, "a", told[2000:])
        assert seen(got) == [("a", seq) for seq in range(since, 2003)]

    asyncio.run(run())


def test_what_comes_while_it_catches_up_is_not_lost() -> None:
    async def run() -> None:
        hub, engine = make()
        told = lines("a", 3000)
        feed(hub, engine, "a", told[:2500])

        async def go_on() -> None:
            for line in told[2500:]:
                feed(hub, engine, "a", [line])
                await asyncio.sleep(0)

        going = asyncio.ensure_future(go_on())
        async with listening(hub) as got:
            await going
        assert seen(got) == [("a", seq) for seq in range(3000)]

    asyncio.run(run())


def test_everybody_goes_on_with_the_next_run() -> None:
    async def run() -> None:
        hub, engine = make()
        feed(hub, engine, "a", lines("a", 5))
        async with listening(hub) as got, listening(hub, "a", 5) as other:
            await settled()
            feed(hub, engine, "b", lines("b", 4))
        assert seen(got) == [("a", seq) for seq in range(5)] + [("b", seq) for seq in range(4)]
        assert seen(other) == [("b", seq) for seq in range(4)]

    asyncio.run(run())


def test_an_engine_that_is_gone_keeps_nobody_from_what_there_is() -> None:
    async def run() -> None:
        hub, engine = make()
        feed(hub, engine, "a", lines("a", 1100))
        engine.reachable = False
        async with listening(hub) as got:
            await settled()
        assert seen(got) == [("a", seq) for seq in range(1100 - 1024, 1100)]

    asyncio.run(run())


def test_one_that_does_not_read_is_let_go_and_costs_no_more() -> None:
    async def run() -> None:
        hub, engine = make()
        async with hub.attended("", 0) as slow, listening(hub) as got:
            for line in lines("a", 2000):
                feed(hub, engine, "a", [line])
                await settled()
            with pytest.raises(Slow):
                await anext(aiter(slow.texts()))
        assert seen(got) == [("a", seq) for seq in range(2000)]

    asyncio.run(run())


def test_several_that_wait_are_one_text() -> None:
    async def run() -> Any:
        browser = Browser("a", 0)
        browser.put("1")
        browser.put("2")
        return await anext(aiter(browser.texts()))

    assert asyncio.run(run()) == "1\n2"


def test_hashes_of_slices_stay_at_home() -> None:
    hub, engine = make()
    part = PartRecord("slice.dcm", "application/dicom", 100, "0" * 64)
    volume = VolumeReceived(run_uid="a", seq=1, volume=1, received=1.5, parts=(part,) * 60)
    feed(hub, engine, "a", [lines("a", 1)[0], encode(volume).decode()])

    async def run() -> None:
        async with listening(hub) as got:
            await settled()
        (told,) = [json.loads(line) for line in got if "VolumeReceived" in line]
        assert told["volume"] == 1
        assert "parts" not in told

    asyncio.run(run())
