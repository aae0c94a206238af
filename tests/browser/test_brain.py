"""The Brain tab in a real browser: the volume that came last, the right way round, with what lies over it."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import imaging_workflow as imaging
import nibabel as nib
import numpy as np
import pytest
from dashboards import VIEWER, Dashboard, Visitor
from onlookers import until_drawn
from served import Serving

from rtflow.bids.incremental import BidsIncremental
from rtflow.bids.picture import picture as drawn
from rtflow.dash_app.slices import Image, picture

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

AXIAL, CORONAL, SAGITTAL = range(3)
MINUS = "\u2212"


class Session:
    """A run whose volumes come when the test says so, and a page that looks on."""

    def __init__(self, dashboard: Dashboard, page: Page, allowed: Path, given: tuple[str, ...]) -> None:
        self.dashboard, self.page, self.allowed, self.given = dashboard, page, allowed, given

    def come(self, volume: int) -> None:
        """The scanner has measured so many."""
        self.allowed.write_text(str(volume))

    def see(self, volume: int) -> None:
        """Wait until a volume is on the page."""
        self.page.wait_for_selector(f"#brain-planes[data-volume='{volume}']")

    def says(self, name: str) -> str:
        return self.page.locator(f"#brain-{name}").inner_text()

    def wait_for(self, name: str, text: str) -> None:
        self.page.locator(f"#brain-{name}", has_text=text).wait_for()

    def pixels(self, plane: int) -> np.ndarray[Any, Any]:
        """A plane, without its margin, as it is painted: shape (rows, columns, 3), 0 to 255."""
        return painted(self.page, f"#brain-plane-{plane}")

    def click(self, plane: int, right: float, down: float) -> None:
        """Click at a share of the way from the left and from the top, and wait for what is there."""
        box = self.page.locator(f"#brain-plane-{plane}").bounding_box()
        assert box is not None
        self.page.mouse.click(box["x"] + right * box["width"], box["y"] + down * box["height"])
        self.arrive()

    def until(self, expression: str) -> None:
        """Wait until something is true in the page (its policy forbids to wait by a script)."""
        for _ in range(1000):
            if self.page.evaluate(expression):
                return
            self.page.wait_for_timeout(30)
        raise AssertionError(expression)

    def arrive(self) -> None:
        """Wait until the slices at the crosshair are there, and painted."""
        self.paint()  # the crosshair moves at once, its slices come
        here = "document.getElementById('brain-voxel').textContent"
        self.until(f"rtflow.brain.picture.heading.at.join(', ') === {here}")
        self.paint()

    def paint(self) -> None:
        """Wait until what was asked for is painted."""
        self.page.evaluate("() => new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")

    def choose(self, name: str, label: str) -> None:
        self.page.click(f"#brain-{name}")
        self.page.get_by_role("option", name=label).click()

    @property
    def voxel(self) -> tuple[int, int, int]:
        i, j, k = (int(one) for one in self.says("voxel").split(","))
        return i, j, k


#: Width of a canvas, and its pixels as base64 of four bytes each.
PIXELS = """(canvas) => {
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  let text = "";
  for (let at = 0; at < data.length; at += 8192) text += String.fromCharCode(...data.subarray(at, at + 8192));
  return [canvas.width, btoa(text)];
}"""


def painted(page: Page, canvas: str) -> np.ndarray[Any, Any]:
    return without_margin(*page.locator(canvas).evaluate(PIXELS))


def without_margin(width: int, pixels: str) -> np.ndarray[Any, Any]:
    """Red, green and blue: shape (rows, columns, 3), without the margin that letters stand in."""
    found = np.frombuffer(base64.b64decode(pixels), np.uint8).reshape(-1, width, 4)
    return found[20:-20, 20:-20, :3]


def columns_and_rows(where: np.ndarray[Any, Any]) -> tuple[float, float]:
    """The middle of what is true, as shares of the width and of the height."""
    rows, columns = np.nonzero(where)
    return float(columns.mean()) / where.shape[1], float(rows.mean()) / where.shape[0]


def number(text: str) -> float:
    return float(text.replace(MINUS, "-"))


@pytest.fixture(scope="module")
def session(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    folder = tmp_path_factory.mktemp("brain")
    allowed = folder / "allowed"
    given = ("--set", f"allowed={allowed}")
    with Dashboard(folder, *given, workflow=imaging.__file__) as dashboard:
        page = dashboard.visit(browser)
        page.get_by_role("tab", name="Brain").click()
        yield Session(dashboard, page, allowed, given)
        page.context.close()


# In this order: a run goes on from test to test.


def test_before_a_run_it_says_what_to_do(session: Session) -> None:
    session.wait_for("empty", "No run yet. Press Run")
    session.page.click("#run")
    session.wait_for("empty", "The picture comes with the first volume")


def test_each_volume_is_painted_when_it_comes(session: Session) -> None:
    seen = []
    for volume in (1, 2):
        session.come(volume)
        session.see(volume)
        assert session.says("volume") == str(volume)
        seen.append(session.pixels(AXIAL))
    assert (seen[0] != seen[1]).any()
    assert session.says("state") == "live"
    assert session.page.input_value("#brain-base") == "realign.incremental"
    assert session.page.input_value("#brain-over") == "glm.mask · mask"


def test_a_click_moves_the_crosshair_to_the_value_that_was_measured(session: Session) -> None:
    canonical = nib.as_closest_canonical(nib.Nifti1Image(imaging.head(2), imaging.AFFINE))
    voxels, known = np.asarray(canonical.dataobj), set()
    for plane, right, down in (
        (AXIAL, 0.37, 0.36),
        (SAGITTAL, 0.5, 0.55),
        (CORONAL, 0.1, 0.5),
        (AXIAL, 0.6, 0.6),
    ):
        session.click(plane, right, down)
        at = session.voxel
        place = nib.affines.apply_affine(canonical.affine, at)
        assert [number(one) for one in session.says("mm").split(",")] == pytest.approx(place, abs=0.06)
        said, value = session.says("base-value"), int(voxels[at])
        if said.startswith("≥"):
            assert value == imaging.MARKED
        elif said.startswith("≤"):
            assert value == 0
        else:
            assert number(said) == pytest.approx(value, abs=1000 / 255)
        assert session.says("over-value") == ("inside" if value else "outside")
        known.add(value)
    assert known == {0, 200, imaging.MARKED}


def test_arrow_keys_move_it_as_they_point(session: Session) -> None:
    session.click(CORONAL, 0.5, 0.5)
    i, j, k = session.voxel
    for key, wanted in (
        ("ArrowRight", (i + 1, j, k)),
        ("ArrowUp", (i + 1, j, k + 1)),
        ("PageUp", (i + 1, j + 1, k + 1)),
        ("ArrowLeft", (i, j + 1, k + 1)),
        ("ArrowDown", (i, j + 1, k)),
        ("PageDown", (i, j, k)),
    ):
        session.page.keyboard.press(key)
        session.wait_for("voxel", ", ".join(map(str, wanted)))


def test_left_is_where_the_letter_says_and_the_switch_turns_both(session: Session) -> None:
    session.choose("over", "nothing")
    session.until("rtflow.brain.picture.heading.shown.length === 1")
    session.page.locator("#brain-plane-0").focus()
    sides = {}
    for convention in ("neurological", "radiological"):
        session.page.wait_for_selector(
            f"#brain-plane-0[data-sides='{'LRAP' if convention[0] == 'n' else 'RLAP'}']"
        )
        axial = session.pixels(AXIAL).min(axis=-1) > 200
        sides[convention] = columns_and_rows(axial)
        assert session.page.get_attribute("#brain-plane-1", "data-sides") == (
            "LRSI" if convention[0] == "n" else "RLSI"
        )
        assert session.page.get_attribute("#brain-plane-2", "data-sides") == "PASI"
        session.page.locator("label", has_text="Radiological").click()
    # The mark is on the left and in front: on the side of L, in the upper half.
    assert sides["neurological"][0] < 0.45
    assert sides["radiological"][0] > 0.55
    assert sides["neurological"][1] == pytest.approx(sides["radiological"][1], abs=0.02)
    assert sides["neurological"][1] < 0.45
    session.page.wait_for_selector("#brain-plane-0[data-sides='LRAP']")


def test_a_click_in_a_turned_picture_goes_where_it_points(session: Session) -> None:
    session.page.locator("label", has_text="Radiological").click()
    session.page.wait_for_selector("#brain-plane-0[data-sides='RLAP']")
    session.click(AXIAL, 0.8, 0.5)
    assert session.says("caption-2").endswith("left side")
    assert number(session.says("mm").split(",")[0]) < -20
    session.page.reload()  # the choice stays
    session.page.get_by_role("tab", name="Brain").click()
    session.page.wait_for_selector("#brain-plane-0[data-sides='RLAP']")
    session.page.locator("label", has_text="Radiological").click()
    session.page.wait_for_selector("#brain-plane-0[data-sides='LRAP']")


def test_a_map_has_colours_a_bar_with_values_and_a_threshold(session: Session) -> None:
    session.come(3)
    session.see(3)
    session.choose("over", "glm.t · map")
    session.page.wait_for_selector("#brain-bar-map")
    ends = session.page.locator("#brain-bar-map .end").all_inner_texts()
    assert ends == [f"{MINUS}10", f"{MINUS}3", "3", "10"]
    bar = "[...document.querySelectorAll('#brain-bar-map .end')].map((one) => one.style.left)"
    assert session.page.evaluate(bar) == ["0%", "35%", "65%", "100%"]

    def coloured() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        red, _, blue = np.moveaxis(session.pixels(CORONAL).astype(int), -1, 0)
        return red - blue > 100, blue - red > 100

    hot, cold = coloured()
    assert columns_and_rows(hot)[1] < 0.4 < 0.6 < columns_and_rows(cold)[1]  # what is above is above
    session.page.locator("#brain-threshold").fill("6")
    session.wait_for("threshold-says", "6.00")
    session.until("document.querySelectorAll('#brain-bar-map .end')[2].textContent === '6'")
    assert session.page.evaluate(bar) == ["0%", "20%", "80%", "100%"]
    assert 0 < coloured()[0].sum() < hot.sum()
    session.click(CORONAL, 0.5, 0.2)
    height = number(session.says("mm").split(",")[2])
    assert number(session.says("over-value")) == pytest.approx(min(height / 5, 8), abs=0.06)


def test_a_mask_is_an_outline_or_laid_over(session: Session) -> None:
    session.choose("over", "glm.mask · mask")
    session.until("rtflow.brain.picture.heading.shown[1].name === 'glm.mask'")
    session.page.wait_for_selector("#brain-bar-map", state="hidden")

    def yellow() -> int:
        red, _, blue = np.moveaxis(session.pixels(AXIAL).astype(int), -1, 0)
        return int((red - blue > 50).sum())

    outline = yellow()
    session.page.locator("label", has_text="Mask as outline").click()
    session.until("!rtflow.brain.look.outline")
    session.paint()
    assert yellow() > 3 * outline > 0
    assert session.page.locator("#brain-over").is_visible()


def test_what_is_on_another_grid_cannot_be_laid_over(session: Session) -> None:
    session.page.click("#brain-over")
    option = session.page.get_by_role("option", name="glm.other")
    assert option.inner_text() == "glm.other · mask · another grid"
    assert option.get_attribute("data-combobox-disabled") == "true"
    session.page.keyboard.press("Escape")


def test_a_volume_is_held_while_others_come(session: Session) -> None:
    session.page.locator("label", has_text="Hold this volume").click()
    session.wait_for("state", "held")
    session.come(4)
    session.until("rtflow.store.now.results === 4")
    session.click(AXIAL, 0.5, 0.5)
    assert session.says("volume") == "3"
    session.page.locator("label", has_text="Hold this volume").click()
    session.see(4)


def test_an_alarm_is_seen_while_it_is_on_and_nothing_is_sent_to_a_page_that_looks_elsewhere(
    session: Session,
) -> None:
    alarm = "framewise_displacement above 0.5 mm, since volume 4"
    session.page.get_by_role("tab", name="Live").click()
    session.page.wait_for_selector("#brain-planes", state="hidden")
    session.page.wait_for_selector(f"#live-alarms:has-text('{alarm}')")
    session.page.wait_for_selector(f"#h-values-says:has-text('{alarm}')", state="attached")
    assert session.page.get_attribute("#h-values", "data-level") == "warn"
    session.page.get_by_role("tab", name="Logs").click()
    session.page.wait_for_selector(
        "#logs-grid .ag-row:has([col-id=level] :text-is('warning')):has-text('alarm: framewise_displacement')"
    )
    session.page.get_by_role("tab", name="Live").click()
    session.page.evaluate("() => { window.came = 0; rtflow.socket.onBinary(() => { window.came += 1; }); }")
    session.come(5)
    session.until("rtflow.store.now.results === 5")
    assert session.page.evaluate("window.came") == 0
    session.page.wait_for_selector("#live-alarms:not(:has-text('framewise'))", state="attached")
    session.page.wait_for_selector("#h-values-says:not(:has-text('framewise'))", state="attached")
    session.page.get_by_role("tab", name="Brain").click()
    session.see(5)


def test_whole_images_are_loaded_when_they_are_wanted_and_from_nowhere_else(session: Session) -> None:
    page, asked = session.page, []
    page.on("request", lambda request: asked.append(urlsplit(request.url)))
    page.on("websocket", lambda socket: asked.append(urlsplit(socket.url)))
    page.reload()
    page.get_by_role("tab", name="Brain").click()
    session.see(5)
    assert not [one for one in asked if "niivue" in one.path]
    page.get_by_role("tab", name="Whole image").click()
    page.wait_for_selector("#volume-canvas[data-shown='realign.incremental glm.mask']", timeout=60_000)
    assert [one.path for one in asked if "niivue" in one.path] == ["/assets/niivue/niivue.umd.js"]
    sizes = page.evaluate("rtflow.volume.viewer.volumes.map((one) => one.dimsRAS.slice(1, 4))")
    assert sizes == [list(imaging.SHAPE)] * 2
    # Left and right stand at the planes, and on a cube beside the rendered head.
    letters = (
        "(({ opts }) => [opts.isOrientationTextVisible, opts.showAllOrientationMarkers, opts.isOrientCube])"
    )
    assert page.evaluate(f"{letters}(rtflow.volume.viewer)") == [True, True, True]
    assert "L and R stand" in page.inner_text("#volume-sides")
    # Who chooses quickly sees what was chosen last, and nothing of what was chosen before.
    show = "([base, over]) => rtflow.volume.show(base, over, [], false)"
    pairs = [
        ["realign.incremental", None],
        ["realign.incremental", "glm.mask"],
        ["realign.incremental", None],
    ]
    page.evaluate(f"pairs => Promise.all(pairs.map({show}))", pairs)
    assert page.evaluate("rtflow.volume.viewer.volumes.length") == 1
    assert {one.netloc for one in asked} == {f"127.0.0.1:{session.dashboard.port}"}
    assert {one.scheme for one in asked} <= {"http", "ws", "blob"}
    page.get_by_role("tab", name="Planes").click()


def test_images_are_for_whoever_may_look_on_only(session: Session) -> None:
    viewer = Visitor(session.dashboard, VIEWER)
    status, file, headers = viewer.ask("GET", "/images/realign.incremental.nii.gz")
    assert (status, headers["Content-Type"]) == (200, "application/gzip")
    found = nib.Nifti1Image.from_bytes(gzip.decompress(file))
    np.testing.assert_array_equal(np.asarray(found.dataobj), imaging.head(5))
    _, said, _ = viewer.ask("GET", "/images/nothing.here.nii.gz")
    assert said == {"error": "there is no such image; /api/images lists those that there are"}
    viewer.ask("POST", "/api/logout")
    assert viewer.ask("GET", "/images/realign.incremental.nii.gz")[0] == 401


def test_the_picture_stays_when_the_run_is_over_and_when_the_engine_is_gone_until_it_is_back(
    session: Session,
) -> None:
    session.see(5)
    session.come(imaging.COUNT)
    session.see(imaging.COUNT)
    session.wait_for("state", "the run is over")
    measured_from_volume_to_volume(session.page)
    engine = session.dashboard.engine
    engine.process.kill()
    session.wait_for("state", "not updated: no connection")
    assert session.pixels(AXIAL).max() > 200
    with Serving(
        engine.folder, "serve", *session.given, workflow=imaging.__file__, port=engine.port
    ) as again:
        session.wait_for("empty", "picture comes with the first volume")  # it knows nothing of the last run
        session.come(1)
        assert again.ask("POST", "/api/start")[0] == 202
        session.see(1)


def measured_from_volume_to_volume(page: Page) -> None:
    """The charts of DVARS and tSNR show what follows from the images."""
    heads = np.array(
        [imaging.head(volume)[imaging.inside()] for volume in range(1, imaging.COUNT + 1)], float
    )
    dvars = np.sqrt((np.diff(heads, axis=0) ** 2).mean(axis=1))
    page.get_by_role("tab", name="Live").click()
    (drawn,) = until_drawn(page, "chart-dvars", imaging.COUNT)
    assert drawn[0] is None
    assert drawn[1:] == pytest.approx(list(dvars), rel=1e-4)
    assert page.inner_text("#chart-dvars figcaption").startswith("DVARS")
    (drawn,) = until_drawn(page, "chart-dvars_running", imaging.COUNT)
    assert drawn[-1] == pytest.approx(1)  # each volume is as much brighter as the one before
    (drawn,) = until_drawn(page, "chart-tsnr", imaging.COUNT)
    changing = heads[:, heads[0] != heads[1]][:, 0]  # one is as another; those that never do are left out
    assert drawn[-1] == pytest.approx(changing.mean() / changing.std(), rel=1e-3)
    page.get_by_role("tab", name="Brain").click()


# The same code, with heads as scanners store them


def turned(degrees: tuple[float, float, float], *flips: float) -> np.ndarray[Any, Any]:
    rotation = nib.eulerangles.euler2mat(*np.radians(degrees))
    return np.asarray(nib.affines.from_matvec(rotation @ np.diag([3.0, 3.5, 4.0]) @ np.diag(flips)))


AFFINES = {
    "right-handed": turned((0, 0, 0), 1, 1, 1),
    "left-handed": turned((0, 0, 0), -1, 1, 1),
    "upside down": turned((0, 0, 0), 1, -1, -1),
    "oblique": turned((10, -15, 8), 1, 1, 1),
    "oblique and left-handed": turned((10, -15, 8), -1, 1, 1),
    "sagittal planes": turned((-5, 5, 10), 1, 1, 1)[:, [1, 2, 0, 3]],
    "coronal planes": turned((-5, 5, 10), 1, 1, 1)[:, [0, 2, 1, 3]] @ np.diag([-1.0, -1, 1, 1]),
}

DRAW = (
    """([frame, radiological]) => {
  const bytes = Uint8Array.from(atob(frame), (one) => one.charCodeAt(0));
  const picture = rtflow.planes.parse(bytes.buffer);
  const look = { radiological, outline: true, threshold: 0 };
  const draw = (plane) => {
    const canvas = document.createElement("canvas");
    const { side } = rtflow.planes.draw(canvas, picture, plane, look, [0, 0, 0], 2);
    return [side.left + side.right + side.top + side.bottom, ...pixels(canvas)];
  };
  const pixels = """
    + PIXELS
    + "; return [0, 1, 2].map(draw); }"
)


@pytest.fixture(scope="module")
def page(session: Session) -> Page:
    return session.page


@pytest.mark.parametrize("radiological", [False, True])
@pytest.mark.parametrize("name", AFFINES)
def test_the_marked_side_is_where_its_letters_are(name: str, radiological: bool, page: Page) -> None:
    shape, affine = (40, 40, 40), AFFINES[name].copy()
    affine[:3, 3] = -nib.affines.apply_affine(affine, (19.5, 19.5, 19.5))
    place = nib.affines.apply_affine(affine, np.moveaxis(np.indices(shape), 0, -1))
    mark = np.linalg.norm(place - (-30, 25, 20), axis=-1) < 12  # left, in front, above
    image = drawn(BidsIncremental(np.where(mark, 255, 0).astype(np.int16), affine, volume=1))
    assert image is not None
    sent = image.picture((0.0, 255.0))
    heading = {"name": "a.b", "kind": "volume", "shape": sent.shape, "affine": sent.affine}
    heading |= {"window": (0, 255), "volume": 1, "run_uid": "r"}
    whole = Image.read(sent.voxels, json.dumps(heading))
    at = np.rint(np.argwhere(whole.voxels == 255).mean(axis=0)).astype(int)
    frame = picture(whole, None, (int(at[0]), int(at[1]), int(at[2])), [])
    planes = page.evaluate(DRAW, [base64.b64encode(frame).decode(), radiological])
    for letters, width, pixels in planes:
        right, down = columns_and_rows(without_margin(width, pixels).min(axis=-1) > 200)
        left_letter, right_letter, top, bottom = letters
        assert (left_letter if right < 0.5 else right_letter) in "LA"  # the side of the mark
        assert (top if down < 0.5 else bottom) in "AS"
    sides = [letters for letters, *_ in planes]
    assert sides == (["RLAP", "RLSI", "PASI"] if radiological else ["LRAP", "LRSI", "PASI"])
