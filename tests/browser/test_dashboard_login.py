"""Who gets in: by a password, by a link that is good once; and who does not."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from agents import Process
from dashboards import OPERATOR, PASSWORD, VIEWER, Dashboard, enter
from onlookers import SMALL, until_volume
from processes import free_port

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext


@pytest.fixture(scope="module")
def dashboard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dashboard]:
    with Dashboard(tmp_path_factory.mktemp("login"), "--set", "count=2") as dashboard:
        yield dashboard


def log_in_from(dashboard: Dashboard, address: str, name: str) -> int:
    """Status of a login with the right password from another address of this machine."""
    connection = http.client.HTTPConnection("127.0.0.1", dashboard.port, source_address=(address, 0))
    headers = {"Origin": dashboard.url, "Content-Type": "application/json"}
    try:
        connection.request("POST", "/api/login", json.dumps({"name": name, "password": PASSWORD}), headers)
        return connection.getresponse().status
    finally:
        connection.close()


def test_who_guesses_is_slowed_and_nobody_else(
    dashboard: Dashboard, context: BrowserContext, browser: Browser
) -> None:
    page = context.new_page()
    page.goto(dashboard.url)
    assert page.url.endswith("/login")
    page.fill("#name", OPERATOR)
    for number in range(5):
        page.fill("#password", f"guess {number}")
        page.click("#enter")
        page.wait_for_selector("#enter:not([disabled])")
        page.wait_for_selector("#says:text-is('wrong name or password')")
    page.fill("#password", PASSWORD)  # by now it does not matter whether it is right
    page.click("#enter")
    page.wait_for_selector("#says:has-text('too many tries; wait')")
    assert page.inner_text("#says").count("again") == 1
    assert page.url.endswith("/login")
    assert log_in_from(dashboard, "127.0.0.2", OPERATOR) == 200
    other = dashboard.visit(browser, VIEWER)
    assert other.inner_text(".account .label") == f"{VIEWER}, viewer"
    other.context.close()


def test_nothing_of_the_page_is_shown_to_nobody(dashboard: Dashboard, context: BrowserContext) -> None:
    for path in (
        "/_dash-layout",
        "/_dash-dependencies",
        "/assets/store.js",
        "/live",
        "/documents/x",
        "/runs/x",
    ):
        answer = context.request.get(f"{dashboard.url}{path}")
        assert answer.status == 401, path
    assert context.request.get(f"{dashboard.url}/", headers={"Accept": "text/html"}).url.endswith("/login")


def test_a_session_that_is_over_leads_to_the_login_which_says_so(
    dashboard: Dashboard, browser: Browser
) -> None:
    page = dashboard.visit(browser, VIEWER)
    page.wait_for_load_state("networkidle")  # as over night: Dash stumbles where it is refused an answer
    dashboard.access.remove_user(VIEWER)
    page.wait_for_url("**/login*")
    page.wait_for_selector("#says:has-text('Your login is over. Log in again')")
    dashboard.access.add_user(VIEWER, PASSWORD, "viewer")
    enter(page, VIEWER)
    page.click("#logout")
    page.wait_for_url("**/login")
    page.goto(dashboard.url)
    assert page.url.endswith("/login")
    page.context.close()


def test_the_link_of_a_run_lets_one_browser_in_once(tmp_path: Path, browser: Browser) -> None:
    command = ("-m", "rtflow", "run", "template", "--dashboard", "--out", str(tmp_path / "out"))
    listen = ("--dashboard-listen", f"127.0.0.1:{free_port()}")
    few = ("--set", "source.volumes=200", "--speed", "20", "--quiet")
    with Process(*command, *listen, *SMALL, *few) as process:
        process.until(lambda: process.said("/login#code="))
        (link,) = (word for line in process.lines for word in line.split() if "/login#code=" in word)
        first, second = browser.new_context(), browser.new_context()
        page = first.new_page()
        page.goto(link.partition("#")[0])
        page.goto(link)  # which loads nothing anew: only what is behind the # is another
        page.wait_for_selector("#h-workflow:text-is('template')")
        until_volume(page, 3)
        assert "code" not in page.url
        late = second.new_page()
        late.goto(link)
        late.wait_for_selector("#says:has-text('used already')")
        assert late.url.endswith("/login")
        first.close()
        second.close()
        assert process.process.poll() is None
