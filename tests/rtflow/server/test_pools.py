"""What blocks for one kind of visitor makes no other kind wait, and no volume."""

import asyncio
import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest
from argon2 import PasswordHasher
from visitors import PASSWORD, Agent, Served, ask, guarded, login, until

from rtflow.access.passwords import Passwords
from rtflow.documents import now
from rtflow.server.answers import Refusal
from rtflow.server.messages import Arrived, BeginRun
from rtflow.server.pools import Pool
from rtflow.settings import RunSettings
from rtflow.sources.agent_feed import AgentFeed

FLOOD = 50  # more than any executor of asyncio's has threads


class Stuck(PasswordHasher):
    """Hashes that take as long as the test likes."""

    def __init__(self) -> None:
        super().__init__(1, 8, 1)
        self.looking = 0
        self.go_on = threading.Event()

    def verify(self, *given: str | bytes) -> bool:
        self.looking += 1
        self.go_on.wait()
        return super().verify(*given)  # type: ignore[arg-type]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with guarded(tmp_path, settings=RunSettings()) as served:
        yield served


async def ask_from(served: Served, number: int, method: str, path: str, **named: object) -> int:
    """Status of a request that comes from an address of its own."""
    connector = aiohttp.TCPConnector(local_addr=(f"127.0.3.{number + 1}", 0))
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.request(method, served.http + path, **named) as answer,
    ):
        await answer.read()
        return answer.status


async def large_object_arrives(served: Served, folder: Path) -> None:
    """One that is written to the spool by a thread."""
    channel = served.server.scanner()
    feed = AgentFeed(channel, BeginRun(run_uid="r"), folder / "received")
    agent = Agent(served)
    async with agent.staying():
        await asyncio.to_thread(feed.begin, 0)
        agent.link.post(Arrived(run_uid="r", key="1.2", name="x.dcm", received=now()), [bytes(5 << 20)])
        await agent.link.emptied()
        (arrival,) = await asyncio.to_thread(lambda: list(feed.arrivals(30.0)))
        assert len(arrival.data) == 5 << 20
        await asyncio.to_thread(feed.__exit__, None, None, None)


def test_a_flood_of_logins_delays_neither_a_volume_nor_who_looks_on(served: Served, tmp_path: Path):
    hasher = Stuck()
    served.access._hashing = Passwords(hasher, at_once=FLOOD)

    async def story() -> None:
        data = {"name": "anna", "password": PASSWORD}
        headers = {"Origin": served.http}
        flood = [
            asyncio.ensure_future(ask_from(served, number, "POST", "/api/login", json=data, headers=headers))
            for number in range(FLOOD)
        ]
        try:
            await until(lambda: hasher.looking >= 40)
            await large_object_arrives(served, tmp_path)
            token = served.tokens["viewer"]
            assert (await asyncio.to_thread(ask, served, "GET", "/api/runs", token=token))[0] == 200
        finally:
            hasher.go_on.set()
        assert set(await asyncio.gather(*flood)) == {200}

    asyncio.run(asyncio.wait_for(story(), 60))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="a file that takes for ever to be opened")
def test_slow_reading_delays_neither_a_volume_nor_a_login(served: Served, tmp_path: Path):
    journal = tmp_path / "out" / "runs" / "slow" / "journal" / "documents.jsonl"
    journal.parent.mkdir(parents=True)
    os.mkfifo(journal)

    async def story() -> None:
        headers = {"Authorization": f"Bearer {served.tokens['viewer']}"}
        asked = [
            asyncio.ensure_future(
                ask_from(served, number, "GET", "/api/runs/slow/documents", headers=headers)
            )
            for number in range(FLOOD)
        ]
        reading = served.server._port.pools.reading
        await until(lambda: reading._taken >= FLOOD or all(one.done() for one in asked))
        try:
            await large_object_arrives(served, tmp_path)
            await asyncio.to_thread(login, served)
        finally:
            journal.rename(journal.with_name("aside"))  # who has not opened it finds nothing
            while not all(one.done() for one in asked):
                with contextlib.suppress(OSError):  # nobody has it open
                    os.close(os.open(journal.with_name("aside"), os.O_WRONLY | os.O_NONBLOCK))
                await asyncio.sleep(0.01)
        assert set(await asyncio.gather(*asked)) <= {200, 404}

    asyncio.run(asyncio.wait_for(story(), 60))


def test_what_is_too_much_is_refused_and_later_there_is_room_again():
    pool, go_on = Pool("reading", 1, 2), threading.Event()

    async def story() -> None:
        taken = [asyncio.ensure_future(pool.run(go_on.wait)) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(Refusal) as refused:
            await pool.run(go_on.wait)
        assert refused.value.status == 503
        go_on.set()
        await asyncio.gather(*taken)
        await until(lambda: pool._taken == 0)
        assert await pool.run(max, 1, 2) == 2
        pool.close()

    asyncio.run(story())
