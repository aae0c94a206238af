"""Who looks at the dashboard in a browser: what they see, and whether it is what the journal has."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from processes import LIMIT, ROOT

if TYPE_CHECKING:
    from dashboards import Dashboard
    from playwright.sync_api import Page, Request, Route

#: A simulated run of the template that is over in some seconds: so many volumes, of a small head.
VOLUMES = 46
SMALL = ("--set", "source.shape=[24, 24, 12]", "--set", "source.voxel=8")
QUICK = (
    *SMALL,
    *("--speed", "20", "--set", f"source.volumes={VOLUMES}", "--set", "dummy_volumes=3"),
    *("--set", "design.opening=20", "--set", "design.blocks=4", "--set", "design.block=12"),
    *("--set", "design.rest=6", "--set", "decoding.train_blocks=2"),
)

#: Defines `looking`, by which a page that is laid out can be asked.
LOOKING = (ROOT / "tests" / "browser" / "looking.js").read_text(encoding="utf-8")

#: The rows of a chart as they are drawn: of each trace, its values.
DRAWN = "id => document.querySelector(`#${id} .js-plotly-plot`)?.data.map(one => Array.from(one.y)) ?? []"
RUN = """() => {
  const run = rtflow.store.now;
  const filled = ([name, row]) => [name, Array.from(row, one => one ?? null)];
  return { uid: run.uid, next: run.next, results: run.results,
           series: Object.fromEntries([...run.series].map(filled)) };
}"""


def until(page: Page, script: str, argument: Any = None, *, failing: str = "") -> Any:
    """What a script comes to, once that is true.

    By asking again: the page's policy forbids to wait by a script within it.
    """
    end = time.monotonic() + LIMIT
    while True:
        found = page.evaluate(script, argument)
        if found:
            return found
        assert time.monotonic() < end, (
            f"{failing or script}; the page shows: {page.inner_text('body')[:2000]}"
        )
        page.wait_for_timeout(50)


def begin(page: Page, *, double: bool = False) -> str:
    """Press Run, and wait until the page shows that run; its uid."""
    before = page.evaluate("rtflow.store.current")
    page.click("#run", click_count=2 if double else 1)
    return str(
        until(
            page,
            "before => rtflow.store.current !== before && rtflow.store.now.start && rtflow.store.current",
            before,
        )
    )


def until_volume(page: Page, volume: int) -> None:
    """Wait until the page has the results of so many volumes of the present run."""
    until(page, "volume => rtflow.store.current && rtflow.store.now.results >= volume", volume)


def until_over(page: Page) -> str:
    """Wait until the present run is over on the page; how it ended."""
    return str(until(page, "() => rtflow.store.current && rtflow.store.now.stop?.status"))


def until_asked(page: Page, held: list[Route]) -> None:
    """Wait until something that is held back was asked for."""
    end = time.monotonic() + LIMIT
    while not held:
        assert time.monotonic() < end, "nothing was asked for"
        page.wait_for_timeout(20)


def still(page: Page) -> Callable[[], None]:
    """Listen to what a page asks for; what is returned waits until it asks for nothing any more."""
    asked: set[Request] = set()

    def begins(request: Request) -> None:
        asked.add(request)

    def ends(request: Request) -> None:
        asked.discard(request)

    page.on("request", begins)
    page.on("requestfinished", ends)
    page.on("requestfailed", ends)

    def wait() -> None:
        end = time.monotonic() + LIMIT
        quiet = 0
        while quiet < 10:
            assert time.monotonic() < end, f"still asked for: {[one.url for one in asked]}"
            page.wait_for_timeout(30)
            quiet = 0 if asked else quiet + 1

    return wait


def until_drawn(page: Page, chart: str, volumes: int) -> list[list[float | None]]:
    """Wait until a chart has so many points; its rows."""
    long = "rows.some(row => row.length >= volumes) && rows"
    script = f"([id, volumes]) => {{ const rows = ({DRAWN})(id); return {long}; }}"
    return until(page, script, [chart, volumes], failing=f"{chart} has not {volumes} points")  # type: ignore[no-any-return]


def has_all(page: Page, dashboard: Dashboard) -> dict[str, Any]:
    """What the page knows of the present run, which is every value that the journal has, and no other."""
    run: dict[str, Any] = page.evaluate(RUN)
    documents = dashboard.engine.documents(run["uid"])
    known = [one for one in documents if one["seq"] < run["next"]]
    results = [one for one in known if one["document"] == "Result"]
    assert run["results"] == len(results)
    expected: dict[str, dict[int, Any]] = {}
    for one in results:
        for name, value in one["values"].items():
            expected.setdefault(name, {})[one["volume"]] = value
    assert set(run["series"]) == set(expected)
    for name, row in run["series"].items():
        there = {volume: value for volume, value in expected[name].items() if value is not None}
        assert {at + 1: value for at, value in enumerate(row) if value is not None} == there, name
    return run
