"""How far the head moves from one volume to the next, and what of it is breathing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtflow.nodes.motion.rigid import rotation

#: Radius of the sphere that stands for the head in `rms_deviation`, mm (FSL's).
SPHERE_RADIUS = 80.0

#: Below this repetition time, s, breathing shows in the displacement of every volume.
FAST_TR = 1.0


def rms_deviation(before: NDArray[Any], after: NDArray[Any], radius: float = SPHERE_RADIUS) -> float:
    """Root mean square displacement over a sphere, in mm, from one volume to the next (fMRIPrep's ``rmsd``).

    Jenkinson, FMRIB technical report TR99MJ1 (1999): with ``A`` the difference of the 3x3 of two affines, and
    ``d`` the distance between where they put the centre of the sphere, it is the square root of
    ``radius**2 / 5 * trace(A^T A) + d^T d``. Where the parameters are about that centre, ``d`` is the
    difference of the translations.

    Parameters
    ----------
    before, after
        Parameters of two volumes that follow each other, as in `rigid`, shape (6,): mm and
        rad, about one centre. The sphere lies about that centre: for Realign, that of the reference's brain.
        (One that lies 10 mm elsewhere changes what 1 degree of rotation gives by less than 0.2 mm.)
    radius
        Of the sphere, mm.

    Examples
    --------
    >>> import math
    >>> turned = np.array([0, 0, 0, 0.01, 0, 0])
    >>> analytic = 160 * math.sin(0.005) * math.sqrt(2 / 5)
    >>> math.isclose(rms_deviation(np.zeros(6), turned), analytic)
    True
    """
    before, after = np.asarray(before, dtype=float), np.asarray(after, dtype=float)
    turn = rotation(*after[3:].tolist()) - rotation(*before[3:].tolist())
    shift = after[:3] - before[:3]
    return float(np.sqrt(radius**2 / 5.0 * (turn**2).sum() + shift @ shift))


def displacement_lift(tr: float, earlier: Sequence[float]) -> float:
    """By how much the thresholds of a displacement are raised, mm.

    0 at a repetition time of `FAST_TR` or more. Below, the median over the earlier volumes of the run. When
    volumes come fast, the head moves little from one to the next, and most of what is measured is breathing:
    it changes the field, and so moves the image along the phase encoding direction in every volume (Power
    et al., NeuroImage 2019; 201:116041. Fair et al., NeuroImage 2020; 208:116400). The median of the run is
    about as high as this floor, and a movement of the head stands out above it.

    Parameters
    ----------
    tr
        Repetition time, s.
    earlier
        The displacements of earlier volumes, mm.
    """
    if tr >= FAST_TR:
        return 0.0
    return float(np.median(earlier)) if earlier else 0.0
