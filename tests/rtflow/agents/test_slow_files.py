"""A disk, or a callback, that is slow with a file holds up that file and nothing else of the link."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
from cables import joined, pipe

from rtflow.agents.allowed import Allowed
from rtflow.agents.answering import Answering
from rtflow.agents.files import FileService
from rtflow.agents.protection import Protection
from rtflow.errors import RemoteError
from rtflow.server.asking import Asking
from rtflow.server.files import RemoteFiles
from rtflow.server.link import Link
from rtflow.server.messages import Body, Kept, Note, Piece, Reply, Request
from rtflow.server.transfer import PIECE, WINDOW

LARGE = np.random.default_rng(2).bytes(20 * PIECE + 17)


class SlowDisk(Allowed):
    """Where what is written waits for an event."""

    def __init__(self, folder: Path) -> None:
        super().__init__([folder], [".tsv"], write=True)
        self.begun, self.goes_on = threading.Event(), threading.Event()

    @contextlib.contextmanager
    def create(self, text: str, *, folders: bool = False) -> Iterator[BinaryIO]:
        with super().create(text, folders=folders) as file:
            yield _SlowFile(file, self)  # type: ignore[misc]


class _SlowFile:
    def __init__(self, file: BinaryIO, disk: SlowDisk) -> None:
        self._file, self._disk = file, disk

    def write(self, data: bytes) -> int:
        self._disk.begun.set()
        assert self._disk.goes_on.wait(60.0)
        return self._file.write(data)


class Hosts:
    """A server's side and an agent's side of a link, whose volumes are notes."""

    def __init__(self, allowed: Allowed) -> None:
        self.heard: list[str] = []
        self.server, self.agent = Link(self._of_agent), Link(self._of_server)
        self.asking = Asking(asyncio.get_running_loop(), self.server, "scanner")
        self.files = RemoteFiles(self.asking)
        self.answering = Answering(self.agent, {}, FileService(allowed, Protection(None)).handlers)
        self.pieces = 0

    async def _of_agent(self, body: Body, parts: list[bytes]) -> None:
        if isinstance(body, Note):
            self.heard.append(body.text)
        else:
            assert isinstance(body, Reply | Piece | Kept)
            self.asking.hear(body, parts)

    async def _of_server(self, body: Body, parts: list[bytes]) -> None:
        self.pieces += isinstance(body, Piece)
        assert isinstance(body, Request | Piece | Kept)
        self.answering.hear(body, parts)

    async def volumes_and_pings_go_on(self) -> None:
        asked = [len(link.clock._exchanges) for link in (self.server, self.agent)]
        for number in range(20):
            self.agent.post(Note(text=f"volume {number}"))
        while len(self.heard) < 20:
            await asyncio.sleep(0.001)
        for link, before in zip((self.server, self.agent), asked, strict=True):
            while len(link.clock._exchanges) == before:
                await asyncio.sleep(0.001)


@contextlib.asynccontextmanager
async def connected(allowed: Allowed) -> AsyncIterator[Hosts]:
    hosts = Hosts(allowed)
    async with joined(hosts.server, hosts.agent, pipe()):
        while not hosts.server.connected:
            await asyncio.sleep(0.001)
        yield hosts
        await hosts.answering.end()


def play(story: Coroutine[Any, Any, None], *, release: Callable[[], object] = lambda: None) -> None:
    async def limited() -> None:
        try:
            async with asyncio.timeout(30.0):
                await story
        finally:
            release()

    asyncio.run(limited())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "large.tsv").write_bytes(LARGE)
    return tmp_path


def test_a_slow_callback_of_get_holds_up_nothing_else(folder: Path) -> None:
    begun, goes_on = threading.Event(), threading.Event()

    def progress(path: str, done: int, total: int) -> None:
        begun.set()
        assert goes_on.wait(60.0)

    async def story() -> None:
        async with connected(Allowed([folder], [".tsv"])) as hosts:
            getting = asyncio.create_task(asyncio.to_thread(hosts.files.get, "large.tsv", progress=progress))
            await asyncio.to_thread(begun.wait, 60.0)
            await hosts.volumes_and_pings_go_on()
            assert not getting.done()
            goes_on.set()
            assert await getting == LARGE

    play(story(), release=goes_on.set)


def test_a_slow_callback_of_put_holds_up_nothing_else(folder: Path) -> None:
    begun, goes_on = threading.Event(), threading.Event()

    def progress(path: str, done: int, total: int) -> None:
        begun.set()
        assert goes_on.wait(60.0)

    async def story() -> None:
        async with connected(Allowed([folder], [".tsv"], write=True)) as hosts:
            putting = asyncio.create_task(
                asyncio.to_thread(hosts.files.put, "new.tsv", LARGE, progress=progress)
            )
            await asyncio.to_thread(begun.wait, 60.0)
            await hosts.volumes_and_pings_go_on()
            assert not putting.done()
            goes_on.set()
            await putting

    play(story(), release=goes_on.set)
    assert (folder / "new.tsv").read_bytes() == LARGE


def test_a_slow_disk_of_the_agent_holds_back_who_sends_and_nothing_else(folder: Path) -> None:
    disk = SlowDisk(folder)

    async def story() -> None:
        async with connected(disk) as hosts:
            putting = asyncio.create_task(asyncio.to_thread(hosts.files.put, "new.tsv", LARGE))
            await asyncio.to_thread(disk.begun.wait, 60.0)
            await hosts.volumes_and_pings_go_on()
            assert len(await asyncio.to_thread(hosts.files.get, "large.tsv")) == len(LARGE)
            assert hosts.pieces <= WINDOW // PIECE
            assert not putting.done()
            disk.goes_on.set()
            await putting

    play(story(), release=disk.goes_on.set)
    assert (folder / "new.tsv").read_bytes() == LARGE


def test_time_goes_by_for_a_slow_disk_and_nothing_of_the_file_stays(folder: Path) -> None:
    disk = SlowDisk(folder)

    async def story() -> None:
        async with connected(disk) as hosts:
            putting = asyncio.to_thread(hosts.files.put, "new.tsv", LARGE, timeout=0.5)
            with pytest.raises(RemoteError, match=r"did not answer 'files\.put' within 0\.5 s"):
                await putting
            while hosts.answering._tasks:
                await asyncio.sleep(0.001)
            disk.goes_on.set()
            while [path.name for path in folder.iterdir()] != ["large.tsv"]:
                await asyncio.sleep(0.001)

    play(story(), release=disk.goes_on.set)
