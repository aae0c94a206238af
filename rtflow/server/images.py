"""Images of the latest volume, for whoever wants to see them: held by reference, and drawn when asked for.

What an image is, and how one is drawn, is not known here: a run says so when it begins.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, Protocol

import msgspec

Kind = Literal["volume", "mask", "map"]


class Picture(msgspec.Struct, frozen=True):
    """An image as a browser takes it.

    Parameters
    ----------
    shape
        Voxels along i, j, k.
    affine
        4x4, voxel indices to RAS+ millimetres; the axes are those of the body as closely as can be.
    window
        Values of the voxels 0 and 255.
    voxels
        One byte each, i fastest.
    """

    shape: tuple[int, int, int]
    affine: Sequence[Sequence[float]]
    window: tuple[float, float]
    voxels: bytes


class Image(Protocol):
    """An output of a node that can be drawn."""

    kind: Kind

    @property
    def shape(self) -> tuple[int, int, int]:
        """That of its picture."""

    def window(self, before: tuple[float, float] | None) -> tuple[float, float]:
        """Values of the voxels 0 and 255, by those that the same output had before in this run."""

    def picture(self, window: tuple[float, float]) -> Picture:
        """What it looks like."""

    def nifti(self) -> bytes:
        """The image itself, a NIfTI file compressed by gzip."""


FindImages = Callable[[str, Any], Iterable[tuple[str, Image]]]
"""The images in an output of a node, by its name; there may be several in one."""


class Images:
    """Those of one run at a time; may be used from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.begin("", None)

    def begin(self, run_uid: str, find: FindImages | None) -> None:
        """A run begins; there are no images of it yet."""
        with self._lock:
            self._find = find
            self._windows: dict[str, tuple[float, float]] = {}
            self._made_of, self._made = ("", 0), dict[tuple[str, str], Any]()
            self._held: tuple[str, int, Sequence[str], Sequence[Mapping[str, Any]]] = (run_uid, 0, (), ())

    def hold(
        self, run_uid: str, volume: int, nodes: Sequence[str], outputs: Sequence[Mapping[str, Any]]
    ) -> None:
        """A volume has been through the graph; nothing is done with its outputs, which nobody changes.

        Parameters
        ----------
        nodes, outputs
            Names of the nodes, and what each gave for the volume.
        """
        self._held = run_uid, volume, nodes, outputs

    def all(self) -> list[dict[str, Any]]:
        """Name, kind, shape, volume and run of each."""
        run_uid, volume, _, _ = held = self._held
        told = {"volume": volume, "run_uid": run_uid}
        return [
            {"name": name, "kind": image.kind, "shape": image.shape} | told
            for name, image in self._images(held)
        ]

    def picture(self, name: str) -> tuple[dict[str, Any], bytes] | None:
        """What is to be known of a picture, and its voxels; None if there is no such image."""
        found: tuple[dict[str, Any], bytes] | None = self._once(name, self._draw)
        return found

    def nifti(self, name: str) -> bytes | None:
        """An image as a file; None if there is no such image."""
        found: bytes | None = self._once(name, _file)
        return found

    def _draw(self, name: str, image: Image, run_uid: str, volume: int) -> tuple[dict[str, Any], bytes]:
        with self._lock:
            windows = self._windows if run_uid == self._held[0] else {}  # of a run that is over already
            window = windows[name] = image.window(windows.get(name))
        drawn = image.picture(window)
        about = {
            "name": name,
            "kind": image.kind,
            "shape": drawn.shape,
            "affine": drawn.affine,
            "window": drawn.window,
            "volume": volume,
            "run_uid": run_uid,
        }
        return about, drawn.voxels

    def _once(self, name: str, make: Callable[[str, Image, str, int], Any]) -> Any:
        """What is made of an image: once for each volume, however many ask, and how often."""
        run_uid, volume, _, _ = held = self._held
        key = make.__name__, name
        with self._lock:
            if self._made_of != (run_uid, volume):
                self._made_of, self._made = (run_uid, volume), {}
            made = self._made
        if key not in made:
            image = self._image(name, held)
            if image is None:
                return None
            made[key] = make(name, image, run_uid, volume)
        return made[key]

    def _image(self, name: str, held: Any) -> Image | None:
        return next((image for found, image in self._images(held, name) if found == name), None)

    def _images(self, held: Any = None, wanted: str = "") -> Iterator[tuple[str, Image]]:
        _, _, nodes, outputs = held or self._held
        for node, given in zip(nodes, outputs, strict=True):
            for field, value in given.items():
                name = f"{node}.{field}"
                if self._find is not None and (not wanted or wanted.startswith(name)):
                    yield from self._find(name, value)


def _file(name: str, image: Image, run_uid: str, volume: int) -> bytes:
    del name, run_uid, volume
    return image.nifti()
