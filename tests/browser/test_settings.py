"""The Settings tab in a real browser: what is changed, refused, applied, put back and saved."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cable import Cable
from dashboards import VIEWER, Dashboard
from onlookers import still, until_asked
from processes import until

from rtflow.settings import load_settings

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page, Route


@pytest.fixture(scope="module")
def no_scanner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file: while it is there, no run can begin."""
    return tmp_path_factory.mktemp("scanner") / "no-scanner"


@pytest.fixture(scope="module")
def cabled(tmp_path_factory: pytest.TempPathFactory, no_scanner: Path) -> Iterator[tuple[Dashboard, Cable]]:
    """The dashboard, and the cable between it and the server."""
    given = [word for one in ("count=3", "halt=2", f"refuses={no_scanner}") for word in ("--set", one)]
    dashboard = Dashboard(tmp_path_factory.mktemp("settings"), *given)
    with Cable(dashboard.engine.port) as cable:
        dashboard.towards = cable.port
        with dashboard:
            yield dashboard, cable


@pytest.fixture(scope="module")
def dashboard(cabled: tuple[Dashboard, Cable]) -> Dashboard:
    return cabled[0]


def values(dashboard: Dashboard) -> Any:
    """What the next run has, as the engine says."""
    return dashboard.engine.ask("GET", "/api/settings")[1]["values"]


def opened(page: Page) -> Page:
    page.get_by_role("tab", name="Settings").click()
    page.wait_for_selector("#settings-form fieldset")
    return page


def fieldset(page: Page, name: str) -> Locator:
    return page.locator("fieldset").filter(has=page.locator(f"legend:text-is('{name}')"))


@pytest.fixture
def page(dashboard: Dashboard, browser: Browser) -> Iterator[Page]:
    page = opened(dashboard.visit(browser))
    yield page
    page.context.close()


def test_a_change_counts_once_it_is_applied_and_can_be_put_back(dashboard: Dashboard, page: Page) -> None:
    assert page.get_by_text("What all chance in the nodes comes from").count() == 1
    page.get_by_label("count", exact=True).fill("5")
    page.wait_for_selector("#settings-pending li:has-text('count3 → 5')")
    assert values(dashboard)["count"] == 3
    page.wait_for_selector("[role=tab][data-pending]:has-text('Settings')")
    page.click("#settings-apply")
    page.wait_for_selector("#settings-pending:has-text('Nothing')")
    assert values(dashboard)["count"] == 5
    page.locator("[role=tab][data-pending]").wait_for(state="detached")
    page.wait_for_selector("#settings-differences li:has-text('count3 → 5')")
    page.get_by_role("button", name="count back to the file").click()
    page.wait_for_selector("#settings-pending li:has-text('count5 → 3')")
    page.click("#settings-apply")
    page.wait_for_selector("#settings-pending:has-text('Nothing')")
    assert values(dashboard)["count"] == 3


def test_a_wrong_value_is_refused_at_its_field(dashboard: Dashboard, page: Page) -> None:
    source = fieldset(page, "source")
    source.get_by_label("tr", exact=True).fill("-1")
    says = "source.tr: expected a number above 0, got -1"
    page.wait_for_selector(f"#settings-error:has-text('{says}')")
    assert source.locator(".mantine-NumberInput-root", has_text=says).count() == 1
    assert page.locator("#settings-apply").is_disabled()
    page.click("#settings-discard")
    page.wait_for_selector("#settings-pending:has-text('Nothing')")
    page.locator("#settings-error").wait_for(state="hidden")
    assert source.get_by_label("tr", exact=True).input_value() == "2"
    assert values(dashboard)["source"]["tr"] == 2.0


def test_a_source_of_another_kind_has_its_own_fields(dashboard: Dashboard, page: Page) -> None:
    source = fieldset(page, "source")
    source.get_by_role("textbox", name="kind").click()
    page.get_by_role("option", name="folder").click()
    page.wait_for_selector("#settings-error:has-text('source.path')")
    source.get_by_label("path", exact=True).fill("/data/incoming")
    page.locator("#settings-error").wait_for(state="hidden")
    source.get_by_role("switch", name="existing").click()
    page.wait_for_selector("#settings-pending li:has-text('simulate → folder')")
    page.wait_for_selector("#settings-apply:enabled")
    page.click("#settings-apply")
    page.wait_for_selector("#settings-pending:has-text('Nothing')")
    assert (
        values(dashboard)["source"] | {"path": "/data/incoming", "existing": False}
        == values(dashboard)["source"]
    )
    page.get_by_role("button", name="source back to the file").click()
    page.wait_for_selector("#settings-pending li:has-text('folder → simulate')")
    page.wait_for_selector("#settings-apply:enabled")
    page.click("#settings-apply")
    page.wait_for_selector("#settings-pending:has-text('Nothing')")


def test_charts_are_added_and_taken_away(dashboard: Dashboard, page: Page) -> None:
    plots = fieldset(page, "plots")
    plots.get_by_role("button", name="Add one").click()
    page.wait_for_selector("#settings-error:has-text('plots')")  # a chart of nothing is refused
    values_of = plots.get_by_label("values", exact=True)
    values_of.fill("sum.total")
    values_of.press("Enter")
    page.wait_for_selector("#settings-apply:enabled")
    page.click("#settings-apply")
    page.wait_for_selector("#settings-pending:has-text('Nothing')")
    assert [one["values"] for one in values(dashboard)["plots"]] == [["sum.total"]]
    plots.get_by_role("button", name="Remove").click()
    page.wait_for_selector("#settings-apply:enabled")
    page.click("#settings-apply")
    page.wait_for_selector("#settings-pending:has-text('Nothing')")
    assert values(dashboard)["plots"] == []


def test_who_clicks_twice_gets_it_once_applied_and_twice_added(dashboard: Dashboard, page: Page) -> None:
    wait = still(page)
    count = page.get_by_label("count", exact=True)
    for wanted in ("8", "3"):
        count.fill(wanted)
        page.wait_for_selector("#settings-apply:enabled")
        page.locator("#settings-apply").dblclick()
        page.wait_for_selector("#settings-pending:has-text('Nothing')")
        assert values(dashboard)["count"] == int(wanted)
    wait()
    assert page.locator("[role=alert]:has-text('looked at')").count() == 0
    plots = fieldset(page, "plots")
    plots.get_by_role("button", name="Add one").dblclick()
    plots.get_by_role("button", name="Remove").nth(1).wait_for()
    page.click("#settings-discard")
    page.wait_for_selector("#settings-pending:has-text('Nothing')")


def test_they_are_saved_as_a_new_file_and_never_over_another(dashboard: Dashboard, page: Page) -> None:
    page.fill("#settings-name", "pilot")
    page.click("#settings-save")
    says = page.locator("#settings-saved:has-text('pilot.toml')")
    says.wait_for()
    file = dashboard.engine.folder / "out" / "settings" / "pilot.toml"
    assert str(file) in says.inner_text()
    before = file.read_bytes()
    assert before
    page.click("#settings-save")
    page.wait_for_selector("[role=alert]:has-text('pilot.toml')")  # refused, in words
    assert file.read_bytes() == before
    import counting_workflow

    assert load_settings(counting_workflow.Settings, file).count == 3


def test_whoever_looks_on_sees_and_cannot_change(dashboard: Dashboard, browser: Browser) -> None:
    page = opened(dashboard.visit(browser, VIEWER))
    assert page.locator("#settings-locked").inner_text() == "You look on: an operator changes settings."
    assert page.get_by_label("count", exact=True).is_disabled()
    assert page.get_by_label("count", exact=True).input_value() == "3"
    assert not page.locator("#settings-apply").is_visible()
    page.context.close()


def test_a_form_that_is_open_hears_of_what_others_change_and_keeps_what_is_entered(
    dashboard: Dashboard, browser: Browser, page: Page
) -> None:
    seed, subject = values(dashboard)["seed"], values(dashboard)["bids"]["subject"]
    bids = fieldset(page, "bids")
    dashboard.engine.ask("PUT", "/api/settings", {"bids": {"subject": "08"}})
    page.wait_for_selector(f"#settings-meanwhile:has-text('bids.subject {subject} → 08')")
    assert bids.get_by_label("subject", exact=True).input_value() == "08"
    # What is entered and rejected is nowhere told as what the next run has.
    fieldset(page, "source").get_by_label("tr", exact=True).fill("-1")
    page.wait_for_selector("#settings-error:has-text('source.tr')")
    assert "-1" not in page.inner_text("#settings-differences")
    page.click("#settings-discard")
    page.wait_for_selector("#settings-pending:has-text('Nothing')")
    page.get_by_label("count", exact=True).fill("6")
    page.wait_for_selector("#settings-pending li:has-text('→ 6')")
    dashboard.engine.ask("PUT", "/api/settings", {"bids": {"subject": "09"}})
    page.wait_for_selector(
        "#settings-meanwhile:has-text('bids.subject 08 → 09. What you have entered is kept')"
    )
    assert page.locator("#settings-pending li").all_inner_texts() != []
    assert "subject" not in page.inner_text("#settings-pending")  # applied, it takes nothing of theirs back
    page.click("#settings-apply")
    page.wait_for_selector("#settings-pending:has-text('Nothing')")
    page.locator("#settings-meanwhile").wait_for(state="hidden")
    told = values(dashboard)
    assert (told["count"], told["bids"]["subject"], told["seed"]) == (6, "09", seed)
    status, _ = dashboard.engine.ask("PUT", "/api/settings", {"count": 3, "bids": {"subject": subject}})
    assert status == 200


def held_back(page: Page, click: str) -> list[Route]:
    """Hold back the first call that comes of a click; it stands in the list once it was made."""
    held: list[Route] = []

    def hold(route: Route) -> None:
        if click in str(route.request.post_data_json["changedPropIds"]) and not held:
            held.append(route)
        else:
            route.continue_()

    page.route("**/_dash-update-component*", hold)
    return held


def test_a_click_counts_though_somebody_else_changes_something_meanwhile(
    dashboard: Dashboard, page: Page
) -> None:
    subject = values(dashboard)["bids"]["subject"]
    held = held_back(page, "setting-more")
    fieldset(page, "plots").get_by_role("button", name="Add one").click()
    until_asked(page, held)
    dashboard.engine.ask("PUT", "/api/settings", {"bids": {"subject": "07"}})
    page.wait_for_selector(f"#settings-meanwhile:has-text('bids.subject {subject} → 07')")
    held[0].continue_()
    fieldset(page, "plots").get_by_role("button", name="Remove").wait_for()
    page.wait_for_selector("#settings-error:has-text('plots')")
    page.click("#settings-discard")
    page.wait_for_selector("#settings-pending:has-text('Nothing')")
    assert dashboard.engine.ask("PUT", "/api/settings", {"bids": {"subject": subject}})[0] == 200


def apply_and_run(page: Page, count: int) -> None:
    """Enter a count, go to another tab, and say that it is to be applied and a run to begin."""
    page.get_by_label("count", exact=True).fill(str(count))
    page.wait_for_selector("[role=tab][data-pending]:has-text('Settings')")
    page.get_by_role("tab", name="Live").click()
    page.click("#run")
    page.get_by_role("button", name="Apply them and run").click()


def stopped(dashboard: Dashboard, page: Page) -> None:
    """End the run that there is, and have the settings as they were."""
    engine = dashboard.engine
    engine.until(lambda: engine.status()["state"] == "running")
    assert engine.ask("POST", "/api/stop")[0] == 202
    engine.until(lambda: engine.status()["state"] == "idle")
    assert engine.ask("PUT", "/api/settings", {"count": 3})[0] == 200
    opened(page).wait_for_selector("#settings-locked", state="hidden")


def test_what_was_applied_for_a_run_that_cannot_begin_is_kept_and_it_is_told_why(
    dashboard: Dashboard, page: Page, no_scanner: Path
) -> None:
    no_scanner.touch()
    apply_and_run(page, 7)
    page.wait_for_selector("#h-alert:has-text('The run could not begin: the scanner is not there')")
    page.wait_for_selector("#run:enabled")
    opened(page).wait_for_selector("#settings-pending:has-text('Nothing')")
    page.wait_for_selector("#settings-differences li:has-text('count3 → 7')")
    page.wait_for_selector("#settings-locked", state="hidden")
    assert (values(dashboard)["count"], page.get_by_label("count", exact=True).input_value()) == (7, "7")
    no_scanner.unlink()
    page.click("#run")  # and has what was applied, without a question
    page.wait_for_selector("#h-alert", state="hidden")
    stopped(dashboard, page)


def test_what_was_applied_is_kept_where_somebody_else_begins_a_run_in_that_moment(
    cabled: tuple[Dashboard, Cable], page: Page
) -> None:
    dashboard, cable = cabled
    cable.hold(b"POST /api/start ")
    apply_and_run(page, 7)
    until(cable.held.is_set)
    assert values(dashboard)["count"] == 7
    assert dashboard.engine.ask("POST", "/api/start")[0] == 202
    cable.release()
    page.wait_for_selector("[role=alert]:has-text('it carries one run at a time')")
    page.locator("#run-asks").get_by_role("dialog").wait_for(state="hidden")
    opened(page).wait_for_selector("#settings-pending:has-text('Nothing')")
    page.wait_for_selector("#settings-differences li:has-text('count3 → 7')")
    assert values(dashboard)["count"] == 7
    stopped(dashboard, page)


def test_where_somebody_elses_run_came_first_nothing_is_applied_and_all_that_is_entered_is_kept(
    dashboard: Dashboard, page: Page
) -> None:
    held = held_back(page, "run-with")
    apply_and_run(page, 7)
    until_asked(page, held)
    assert dashboard.engine.ask("POST", "/api/start")[0] == 202
    held[0].continue_()
    page.wait_for_selector("[role=alert]:has-text('settings are locked while there is a run')")
    page.wait_for_selector("[role=tab][aria-selected=true]:has-text('Settings')")
    page.wait_for_selector("#settings-locked:has-text('there is a run, without what is not applied yet')")
    assert (values(dashboard)["count"], page.get_by_label("count", exact=True).input_value()) == (3, "7")
    stopped(dashboard, page)
    page.wait_for_selector("#settings-pending li:has-text('count3 → 7')")
    page.click("#settings-discard")
    page.wait_for_selector("#settings-pending:has-text('Nothing')")


def test_they_are_locked_while_there_is_a_run(dashboard: Dashboard, page: Page) -> None:
    page.get_by_label("count", exact=True).fill("4")
    page.wait_for_selector("[role=tab][data-pending]:has-text('Settings')")
    page.click("#run")
    asks = page.get_by_role("dialog", name="Run without what is not applied?")
    asks.locator("li:has-text('count3 → 4')").wait_for()
    asks.get_by_role("button", name="Back").click()
    asks.wait_for(state="hidden")
    assert dashboard.engine.status()["state"] == "idle"
    page.click("#run")
    asks.get_by_role("button", name="Run without them").click()
    page.wait_for_selector("#settings-locked:has-text('there is a run, without what is not applied yet')")
    assert page.get_by_label("count", exact=True).is_disabled()
    assert values(dashboard)["count"] == 3
    page.click("#stop")
    page.click("#stop-really")
    page.wait_for_selector("#settings-locked", state="hidden")
    count = page.get_by_label("count", exact=True)
    assert (count.is_enabled(), count.input_value()) == (True, "4")
    page.wait_for_selector("#h-ended:text-is('aborted')")  # until the next one begins
    page.click("#run")
    asks.get_by_role("button", name="Apply them and run").click()
    page.wait_for_selector("#settings-pending:has-text('Nothing')")
    assert values(dashboard)["count"] == 4
    page.wait_for_selector("#h-ended:empty", state="attached")
