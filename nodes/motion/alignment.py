"""How an image of an earlier session lies against the reference: coarsely first, then finely."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from rtflow.errors import VolumeError
from rtflow.nodes.images.reslice import require_signal
from rtflow.nodes.motion import coarse
from rtflow.nodes.motion.reference import prepare
from rtflow.nodes.motion.registration import distrust, estimate
from rtflow.nodes.motion.rigid import displacement

# A fine registration stays so near to the coarse one, mm.
_NEAR = 4.0


@dataclass(frozen=True, eq=False)
class Alignment:
    """How an image of an earlier session lies against the reference.

    Parameters
    ----------
    transform
        4x4, RAS+ mm, positions in the reference to positions in the image.
    shift, turn
        How far that moves the middle of the head, mm, and turns it, degrees.
    says
        How it was found, in words.
    """

    transform: NDArray[np.float64]
    shift: float
    turn: float
    says: str


def align(
    data: NDArray[Any],
    affine: NDArray[np.float64],
    image: NDArray[Any],
    image_affine: NDArray[np.float64],
    contrast: Literal["bold", "T1w"],
    brain: NDArray[np.bool_] | None = None,
) -> Alignment:
    """Register an image of an earlier session with the reference.

    First coarsely, from up to about 20 mm and 15 degrees away (`coarse`); an image of the same
    contrast then finely, by the method of motion correction (`registration`).

    Parameters
    ----------
    data, affine
        The reference, shape (i, j, k), and its 4x4 to RAS+ mm.
    image, image_affine
        The image, shape (l, m, n), likewise.
    contrast
        Of the image.
    brain
        Where the brain is in it, if that is known.

    Raises
    ------
    VolumeError
        If the two do not fit each other.
    """
    require_signal(data, "the reference")
    require_signal(image, "the image to register with")
    found = coarse.register(data, affine, image, image_affine, brain=brain)
    if reason := coarse.distrust(found):
        raise VolumeError(f"the reference cannot be registered with the {contrast} image: {reason}")
    transform, how = found.transform, "by mutual information"
    if contrast == "bold":
        reference = prepare(data, affine)
        fine = estimate(reference, image, image_affine, found.transform)
        reason = distrust(fine)
        apart = float(displacement(found.transform, fine.transform, reference.centre[None])[0])
        if not reason and apart > _NEAR:
            reason = f"it lies {apart:.1f} mm from the coarse one"
        if reason:
            how += f" alone: the fine registration cannot be trusted ({reason})"
        else:
            transform, how = fine.transform, "finely"
    turn = float(np.rad2deg(np.arccos(np.clip((np.trace(transform[:3, :3]) - 1.0) / 2.0, -1.0, 1.0))))
    shift = float(displacement(transform, np.eye(4), found.centre[None])[0])
    return Alignment(transform, shift, turn, how)
