"""One subscription to the engine, fanned out to browsers.

What came last is kept once, for all; what is older comes from the engine. Nothing waits for a browser: it is
given what comes next when it has taken what came before, so one that is slow costs no memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import aiohttp
import msgspec

from rtflow.dash_app.engine import Engine, EngineError
from rtflow.documents import now
from rtflow.errors import in_words

_KEPT = 4096
"""So many documents of the present run are kept, of about 1 kB: all of most runs."""

_AT_ONCE = 200
"""So many are sent at a time: they have to get through in some seconds on a slow line too."""

_GONE = 404
_NOT_YET = "not connected yet"
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


class Browser:
    """One page that looks on.

    Attributes
    ----------
    run_uid, cursor
        The run that it follows, and the number of the next document for it.
    changed
        Set when there may be something for it.
    """

    def __init__(self, run_uid: str, since: int) -> None:
        self.run_uid, self.cursor = run_uid, since
        self.changed = asyncio.Event()


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
    tell
        Called with a line whenever the engine is lost, or is there again.
    """

    def __init__(
        self,
        engine: Engine,
        heard: Callable[[Heading | None], None] = lambda _: None,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.run_uid = ""
        self.status: dict[str, Any] = {}
        self.trouble = _NOT_YET
        self._tell = tell
        self._engine = engine
        self._heard = heard
        self._recent: deque[str] = deque(maxlen=_KEPT)
        self._next = self._told = 0
        self._ahead = 0.0  # seconds that the engine's clock is ahead of this one
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
            asked = now()
            with contextlib.suppress(EngineError):
                self.status = await self._engine.ask("/api/status")
                # Documents have the engine's time, and it may be on another machine.
                self._ahead = self.status["time"] - (asked + now()) / 2
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
        self._wake()

    # Towards browsers

    @contextlib.contextmanager
    def attended(self, run_uid: str, since: int) -> Iterator[Browser]:
        """A browser that looks on while the block lasts.

        Parameters
        ----------
        run_uid, since
            What it wants first; of another run than the present one it is told from its beginning.
        """
        follows = run_uid == self.run_uid and since <= self._next
        browser = Browser(self.run_uid, since if follows else 0)
        self._browsers.add(browser)
        self._somebody.set()
        self._asked.set()
        try:
            yield browser
        finally:
            self._browsers.discard(browser)
            if not self._browsers:
                self._somebody.clear()

    async def texts(self, browser: Browser) -> AsyncIterator[str]:
        """What is for a browser, each when it has taken the one before: some lines of JSON."""
        told = -1
        while True:
            browser.changed.clear()
            if told != self._told:
                told = self._told
                yield self._status_text(browser.run_uid)
            if lines := await self._lines(browser):
                yield "\n".join(lines)
            else:
                await browser.changed.wait()

    async def _lines(self, browser: Browser) -> list[str]:
        """The next documents for a browser; none where nothing is new, or the engine must be waited for."""
        if browser.run_uid != self.run_uid:
            browser.run_uid, browser.cursor = self.run_uid, 0
        if browser.cursor < self._first:
            return await self._older(browser)
        at = browser.cursor - self._first
        lines = [self._recent[one] for one in range(at, min(at + _AT_ONCE, len(self._recent)))]
        browser.cursor += len(lines)
        return lines

    async def _older(self, browser: Browser) -> list[str]:
        """Documents that are not kept here any more, from the engine."""
        run_uid, cursor = browser.run_uid, browser.cursor
        try:
            lines = await self._engine.documents(run_uid, cursor, _AT_ONCE)
        except EngineError as error:
            if error.status != _GONE:
                return []  # it is asked again when there is something else to tell, each second at the latest
            lines = []
        if lines:
            browser.cursor += len(lines)
            return slim_lines(lines)
        if run_uid != self.run_uid:
            return []
        # Its journal is gone: what there is here is better than nothing.
        browser.cursor = self._first
        return [msgspec.json.encode({"type": "begins", "run_uid": run_uid, "seq": self._first}).decode()]

    @property
    def _first(self) -> int:
        """Number of the first document that is kept."""
        return self._next - len(self._recent)

    def _wake(self) -> None:
        for browser in self._browsers:
            browser.changed.set()

    def tell_status(self) -> None:
        """Tell everybody how things are."""
        self._told += 1
        self._wake()

    def _status_text(self, run_uid: str) -> str:
        told = {
            "type": "status",
            "engine": self.trouble,
            "run_uid": run_uid,
            "next": self._next if run_uid == self.run_uid else 0,
            "status": self.status,
            "now": now() + self._ahead,
        }
        return msgspec.json.encode(told).decode()

    def _set_trouble(self, says: str) -> None:
        if says and self.trouble in ("", _NOT_YET):
            self._tell(f"{says}; the dashboard tries again by itself")
        elif not says and self.trouble not in ("", _NOT_YET):
            self._tell("the engine is there again")
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
