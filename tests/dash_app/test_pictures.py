"""What pages are sent of the brain: the right voxels, once per volume for all, and never an old one."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from image_server import ImageServer

from rtflow.bids.grid import Grid
from rtflow.bids.incremental import BidsIncremental
from rtflow.bids.masked import Features, Mask
from rtflow.bids.picture import picture as drawn
from rtflow.dash_app.engine import EngineError
from rtflow.dash_app.pictures import Pictures, View, Wish, pick
from rtflow.dash_app.slices import Heading, Image, Listed, picture

SHAPE = (5, 7, 4)
AXIAL = np.diag([2.0, 2.5, 3.0, 1.0])
TURNED = nib.affines.from_matvec(nib.eulerangles.euler2mat(0.1, -0.2, 0.15), (-9.0, 4.0, 7.0)) @ AXIAL
#: How scanners store the same head: left-handed, planes first, turned, both.
AFFINES = {
    "right-handed": AXIAL,
    "left-handed": np.diag([-2.0, 2.5, 3.0, 1.0]),
    "upside down": np.diag([2.0, -2.5, -3.0, 1.0]),
    "oblique": TURNED,
    "oblique and left-handed": TURNED @ np.diag([-1.0, 1, 1, 1]),
    "sagittal planes": TURNED @ np.array([[0, 0, -1, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1.0]]),
}


@dataclass
class Seen:
    """A picture, as a page reads it."""

    heading: dict[str, Any]
    slices: list[list[np.ndarray[Any, Any]]]

    @classmethod
    def of(cls, frame: bytes) -> Seen:
        length = int.from_bytes(frame[:4], "little")
        heading, rest = json.loads(frame[4 : 4 + length]), frame[4 + length :]
        slices = []
        for one in heading.get("shown", []):
            i, j, k = one["shape"]
            planes = []
            for size in ((i, j), (i, k), (j, k)):
                count = size[0] * size[1]
                planes.append(np.frombuffer(rest[:count], np.uint8).reshape(size, order="F"))
                rest = rest[count:]
            slices.append(planes)
        assert rest == b""
        return cls(heading, slices)

    @property
    def volumes(self) -> dict[str, int]:
        return {one["name"]: one["volume"] for one in self.heading.get("shown", [])}


def image(voxels: np.ndarray[Any, Any], name: str = "a.image", affine: np.ndarray[Any, Any] = AXIAL) -> Image:
    i, j, k = voxels.shape
    heading = Heading(name, "volume", (i, j, k), affine.tolist(), (0.0, 255.0), 1, "run-1")
    return Image.read(voxels.tobytes(order="F"), json.dumps(_builtins(heading)))


def _builtins(heading: Heading) -> dict[str, Any]:
    return {field: getattr(heading, field) for field in heading.__struct_fields__}


def noise(seed: int = 0, shape: tuple[int, ...] = SHAPE) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


# What is sent


@pytest.mark.parametrize("at", [(0, 0, 0), (4, 6, 3), (1, 5, 2)])
def test_slices_are_those_of_numpy(at: tuple[int, int, int]) -> None:
    base, over = noise(1), noise(2)
    seen = Seen.of(picture(image(base), image(over, "b.image"), at, []))
    assert seen.heading["at"] == list(at)
    assert [one["name"] for one in seen.heading["shown"]] == ["a.image", "b.image"]
    i, j, k = at
    for whole, planes in zip((base, over), seen.slices, strict=True):
        for plane, wanted in zip(planes, (whole[:, :, k], whole[:, j, :], whole[i, :, :]), strict=True):
            np.testing.assert_array_equal(plane, wanted)


@pytest.mark.parametrize(("at", "within"), [(None, [2, 3, 2]), ((-3, 99, 1), [0, 6, 1])])
def test_a_place_outside_is_the_nearest_within_and_none_the_middle(at: Any, within: list[int]) -> None:
    assert Seen.of(picture(image(noise()), None, at, [])).heading["at"] == within


def test_what_lies_elsewhere_is_not_laid_over_and_that_is_said() -> None:
    moved = AXIAL.copy()
    moved[0, 3] += 0.5
    for other in (image(noise(), "b.image", moved), image(noise(0, (5, 7, 5)), "b.image")):
        seen = Seen.of(picture(image(noise()), other, None, []))
        assert [one["name"] for one in seen.heading["shown"]] == ["a.image"]
        assert "b.image is on another grid than a.image" in seen.heading["says"]


@pytest.mark.parametrize("name", AFFINES)
def test_what_is_on_the_left_of_the_head_is_on_the_left_of_the_picture(name: str) -> None:
    affine, place = AFFINES[name], np.array([-6.0, 5.0, 3.0])
    # A head about the origin of the scanner, and something bright at a known place left, in front and above.
    shape = (25, 25, 25)
    affine = affine.copy()
    affine[:3, 3] -= nib.affines.apply_affine(affine, (12, 12, 12))
    data = np.zeros(shape, np.int16)
    data[tuple(np.rint(nib.affines.apply_affine(np.linalg.inv(affine), place)).astype(int))] = 100
    shown = drawn(BidsIncremental(data, affine, volume=1))
    assert shown is not None
    sent = shown.picture((0.0, 100.0))
    heading = {"name": "a.b", "kind": "volume", "shape": sent.shape, "affine": sent.affine}
    heading |= {"window": (0, 100), "volume": 1, "run_uid": "r"}
    whole = Image.read(sent.voxels, json.dumps(heading))
    at = np.argwhere(whole.voxels == 255)[0]
    seen = Seen.of(picture(whole, None, tuple(at.tolist()), []))
    affine_sent = np.array(seen.heading["shown"][0]["affine"])
    np.testing.assert_allclose(nib.affines.apply_affine(affine_sent, at), place, atol=2.0)
    axial, coronal, sagittal = seen.slices[0]
    # The first axis of a slice runs to the right (or the front), the second one to the front (or the top).
    middle = np.array(sent.shape) // 2
    assert [int(np.argmax(axial.max(axis=1))), int(np.argmax(axial.max(axis=0)))] == at[:2].tolist()
    assert at[0] < middle[0]
    assert at[1] > middle[1]
    assert at[2] > middle[2]
    assert coronal[at[0], at[2]] == sagittal[at[1], at[2]] == 255


def test_what_is_no_image_is_told_in_words() -> None:
    good = json.dumps(_builtins(image(noise()).heading))
    for body, heading in ((b"abc", good), (noise().tobytes(), ""), (noise().tobytes(), "{}")):
        with pytest.raises(EngineError, match="no image that can be read"):
            Image.read(body, heading)


# What is chosen


def test_the_usual_images_are_the_aligned_volume_and_a_statistic_or_else_a_mask() -> None:
    def listed(**kinds: str) -> list[Listed]:
        return [Listed(name.replace("__", "."), kind, SHAPE, 1, "run-1") for name, kind in kinds.items()]

    there = listed(
        convert__incremental="volume",
        realign__reference="volume",
        realign__incremental="volume",
        mask__mask="mask",
        voxels__features="map",
    )
    assert pick(Wish(), there) == ("realign.incremental", "mask.mask")
    with_map = [*there, *listed(glm__effect="map", glm__t="map")]
    assert pick(Wish(), with_map) == ("realign.incremental", "glm.t")
    assert pick(Wish(base="convert.incremental", over="voxels.features"), there) == (
        "convert.incremental",
        "voxels.features",
    )
    assert pick(Wish(over=""), there) == ("realign.incremental", "")
    assert pick(Wish(), there[:1]) == ("convert.incremental", "")
    assert pick(Wish(), listed(mask__mask="mask")) == ("mask.mask", "")
    assert pick(Wish(), []) == ("", "")


# Who is sent what, and when


def volume(number: int, seed: int | None = None, shape: tuple[int, ...] = SHAPE) -> BidsIncremental:
    data = noise(number if seed is None else seed, shape).astype(np.int16)
    return BidsIncremental(data, AXIAL, volume=number)


MASK = Mask(noise(99) > 128, Grid.of(SHAPE, AXIAL))


class Page:
    """A page that takes what it is sent when it is told to."""

    def __init__(self, pictures: Pictures, view: View) -> None:
        self._pictures, self._view = pictures, view
        self._frames = view.frames()

    def say(self, **said: Any) -> None:
        self._pictures.hear(self._view, json.dumps(said))

    def look(self, **wish: Any) -> None:
        self.say(picture=wish)

    async def next(self) -> Seen:
        """The next picture; that it has come is said at once."""
        async with asyncio.timeout(20):
            frame = await anext(self._frames)
        self.say(has=True)
        return Seen.of(frame)

    async def none(self) -> None:
        """There is nothing to be sent."""
        waiting = asyncio.ensure_future(anext(self._frames))
        await asyncio.sleep(0)
        assert not waiting.done()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        self._frames = self._view.frames()


@dataclass
class Room:
    """An engine, and what pages look at."""

    server: ImageServer
    pictures: Pictures
    stack: contextlib.ExitStack

    def page(self) -> Page:
        return Page(self.pictures, self.stack.enter_context(self.pictures.viewed()))

    def comes(self, number: int, **outputs: Any) -> None:
        """A volume has gone through the graph, and its Result was heard."""
        self.server.show(number, **(outputs or {"realign__incremental": volume(number), "mask__mask": MASK}))
        self.pictures.look_again(number)

    async def asked(self, times: int) -> None:
        """Wait until the list of images was asked for so often in all."""
        async with asyncio.timeout(20):
            while self.server.asked.count("") < times:
                await asyncio.sleep(0.01)

    async def heard(self) -> None:
        """Wait until it was noticed that something may be new."""
        async with asyncio.timeout(20):
            while self.pictures._new.is_set():
                await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def room() -> AsyncIterator[Room]:
    server = ImageServer()
    async with server.opened() as engine:
        pictures = Pictures(engine)
        following = asyncio.ensure_future(pictures.follow())
        with contextlib.ExitStack() as stack:
            try:
                yield Room(server, pictures, stack)
            finally:
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)


def test_each_volume_is_asked_for_once_for_all_pages_and_not_at_all_for_none() -> None:
    async def go() -> None:
        async with room() as here:
            pages = [here.page() for _ in range(3)]
            here.comes(1)
            await here.heard()
            assert here.server.asked == []
            for page in pages:
                page.look()
            for number in (1, 2, 3):
                if number > 1:
                    here.comes(number)
                for page in pages:
                    seen = await page.next()
                    assert seen.volumes == {"realign.incremental": number, "mask.mask": number}
            names = ["", "realign.incremental", "mask.mask"]
            assert here.server.asked == names * 3
            for page in pages:
                page.say(picture=None)
            here.comes(4)
            await here.heard()
            assert here.server.asked == names * 3

    asyncio.run(go())


def test_the_crosshair_moves_without_the_engine() -> None:
    async def go() -> None:
        async with room() as here:
            page = here.page()
            here.comes(1)
            page.look()
            await page.next()
            asked = list(here.server.asked)
            page.look(at=[0, 6, 1])
            seen = await page.next()
            assert seen.heading["at"] == [0, 6, 1]
            np.testing.assert_array_equal(seen.slices[1][2], np.where(MASK.data, 255, 0)[0])
            assert here.server.asked == asked

    asyncio.run(go())


def test_a_slow_page_gets_the_newest_picture_and_never_a_queue() -> None:
    async def go() -> None:
        async with room() as here:
            slow, quick = here.page(), here.page()
            here.comes(1)
            slow.look()
            quick.look()
            frames = slow._view.frames()
            first = Seen.of(await anext(frames))  # and the page does not say that it has it
            assert first.volumes["realign.incremental"] == 1
            await quick.next()
            second = asyncio.ensure_future(anext(frames))
            for number in range(2, 7):
                here.comes(number)
                assert (await quick.next()).volumes["realign.incremental"] == number
            assert not second.done()
            slow.say(has=True)
            assert Seen.of(await second).volumes["realign.incremental"] == 6
            slow.say(has=True)
            await slow.none()

    asyncio.run(go())


def test_a_volume_is_held_while_the_crosshair_moves_in_it() -> None:
    async def go() -> None:
        async with room() as here:
            held, live = here.page(), here.page()
            here.comes(1)
            held.look()
            live.look()
            await held.next()
            await live.next()
            held.look(live=False)
            assert (await held.next()).volumes["realign.incremental"] == 1
            here.comes(2)
            assert (await live.next()).volumes["realign.incremental"] == 2
            await held.none()
            held.look(live=False, at=[0, 0, 0])
            assert (await held.next()).volumes["realign.incremental"] == 1
            held.look(live=False, at=[0, 0, 0], over="")
            assert (await held.next()).volumes == {"realign.incremental": 2}

    asyncio.run(go())


def test_a_result_that_is_heard_before_its_images_are_there_is_asked_for_again() -> None:
    async def go() -> None:
        async with room() as here:
            page = here.page()
            here.comes(1)
            page.look()
            await page.next()
            here.pictures.look_again(2)
            await here.asked(2)
            here.server.show(2, realign__incremental=volume(2))
            while (await page.next()).volumes["realign.incremental"] != 2:
                pass

    asyncio.run(go())


def test_empty_states_another_run_and_an_engine_that_is_away_are_told_in_words() -> None:
    async def go() -> None:
        async with room() as here:
            page = here.page()
            page.look(base="glm.residual")
            seen = await page.next()
            assert seen.heading["says"].startswith("No image yet.")
            assert seen.heading["images"] == []
            here.comes(1)
            seen = await page.next()
            assert seen.heading["says"] == "This run has no image glm.residual; the usual one is shown."
            assert list(seen.volumes) == ["realign.incremental", "mask.mask"]
            here.server.refuses = "the engine ends"
            here.pictures.look_again()
            assert (await page.next()).heading == {"says": "The engine ends."}
            here.server.refuses = ""  # and nobody says that it is back
            while not (seen := await page.next()).volumes:
                pass
            assert seen.volumes["realign.incremental"] == 1
            here.server.begin("run-2")
            here.comes(1, realign__incremental=volume(1, seed=50))  # of the same name and number
            seen = await page.next()
            assert seen.volumes == {"realign.incremental": 1}
            assert seen.heading["shown"][0]["run_uid"] == "run-2"
            whole = drawn(volume(1, seed=50))
            assert whole is not None
            wanted = whole.picture(whole.window(None)).voxels
            found = np.frombuffer(wanted, np.uint8).reshape(SHAPE, order="F")[:, :, seen.heading["at"][2]]
            np.testing.assert_array_equal(seen.slices[0][0], found)

    asyncio.run(go())


def test_a_map_is_laid_over_as_soon_as_there_is_one() -> None:
    async def go() -> None:
        async with room() as here:
            page = here.page()
            here.comes(1)
            page.look()
            assert list((await page.next()).volumes) == ["realign.incremental", "mask.mask"]
            t = Features(np.linspace(-4, 4, MASK.data.sum(), dtype=np.float32), MASK)
            here.comes(2, realign__incremental=volume(2), mask__mask=MASK, glm__t=t)
            seen = await page.next()
            assert list(seen.volumes) == ["realign.incremental", "glm.t"]
            assert seen.heading["shown"][1]["window"] == [-5.0, 5.0]

    asyncio.run(go())
