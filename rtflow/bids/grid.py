"""The identity of a grid: which voxels of which image a mask, a model or a map speaks of."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtflow.errors import GridError


@dataclass(frozen=True)
class Grid:
    """Shape, affine and reference of an image.

    Parameters
    ----------
    shape
        Voxels along i, j, k.
    affine
        Row-major 4x4, voxel indices to RAS+ millimetres, as 16 floats.
    reference
        Identity of the volume that the image is aligned with (`identify`), or empty for an image that
        is aligned with none: it lies where the scanner put it.
    """

    shape: tuple[int, int, int]
    affine: tuple[float, ...]
    reference: str = ""

    @classmethod
    def of(cls, shape: tuple[int, ...], affine: NDArray[Any], reference: str = "") -> Grid:
        """The grid of an image of this shape and affine (4x4)."""
        x, y, z = (int(n) for n in shape[:3])
        return cls((x, y, z), tuple(np.asarray(affine, dtype=float).ravel().tolist()), reference)

    def matrix(self) -> NDArray[np.float64]:
        """The affine as a 4x4 array."""
        return np.array(self.affine).reshape(4, 4)

    def require(self, other: Grid, what: str) -> None:
        """Refuse an image on another grid; nothing is ever resampled without being asked.

        Parameters
        ----------
        other
            The grid that should be this one. A side without a reference is compared by shape and
            affine alone.
        what
            What ``other`` belongs to, for the message.

        Raises
        ------
        GridError
            Naming the first difference.
        """
        if self.shape != other.shape:
            raise GridError(f"{what} has shape {other.shape}, expected {self.shape}")
        if not np.allclose(self.affine, other.affine, atol=1e-3):
            difference = np.abs(np.subtract(self.affine, other.affine)).max()
            raise GridError(
                f"{what} has another affine (entries differ by up to {difference:.3g}); "
                "bring it to the grid of the reference first"
            )
        if self.reference and other.reference and self.reference != other.reference:
            raise GridError(
                f"{what} is aligned with reference {other.reference}, expected {self.reference}; "
                "make it anew from this session's reference"
            )


def identify(data: NDArray[Any], affine: NDArray[Any]) -> str:
    """A short identity of a reference volume: 12 hexadecimal digits over voxels and affine."""
    digest = hashlib.sha256(np.ascontiguousarray(data).tobytes())
    digest.update(np.asarray(affine, dtype=np.float64).tobytes())
    return digest.hexdigest()[:12]
