"""One subscription for all browsers: nothing is missing, nothing comes twice, and a slow one is let go."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from rtflow.dash_app.engine import EngineError
from rtflow.dash_app.hub import Hub
from rtflow.documents import Event, PartRecord, RunStart, VolumeReceived, encode, now

KEPT = 500


@pytest.fixture(autouse=True)
def _fewer_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rtflow.dash_app.hub._KEPT", KEPT)


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
        self.ahead = 0.0

    async def documents(self, run_uid: str, since: int, most: int) -> list[bytes]:
        await asyncio.sleep(0)
        if not self.reachable:
            raise EngineError("not there")
        if run_uid not in self.runs:
            raise EngineError("there is no such run", 404)
        return [line.encode() for line in self.runs[run_uid][since : since + min(most, 50)]]

    async def ask(self, path: str) -> dict[str, Any]:
        return {"time": now() + self.ahead}


def seen(sent: list[str]) -> list[tuple[str, int]]:
    """Run and number of each document in what was sent."""
    told = [json.loads(line) for line in sent]
    return [(one["run_uid"], one["seq"]) for one in told if "document" in one]


@contextlib.asynccontextmanager
async def listening(hub: Hub, run_uid: str = "", since: int = 0) -> AsyncIterator[list[str]]:
    """What one browser gets while the block lasts."""
    got: list[str] = []
    with hub.attended(run_uid, since) as browser:

        async def read() -> None:
            async for text in hub.texts(browser):
                got.extend(text.split("\n"))

        reading = asyncio.ensure_future(read())
        try:
            yield got
        finally:
            await settled()
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)


async def settled() -> None:
    for _ in range(100):
        await asyncio.sleep(0)


def make() -> tuple[Hub, Engine]:
    engine = Engine()
    return Hub(engine), engine  # type: ignore[arg-type]


def feed(hub: Hub, engine: Engine, run_uid: str, told: list[str]) -> None:
    for line in told:
        engine.runs.setdefault(run_uid, []).append(line)
        hub.add(line)


@pytest.mark.parametrize("before", [0, 1, 7, KEPT, KEPT + 1000])
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


@pytest.mark.parametrize("since", [0, 3, 999, 1000, KEPT + 999, KEPT + 1000])
def test_one_that_comes_back_gets_what_it_missed(since: int) -> None:
    async def run() -> None:
        hub, engine = make()
        told = lines("a", KEPT + 1003)
        feed(hub, engine, "a", told[:-3])
        async with listening(hub, "a", since) as got:
            feed(hub, engine, "a", told[-3:])
        assert seen(got) == [("a", seq) for seq in range(since, KEPT + 1003)]

    asyncio.run(run())


def test_what_comes_while_it_catches_up_is_not_lost() -> None:
    async def run() -> None:
        hub, engine = make()
        told = lines("a", KEPT + 1000)
        feed(hub, engine, "a", told[:-900])

        async def go_on() -> None:
            for line in told[-900:]:
                feed(hub, engine, "a", [line])
                await asyncio.sleep(0)

        going = asyncio.ensure_future(go_on())
        async with listening(hub) as got:
            await going
        assert seen(got) == [("a", seq) for seq in range(KEPT + 1000)]

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


def test_an_engine_that_is_away_is_waited_for_and_what_is_here_needs_none() -> None:
    async def run() -> None:
        hub, engine = make()
        told = lines("a", KEPT + 100)
        feed(hub, engine, "a", told[:KEPT])
        engine.reachable = False
        async with listening(hub) as got:
            await settled()
            assert len(seen(got)) == KEPT
            feed(hub, engine, "a", told[KEPT:])
            async with listening(hub) as late:
                hub.tell_status()
                await settled()
                assert seen(late) == []  # nothing with a gap, which a page would refuse
                engine.reachable = True
                hub.tell_status()
        assert seen(got) == seen(late) == [("a", seq) for seq in range(KEPT + 100)]

    asyncio.run(run())


def test_a_journal_that_is_gone_keeps_nobody_from_what_there_is() -> None:
    async def run() -> None:
        hub, engine = make()
        feed(hub, engine, "a", lines("a", KEPT + 100))
        del engine.runs["a"]
        async with listening(hub) as got:
            await settled()
        begins = next(at for at, line in enumerate(got) if json.loads(line).get("type") == "begins")
        assert json.loads(got[begins]) == {"type": "begins", "run_uid": "a", "seq": 100}
        assert seen(got[:begins]) == []
        assert seen(got) == [("a", seq) for seq in range(100, KEPT + 100)]

    asyncio.run(run())


def test_one_that_does_not_read_costs_nothing_and_misses_nothing() -> None:
    async def run() -> None:
        hub, engine = make()
        with hub.attended("", 0) as slow:
            texts = hub.texts(slow)
            await anext(texts)
            async with listening(hub) as got:
                feed(hub, engine, "a", lines("a", 3 * KEPT))
                await settled()
            sent: list[str] = []
            while len(seen(sent)) < 3 * KEPT:
                text = await anext(texts)
                assert len(text) < 100_000  # which gets through on a slow line, too
                sent += text.split("\n")
        assert seen(got) == seen(sent) == [("a", seq) for seq in range(3 * KEPT)]

    asyncio.run(run())


def test_a_status_says_what_time_it_is_where_the_engine_is() -> None:
    async def run() -> None:
        hub, engine = make()
        engine.ahead = -3600.0
        looking = asyncio.ensure_future(hub.look())
        async with listening(hub) as got:
            await settled()
        looking.cancel()
        assert abs(json.loads(got[-1])["now"] - (now() - 3600.0)) < 10

    asyncio.run(run())


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


def test_that_the_engine_is_lost_or_back_is_told_once() -> None:
    told: list[str] = []

    class Comes(Engine):
        at = 0

        def watch(self, run_uid: str, since: int) -> contextlib.AbstractAsyncContextManager[Any]:
            self.at += 1
            if self.at in (1, 2, 4):
                raise EngineError(f"cannot be reached ({self.at})")
            return self.heard()

        @contextlib.asynccontextmanager
        async def heard(self) -> AsyncIterator[AsyncIterator[Any]]:
            async def nothing() -> AsyncIterator[Any]:
                for message in ():
                    yield message

            yield nothing()

    async def story() -> None:
        hub = Hub(Comes(), tell=told.append)  # type: ignore[arg-type]
        following = asyncio.create_task(hub.follow())
        async with asyncio.timeout(10):
            while len(told) < 4:
                await asyncio.sleep(0.01)
        following.cancel()

    asyncio.run(story())
    assert [says.partition(";")[0] for says in told[:4]] == [
        "cannot be reached (1)",
        "the engine is there again",
        "the engine has ended the connection",
        "the engine is there again",
    ]
