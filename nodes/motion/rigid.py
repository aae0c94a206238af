"""Rigid head motion: six parameters, the 4x4 they stand for, and how far it moves the head.

One convention holds everywhere. A transform is a 4x4 in RAS+ millimetres that takes a position in the
reference to the position of the same tissue in the moved volume (pull-back)::

    y = R (x - c) + c + t        R = Rx(rot_x) Ry(rot_y) Rz(rot_z)

with the translation ``t`` in millimetres, right-handed angles in radians about the world axes, the rotation
about z applied first, and the centre ``c`` that of the reference's brain
(`rtflow.nodes.motion.reference.Reference.centre`). Parameters are ordered as `PARAMETERS`; the names are
fMRIPrep's. The centre decides how a rotation shares out between the two halves, so framewise displacements
compare only between transforms about one centre.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

PARAMETERS = ("trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z")

#: Radius of the sphere that stands for the head (Power et al. 2012), mm.
HEAD_RADIUS = 50.0


def rotation(x: float, y: float, z: float) -> NDArray[np.float64]:
    """The 3x3 ``Rx(x) Ry(y) Rz(z)``; angles in radians, right-handed."""
    cos_x, cos_y, cos_z = np.cos((x, y, z)).tolist()
    sin_x, sin_y, sin_z = np.sin((x, y, z)).tolist()
    about_x = np.array([[1, 0, 0], [0, cos_x, -sin_x], [0, sin_x, cos_x]])
    about_y = np.array([[cos_y, 0, sin_y], [0, 1, 0], [-sin_y, 0, cos_y]])
    about_z = np.array([[cos_z, -sin_z, 0], [sin_z, cos_z, 0], [0, 0, 1]])
    product: NDArray[np.float64] = about_x @ about_y @ about_z
    return product


def transform_of(parameters: NDArray[Any], centre: NDArray[Any]) -> NDArray[np.float64]:
    """The 4x4 of six parameters.

    Parameters
    ----------
    parameters
        Shape (6,): millimetres, then radians, as in `PARAMETERS`.
    centre
        Shape (3,), RAS+ mm: the point that rotations leave where it is.

    Examples
    --------
    >>> transform_of(np.array([1.0, 0, 0, 0, 0, np.pi / 2]), np.array([10.0, 0, 0])).round(6)[:3, 3].tolist()
    [11.0, -10.0, 0.0]
    """
    transform = np.eye(4)
    transform[:3, :3] = rotation(*(float(angle) for angle in parameters[3:]))
    transform[:3, 3] = centre + parameters[:3] - transform[:3, :3] @ centre
    return transform


def parameters_of(transform: NDArray[Any], centre: NDArray[Any]) -> NDArray[np.float64]:
    """The six parameters of a rigid 4x4, shape (6,); undoes `transform_of` while ``|rot_y| < pi / 2``."""
    turn = transform[:3, :3]
    shift = turn @ centre + transform[:3, 3] - centre
    angles = (
        np.arctan2(-turn[1, 2], turn[2, 2]),
        np.arcsin(np.clip(turn[0, 2], -1.0, 1.0)),
        np.arctan2(-turn[0, 1], turn[0, 0]),
    )
    return np.concatenate([shift, angles])


def framewise_displacement(before: NDArray[Any], after: NDArray[Any], radius: float = HEAD_RADIUS) -> float:
    """Displacement from one volume to the next in mm, after Power et al. (NeuroImage 2012; 59:2142-2154).

    The sum of the absolute changes of the three translations and of the arcs that the three rotations
    draw on a sphere.

    Parameters
    ----------
    before, after
        Parameters of two volumes that follow each other, shape (6,), about one centre.
    radius
        Of the sphere, in mm.
    """
    change = np.abs(np.subtract(after, before))
    return float(change[:3].sum() + radius * change[3:].sum())


def displacement(first: NDArray[Any], second: NDArray[Any], points: NDArray[Any]) -> NDArray[np.float64]:
    """How far apart two transforms put the same points, in mm.

    Parameters
    ----------
    first, second
        4x4 transforms.
    points
        Shape (n, 3), RAS+ mm.

    Returns
    -------
    Shape (n,).
    """
    difference = np.subtract(first, second)
    moved = points @ difference[:3, :3].T + difference[:3, 3]
    distance: NDArray[np.float64] = np.sqrt((moved**2).sum(axis=1))
    return distance
