"""A server that waits for orders and its dashboard, as two processes on this machine; and who visits them."""

from __future__ import annotations

import http.client
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from agents import Process
from processes import LIMIT, free_port
from served import Serving

from rtflow.access.store import Access

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

PASSWORD = "a-password-of-tests"
OPERATOR, VIEWER = "anna", "vera"


class Dashboard:
    """``rtflow serve`` and ``rtflow dashboard``; a context manager that leaves no process.

    Parameters
    ----------
    folder
        For the accounts and all that is written.
    arguments
        Of ``rtflow serve``, behind the workflow.
    workflow
        Its file; default that of `counting_workflow`.
    desktop
        Socket of a VNC server that operators are shown.

    Attributes
    ----------
    engine
        The server, which can be asked as an operator.
    port
        Of the dashboard.
    towards
        Port at which the dashboard reaches the server; another one than its own where a cable lies between.
    """

    def __init__(
        self, folder: Path, *arguments: str, workflow: str | None = None, desktop: Path | None = None
    ) -> None:
        self._desktop = () if desktop is None else ("--desktop", str(desktop))
        self.engine = Serving(folder, "serve", *arguments, workflow=workflow)
        self.access = Access(folder / "access")
        self.port, self.towards = free_port(), self.engine.port
        for name, role in ((OPERATOR, "operator"), (VIEWER, "viewer")):
            self.access.add_user(name, PASSWORD, role)

    def __enter__(self) -> Dashboard:
        self.engine.__enter__()
        self.process = self._open()
        return self

    def __exit__(self, *_: object) -> None:
        self.process.__exit__()
        self.engine.__exit__()

    def _open(self) -> Process:
        process = Process(
            *("-m", "rtflow", "dashboard", "--plain", "--access", str(self.access.folder)),
            *("--server", f"ws://127.0.0.1:{self.towards}", "--listen", f"127.0.0.1:{self.port}"),
            *self._desktop,
        )
        process.until(lambda: self.health() == {"status": "ok", "engine": "connected"})
        return process

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def health(self) -> Any:
        """What it says of itself; None where nobody answers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=LIMIT)
        try:
            connection.request("GET", "/api/health")
            return json.loads(connection.getresponse().read())
        except OSError:
            return None
        finally:
            connection.close()

    def kill(self) -> None:
        """End the dashboard as a power cut would."""
        self.process.kill()

    def again(self) -> None:
        """Open it anew, at the same place."""
        self.process = self._open()

    def visit(
        self,
        browser: Browser,
        name: str = OPERATOR,
        *,
        width: int = 1280,
        height: int = 800,
        scheme: Literal["light", "dark"] = "light",
    ) -> Page:
        """The page, for somebody who has just logged in, in a window of their own."""
        context: BrowserContext = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme
        )
        context.set_default_timeout(30_000)
        page = context.new_page()
        page.goto(self.url)
        enter(page, name)
        return page


def enter(page: Page, name: str) -> None:
    """Log in, and wait until the page knows how the engine is."""
    page.fill("#name", name)
    page.fill("#password", PASSWORD)
    page.click("#enter")
    page.wait_for_selector("#h-state[data-state]:not([data-state='']):not([data-state='unreachable'])")


class Visitor:
    """Somebody who has logged in, and speaks HTTP by themselves.

    Parameters
    ----------
    dashboard
        Where.
    name
        Who.

    Attributes
    ----------
    cookie
        By which they are known.
    """

    def __init__(self, dashboard: Dashboard, name: str) -> None:
        self._dashboard = dashboard
        self.cookie, self._csrf = "", ""
        status, told, headers = self.ask("POST", "/api/login", {"name": name, "password": PASSWORD})
        assert status == 200, told
        self.cookie = headers["Set-Cookie"].partition(";")[0]
        self._csrf = told["csrf"]

    def ask(self, method: str, path: str, data: Any = None) -> tuple[int, Any, dict[str, str]]:
        """Status, answer and headers; ``data`` is sent as JSON, or as bytes."""
        connection = http.client.HTTPConnection("127.0.0.1", self._dashboard.port, timeout=LIMIT)
        headers = {"Origin": self._dashboard.url, "Cookie": self.cookie, "X-CSRF-Token": self._csrf}
        body = data if isinstance(data, bytes) else None if data is None else json.dumps(data).encode()
        if not isinstance(data, bytes):
            headers["Content-Type"] = "application/json"
        try:
            connection.request(method, path, body=body, headers=headers)
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        told = (
            json.loads(content)
            if answer.headers.get_content_type() == "application/json" and content
            else content
        )
        return answer.status, told, dict(answer.headers)
