"""How the head moves: rigid transforms, their six parameters, and a walk through them.

A transform is a 4x4 in RAS+ millimetres of the scanner that takes a point of the head from where it lies
in the reference to where it lies in the moved volume (so it is the pull-back that realigns the moved volume:
its value at ``transform @ x`` belongs at ``x``). With rotations ``a, b, c`` (radians) about the axes x, y, z
through a centre ``o`` and translations ``t`` (mm) it is::

    x  ->  Rx(a) Ry(b) Rz(c) (x - o) + o + t

each rotation counter-clockwise when seen from the positive end of its axis.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

COLUMNS = ("trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z")
"""The six parameters, named as fMRIPrep's confounds are: mm, then radians."""

LIMITS = np.array([2.0, 2.0, 2.0, *np.radians([2.0, 2.0, 2.0])])
"""What the walk at scale 1 never leaves: mm, radians."""

# One second's step of the walk. Heads on a cushion mostly nod and slide along the bore.
_STEP = np.array([0.018, 0.024, 0.040, *np.radians([0.026, 0.012, 0.015])])
# A jump: one in so many seconds, and its size.
_JUMP_EVERY = 160.0
_JUMP = np.array([0.15, 0.20, 0.30, *np.radians([0.20, 0.10, 0.14])])


def rotation(angles: ArrayLike) -> Floats:
    """3x3 ``Rx(a) Ry(b) Rz(c)`` of three angles in radians."""
    a, b, c = np.asarray(angles, dtype=float)
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    about_z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    product: Floats = about_x @ about_y @ about_z
    return product


def rigid(parameters: ArrayLike, centre: ArrayLike) -> Floats:
    """4x4 of six parameters (mm, radians) about a centre (mm).

    >>> import numpy as np
    >>> turn = rigid([0, 0, 0, 0, 0, np.pi / 2], centre=[1, 0, 0])
    >>> [round(float(v), 6) for v in turn @ [2, 0, 0, 1]]
    [1.0, 1.0, 0.0, 1.0]
    """
    six = np.asarray(parameters, dtype=float)
    middle = np.asarray(centre, dtype=float)
    matrix = np.eye(4)
    matrix[:3, :3] = rotation(six[3:])
    matrix[:3, 3] = six[:3] + middle - matrix[:3, :3] @ middle
    return matrix


def parameters(transform: Floats, centre: ArrayLike) -> Floats:
    """The six parameters (mm, radians) of a rigid 4x4 about a centre: what `rigid` was given."""
    middle = np.asarray(centre, dtype=float)
    turn = transform[:3, :3]
    b = np.arcsin(np.clip(turn[0, 2], -1.0, 1.0))
    a = np.arctan2(-turn[1, 2], turn[2, 2])
    c = np.arctan2(-turn[0, 1], turn[0, 0])
    shift = transform[:3, 3] - middle + turn @ middle
    return np.array([*shift, a, b, c])


def framewise_displacement(six: Floats, radius: float = 50.0) -> Floats:
    """How far the head went since the volume before, mm (Power et al. 2012).

    The sum of absolute changes of translation, and of rotation as an arc on a sphere.

    Parameters
    ----------
    six
        Shape (volumes, 6): mm, radians.
    radius
        Of the sphere, mm.

    Returns
    -------
    ndarray, shape (volumes,)
        Not a number for the first volume.
    """
    change = np.abs(np.diff(six, axis=0))
    moved = change[:, :3].sum(axis=1) + radius * change[:, 3:].sum(axis=1)
    whole: Floats = np.concatenate([[np.nan], moved])
    return whole


def walk(volumes: int, tr: float, steps: np.random.Generator, jumps: np.random.Generator) -> Floats:
    """A slow walk with now and then a jump, from zero at volume 1 and never beyond `LIMITS`.

    The first n rows are the same for every number of volumes.

    Parameters
    ----------
    volumes, tr
        Number of rows, and seconds between them.
    steps, jumps
        Where chance comes from.

    Returns
    -------
    ndarray, shape (volumes, 6)
        Translations in mm, rotations in radians.
    """
    # Steps that remember the one before make a smooth walk; the gain keeps its spread at that of free steps.
    memory = 0.4
    free = steps.standard_normal((volumes, 6)) * _STEP * np.sqrt(tr)
    smooth = remember(free * (1.0 - memory), memory)
    chance = jumps.random((volumes, 7))
    # Uniform draws keep one row per volume whatever happens in the others.
    leap = (chance[:, :6] * 2.0 - 1.0) * np.sqrt(3.0) * _JUMP * (chance[:, 6:] < tr / _JUMP_EVERY)
    path = np.cumsum(smooth + leap, axis=0)
    bounded: Floats = LIMITS / 2.0 * np.tanh(2.0 * path / LIMITS)
    bounded -= bounded[0].copy()
    return bounded


def remember(steps: Floats, memory: float) -> Floats:
    """Each step plus ``memory`` times what came out before it, along the first axis."""
    made = np.array(steps, dtype=float)
    for number in range(1, len(made)):
        made[number] += memory * made[number - 1]
    return made


def nod(boxcar: Floats, degrees: float) -> Floats:
    """Motion with the task: the head nods forward, and slides a little, while ``boxcar`` is 1.

    Parameters
    ----------
    boxcar
        Shape (volumes,): the share of each volume that belongs to a trial.
    degrees
        Size of the nod.

    Returns
    -------
    ndarray, shape (volumes, 6)
        Relative to volume 1.
    """
    six = np.zeros((len(boxcar), 6))
    away = boxcar - boxcar[0]
    six[:, 3] = -np.radians(degrees) * away
    six[:, 2] = 0.2 * degrees * away
    return six
