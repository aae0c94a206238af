"""Images as the engine sends them, and three slices of them in one message to a page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from rtflow.dash_app.engine import EngineError


class Listed(msgspec.Struct):
    """An image that the engine has."""

    name: str
    kind: str
    shape: tuple[int, int, int]
    volume: int
    run_uid: str


class Heading(msgspec.Struct):
    """What the engine says of an image, in the header ``Rtflow-Image``."""

    name: str
    kind: str
    shape: tuple[int, int, int]
    affine: list[list[float]]
    window: tuple[float, float]
    volume: int
    run_uid: str


_HEADING = msgspec.json.Decoder(Heading)


@dataclass(frozen=True, eq=False)
class Image:
    """An image, as bytes of grey.

    Parameters
    ----------
    heading
        What it is; its axes run to the right, to the front and to the top of the head.
    voxels
        uint8, of `heading.shape`.
    """

    heading: Heading
    voxels: np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]

    @classmethod
    def read(cls, body: bytes, heading: str) -> Image:
        """An image as the engine sends it, i fastest.

        Raises
        ------
        EngineError
            If it is not whole.
        """
        try:
            found = _HEADING.decode(heading)
            voxels = np.frombuffer(body, np.uint8).reshape(found.shape, order="F")
        except (msgspec.MsgspecError, ValueError) as error:
            raise EngineError(f"the engine sends no image that can be read ({error})") from None
        return cls(found, voxels)

    def same_grid(self, other: Image) -> bool:
        """Whether each voxel of one is at the place of that voxel of the other, to a hundredth of a mm."""
        ours, theirs = self.heading, other.heading
        return ours.shape == theirs.shape and bool(np.allclose(ours.affine, theirs.affine, atol=0.01))


def picture(
    base: Image, over: Image | None, at: tuple[int, int, int] | None, listed: list[Listed], says: str = ""
) -> bytes:
    """Three planes through a voxel, as a page reads them.

    Parameters
    ----------
    base, over
        What is shown, and what is laid over it; the second is left out where its grid is another one.
    at
        The voxel; the nearest within the image where it lies outside, None for the middle.
    listed
        All images that there are.
    says
        Words for the reader.

    Returns
    -------
    bytes
        The length of the heading (4 bytes, little-endian), the heading as JSON, then for each image its axial
        (i, j), coronal (i, k) and sagittal (j, k) slice, the first index fastest.
    """
    shape = base.heading.shape
    if at is None:
        at = (shape[0] // 2, shape[1] // 2, shape[2] // 2)
    i, j, k = (min(max(where, 0), size - 1) for where, size in zip(at, shape, strict=True))
    if over is not None and not over.same_grid(base):
        says = f"{over.heading.name} is on another grid than {base.heading.name}, and is not laid over it."
        over = None
    shown = [base] if over is None else [base, over]
    heading = {
        "says": says,
        "images": listed,
        "at": (i, j, k),
        "shown": [one.heading for one in shown],
    }
    slices = [
        plane.tobytes(order="F")
        for one in shown
        for plane in (one.voxels[:, :, k], one.voxels[:, j, :], one.voxels[i, :, :])
    ]
    return framed(heading, *slices)


def framed(heading: dict[str, Any], *parts: bytes) -> bytes:
    """A heading and bytes behind it, in one message."""
    text = msgspec.json.encode(heading)
    return b"".join((len(text).to_bytes(4, "little"), text, *parts))
