"""Pictures of the brain: what each page wants to see, and three slices of it for every volume.

The engine is asked once per volume for all pages, and only while at least one looks. A page is sent the next
picture when it has the last one, so that one on a slow line sees fewer pictures, never old ones.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Iterator
from urllib.parse import quote

import msgspec

from rtflow.dash_app.engine import Engine, EngineError
from rtflow.dash_app.slices import Image, Listed, framed, picture

_AT_MOST_EVERY = 0.1
"""Seconds from one question for images to the next."""

_AGAIN = 1.0
"""Seconds until the engine is asked again after it refused."""

_BASES = ("realign", "motion", "convert")
"""Words in names of nodes whose volume is shown if nobody says otherwise, the best first."""

_STATISTICS = ("t", "z", "effect")
"""Outputs that are laid over it, if nobody says otherwise; else it is the first mask."""

NOTHING_YET = (
    "No image yet. The picture comes with the first volume that goes through the graph; "
    "a workflow without a node that gives images has none."
)


class Wish(msgspec.Struct, frozen=True):
    """What a page wants to see.

    Parameters
    ----------
    base
        Name of the image that is shown; None for the usual one.
    over
        Name of the one that is laid over it; None for the usual one, empty for none.
    at
        Voxel that the three planes cross in; None for the middle.
    live
        Each new volume; otherwise the one that is shown stays until another image is chosen.
    """

    base: str | None = None
    over: str | None = None
    at: tuple[int, int, int] | None = None
    live: bool = True


class Said(msgspec.Struct):
    """What a page says: its wish (None: it does not look), or that it has the picture that was sent."""

    picture: Wish | msgspec.UnsetType | None = msgspec.UNSET
    has: bool = False


_SAID = msgspec.json.Decoder(Said)


class View:
    """A page, and what waits to be sent to it: one picture at most.

    Attributes
    ----------
    wish
        What it wants to see; None for nothing.
    base, over
        The images that it sees; None for none.
    shown
        What it was shown last: these, and the list of all.
    """

    def __init__(self) -> None:
        self.wish: Wish | None = None
        self.base: Image | None = None
        self.over: Image | None = None
        self.shown: tuple[Image | None, Image | None, list[Listed]] | None = None
        self._frame: bytes | None = None
        self._on_its_way = False
        self._there = asyncio.Event()

    def forget(self) -> None:
        """Begin anew: it looks elsewhere, or at nothing."""
        self.base = self.over = self.shown = None

    def put(self, frame: bytes) -> None:
        """Send a picture, in place of one that waits still."""
        self._frame = frame
        self._there.set()

    def has(self) -> None:
        """Say that the picture has arrived."""
        self._on_its_way = False
        self._there.set()

    async def frames(self) -> AsyncIterator[bytes]:
        """Pictures to be sent, each when the one before has arrived."""
        while True:
            await self._there.wait()
            self._there.clear()
            if self._frame is not None and not self._on_its_way:
                frame, self._frame, self._on_its_way = self._frame, None, True
                yield frame


class Pictures:
    """What pages look at, and what the engine has of it.

    Everything is called from the event loop's thread.

    Parameters
    ----------
    engine
        What is asked.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._views: set[View] = set()
        self._listed: list[Listed] = []
        self._images: dict[str, Image] = {}
        self._new = asyncio.Event()
        self._newest = 0
        self._trouble = False

    @contextlib.contextmanager
    def viewed(self) -> Iterator[View]:
        """A page while it is there."""
        view = View()
        self._views.add(view)
        try:
            yield view
        finally:
            self._views.discard(view)

    def hear(self, view: View, text: str) -> None:
        """A page says something.

        Raises
        ------
        msgspec.MsgspecError
            If that is nothing that a page says.
        """
        said = _SAID.decode(text)
        if said.has:
            view.has()
        wish = said.picture
        if isinstance(wish, msgspec.UnsetType):
            return
        before, view.wish = view.wish, wish
        if wish and before and view.base is not None and _same_images(wish, before):
            self._show(view)  # elsewhere in them
            if before.live or not wish.live:
                return
        else:
            view.forget()
        self._new.set()

    def look_again(self, volume: int = 0) -> None:
        """There may be new images: those of a volume that has its Result."""
        self._newest = volume
        self._new.set()

    async def follow(self) -> None:
        """Ask and show, until this is cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_AGAIN if self._trouble else None):
                    await self._new.wait()
            self._new.clear()
            newest, self._newest = self._newest, 0
            looking = [view for view in self._views if view.wish is not None]
            self._trouble = False
            if not looking:
                self._images.clear()
                continue
            try:
                await self._ask(looking)
            except EngineError as error:
                self._trouble = True
                for view in looking:
                    view.shown = None
                    view.put(framed({"says": f"{str(error)[:1].upper()}{str(error)[1:]}."}))
            await asyncio.sleep(_AT_MOST_EVERY)
            if newest and not any(one.volume == newest for one in self._listed):
                self._new.set()  # its Result was heard a moment before its images are there

    async def _ask(self, looking: list[View]) -> None:
        try:
            self._listed = msgspec.convert(await self._engine.ask("/api/images"), list[Listed])
        except msgspec.MsgspecError as error:
            raise EngineError(f"the engine's list of images cannot be read ({error})") from None
        wishes = {view: view.wish for view in looking if view.wish and (view.wish.live or view.base is None)}
        picked = {view: pick(wish, self._listed) for view, wish in wishes.items()}
        names = {name for base, over in picked.values() for name in (base, over)}
        found: dict[str, Image] = {}
        for one in self._listed:
            image = self._images.get(one.name)
            if one.name not in names:
                continue
            if image is None or (image.heading.run_uid, image.heading.volume) != (one.run_uid, one.volume):
                body, headers = await self._engine.fetch(f"/api/images/{quote(one.name)}")
                image = Image.read(body, headers.get("Rtflow-Image", ""))
            found[one.name] = image
        self._images = found
        for view, names_of in picked.items():
            if view.wish is None or not _same_images(view.wish, wishes[view]):
                continue  # it has chosen others meanwhile
            base, over = (found.get(name) for name in names_of)
            if view.shown != (base, over, self._listed):
                view.base, view.over = base, over
                self._show(view)

    def _show(self, view: View) -> None:
        view.shown = (view.base, view.over, self._listed)
        if view.base is None or view.wish is None:
            view.put(framed({"says": NOTHING_YET, "images": self._listed}))
        else:
            says = missed(view.wish, self._listed)
            view.put(picture(view.base, view.over, view.wish.at, self._listed, says))


def _same_images(wish: Wish, other: Wish) -> bool:
    return (wish.base, wish.over) == (other.base, other.over)


def pick(wish: Wish, listed: Iterable[Listed]) -> tuple[str, str]:
    """Names of the images for a wish: what is shown, and what is laid over it; each empty for none.

    A name that is not there any more (another run) is the same as none: the usual image is taken.

    >>> volume = Listed("convert.incremental", "volume", (4, 4, 4), 1, "run")
    >>> mask = Listed("mask.mask", "mask", (4, 4, 4), 1, "run")
    >>> pick(Wish(), [volume, mask])
    ('convert.incremental', 'mask.mask')
    >>> pick(Wish(base="gone.image", over=""), [volume, mask])
    ('convert.incremental', '')
    """
    listed = list(listed)
    names = [one.name for one in listed]
    base = wish.base if wish.base in names else _usual_base(listed)
    if wish.over == "":
        return base, ""
    over = wish.over if wish.over in names else _usual_over(listed)
    return base, over if over != base else ""


def missed(wish: Wish, listed: list[Listed]) -> str:
    """What to say of names that are not there."""
    names = {one.name for one in listed}
    gone = [name for name in (wish.base, wish.over) if name and name not in names]
    return f"This run has no image {' and no '.join(gone)}; the usual one is shown." if gone else ""


def _usual_base(listed: list[Listed]) -> str:
    volumes = [one.name for one in listed if one.kind == "volume"]
    changing = [name for name in volumes if ".incremental" in name]
    for word in _BASES:
        for name in changing:
            if word in name:
                return name
    return (changing + volumes + [one.name for one in listed] + [""])[0]


def _usual_over(listed: list[Listed]) -> str:
    maps = [one.name for one in listed if one.kind == "map"]
    statistics = [name for end in _STATISTICS for name in maps if name.endswith(f".{end}")]
    return (statistics + [one.name for one in listed if one.kind == "mask"] + [""])[0]
