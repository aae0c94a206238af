"""The Session tab in a real browser: the steps of a run, and errors in full."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import brought_workflow
import pytest
import steps_workflow
from brought_workflow import SOURCE, write_earlier
from dashboards import Dashboard

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="module")
def dashboard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dashboard]:
    with Dashboard(tmp_path_factory.mktemp("session"), workflow=steps_workflow.__file__) as dashboard:
        yield dashboard


def test_steps_are_told_and_what_went_wrong_in_full(dashboard: Dashboard, browser: Browser) -> None:
    page = dashboard.visit(browser)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("tab", name="Session").click()
    page.wait_for_selector("#session-empty:has-text('When you press Run')")
    page.click("#run")
    page.wait_for_selector("#session-set-up tr[data-state=done]:has-text('prepare')")
    page.wait_for_selector("#session-end tr[data-state=failed]:has-text('judge')")
    page.wait_for_selector(
        "#session-volume-says:has-text('3 of ? volumes have come, 3 are through the graph')"
    )
    box = page.locator(".error-box", has=page.locator("strong:text-is('judge')"))
    says = box.locator("pre").inner_text()
    assert "Traceback" in says
    assert "3 totals are too few,\n\tand begin at 2" in says
    assert page.locator(".error-box", has_text="The run has failed").count() == 1
    page.wait_for_selector("#h-alert:has-text('The run has failed: ')")  # on every tab, until the next one
    assert page.title().startswith("⚠")
    box.get_by_role("button").click()
    box.get_by_text("copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == f"judge\n{says}"
    # In the log, each step is a line.
    page.get_by_role("tab", name="Logs").click()
    page.fill("#logs-find", "judge failed")
    page.wait_for_selector("#logs-grid .ag-row:has-text('too few')")
    page.context.close()


def test_a_mask_that_was_brought_is_shown_on_the_reference(
    browser: Browser, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("brought")
    files = write_earlier(folder)
    given = [f"source={SOURCE}", f"file={files['file']}", f"image={files['image']}"]
    options = [part for one in given for part in ("--set", one)]
    with Dashboard(folder, *options, workflow=brought_workflow.__file__) as dashboard:
        page = dashboard.visit(browser)
        page.get_by_role("tab", name="Session").click()
        assert not page.get_by_role("heading", name="Where masks have come to lie").is_visible()
        page.click("#run")
        page.wait_for_selector(
            ".mask-brought figcaption:has-text('mask left.nii.gz was brought to the reference')"
        )
        image = page.locator(".mask-brought img")
        assert image.evaluate("async (image) => (await image.decode(), image.naturalWidth)") > 100
        assert page.get_by_role("heading", name="Where masks have come to lie").is_visible()
        page.context.close()
