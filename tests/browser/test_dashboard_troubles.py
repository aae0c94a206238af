"""Runs in which something goes wrong: the page says what, and goes on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from dashboards import Dashboard
from onlookers import LOOKING, begin, has_all, until, until_over

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser

COUNT, MISSING, LATE = 12, 3, 4


@pytest.fixture(scope="module")
def troubles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("troubles")
    (folder / "runs").mkdir()
    return folder


@pytest.fixture(scope="module")
def dashboard(troubles: Path) -> Iterator[Dashboard]:
    settings = (f"count={COUNT}", f"missing=[{MISSING}]", "sleep=0.6", "interval=0.2", "deadline=0.3")
    refuses = f"refuses={troubles / 'no-scanner'}"
    given = [word for one in (*settings, refuses) for word in ("--set", one)]
    with Dashboard(troubles / "runs", *given) as dashboard:
        yield dashboard


def test_missing_and_late_volumes_are_told(dashboard: Dashboard, browser: Browser) -> None:
    page = dashboard.visit(browser)
    page.evaluate(LOOKING)
    begin(page)
    until_over(page)
    run = has_all(page, dashboard)
    documents = dashboard.engine.documents(run["uid"])
    statuses = [one["status"] for one in documents if one["document"] == "Result"]
    assert statuses[MISSING - 1] == "missing"
    assert statuses[LATE - 1] == "late"
    assert all(row[MISSING - 1] is None for row in run["series"].values() if len(row) >= MISSING)
    late = statuses.count("late")
    until(page, "late => rtflow.store.now.counts.late === late", late)
    page.wait_for_selector("#h-deadline[data-level=warn], #h-deadline[data-level=bad]")
    assert f"{late} of " in str(page.locator("#h-deadline-says").text_content())
    page.get_by_role("tab", name="Timing").click()
    page.wait_for_selector(f"#timing-late tr:has(td:first-child:text-is('{MISSING}')):has-text('missing')")
    page.wait_for_selector(f"#timing-late tr:has(td:first-child:text-is('{LATE}')):has-text('late')")
    assert page.evaluate("looking.faults()") == []
    page.get_by_role("tab", name="Runs").click()
    page.wait_for_selector(f".ag-row:has-text('1 missing, {late} late')")
    page.context.close()


def test_why_a_run_could_not_begin_is_told_and_forgotten_with_the_next(
    dashboard: Dashboard, browser: Browser, troubles: Path
) -> None:
    page = dashboard.visit(browser)
    (troubles / "no-scanner").touch()
    page.click("#run")
    page.wait_for_selector("#h-alert:has-text('the scanner is not there')")
    page.wait_for_selector("#h-state:text-is('waiting for Run')")
    assert page.title().startswith("⚠")
    (troubles / "no-scanner").unlink()
    begin(page)
    page.wait_for_selector("#h-alert", state="hidden")
    assert until_over(page) == "completed"
    page.context.close()
