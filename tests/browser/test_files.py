"""The Files tab in a real browser, with a real agent of a scanner's host."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from agents import Agent
from dashboards import OPERATOR, VIEWER, Dashboard, Visitor

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

BIG = 3_000_001


@pytest.fixture(scope="module")
def dashboard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dashboard]:
    with Dashboard(tmp_path_factory.mktemp("files")) as dashboard:
        yield dashboard


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the scanner's host that is allowed."""
    folder = tmp_path_factory.mktemp("host")
    (folder / "answers").mkdir()
    (folder / "answers" / "first one.json").write_text('{"mood": 3}')
    (folder / "big.bin").write_bytes(os.urandom(BIG))
    return folder


def connected(dashboard: Dashboard) -> bool:
    return any(one["connected"] for one in dashboard.engine.ask("GET", "/api/scanners")[1])


def agent(dashboard: Dashboard, folder: Path, *arguments: str) -> Agent:
    """One that is connected; a token of its own each time."""
    known = {token.name for token in dashboard.access.tokens()}
    if "scanner" in known:
        dashboard.access.remove_token("scanner")
    # The one before is turned out, and not taken for this one.
    dashboard.engine.until(lambda: not connected(dashboard))
    token = folder / "token"
    token.write_text(dashboard.access.add_token("scanner", "scanner"))
    token.chmod(0o600)
    began = Agent(dashboard.engine.port, folder / "state", "--token-file", str(token), *arguments)
    began.until(lambda: connected(dashboard))
    return began


@pytest.fixture(scope="module")
def writable(
    dashboard: Dashboard, host: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Dashboard]:
    """With an agent that lets files be had and written."""
    given = ("--allow", str(host), "--types", "*", "--write")
    with agent(dashboard, tmp_path_factory.mktemp("agent"), *given):
        yield dashboard


def tab(page: Page) -> Page:
    page.get_by_role("tab", name="Files").click()
    return page


def names(page: Page) -> list[str]:
    return page.locator("#files-grid .remote").all_inner_texts()


def test_without_an_agent_it_says_what_to_do(dashboard: Dashboard, browser: Browser) -> None:
    page = tab(dashboard.visit(browser))
    page.wait_for_selector("#files-empty:has-text('rtflow scanner --server')")
    assert not page.locator("#files-put").is_visible()
    page.context.close()


def test_folders_are_gone_into_and_files_are_had(writable: Dashboard, host: Path, browser: Browser) -> None:
    page = tab(writable.visit(browser))
    page.wait_for_selector("#files-grid .remote >> text=big.bin")
    assert names(page) == ["answers/", "big.bin"]
    page.get_by_role("button", name="answers/").click()
    page.wait_for_selector("#files-grid .remote >> text=first one.json")
    assert names(page) == ["first one.json"]
    with page.expect_download() as waiting:
        page.get_by_role("link", name="first one.json").click()
    assert waiting.value.suggested_filename == "first one.json"
    assert waiting.value.path().read_text() == '{"mood": 3}'
    page.get_by_role("button", name="Up").click()
    page.wait_for_selector("#files-grid .remote >> text=big.bin")
    page.get_by_role("button", name="Look again").focus()  # by keys alone
    for key in ("Tab", "Tab", "ArrowDown", "Enter"):
        page.keyboard.press(key)
    page.wait_for_selector("#files-grid .remote >> text=first one.json")
    page.get_by_role("button", name="Up").click()
    page.wait_for_selector("#files-grid .remote >> text=big.bin")
    with page.expect_download() as waiting:
        page.get_by_role("link", name="big.bin").click()
    assert waiting.value.path().read_bytes() == (host / "big.bin").read_bytes()
    page.fill("#files-folder", str(host.parent))
    page.press("#files-folder", "Enter")
    page.wait_for_selector("#files-trouble:has-text('not in a folder that was given by --allow')")
    page.context.close()


def test_files_are_put_there_whole_and_over_others_only_when_asked(
    writable: Dashboard, host: Path, browser: Browser, tmp_path: Path
) -> None:
    ours = tmp_path / "stimuli.bin"
    ours.write_bytes(os.urandom(BIG))
    page = tab(writable.visit(browser))
    page.wait_for_selector("#files-grid .remote >> text=big.bin")
    page.set_input_files("#files-pick", ours)
    page.wait_for_selector("#files-sent .sent:has-text('sent, 3.0 MB')")
    assert (
        hashlib.sha256((host / "stimuli.bin").read_bytes()).digest()
        == hashlib.sha256(ours.read_bytes()).digest()
    )
    page.wait_for_selector("#files-grid .remote >> text=stimuli.bin")
    before = (host / "stimuli.bin").read_bytes()
    ours.write_bytes(b"another")
    asked: list[str] = []

    def refuse(dialog: Any) -> None:
        asked.append(dialog.message)
        dialog.dismiss()

    page.once("dialog", refuse)
    page.set_input_files("#files-pick", ours)
    assert asked == ["stimuli.bin is there already. Write over it?"]
    assert (host / "stimuli.bin").read_bytes() == before
    page.once("dialog", lambda dialog: dialog.accept())
    page.set_input_files("#files-pick", ours)
    page.wait_for_selector("#files-sent .sent:has-text('sent, 7 bytes')")
    assert (host / "stimuli.bin").read_bytes() == b"another"
    page.context.close()


def test_a_refusal_of_the_agent_is_said_in_words(
    writable: Dashboard, host: Path, browser: Browser, tmp_path: Path
) -> None:
    ours = tmp_path / "x.bin"
    ours.write_bytes(b"x")
    (host / "gone").mkdir()
    page = tab(writable.visit(browser))
    page.get_by_role("button", name="gone/").click()
    page.wait_for_selector("#files-empty:has-text('This folder is empty')")
    # What is typed and not looked into yet is not where files go: nobody knows what they would replace there.
    page.fill("#files-folder", "answers")
    (host / "gone").rmdir()
    page.set_input_files("#files-pick", ours)
    page.wait_for_selector("#files-sent .sent.failed:has-text('gone/x.bin')")
    assert not (host / "answers" / "x.bin").exists()
    page.context.close()


def test_whoever_looks_on_has_no_files(writable: Dashboard, host: Path, browser: Browser) -> None:
    viewer, operator = Visitor(writable, VIEWER), Visitor(writable, OPERATOR)
    assert operator.ask("GET", "/scanner/scanner/file?path=answers/first%20one.json")[:2] == (
        200,
        b'{"mood": 3}',
    )
    assert viewer.ask("GET", "/scanner/scanner/file?path=answers/first%20one.json")[0] == 403
    assert viewer.ask("PUT", "/scanner/scanner/file?path=new.bin", b"new")[0] == 403
    assert not (host / "new.bin").exists()
    page = tab(writable.visit(browser, VIEWER))
    page.wait_for_selector("text=Files of the scanner's host are for operators.")
    page.context.close()


def test_the_audit_log_says_for_whom(writable: Dashboard) -> None:
    operator = Visitor(writable, OPERATOR)
    operator.ask("GET", "/scanner/scanner/file?path=answers/first%20one.json")
    found = [what for who, what in writable.engine.audit() if who.startswith("dashboard") or OPERATOR in who]
    assert "fetch file" in found


def test_several_allowed_folders_are_listed_first(
    writable: Dashboard, browser: Browser, tmp_path: Path
) -> None:
    folders = [tmp_path / name for name in ("incoming", "stimuli")]
    for folder in folders:
        folder.mkdir()
        (folder / f"in {folder.name}.txt").touch()
    given = ("--allow", ",".join(map(str, folders)), "--types", "*", "--write")
    with agent(writable, tmp_path, *given):
        page = tab(writable.visit(browser))
        page.get_by_role("button", name=f"{folders[1].resolve()}/").wait_for()
        assert names(page) == [f"{folder.resolve()}/" for folder in folders]
        assert not page.locator("#files-put").is_visible()  # it would not be known where
        page.get_by_role("button", name=f"{folders[1].resolve()}/").click()
        page.wait_for_selector("#files-grid .remote >> text=in stimuli.txt")
        assert page.locator("#files-put").is_visible()
        page.get_by_role("button", name="Up").click()
        page.get_by_role("button", name=f"{folders[0].resolve()}/").click()
        page.wait_for_selector("#files-grid .remote >> text=in incoming.txt")
        page.context.close()
