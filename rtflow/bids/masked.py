"""Masks, and the voxels that they pick: both know which grid they speak of."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtflow.bids.grid import Grid


@dataclass(frozen=True, eq=False)
class Mask:
    """Which voxels of a grid belong.

    Parameters
    ----------
    data
        Booleans, shape (i, j, k).
    grid
        Where they are.
    """

    data: NDArray[np.bool_]
    grid: Grid

    @cached_property
    def indices(self) -> NDArray[np.intp]:
        """Flat C-order indices of the voxels that belong, ascending."""
        return np.flatnonzero(self.data.ravel(order="C"))

    @cached_property
    def identity(self) -> str:
        """12 hexadecimal digits over the voxels and the grid."""
        digest = hashlib.sha256(np.packbits(self.data).tobytes())
        digest.update(repr(self.grid).encode())
        return digest.hexdigest()[:12]


@dataclass(frozen=True, eq=False)
class Features:
    """One volume's values within a mask.

    Parameters
    ----------
    values
        Shape (voxels,), float32, in the order of ``mask.indices``.
    mask
        Where they come from.
    """

    values: NDArray[Any]
    mask: Mask
