"""Make the pictures of the dashboard, from a simulated run: ``python docs/make_screenshots.py``.

It takes a minute, and Playwright and Chromium as the tests do. The run is the same each time; its name, the
clock and the milliseconds are not.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rtflow.bench.chromium import QUIET, find_chromium

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

IMAGES = Path(__file__).parent / "images"
DURING, LARGEST, PATIENCE = 225, 200_000, 180.0
"""Volume at which a running run is taken; bytes that a picture may have; seconds to wait for anything."""


def main() -> None:
    """Run the template once, and take each picture when its moment has come."""
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        command = (sys.executable, "-m", "rtflow", "run", "template", "--dashboard", "--quiet")
        place = ("--dashboard-listen", "127.0.0.1:0", "--out", f"{folder}/out")
        run = subprocess.Popen((*command, *place), stderr=subprocess.PIPE, text=True)
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=list(QUIET))
        try:
            take(browser, link_of(run))
        finally:
            browser.close()
            run.terminate()
            run.communicate()


def link_of(run: subprocess.Popen[str]) -> str:
    """Where the dashboard of a run lets one browser in."""
    assert run.stderr is not None
    for line in run.stderr:
        for word in line.split():
            if "/login#code=" in word:
                return word
    raise SystemExit("the run has not told where its dashboard is")


def take(browser: Browser, link: str) -> None:
    """Take all pictures."""
    context = browser.new_context(viewport={"width": 1280, "height": 800}, color_scheme="dark")
    page = context.new_page()
    page.goto(link)
    page.wait_for_selector("#h-workflow:text-is('template')")
    until(page, "volume => rtflow.store.current && rtflow.store.now.results >= volume", DURING)
    save(page, "Live", "dashboard-live")
    until(page, "() => rtflow.store.now.stop !== null")
    save(page, "Brain", "dashboard-brain")
    page.click("#scheme")
    save(page, "Timing", "dashboard-timing")
    page.set_viewport_size({"width": 1920, "height": 1080})
    save(page, "Live", "dashboard-wide")


def until(page: Page, script: str, argument: Any = None) -> None:
    """Wait for what a script asks; by asking again, as the page's policy forbids to wait within it."""
    end = time.monotonic() + PATIENCE
    while not page.evaluate(script, argument):
        if time.monotonic() > end:
            raise SystemExit(f"it did not come to this: {script}")
        page.wait_for_timeout(50)


def save(page: Page, tab: str, name: str) -> None:
    """Choose a tab, and take its picture."""
    page.get_by_role("tab", name=tab).click()
    page.mouse.move(0, 0)
    page.wait_for_timeout(1000)  # charts and pictures of the tab are drawn
    path = IMAGES / f"{name}.png"
    page.screenshot(path=path)
    print(f"{path.name}: {path.stat().st_size} bytes")
    if path.stat().st_size > LARGEST:
        raise SystemExit(f"{path.name} is too large for the repository")


if __name__ == "__main__":
    main()
