"""Onlookers: everything from a number on, then what comes; a slow one is let go and may come back."""

import asyncio
import itertools
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import counting_workflow
import msgspec
import pytest
from visitors import Served, ask, guarded, until

from rtflow.documents import Event, encode
from rtflow.engine import run
from rtflow.server.monitor import Monitor
from rtflow.server.pools import Pool
from rtflow.server.runs import Runs
from rtflow.settings import RunSettings
from rtflow.workflow_file import load_workflow


def play(story) -> None:
    asyncio.run(asyncio.wait_for(story, 60))


def line(seq: int, run_uid: str = "r") -> bytes:
    return encode(Event(name="e", run_uid=run_uid, seq=seq))


class Disk:
    """Journals of runs, as far as a monitor needs them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runs = Runs(folder)
        self.pool = Pool("reading", 2, 10)

    def write(self, run_uid: str, *seqs: int) -> None:
        path = self.folder / run_uid / "journal"
        path.mkdir(parents=True, exist_ok=True)
        with (path / "documents.jsonl").open("ab") as file:
            for seq in seqs:
                file.write(line(seq, run_uid) + b"\n")


async def told(monitor: Monitor, count: int, **options) -> list[tuple[str, int]]:
    """Run and number of the first documents that an onlooker gets."""
    got: list[tuple[str, int]] = []

    async def send(data: bytes) -> None:
        document = json.loads(data)
        got.append((document["run_uid"], document["seq"]))

    task = asyncio.ensure_future(monitor.follow(send, **options))
    await until(lambda: len(got) >= count or task.done())
    task.cancel()
    await asyncio.wait([task])
    return got


@pytest.mark.parametrize("since", [0, 3, 6, 8])
def test_what_is_on_disk_and_what_comes_are_told_without_gap_or_repetition(tmp_path: Path, since: int):
    async def story() -> None:
        disk = Disk(tmp_path)
        monitor = Monitor(asyncio.get_running_loop(), disk.runs, disk.pool, window=4)
        for seq in range(10):
            disk.write("r", seq)
            monitor.add("r", seq, line(seq))
        asyncio.get_running_loop().call_later(0.01, lambda: monitor.add("r", 10, line(10)))
        assert await told(monitor, 11 - since, since=since) == [("r", seq) for seq in range(since, 11)]

    play(story())


def test_a_run_that_is_taken_up_is_told_from_its_first_document(tmp_path: Path):
    async def story() -> None:
        disk = Disk(tmp_path)
        monitor = Monitor(asyncio.get_running_loop(), disk.runs, disk.pool)
        disk.write("r", *range(6))
        monitor.add("r", 5, line(5))  # what was told before, an earlier process has seen
        assert await told(monitor, 6) == [("r", seq) for seq in range(6)]

    play(story())


def test_who_follows_one_run_goes_on_with_the_next(tmp_path: Path):
    async def story() -> None:
        disk = Disk(tmp_path)
        monitor = Monitor(asyncio.get_running_loop(), disk.runs, disk.pool)
        disk.write("r", 0, 1, 2)
        for seq in range(3):
            monitor.add("r", seq, line(seq))
        disk.write("s", 0)
        monitor.add("s", 0, line(0, "s"))
        expected = [("r", 1), ("r", 2), ("s", 0)]
        assert await told(monitor, 3, run_uid="r", since=1) == expected

    play(story())


def test_who_comes_before_the_first_run_waits_for_it():
    async def story() -> None:
        monitor = Monitor(asyncio.get_running_loop(), None, Pool("reading", 1, 0))
        loop = asyncio.get_running_loop()
        loop.call_later(0.01, lambda: monitor.add("r", 0, line(0)))
        assert await told(monitor, 1) == [("r", 0)]

    play(story())


def test_a_slow_one_is_let_go_and_the_others_have_everything(tmp_path: Path):
    async def story() -> None:
        disk = Disk(tmp_path)
        monitor = Monitor(asyncio.get_running_loop(), disk.runs, disk.pool, window=8)
        got: list[int] = []
        stuck = asyncio.Event()

        async def quick(data: bytes) -> None:
            got.append(json.loads(data)["seq"])

        async def slow(data: bytes) -> None:
            if json.loads(data)["seq"] == 3:
                stuck.set()
                await asyncio.Event().wait()

        tasks = [asyncio.ensure_future(monitor.follow(send)) for send in (quick, slow)]
        for seq in range(3):
            disk.write("r", seq)
            monitor.add("r", seq, line(seq))
            await until(lambda: len(got) == seq + 1)  # noqa: B023
        for seq in range(3, 40):
            disk.write("r", seq)
            monitor.add("r", seq, line(seq))
            await until(lambda: len(got) == seq + 1)  # noqa: B023
        await until(lambda: tasks[1].done())
        assert stuck.is_set()
        assert tasks[1].cancelled()
        assert got == list(range(40))
        assert len(monitor) == 1
        assert await told(monitor, 37, since=3) == [("r", seq) for seq in range(3, 40)]
        tasks[0].cancel()
        await asyncio.wait(tasks)

    play(story())


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Served]:
    with guarded(tmp_path, settings=RunSettings(), waits=False) as served:
        stopping = threading.Event()
        thread = threading.Thread(
            target=lambda: run(
                load_workflow(Path(counting_workflow.__file__)),
                counting_workflow.Settings(count=100_000, interval=0.002),
                tmp_path / "out",
                stopping=stopping,
                server=served.server,
            )
        )
        thread.start()
        try:
            while ask(served, "GET", "/api/status", token=served.tokens["viewer"])[1]["received"] < 5:
                pass
            yield served
        finally:
            stopping.set()
            thread.join()


@pytest.mark.parametrize("packed", [False, True], ids=["JSON", "MessagePack"])
def test_an_onlooker_of_a_run_gets_every_document_once_and_may_come_back(running: Served, packed: bool):
    async def story() -> None:
        got = []
        headers = {"Authorization": f"Bearer {running.tokens['viewer']}"}
        protocol = "rtflow.msgpack" if packed else "rtflow.json"
        async with aiohttp.ClientSession() as session:
            for _ in range(3):
                url = f"{running.server.url}/ws/monitor?since={len(got)}"
                async with session.ws_connect(url, headers=headers, protocols=(protocol,)) as websocket:
                    until_ = len(got) + 60
                    while len(got) < until_:
                        data = (await websocket.receive()).data
                        got.append(msgspec.msgpack.decode(data) if packed else json.loads(data))
        assert [document["seq"] for document in got] == list(range(180))
        assert got[0]["document"] == "RunStart"

    play(story())


def test_an_onlooker_that_does_not_read_is_let_go_and_the_run_does_not_wait(running: Served):
    with socket.create_connection(("127.0.0.1", running.server.port)) as connection:
        connection.sendall(
            b"GET /ws/monitor HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
            b"Authorization: Bearer %s\r\n\r\n" % running.tokens["viewer"].encode()
        )
        running.wait_for_line("looks on")
        event = Event(name="large", data={"says": "x" * 200_000}, run_uid=running.server.channels.run.run_uid)
        for seq in itertools.count(1_000_000):
            running.server.observe(msgspec.structs.replace(event, seq=seq))
            if any(what == "looks on no more" for _, what, _ in running.lines()):
                break
        told = running.wait_for_line("looks on no more")
        assert "too slow" in str(told["reason"])
    status = ask(running, "GET", "/api/status", token=running.tokens["viewer"])[1]
    assert status["onlookers"] == 0
    assert set(status["results"]) == {"ok"}
