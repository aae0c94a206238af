"""The dashboard through a run: begun, watched and ended from the page, by those who may."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from dashboards import OPERATOR, VIEWER, Dashboard, Visitor
from onlookers import (
    LOOKING,
    QUICK,
    VOLUMES,
    begin,
    has_all,
    still,
    until,
    until_drawn,
    until_over,
    until_volume,
)
from served import Serving, kill

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


@pytest.fixture(scope="module")
def dashboard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dashboard]:
    with Dashboard(tmp_path_factory.mktemp("dashboard"), *QUICK, workflow="template") as dashboard:
        yield dashboard


@pytest.fixture
def page(dashboard: Dashboard, browser: Browser) -> Iterator[Page]:
    page = dashboard.visit(browser)
    yield page
    page.context.close()


@pytest.fixture
def longer(dashboard: Dashboard) -> Iterator[None]:
    """The next run does not end by itself."""
    dashboard.engine.until(lambda: dashboard.engine.status()["state"] == "idle")
    status, told = dashboard.engine.ask("PUT", "/api/settings", {"source": {"volumes": 5000}})
    assert status == 200, told
    yield
    if dashboard.engine.status()["state"] != "idle":
        dashboard.engine.ask("POST", "/api/stop")
        dashboard.engine.until(lambda: dashboard.engine.status()["state"] == "idle")
    status, told = dashboard.engine.ask("PUT", "/api/settings", {"source": {"volumes": VOLUMES}})
    assert status == 200, told


#: Seconds that are left, as the header says it; a number only while a run goes on.
LEFT = """document.getElementById("h-left").textContent.split(":")
  .reduce((sum, one) => 60 * sum + Number(one), 0)"""


def drawn_values(rows: list[list[float | None]], series: list[Any]) -> None:
    """The row that a chart has is the series, volume by volume."""
    assert rows[0] == [one if isinstance(one, (int, float)) else None for one in series][: len(rows[0])]


def test_a_run_is_begun_and_followed_to_its_end(dashboard: Dashboard, page: Page) -> None:
    assert page.inner_text("#live-empty").startswith("No run yet. Press Run")
    page.wait_for_selector("#h-state:text-is('waiting for Run')")
    begin(page)
    page.wait_for_selector("#h-state:text-is('running')")
    assert page.title().startswith("▶ ")
    assert page.locator("#run").is_disabled()
    until_volume(page, 5)
    # Ten volumes come in a second, not one in two.
    until(page, f"{LEFT} <= {VOLUMES / 5}")
    results, feedback = page.evaluate("[rtflow.store.now.results, rtflow.store.now.lastFeedback]")
    first = until_drawn(page, "chart-motion", 5)
    until_drawn(page, "chart-motion", min(len(first[0]) + 5, VOLUMES))  # it moves on
    page.get_by_role("tab", name="Timing").click()
    until_drawn(page, "chart-nodes", 15)
    assert page.inner_text("#timing-ledger .fact:first-child .value").isdigit()
    page.get_by_role("tab", name="Live").click()
    assert until_over(page) == "completed"
    assert page.evaluate("rtflow.store.now.lastFeedback") > feedback or results == VOLUMES
    run = has_all(page, dashboard)
    assert run["results"] == VOLUMES
    page.wait_for_selector(f"#h-volume:text-is('{VOLUMES} of {VOLUMES}')")
    page.wait_for_selector("#h-state:text-is('waiting for Run')")
    page.wait_for_selector("#h-ended:text-is('completed')")
    assert page.get_attribute("#stop", "title") == "there is no run to end"
    assert page.inner_text("#h-age") == "run is over"
    drawn_values(until_drawn(page, "chart-plot-0", VOLUMES), run["series"]["decode.value"])
    drawn_values(until_drawn(page, "chart-fd", VOLUMES), run["series"]["realign.framewise_displacement"])
    motion = until_drawn(page, "chart-motion", VOLUMES)
    drawn_values(motion, run["series"]["realign.trans_x"])
    assert len(motion) == 6
    decided = [one for one in run["series"]["decode.value"] if one is not None]
    assert len(decided) > VOLUMES / 4
    assert len(set(decided)) > 5
    # Blocks stand behind the values: as many, and as long, as the labels of the journal say.
    labels = [one for one in run["series"]["labels.trial_type"] if one]
    shaded = page.evaluate(
        "document.querySelector('#chart-plot-0 .js-plotly-plot').layout.shapes"
        ".filter(one => one.type === 'rect').reduce((sum, one) => sum + one.x1 - one.x0, 0)"
    )
    assert shaded == sum(one not in ("rest", "n/a") for one in labels)
    # The switch shows the deadline and the TR, which is far above all that a volume took.
    page.get_by_role("tab", name="Timing").click()
    until_drawn(page, "chart-nodes", VOLUMES)
    shapes = "document.querySelector('#chart-nodes .js-plotly-plot').layout.shapes"
    start = next(one for one in dashboard.engine.documents(run["uid"]) if one["document"] == "RunStart")
    line = [1000 * start["tr"], f"TR {1000 * start['tr']:.0f} ms"]
    drawn = f"([y, text]) => {shapes}.some(one => one.y0 === y && one.label.text === text)"
    page.locator("label", has_text="Scale to deadline and TR").click()
    until(page, drawn, line)
    # What the run has left for the next one.
    page.get_by_role("tab", name="Session").click()
    page.wait_for_selector(f"#session-items tr:has-text('{run['uid']}'):has(td:text-is('24 × 24 × 12'))")
    items = page.locator("#session-items td:first-child").all_inner_texts()
    assert items == ["decoder", "mask", "reference"]
    for light in ("scanner", "disk", "values", "deadline"):
        assert page.locator(f"#h-{light}").get_attribute("data-level") != "bad", page.inner_text("#h-alert")


@pytest.mark.usefixtures("longer")
def test_a_run_is_ended_only_when_one_says_so_twice(dashboard: Dashboard, page: Page) -> None:
    begin(page)
    until_volume(page, 2)
    page.click("#stop")
    page.get_by_role("dialog", name="End the run?").wait_for()
    page.keyboard.press("Escape")
    page.get_by_role("dialog").wait_for(state="hidden")
    page.click("#stop")
    page.click("#stop-not")
    page.get_by_role("dialog").wait_for(state="hidden")
    assert dashboard.engine.status()["state"] == "running"
    until_volume(page, page.evaluate("rtflow.store.now.results") + 2)
    page.click("#stop")
    page.click("#stop-really")
    assert until_over(page) == "aborted"
    page.get_by_role("dialog").wait_for(state="hidden")
    uid = has_all(page, dashboard)["uid"]
    # All runs ask for the same place in the data set; the header says which one this has.
    told = (one["data"] for one in dashboard.engine.documents(uid) if one.get("name") == "another_run")
    assert page.inner_text("#h-bids").endswith(f"run-{next(told, {'run': '1'})['run']}")
    assert [one for one in dashboard.engine.audit() if one[1].startswith("stop")]
    # Who is asked while somebody else ends the run is not asked about the next one.
    wait = still(page)
    begin(page, double=True)  # one run is begun, and nothing is refused
    page.click("#stop")
    page.get_by_role("dialog", name="End the run?").wait_for()
    wait()
    assert page.locator("[role=alert]:has-text('one run at a time')").count() == 0
    assert dashboard.engine.ask("POST", "/api/stop")[0] == 202
    page.get_by_role("dialog").wait_for(state="hidden")
    assert until_over(page) == "aborted"


@pytest.mark.usefixtures("longer")
def test_a_viewer_looks_on_and_can_do_nothing_by_hand_either(
    dashboard: Dashboard, page: Page, browser: Browser
) -> None:
    other = dashboard.visit(browser, VIEWER)
    assert other.locator("#run, #stop").count() == 0
    uid = begin(page)
    until(other, "uid => rtflow.store.current === uid && rtflow.store.now.results > 3", uid)
    visitor = Visitor(dashboard, VIEWER)
    press = {
        "output": "stop-asks.opened",
        "outputs": {"id": "stop-asks", "property": "opened"},
        "inputs": [
            {"id": "stop", "property": "n_clicks", "value": 1},
            {"id": "stop-not", "property": "n_clicks", "value": None},
            {"id": "stop-really", "property": "n_clicks", "value": 1},
        ],
        "changedPropIds": ["stop-really.n_clicks"],
    }
    status, told, _ = visitor.ask("POST", "/_dash-update-component", press)
    assert status == 200
    assert "a viewer may look on, and not do that" in str(told)
    assert dashboard.engine.status()["state"] == "running"
    status, told, _ = Visitor(dashboard, OPERATOR).ask("POST", "/_dash-update-component", press)
    assert "may look on" not in str(told)
    assert until_over(other) == "aborted"  # the same press, by one who may
    other.context.close()


def test_three_browsers_see_the_same(dashboard: Dashboard, page: Page, browser: Browser) -> None:
    others = [dashboard.visit(browser, VIEWER)]
    begin(page)
    until_volume(page, 10)
    others.append(dashboard.visit(browser))  # in the middle of it
    runs = []
    for one in (page, *others):
        assert until_over(one) == "completed"
        until_drawn(one, "chart-plot-0", VOLUMES)
        runs.append(
            (
                has_all(one, dashboard),
                one.evaluate("document.querySelector('#chart-plot-0 .js-plotly-plot').data[0].y"),
            )
        )
    assert runs[0] == runs[1] == runs[2]
    for one in others:
        one.context.close()


def test_the_dashboard_dies_and_comes_back_and_the_run_does_not_notice(
    dashboard: Dashboard, page: Page
) -> None:
    uid = begin(page)
    until_volume(page, 10)
    dashboard.kill()
    page.wait_for_selector("#h-alert:has-text('The dashboard does not answer')")
    assert "is not known from here: look at the analysis host" in page.inner_text("#h-alert")
    page.wait_for_selector("#h-state:text-is('dashboard unreachable')")
    page.wait_for_selector("#h-left:text-is('–')")
    missed = page.evaluate("rtflow.store.now.results")
    further = min(missed + 5, VOLUMES)

    def recorded() -> int:
        return sum(one["document"] == "Result" for one in dashboard.engine.documents(uid))

    dashboard.engine.until(lambda: recorded() >= further)
    dashboard.again()
    until_volume(page, further)  # by itself, and as the same person
    page.wait_for_selector("#h-alert", state="hidden")
    assert page.inner_text(".account .label") == f"{OPERATOR}, operator"
    assert until_over(page) == "completed"
    run = has_all(page, dashboard)
    assert run["uid"] == uid
    assert run["results"] == VOLUMES
    documents = dashboard.engine.documents(uid)
    # None is lost; late is what a busy machine makes of a scan at twenty times its speed.
    assert {one["status"] for one in documents if one["document"] == "Result"} <= {"ok", "late"}
    drawn_values(until_drawn(page, "chart-fd", VOLUMES), run["series"]["realign.framewise_displacement"])


@pytest.mark.usefixtures("longer")
def test_the_engine_is_killed_and_comes_back(dashboard: Dashboard, page: Page) -> None:
    uid = begin(page)
    until_volume(page, 5)
    kill(dashboard.engine)
    page.wait_for_selector("#h-state:text-is('engine unreachable')")
    page.wait_for_selector("#h-alert:has-text('cannot be reached')")
    assert page.title().startswith("⚠ engine unreachable")
    assert page.locator("#run").is_disabled()
    assert page.locator("#stop").is_disabled()
    dashboard.engine.__exit__()
    folder, port = dashboard.engine.folder, dashboard.engine.port
    dashboard.engine = Serving(folder, "serve", *QUICK, workflow="template", port=port)
    dashboard.engine.__enter__()
    page.wait_for_selector("#h-state:text-is('waiting for Run')")
    resume = f"'rtflow run --resume {folder / 'out' / 'runs' / uid}' takes it up"
    page.wait_for_selector(
        f'#h-alert:has-text("The run was cut off. What was recorded is kept."):has-text("{resume}")'
    )
    page.wait_for_selector("#h-ended:text-is('cut off')")
    assert page.inner_text("#h-age") == "run was cut off"
    assert "--resume" in page.locator("#h-scanner-says").text_content()
    assert begin(page) != uid
    until_volume(page, 3)
    has_all(page, dashboard)


@pytest.mark.usefixtures("longer")
def test_all_goes_without_a_mouse(dashboard: Dashboard, page: Page) -> None:
    page.get_by_role("tab", name="Live").focus()
    titles = [one.inner_text() for one in page.get_by_role("tab").all()]
    for title in [*titles[1:], titles[0]]:
        page.keyboard.press("ArrowRight")
        page.wait_for_selector(f"[role=tab][aria-selected=true]:has-text('{title}')")
    page.locator("#run").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("#h-state:text-is('running')")
    page.locator("#stop").focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name="End the run?")
    dialog.wait_for()
    inside = "document.querySelector('[role=dialog]').contains(document.activeElement)"
    for _ in range(5):  # more than it has controls: nothing behind it is reached
        page.keyboard.press("Tab")
        assert page.evaluate(inside)
    page.keyboard.press("Escape")
    dialog.wait_for(state="hidden")
    until(page, "document.activeElement.id === 'stop'")
    page.keyboard.press("Enter")
    dialog.wait_for()
    until(page, inside)
    while page.evaluate("document.activeElement.id") != "stop-really":
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert until_over(page) == "aborted"


def test_every_control_is_reached_by_the_tab_key(page: Page) -> None:
    page.evaluate(LOOKING)
    for tab in page.get_by_role("tab").all():
        tab.click()
        page.wait_for_timeout(300)
        names = page.evaluate("looking.usable()")
        page.evaluate("document.activeElement.blur()")
        page.evaluate("document.querySelector('.skip').focus()")
        reached: set[str] = set()
        for _ in range(400):
            page.keyboard.press("Tab")
            reached.add(page.evaluate("document.activeElement.dataset.usable ?? ''"))
            if len(reached - {""}) == len(names):
                break
        missed = [name for at, name in enumerate(names) if str(at) not in reached]
        assert not missed, tab.inner_text()
