"""A real browser: Debian's Chromium, driven by Playwright. It speaks to this machine only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from rtflow.bench.chromium import QUIET, find_chromium

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

HERE_ONLY = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"
HERE = ("127.0.0.1", "localhost")


class Overheard:
    """What any page of a browser asked for, and which errors it made."""

    def __init__(self, browser: Browser) -> None:
        self.hosts: set[str] = set()
        self.errors: list[str] = []
        browser.on("context", self._listen)

    def _listen(self, context: BrowserContext) -> None:
        context.on("request", lambda request: self._add(request.url))
        context.on("weberror", lambda error: self.errors.append(str(error.error)))
        context.on("page", self._listen_to_sockets)

    def _listen_to_sockets(self, page: Page) -> None:
        page.on("websocket", lambda socket: self._add(socket.url))

    def _add(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme in ("http", "https", "ws", "wss"):
            self.hosts.add(parts.hostname or "")


@pytest.fixture(scope="module")
def overheard() -> list[Overheard]:
    return []


@pytest.fixture(scope="module")  # as long as it is there, this thread cannot run another event loop
def browser(overheard: list[Overheard]) -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=[*QUIET, HERE_ONLY])
        overheard.append(Overheard(browser))
        yield browser
        browser.close()


@pytest.fixture(autouse=True)
def _nothing_of_another_host(overheard: list[Overheard]) -> Iterator[None]:
    """No page asks another host for anything, nor has an error that nobody caught; whatever the test is."""
    yield
    for heard in overheard:
        assert heard.hosts <= set(HERE)
        errors, heard.errors = heard.errors, []
        assert not errors


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A window of its own, with nothing kept from others."""
    context = browser.new_context(viewport={"width": 800, "height": 600})
    context.set_default_timeout(30_000)
    yield context
    context.close()
