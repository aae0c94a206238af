"""Runs in which something goes wrong: the page says what, and goes on."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from dashboards import Dashboard
from onlookers import DRAWN, LOOKING, begin, has_all, until, until_asked, until_drawn, until_over

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser, Route

COUNT, MISSING, LATE, DOUBTED = 12, 3, 4, 2
FAILED = (1, 9, 10, 11, 12)


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


def recorded(dashboard: Dashboard) -> list[str]:
    """Uids of some runs that have volumes: two at least, four at most."""
    engine = dashboard.engine

    def runs() -> list[str]:
        return [one["run_uid"] for one in engine.ask("GET", "/api/runs")[1] if one.get("counts")]

    engine.until(lambda: engine.status()["state"] == "idle")
    assert engine.ask("PUT", "/api/settings", {"halt": 0, "sleep": 0.0, "interval": 0.0})[0] == 200
    for count in range(len(runs()), 2):
        assert engine.ask("POST", "/api/start")[0] == 202
        engine.until(lambda count=count: len(runs()) > count and engine.status()["state"] == "idle")
    return runs()[:4]


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
    page.wait_for_selector("#h-deadline[data-level=warn]")
    said = f"#h-deadline-says:has-text('{late} of {COUNT} volumes were late')"
    page.wait_for_selector(said, state="attached")
    # One that a node doubts is told too, with the reason.
    doubts = {one["volume"]: one["reasons"] for one in documents if one.get("quality") == "suspect"}
    assert "sum: doubted" in doubts[DOUBTED]
    page.wait_for_selector("#h-values[data-level=warn]")
    page.get_by_role("tab", name="Logs").click()
    page.fill("#logs-find", "sum: doubted")
    page.wait_for_selector(
        f"#logs-grid .ag-row:has([col-id=volume] :text-is('{DOUBTED}')):has-text('sum: doubted')"
    )
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


def test_failed_volumes_are_told_while_the_run_goes_on_and_after_it(
    dashboard: Dashboard, browser: Browser
) -> None:
    engine = dashboard.engine
    # After the last volume, which fails as those before it, the source waits until the run is stopped.
    changes = {"fails": FAILED, "missing": [], "sleep": 0.0, "halt": COUNT}
    assert engine.ask("PUT", "/api/settings", changes)[0] == 200
    page = dashboard.visit(browser)
    uid = begin(page)
    page.wait_for_selector(
        "#h-alert:has-text('Values: the last volumes failed (sum: ValueError: told to fail')"
    )
    page.wait_for_selector("#h-values[data-level=bad]")
    assert page.title().startswith("⚠")
    until(page, "count => rtflow.store.now.counts.failed === count", len(FAILED))
    page.get_by_role("tab", name="Session").click()
    cells = "".join(f":has(td:text-is('{one}'))" for one in ("sum", COUNT - len(FAILED), len(FAILED)))
    page.wait_for_selector(f"#session-volume tr{cells}")
    # What says the same stands once, with the volumes; and stays when the page is drawn anew.
    box = page.locator(".error-box", has_text="told to fail")
    title = f"sum, {len(FAILED)} volumes from {FAILED[0]} to {FAILED[-1]}"
    page.wait_for_selector(f".error-box strong:text-is('{title}')")
    assert box.count() == 1
    box.locator("pre").focus()
    assert engine.ask("POST", "/api/notes", {"text": "they failed"})[0] == 200
    until(page, "rtflow.store.now.events.at(-1).name === 'note'")
    page.wait_for_timeout(100)
    assert page.evaluate("document.activeElement.tagName") == "PRE"
    page.get_by_role("tab", name="Timing").click()
    page.wait_for_selector(f"#timing-late tr:has(td:first-child:text-is('{FAILED[-1]}')):has-text('failed')")
    page.get_by_role("tab", name="Logs").click()
    page.fill("#logs-find", "told to fail")
    line = f"#logs-grid .ag-row:has([col-id=volume] :text-is('{FAILED[0]}'))"
    page.wait_for_selector(f"{line}:has([col-id=level] :text-is('error')):has-text('told to fail')")
    page.click("#stop")
    page.click("#stop-really")
    until_over(page)
    # It is no alarm any more, and no secret.
    page.wait_for_selector("#h-alert", state="hidden")
    page.wait_for_selector("#h-values[data-level=warn]")
    page.get_by_role("tab", name="Runs").click()
    page.wait_for_selector(f".ag-row:has-text('{uid}'):has-text('{len(FAILED)} failed')")
    page.context.close()


def test_a_chart_shows_several_runs_and_the_last_choice_counts(
    dashboard: Dashboard, browser: Browser
) -> None:
    runs = recorded(dashboard)
    page = dashboard.visit(browser)
    until_over(page)
    present = page.evaluate("rtflow.store.current")
    earlier = [one for one in runs if one != present]
    choose = "([names, uids]) => rtflow.live.choose(names, uids)"
    # The answer for what was chosen before comes after what was chosen then.
    held: list[Route] = []
    first = iter((held.append,))
    page.route("**/documents/**", lambda route: next(first, lambda one: one.continue_())(route))
    page.evaluate(f"args => {{ ({choose})(args); }}", [["sum.total"], [earlier[0]]])
    until_asked(page, held)
    page.evaluate(choose, [["sum.total"], []])
    held[0].continue_()
    until(page, "uid => rtflow.store.runs.get(uid) === undefined || rtflow.store.run(uid).stop", earlier[0])
    page.wait_for_timeout(200)
    assert len(until_drawn(page, "chart-sum-total", 1)) == 1
    page.evaluate(choose, [["sum.total"], earlier])
    until(page, "uids => uids.every(uid => rtflow.store.runs.get(uid)?.stop)", earlier)
    drawn = until(
        page,
        f"wanted => {{ const rows = ({DRAWN})('chart-sum-total'); return rows.length === wanted && rows }}",
        1 + len(earlier),
    )
    for uid, row in zip([present, *earlier], drawn, strict=True):
        results = [one for one in dashboard.engine.documents(uid) if one["document"] == "Result"]
        known = {one["volume"]: one["values"].get("sum.total") for one in results}
        assert row == [known[volume] for volume in range(1, len(row) + 1)], uid
    assert page.locator("#chart-sum-total .key button").all_inner_texts() == [
        f"sum.total · {uid}" for uid in (present, *earlier)
    ]
    page.context.close()


def test_runs_are_compared_number_by_number(dashboard: Dashboard, browser: Browser) -> None:
    runs = recorded(dashboard)
    page = dashboard.visit(browser)
    until_over(page)
    present = page.evaluate("rtflow.store.current")
    earlier = next(one for one in runs if one != present)
    page.get_by_role("tab", name="Runs").click()
    # What cannot be read is said, and asked for once.
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/documents/" in request.url else None)
    gone = {"status": 503, "body": '{"error": "the engine cannot be reached"}'}
    page.route("**/documents/**", lambda route: route.fulfill(**gone))
    page.locator(f".ag-row:has-text('{earlier}') .ag-selection-checkbox").click()
    page.wait_for_selector("#runs-compared:has-text('cannot be read: the engine cannot be reached')")
    page.wait_for_timeout(300)
    assert len(asked) == 1
    page.unroute("**/documents/**")
    page.locator(f".ag-row:has-text('{present}') .ag-selection-checkbox").click()
    # All of them have been read.
    page.wait_for_selector("#runs-compared tr:has-text('sum.total (mean)'):not(:has(td:text-is('–')))")
    uids = page.locator("#runs-compared thead th").all_inner_texts()[1:]
    assert set(uids) == {present, earlier}
    table = page.evaluate(
        "Object.fromEntries([...document.querySelectorAll('#runs-compared tbody tr')]"
        ".map(row => [row.cells[0].textContent, [...row.cells].slice(1).map(cell => cell.textContent)]))"
    )
    for at, uid in enumerate(uids):
        results = [one for one in dashboard.engine.documents(uid) if one["document"] == "Result"]
        assert table["Volumes"][at] == str(len(results))
        assert table["Volumes failed"][at] == str(sum(one["status"] == "failed" for one in results))
        totals = [one["values"]["sum.total"] for one in results if one["values"].get("sum.total") is not None]
        assert float(table["sum.total (mean)"][at]) == pytest.approx(sum(totals) / len(totals), rel=1e-3)
    # The report opens beside the page, with its own colours and nothing that runs.
    link = page.get_by_role("link", name="report", exact=True).first
    assert link.get_attribute("rel") == "noopener"
    with page.expect_popup() as opening:
        link.click()
    report = opening.value
    report.wait_for_selector(f"dd:text-is('{uids[0]}')")
    assert report.locator("tr:has(td:text-is('ok')) td.n").inner_text() == table["Volumes ok"][0]
    assert report.evaluate("getComputedStyle(document.querySelector('.l')).strokeWidth") == "1.5px"
    policy = report.request.get(report.url).headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox;")
    report.close()
    with page.expect_download() as waiting:
        page.get_by_role("link", name="values (TSV)").first.click()
    assert waiting.value.path().read_text().startswith("volume\t")
    with page.expect_download() as waiting:
        page.get_by_role("link", name="everything (ZIP)").first.click()
    assert waiting.value.suggested_filename == f"{uids[0]}.zip"
    with zipfile.ZipFile(waiting.value.path()) as together:
        assert together.testzip() is None
        assert f"{uids[0]}/journal/documents.jsonl" in together.namelist()
    page.context.close()


#: What the lights say of a run that goes on; of fields that are not named, the usual.
LIGHTS = """(changes) => {
  const run = {
    start: { time: 1000, source: "folder:/data" }, stop: null, volumes: 30, planned: 100, tr: 2,
    lastArrival: 1060, lastFeedback: 1060, results: 30, deadline: 2000, doubted: 0, doubts: [],
    alarms: new Map(), failures: [], events: [],
    counts: { ok: 30, late: 0, missing: 0, failed: 0 }, status: Array(30).fill("ok"), ...changes.run,
  };
  const disk = { free: 50e9, needed: 1e9 };
  const status = { state: "running", agents: [], disk, out: "/study", ...changes.status };
  return rtflow.health[changes.light](run, status, 1061);
}"""

DISPLAY = {"channel": "subject", "name": "display", "connected": False, "expected": True, "since": 0}

TOLD: list[tuple[dict[str, object], str, str]] = [
    ({"light": "scanner"}, "good", "volumes come"),
    ({"light": "scanner", "run": {"lastArrival": 1053}}, "warn", "nothing has come for 8.0 s"),
    ({"light": "scanner", "run": {"lastArrival": 1030}}, "bad", "nothing has come for 31 s"),
    ({"light": "scanner", "run": {"lastArrival": 1030, "volumes": 100}}, "good", "volumes come"),
    ({"light": "disk"}, "good", "50.0 GB are free where the run is written"),
    ({"light": "disk", "status": {"disk": {"free": 1.5e9, "needed": 1e9}}}, "warn", "1.5 GB are free"),
    ({"light": "disk", "status": {"disk": {"free": 0.8e9, "needed": 1e9}}}, "bad", "0.8 GB are free"),
    ({"light": "deadline"}, "good", "every volume that was done took less than 2000 ms"),
    (
        {"light": "deadline", "run": {"status": ["ok", "late", "missing"] * 3, "counts": {"late": 3}}},
        "bad",
        "3 of the last 6 volumes were late",
    ),
    (
        {
            "light": "deadline",
            "run": {"status": ["late"] * 20 + ["ok"] * 10, "counts": {"late": 20}, "stop": {"time": 1060}},
        },
        "warn",
        "20 of 30 volumes were late",
    ),
    (
        {
            "light": "values",
            "run": {"status": ["failed"] * 30, "counts": {"failed": 30}, "stop": {"time": 1060}},
        },
        "warn",
        "30 of 30 volumes failed",
    ),
    (  # it was cut off: what to do about that is told instead
        {
            "light": "deadline",
            "run": {"status": ["late"] * 30, "counts": {"late": 30}},
            "status": {"state": "idle"},
        },
        "warn",
        "30 of 30 volumes were late",
    ),
    ({"light": "deadline", "run": {"deadline": None}}, "off", "this run has no deadline"),
    ({"light": "values"}, "good", "no volume failed, and no node doubts what it gave"),
    ({"light": "values", "run": {"counts": {"ok": 29, "failed": 1}}}, "warn", "1 of 30 volumes failed"),
    (
        {
            "light": "values",
            "run": {"status": ["ok", "failed", "missing", "failed", "failed"], "counts": {"failed": 3}},
        },
        "bad",
        "the last volumes failed",
    ),
    (
        {
            "light": "subject",
            "status": {"agents": [{**DISPLAY, "since": 9}]},
        },
        "bad",
        "the display (display) is not connected",
    ),
    (
        {"light": "subject", "status": {"agents": [DISPLAY]}},
        "warn",
        "no display is connected; values stand in files",
    ),
    (
        {"light": "subject", "status": {"agents": [{**DISPLAY, "expected": False}]}},
        "good",
        "values are written to files",
    ),
]


def test_the_lights_say_what_is_and_what_to_do(dashboard: Dashboard, browser: Browser) -> None:
    page = dashboard.visit(browser)
    for changes, level, says in TOLD:
        light = page.evaluate(LIGHTS, changes)
        assert light["level"] == level, changes
        assert light["says"].startswith(says), changes
        assert bool(light["todo"]) == (level in ("warn", "bad")), changes
    page.context.close()
