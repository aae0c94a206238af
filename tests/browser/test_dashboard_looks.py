"""How the page looks on every tab: nothing is cut off or overlaps, and who cannot see or point can use it.

Screenshots of all of it are kept in the folder that ``RTFLOW_SCREENSHOTS`` names.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest
from dashboards import OPERATOR, VIEWER, Dashboard
from onlookers import LOOKING, QUICK, VOLUMES, begin, still, until_drawn, until_over

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

AXE = (Path(__file__).parent / "vendor" / "axe" / "axe.min.js").read_text(encoding="utf-8")
Scheme = Literal["light", "dark"]
SCHEMES: tuple[Scheme, ...] = ("light", "dark")


@pytest.fixture(scope="module")
def shots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    named = os.environ.get("RTFLOW_SCREENSHOTS")
    folder = Path(named) if named else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def dashboard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dashboard]:
    with Dashboard(tmp_path_factory.mktemp("looks"), *QUICK, workflow="template") as dashboard:
        yield dashboard


@pytest.fixture(scope="module")
def recorded(dashboard: Dashboard, browser: Browser) -> Dashboard:
    """With a run that is over."""
    page = dashboard.visit(browser)
    begin(page)
    assert until_over(page) == "completed"
    page.context.close()
    return dashboard


def tabs(page: Page) -> Iterator[str]:
    """Each tab in turn, once it stands still; its title."""
    page.evaluate(LOOKING)
    wait = still(page)
    for tab in page.get_by_role("tab").all():
        tab.click()
        wait()
        page.mouse.move(0, 0)
        page.wait_for_timeout(150)
        yield tab.inner_text()


def test_an_empty_page_says_what_to_do_next(dashboard: Dashboard, browser: Browser, shots: Path) -> None:
    page = dashboard.visit(browser, scheme="dark")
    assert page.evaluate("document.documentElement.dataset.scheme") == "dark"
    for title in tabs(page):
        assert page.evaluate("looking.faults()") == [], title
        page.screenshot(path=shots / f"empty-{title.lower()}.png")
        said = page.get_by_role("tabpanel", name=title).inner_text().strip()
        assert said, title
    page.context.close()


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(
    ("name", "width", "height"), [(OPERATOR, 1280, 800), (OPERATOR, 1920, 1080), (VIEWER, 1280, 800)]
)
def test_each_tab_is_laid_out_well_and_axe_finds_nothing_serious(
    recorded: Dashboard, browser: Browser, shots: Path, name: str, width: int, height: int, scheme: Scheme
) -> None:
    page = recorded.visit(browser, name, width=width, height=height, scheme=scheme)
    until_drawn(page, "chart-plot-0", VOLUMES)
    with_axe = width == 1280  # it does not look at sizes
    if with_axe:
        page.evaluate(AXE)
    wrong = []
    for title in tabs(page):
        if title == "Runs":
            page.locator(".ag-row .ag-selection-checkbox").first.click()
            page.wait_for_selector("#runs-compared table")
        page.screenshot(path=shots / f"{title.lower()}-{name}-{width}-{scheme}.png", full_page=True)
        wrong += [f"{title}: {one}" for one in page.evaluate("looking.faults()")]
        if with_axe:
            wrong += [f"{title}: {one}" for one in page.evaluate("looking.violations()")]
    if with_axe and name == OPERATOR:
        page.evaluate("dash_clientside.set_props('stop-asks', { opened: true })")
        page.get_by_role("dialog").wait_for()
        page.wait_for_timeout(400)  # it is faded in
        wrong += [f"dialog: {one}" for one in page.evaluate("looking.violations()")]
    page.context.close()
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_axe_finds_nothing_serious_at_the_login(
    recorded: Dashboard, browser: Browser, scheme: Scheme
) -> None:
    context = browser.new_context(color_scheme=scheme)
    page = context.new_page()
    page.goto(f"{recorded.url}/login#over")
    page.wait_for_selector("#says:has-text('Log in again')")
    page.evaluate(LOOKING)
    page.evaluate(AXE)
    assert page.evaluate("looking.violations()") == []
    context.close()
