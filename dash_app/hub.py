"""One subscription to the engine, fanned out to browsers.

What came last is kept once, for all. Each browser has a queue that is bounded: one that does not keep up is
let go, and comes back with the number of the last document that it has. What is older comes from the engine.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import msgspec

from rtflow.dash_app.engine import Engine, EngineError
from rtflow.documents import now
from rtflow.errors import in_words

_KEPT = 1024
"""So many documents of the present run are kept."""

_QUEUE = 256
_QUEUE_BYTES = 8 * 1024 * 1024
_ASK = 1.0
"""Seconds from one question for the engine's status to the next."""
_FIRST, _LONGEST = 0.2, 2.0
"""Seconds from one attempt to reach the engine to the next."""


class Heading(msgspec.Struct):
    """What every document begins with, and enough to pass it on."""

    document: str
    run_uid: str
    seq: int
    volume: int | None = None


_HEADING = msgspec.json.Decoder(Heading)


class Slow(Exception):
    """A browser does not keep up."""


class Browser:
    """One page that looks on: what waits to be sent to it.

    Attributes
    ----------
    run_uid, cursor
        The run that it follows, and the number of the next document for it.
    """

    def __init__(self, run_uid: str, since: int) -> None:
        self.run_uid, self.cursor = run_uid, since
        self._waiting: deque[str] = deque()
        self._live, self._bytes = 0, 0  # of what was not asked for
        self._there = asyncio.Event()
        self._slow = False

    def put(self, text: str) -> None:
        """Send a text after all others; one who has too much to read already is let go."""
        if self._slow or self._live >= _QUEUE or self._bytes > _QUEUE_BYTES:
            self._slow = True
        else:
            self._waiting.append(text)
            self._live += 1
            self._bytes += len(text)
        self._there.set()

    def put_first(self, text: str) -> None:
        """Send what it asked for by itself, however much that is."""
        self._waiting.append(text)
        self._there.set()

    async def texts(self) -> AsyncIterator[str]:
        """What is to be sent, several at once where more wait: lines of JSON.

        Raises
        ------
        Slow
            If it does not keep up.
        """
        while True:
            await self._there.wait()
            self._there.clear()
            if self._slow:
                raise Slow
            if self._waiting:
                text = "\n".join(self._waiting)
                self._waiting.clear()
                self._live, self._bytes = 0, 0
                yield text


class Hub:
    """Follows the engine, and tells browsers.

    Everything is called from the event loop's thread.

    Parameters
    ----------
    engine
        What is followed.
    heard
        Called with the heading of each document of the present run, and with None whenever the engine is
        reached anew: it may be another one.
    """

    def __init__(self, engine: Engine, heard: Callable[[Heading | None], None] = lambda _: None) -> None:
        self.run_uid = ""
        self.status: dict[str, Any] = {}
        self.trouble = "not connected yet"
        self._engine = engine
        self._heard = heard
        self._recent: deque[str] = deque(maxlen=_KEPT)
        self._next = 0
        self._browsers: set[Browser] = set()
        self._somebody = asyncio.Event()
        self._asked = asyncio.Event()

    def __len__(self) -> int:
        return len(self._browsers)

    # Towards the engine

    async def follow(self) -> None:
        """Stay subscribed, until this is cancelled."""
        wait = _FIRST
        while True:
            try:
                async with self._engine.watch(self.run_uid, self._next) as socket:
                    wait = _FIRST
                    self._set_trouble("")
                    self._heard(None)
                    async for message in socket:
                        if message.type == aiohttp.WSMsgType.TEXT:
                            self.add(message.data)
                self._set_trouble("the engine has ended the connection")
            except EngineError as error:
                self._set_trouble(str(error))
            except Exception as error:  # a page must not stand still for good over one bad message
                self._set_trouble(f"the engine cannot be heard ({in_words(error)})")
            await asyncio.sleep(wait * random.uniform(0.8, 1.2))
            wait = min(_LONGEST, 2 * wait)

    async def look(self) -> None:
        """Keep the status up to date while somebody looks on, until this is cancelled."""
        while True:
            await self._somebody.wait()
            with contextlib.suppress(EngineError):
                self.status = await self._engine.ask("/api/status")
            self.tell_status()
            self._asked.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_ASK):
                    await self._asked.wait()

    def add(self, line: str) -> None:
        """A document of the present run, or of the one that begins."""
        heading = _HEADING.decode(line)
        if heading.run_uid != self.run_uid or heading.seq != self._next:
            self.run_uid = heading.run_uid
            self._recent.clear()
        if heading.document in ("RunStart", "RunStop"):
            self._asked.set()
        text = slim(line, heading)
        self._recent.append(text)
        self._next = heading.seq + 1
        self._heard(heading)
        for browser in self._browsers:
            if browser.run_uid == heading.run_uid and browser.cursor == heading.seq:
                browser.put(text)
                browser.cursor += 1
            elif heading.seq == 0:  # another run: everybody goes on with it
                browser.run_uid, browser.cursor = heading.run_uid, 1
                browser.put(text)

    # Towards browsers

    @contextlib.asynccontextmanager
    async def attended(self, run_uid: str, since: int) -> AsyncIterator[Browser]:
        """A browser that looks on while the block lasts.

        Parameters
        ----------
        run_uid, since
            What it wants first; of another run than the present one it is told from its beginning.
        """
        follows = run_uid == self.run_uid and since <= self._next
        browser = Browser(self.run_uid, since if follows else 0)
        browser.put(self._status_text())
        await self._catch_up(browser)
        self._browsers.add(browser)
        self._somebody.set()
        self._asked.set()
        try:
            yield browser
        finally:
            self._browsers.discard(browser)
            if not self._browsers:
                self._somebody.clear()

    async def _catch_up(self, browser: Browser) -> None:
        """Give what was before; when this returns, nothing is missing and it hears what comes."""
        while browser.run_uid:
            if browser.run_uid != self.run_uid:
                browser.run_uid, browser.cursor = self.run_uid, 0
            if browser.cursor >= self._next:
                return
            first = self._next - len(self._recent)
            if browser.cursor >= first:
                for text in list(self._recent)[browser.cursor - first :]:
                    browser.put_first(text)
                browser.cursor = self._next
                return
            try:
                lines = await self._engine.documents(browser.run_uid, browser.cursor)
            except EngineError:
                browser.cursor = first  # the engine will not say; what there is here is better than nothing
                continue
            if not lines:
                browser.cursor = first
                continue
            browser.put_first("\n".join(slim_lines(lines)))
            browser.cursor += len(lines)

    def tell_status(self) -> None:
        """Tell everybody how things are."""
        text = self._status_text()
        for browser in self._browsers:
            browser.put(text)

    def _status_text(self) -> str:
        told = {
            "type": "status",
            "engine": self.trouble,
            "run_uid": self.run_uid,
            "status": self.status,
            "now": now(),
        }
        return msgspec.json.encode(told).decode()

    def _set_trouble(self, says: str) -> None:
        if says != self.trouble:
            self.trouble = says
            self._asked.set()
            self.tell_status()


def slim(line: str, heading: Heading) -> str:
    """A document as the page needs it: the names and hashes of hundreds of slices are not for the network."""
    if heading.document != "VolumeReceived":
        return line
    document = msgspec.json.decode(line)
    document.pop("parts", None)
    return msgspec.json.encode(document).decode()


def slim_lines(lines: list[bytes]) -> list[str]:
    """Documents as the page needs them."""
    return [slim(line.decode(), _HEADING.decode(line)) for line in lines]
