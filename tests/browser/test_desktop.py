"""The desktop in a real browser: a real display with a real window on it."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from dashboards import OPERATOR, VIEWER, Dashboard, Visitor
from processes import LIMIT

from rtflow.cli.desktop import opened_display

if TYPE_CHECKING:
    from playwright.sync_api import Browser

#: Whether anything but the black ground is to be seen in the middle of the screen.
SHOWS = """() => {
  const canvas = document.querySelector("#desktop-screen canvas");
  if (!canvas?.width) return false;
  const all = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  return all.some((value, at) => at % 4 !== 3 && value > 100);
}"""


@pytest.fixture(scope="module")
def dashboard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dashboard]:
    with (
        opened_display() as display,
        Dashboard(tmp_path_factory.mktemp("desktop"), desktop=display) as dashboard,
    ):
        yield dashboard


def test_an_operator_sees_a_window_and_types_into_it(dashboard: Dashboard, browser: Browser) -> None:
    page = dashboard.visit(browser, OPERATOR)
    page.get_by_role("tab", name="Desktop").click()
    page.click("#desktop-connect")
    page.wait_for_selector("#desktop-says:has-text('Connected.')")
    assert not page.evaluate(SHOWS)
    # As the page says how: in an environment that is otherwise empty.
    where = str(page.locator("#desktop-where").text_content())
    message = [str(shutil.which("xmessage")), "-center", "-default", "okay", "is anybody there?"]
    window = subprocess.Popen(["env", "-i", *shlex.split(where), *message])
    try:
        page.wait_for_function(SHOWS)
        box = page.locator("#desktop-screen canvas").bounding_box()
        assert box is not None
        page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        page.keyboard.press("Enter")
        assert window.wait(LIMIT) == 0
    finally:
        window.kill()
        window.wait()
    page.wait_for_function(f"() => !({SHOWS})()")
    page.click("#desktop-leave")
    page.wait_for_selector("#desktop-says:has-text('Not connected.')")
    page.context.close()


def test_a_viewer_does_not(dashboard: Dashboard, browser: Browser) -> None:
    page = dashboard.visit(browser, VIEWER)
    page.get_by_role("tab", name="Desktop").click()
    page.wait_for_selector("text=for operators only")
    page.context.close()
    viewer = Visitor(dashboard, VIEWER)
    assert viewer.ask("GET", "/novnc/core/rfb.js")[0] == 403
    assert viewer.ask("GET", "/desktop")[0] == 403
    operator = Visitor(dashboard, OPERATOR)
    assert operator.ask("GET", "/novnc/core/rfb.js")[0] == 200
    assert operator.ask("GET", "/novnc/../login.html")[0] == 404
    assert operator.ask("GET", "/novnc/%2e%2e/static/login.html")[0] == 404
