"""The Logs and Session tabs in a real browser: what happens in a run, notes, and the logs of the server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from dashboards import OPERATOR, VIEWER, Dashboard

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


@pytest.fixture(scope="module")
def dashboard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dashboard]:
    # Volume 2 is missing, and after volume 3 the source waits until the run is stopped.
    given = ("--set", "missing=[2]", "--set", "halt=3", "--set", "count=5")
    with Dashboard(tmp_path_factory.mktemp("logs"), *given) as dashboard:
        yield dashboard


@pytest.fixture(scope="module")
def running(dashboard: Dashboard) -> Dashboard:
    """With a run that has come to its third volume, and waits there."""
    assert dashboard.engine.ask("POST", "/api/start")[0] == 202
    dashboard.engine.until(lambda: sum(dashboard.engine.status()["results"].values()) == 3)
    return dashboard


def tab(page: Page, name: str) -> Page:
    page.get_by_role("tab", name=name).click()
    return page


def row(page: Page, text: str) -> Any:
    return page.locator("#logs-grid .ag-center-cols-container .ag-row", has_text=text)


def test_before_a_run_it_says_what_will_stand_there(dashboard: Dashboard, browser: Browser) -> None:
    page = tab(dashboard.visit(browser), "Logs")
    page.wait_for_selector("#logs-empty:has-text('Nothing has happened yet')")
    tab(page, "Session").wait_for_selector("#session-empty:has-text('press Run')")
    page.context.close()


NOTE = "the participant coughed: n is a letter here, <img src=x onerror=alert(1)> no markup"


def test_a_note_is_taken_by_two_keys_and_stands_in_the_journal(running: Dashboard, browser: Browser) -> None:
    page, other = running.visit(browser), tab(running.visit(browser, VIEWER), "Logs")
    page.keyboard.press("n")
    page.wait_for_selector("#note:focus")
    page.keyboard.type(NOTE)
    page.keyboard.press("Enter")
    for one in (page, other):
        row(one, "coughed").wait_for()
    assert [row(page, "coughed").locator(f"[col-id={name}]").inner_text() for name in ("volume", "name")] == [
        "3",
        "note",
    ]
    assert page.locator("#note").input_value() == ""
    (note,) = [
        one
        for one in running.engine.documents(running.engine.status()["run_uid"])
        if one.get("name") == "note"
    ]
    assert note["volume"] == 3
    assert note["data"]["says"] == NOTE
    assert page.locator("#logs-grid img").count() == 0
    assert OPERATOR in json.dumps(note["data"])
    assert other.locator("#note").count() == 0
    page.context.close()
    other.context.close()


def test_lines_are_found_by_level_and_text(running: Dashboard, browser: Browser) -> None:
    page = tab(running.visit(browser), "Logs")
    row(page, "missing").wait_for()
    assert row(page, "missing").locator("[col-id=level]").inner_text() == "warning"
    page.get_by_role("textbox", name="Level").click()
    page.get_by_role("option", name="error").click()
    page.wait_for_selector("#logs-empty:has-text('No line fits')")
    page.get_by_role("option", name="error").click()
    page.keyboard.press("Escape")
    page.fill("#logs-find", "MISSING")
    page.wait_for_selector("#logs-says:has-text('1 of')")
    assert row(page, "missing").count() == 1
    page.context.close()


def test_of_many_lines_the_latest_are_kept_and_few_are_drawn(running: Dashboard, browser: Browser) -> None:
    page = tab(running.visit(browser), "Logs")
    page.evaluate(
        """() => {
          const run = rtflow.store.now;
          for (let at = 0; at < 5000; at += 1)
            run.event({ seq: 1e6 + at, time: 0, volume: at, name: "many", data: { says: `line ${at}` } });
          rtflow.store.touch(run.uid);
        }"""
    )
    page.wait_for_selector("#logs-says:has-text('2000 of 2000 lines')")
    row(page, "line 4999").wait_for()  # it follows the end
    assert page.locator("#logs-grid .ag-center-cols-container .ag-row").count() < 100
    page.context.close()


def test_the_logs_of_the_server_are_read_as_they_grow(running: Dashboard, browser: Browser) -> None:
    page = tab(running.visit(browser), "Logs")
    page.locator("#logs-which").get_by_text("Session").click()
    page.wait_for_selector("#logs-says:has-text('lines')")
    row(page, "start").first.wait_for()
    page.fill("#logs-find", "stop")
    page.wait_for_selector("#logs-empty:has-text('No line fits')")
    assert running.engine.ask("POST", "/api/settings/save", {"name": "not to be stopped"})[0] >= 200
    row(page, "not to be stopped").wait_for()
    page.locator("#logs-which").get_by_text("Debug").click()
    page.fill("#logs-find", "")
    page.wait_for_selector("#logs-says:has-text('lines'), #logs-empty:has-text('no line yet')")
    page.context.close()


LINES = [
    (
        "2026-11-28 14:11:20,123 nipype.workflow ERROR: it stops",
        {"time": "14:11:20.123", "level": "error", "name": "nipype.workflow", "says": "it stops"},
    ),
    (
        "2026-11-28 14:11:20.123 anna: refused reason=role",
        {"time": "14:11:20.123", "level": "warning", "name": "anna", "says": "refused reason=role"},
    ),
    (
        "2026-11-28 14:11:20.123 dashboard-1: start for=anna",
        {"time": "14:11:20.123", "level": "info", "name": "anna", "says": "start for=anna"},
    ),
    (
        "2026-11-28 14:11:20.123 a run begins",
        {"time": "14:11:20.123", "level": "info", "name": "", "says": "a run begins"},
    ),
]


def test_lines_of_logs_are_taken_apart(dashboard: Dashboard, browser: Browser) -> None:
    page = dashboard.visit(browser)
    for line, expected in LINES:
        got = page.evaluate("(line) => rtflow.logs.parsed(line, '0')", line)
        assert got == expected | {"id": "0", "volume": ""}
    assert page.evaluate("rtflow.logs.parsed('  in a traceback', '0')") is None
    page.context.close()


def test_the_steps_of_a_run_are_told_and_its_end(running: Dashboard, browser: Browser) -> None:
    page = tab(running.visit(browser), "Session")
    page.wait_for_selector("#session-volume-says:has-text('3 of ? volumes have come')")
    assert page.locator("#session-volume tr", has_text="double").inner_text().split()[:3] == [
        "double",
        "Function",
        "2",
    ]
    page.click("#stop")
    page.click("#stop-really")
    page.wait_for_selector("#session-errors .error-box:has-text('been ended')")
    page.context.close()
