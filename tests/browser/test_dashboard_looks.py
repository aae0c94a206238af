"""How the page looks on every tab: nothing is cut off or overlaps, and those who cannot see or point can use it.

Screenshots of all of it are kept in the folder that ``RTFLOW_SCREENSHOTS`` names.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from dashboards import OPERATOR, VIEWER, Dashboard
from onlookers import QUICK, VOLUMES, begin, opened, until_drawn, until_over

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

AXE = Path(__file__).parent / "vendor" / "axe" / "axe.min.js"
SIZES = ((1280, 800), (1920, 1080))
SCHEMES = ("light", "dark")

#: What is wrong with how the page is laid out, in words.
FAULTS = """() => {
  const faults = [];
  const seen = one => one.checkVisibility({ visibilityProperty: true, opacityProperty: true }) && one.getBoundingClientRect().width > 1;
  const name = one => `${one.tagName.toLowerCase()}${one.id ? "#" + one.id : ""}.${[...one.classList].join(".")} '${one.textContent.trim().slice(0, 40)}'`;
  const root = document.documentElement;
  if (root.scrollWidth > root.clientWidth) faults.push(`the page is ${root.scrollWidth} px wide in a window of ${root.clientWidth}`);
  const overlap = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1 && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 1;
  const groups = [".bar > *", ".light", ".orders > *", "[role=tab]", ".tabrow > *", ".account > *", ".chart", ".card",
                  ".picks > *", ".bar-of-tab > *", ".numbers > *"];
  for (const group of groups) {
    const all = [...document.querySelectorAll(group)].filter(seen);
    all.forEach((one, at) => all.slice(at + 1).forEach(other => {
      if (!one.contains(other) && !other.contains(one) && overlap(one.getBoundingClientRect(), other.getBoundingClientRect()))
        faults.push(`${name(one)} overlaps ${name(other)}`);
    }));
  }
  // Text that stands in a box which does not show all of it, without the reader being told by an ellipsis.
  for (const one of document.querySelectorAll("header *, main *")) {
    if (!seen(one) || one.closest("svg, .ag-root-wrapper, .tip, .js-plotly-plot") || !one.childNodes.length) continue;
    if (![...one.childNodes].some(node => node.nodeType === 3 && node.data.trim())) continue;
    const style = getComputedStyle(one);
    if (style.overflowX === "visible" || style.textOverflow === "ellipsis" || ["auto", "scroll"].includes(style.overflowX)) continue;
    if (one.scrollWidth > one.clientWidth + 1) faults.push(`${name(one)} is cut off: ${one.scrollWidth} px in ${one.clientWidth}`);
  }
  for (const one of document.querySelectorAll(".chart, .card, .bar > *, .account")) {
    const box = one.getBoundingClientRect();
    if (seen(one) && (box.left < -1 || box.right > root.clientWidth + 1)) faults.push(`${name(one)} stands outside of the window`);
  }
  // Words within charts: titles, labels and legends stay within their picture.
  for (const plot of document.querySelectorAll(".js-plotly-plot")) {
    if (!seen(plot)) continue;
    const frame = plot.getBoundingClientRect();
    for (const text of plot.querySelectorAll(".infolayer text, .xtick text, .ytick text, .y2tick text")) {
      const box = text.getBoundingClientRect();
      if (box.width && (box.left < frame.left - 1 || box.right > frame.right + 1 || box.top < frame.top - 1 || box.bottom > frame.bottom + 1))
        faults.push(`'${text.textContent}' leaves the chart ${plot.closest("figure").id}`);
    }
    for (const legend of plot.querySelectorAll(".legend")) {
      const box = legend.getBoundingClientRect();
      const inner = plot.querySelector(".plot, .cartesianlayer .bg")?.getBoundingClientRect();
      if (inner && overlap(box, inner)) faults.push(`the legend of ${plot.closest("figure").id} stands over its lines`);
    }
  }
  return faults;
}"""

#: Serious and critical violations that axe finds: rule, and where.
VIOLATIONS = """async () => (await axe.run(document, { resultTypes: ["violations"] })).violations
  .filter(one => ["serious", "critical"].includes(one.impact))
  .map(one => `${one.id}: ${one.help}: ${one.nodes.map(node => `${node.target} ${node.any[0]?.message ?? ""}`).join(" | ").slice(0, 900)}`)"""


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
    page = opened(dashboard, browser)
    begin(page)
    assert until_over(page) == "completed"
    page.context.close()
    return dashboard


def tabs(page: Page) -> Iterator[str]:
    """Each tab in turn, once it stands still; its title."""
    for tab in page.get_by_role("tab").all():
        tab.click()
        page.wait_for_load_state("networkidle")
        page.mouse.move(0, 0)
        page.wait_for_timeout(150)
        yield tab.inner_text()


def test_an_empty_page_says_what_to_do_next(dashboard: Dashboard, browser: Browser, shots: Path) -> None:
    page = opened(dashboard, browser, scheme="dark")
    assert page.evaluate("document.documentElement.dataset.scheme") == "dark"
    for title in tabs(page):
        assert page.evaluate(FAULTS) == [], title
        page.screenshot(path=shots / f"empty-{title.lower()}.png")
        said = page.get_by_role("tabpanel", name=title).inner_text().strip()
        assert said, title
    page.context.close()


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("size", SIZES, ids="{0[0]}x{0[1]}".format)
def test_nothing_overlaps_and_nothing_is_cut_off(
    recorded: Dashboard, browser: Browser, shots: Path, size: tuple[int, int], scheme: str
) -> None:
    width, height = size
    page = opened(recorded, browser, width=width, height=height, scheme=scheme)
    until_drawn(page, "chart-plot-0", VOLUMES)
    for title in tabs(page):
        if title == "Runs":
            page.locator(".ag-row .ag-selection-checkbox").first.click()
            page.wait_for_selector("#runs-compared table")
        page.screenshot(path=shots / f"{title.lower()}-{width}-{scheme}.png", full_page=True)
        assert page.evaluate(FAULTS) == [], title
    page.context.close()


@pytest.mark.parametrize("name", [OPERATOR, VIEWER])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_axe_finds_nothing_serious(recorded: Dashboard, browser: Browser, scheme: str, name: str) -> None:
    page = opened(recorded, browser, name, scheme=scheme)
    until_drawn(page, "chart-plot-0", VOLUMES)
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = [f"{title}: {one}" for title in tabs(page) for one in page.evaluate(VIOLATIONS)]
    if name == OPERATOR:
        page.evaluate("dash_clientside.set_props('stop-asks', { opened: true })")
        page.get_by_role("dialog").wait_for()
        page.wait_for_timeout(400)  # it is faded in
        found += [f"dialog: {one}" for one in page.evaluate(VIOLATIONS)]
    page.context.close()
    assert not found, "\n".join(found)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_axe_finds_nothing_serious_at_the_login(recorded: Dashboard, browser: Browser, scheme: str) -> None:
    context = browser.new_context(color_scheme=scheme)
    page = context.new_page()
    page.goto(f"{recorded.url}/login#over")
    page.wait_for_selector("#says:has-text('Log in again')")
    page.evaluate(AXE.read_text(encoding="utf-8"))
    assert page.evaluate(VIOLATIONS) == []
    context.close()
