"""How an image of an earlier session lies against the reference: coarsely first, then finely."""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from rtflow.errors import VolumeError
from rtflow.nodes.images.reslice import require_signal
from rtflow.nodes.motion import coarse
from rtflow.nodes.motion.ants import Ants, AntsError
from rtflow.nodes.motion.reference import prepare
from rtflow.nodes.motion.registration import distrust, estimate
from rtflow.nodes.motion.rigid import displacement

#: Seconds after which ANTs hangs; it takes 2 to 15.
LIMIT = 120.0

# A fine registration stays so near to the coarse one, mm.
_NEAR = 4.0


@dataclass(frozen=True)
class ByAnts:
    """That ANTs registers T1w images.

    Parameters
    ----------
    ants
        The program.
    folder
        Where its files may lie meanwhile.
    limit
        Seconds after which it is killed; None for no limit.
    instead
        Whether SimpleITK takes its place where it fails.
    """

    ants: Ants
    folder: Path
    limit: float | None = LIMIT
    instead: bool = True


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
    by
        The program that found it, with its version; of an echo-planar image, where the fine one began.
    """

    transform: NDArray[np.float64]
    shift: float
    turn: float
    says: str
    by: str


def align(
    data: NDArray[Any],
    affine: NDArray[np.float64],
    image: NDArray[Any],
    image_affine: NDArray[np.float64],
    contrast: Literal["bold", "T1w"],
    brain: NDArray[np.bool_] | None = None,
    by_ants: ByAnts | None = None,
) -> Alignment:
    """Register an image of an earlier session with the reference.

    First coarsely, from up to about 20 mm and 15 degrees away (`coarse`); an image of the same
    contrast then finely, by the method of motion correction (`registration`), a T1w image by ANTs if that is
    said.

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
    by_ants
        That ANTs registers T1w images; None for SimpleITK.

    Raises
    ------
    VolumeError
        If the two do not fit each other; as AntsError if ANTs fails and nothing takes its place.
    """
    require_signal(data, "the reference")
    require_signal(image, "the image to register with")
    search = partial(coarse.register, data, affine, image, image_affine, brain=brain)
    by, failed = f"SimpleITK {importlib.metadata.version('SimpleITK')}", ""
    if contrast == "T1w" and by_ants is not None:
        try:
            found = search(ants=partial(by_ants.ants.register, folder=by_ants.folder, limit=by_ants.limit))
            by = str(by_ants.ants)
        except AntsError as error:
            if not by_ants.instead:
                raise
            found, failed = search(), f" (ANTs failed: {error})"
    else:
        found = search()
    if reason := coarse.distrust(found):
        raise VolumeError(f"the reference cannot be registered with the {contrast} image: {reason}")
    transform, how = found.transform, f"by {by}{failed}"
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
    return Alignment(transform, shift, turn, how, by)
