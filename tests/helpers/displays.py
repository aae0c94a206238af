"""Displays for tests: a link in a thread of its own, over a real connection to a real server."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import feedback_workflow
from aiohttp import web

from rtflow.agents.connecting import Place, stay_connected
from rtflow.documents import AnyDocument, now
from rtflow.engine import run
from rtflow.journal import Recording
from rtflow.server.link import Link
from rtflow.server.messages import Body, Received, Shown, Value
from rtflow.server.thread import Server
from rtflow.settings import load_settings
from rtflow.workflow_file import load_workflow

LIMIT = 60.0
WORKFLOW = Path(feedback_workflow.__file__)


async def anyone(request: web.Request, kind: str) -> None:
    """Let everybody in."""


@contextlib.contextmanager
def serving() -> Iterator[Server]:
    with Server("127.0.0.1", 0, authorise=anyone) as server:
        yield server


class Display:
    """A subject's host that does as it is told; a context manager."""

    def __init__(
        self,
        url: str,
        *,
        name: str = "subject",
        instance: str = "one",
        says: tuple[type, ...] = (Received, Shown),
        offset: float = 0.0,
        before: Callable[[Body], Awaitable[None]] | None = None,
    ) -> None:
        self.heard: list[Body] = []
        self.told: list[str] = []
        self.place = Place(url, "subject", name, instance, "token")
        self._says, self._offset, self._before = says, offset, before
        self._changed = threading.Condition()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self.link = Link(self._work, clock=self.clock)
        self._task: Any = None

    def clock(self) -> float:
        return now() + self._offset

    def __enter__(self) -> Display:
        self._thread.start()
        self._task = asyncio.run_coroutine_threadsafe(self._run(), self._loop)
        return self

    def __exit__(self, *_: object) -> None:
        self._task.cancel()
        with contextlib.suppress(BaseException):
            self._task.result(LIMIT)
        asyncio.run_coroutine_threadsafe(self._ended(), self._loop).result(LIMIT)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _ended(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}  # type: ignore[arg-type]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _run(self) -> None:
        await stay_connected(self.link, self.place, self._tell)

    def _tell(self, says: str) -> None:
        with self._changed:
            self.told.append(says)
            self._changed.notify_all()

    async def _work(self, body: Body, parts: list[bytes]) -> None:
        if self._before is not None:
            await self._before(body)
        if isinstance(body, Value):
            for stage in self._says:
                self.link.post(stage(run_uid=body.run_uid, volume=body.volume, at=self.clock()))
        with self._changed:
            self.heard.append(body)
            self._changed.notify_all()

    def say(self, body: Body) -> None:
        """Post it; when this returns, it waits to be sent or was sent."""

        async def post() -> None:
            self.link.post(body)

        asyncio.run_coroutine_threadsafe(post(), self._loop).result(LIMIT)

    def until(self, condition: Callable[[], Any]) -> None:
        """Wait for what is sure to come."""
        end = time.monotonic() + LIMIT
        with self._changed:
            while not condition():
                assert self._changed.wait(0.05) or time.monotonic() < end, (self.told, self.heard)

    @property
    def values(self) -> list[Value]:
        return [body for body in self.heard if isinstance(body, Value)]

    @property
    def volumes(self) -> list[int]:
        return [value.volume for value in self.values]


class Running:
    """A run of `feedback_workflow` in a thread, beside a server; a context manager that waits for its end."""

    def __init__(self, out: Path, server: Server | None, *settings: str, job: Any = None) -> None:
        self.out = out
        self.documents: list[AnyDocument] = []
        self.stopping = threading.Event()
        self.error: BaseException | None = None
        self.stop: Any = None
        self._changed = threading.Condition()
        self._job = job or (lambda: self._new(server, settings))
        self._thread = threading.Thread(target=self._run)

    def _new(self, server: Server | None, settings: tuple[str, ...]) -> Any:
        workflow = load_workflow(WORKFLOW)
        loaded = load_settings(workflow.settings_type, None, settings)
        return run(workflow, loaded, self.out, observe=self._see, stopping=self.stopping, server=server)

    def _run(self) -> None:
        try:
            self.stop = self._job()
        except BaseException as error:
            self.error = error

    def _see(self, document: AnyDocument) -> None:
        with self._changed:
            self.documents.append(document)
            self._changed.notify_all()

    def __enter__(self) -> Running:
        self._thread.start()
        return self

    def __exit__(self, *failed: object) -> None:
        if failed[0] is not None:
            self.stopping.set()
        self.wait()

    def wait(self) -> Any:
        self._thread.join(LIMIT)
        assert not self._thread.is_alive()
        if self.error is not None:
            raise self.error
        return self.stop

    def until(self, condition: Callable[[list[AnyDocument]], Any]) -> None:
        end = time.monotonic() + LIMIT
        with self._changed:
            while not condition(self.documents):
                assert self._thread.is_alive(), (self.error, self.documents)
                assert self._changed.wait(0.05) or time.monotonic() < end, self.documents

    @property
    def recording(self) -> Recording:
        (found,) = (self.out / "runs").iterdir()
        return Recording(found)
