"""Which voxels of a map are taken for a region, and where they stand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from rtflow.bids.masked import Mask
from rtflow.errors import GridError


@dataclass(frozen=True, eq=False)
class Selection:
    """Voxels that were selected.

    Parameters
    ----------
    data
        Booleans, shape (i, j, k).
    lowest, highest
        Smallest and largest value of the map within, not-a-number if there are none.
    clusters
        How many connected pieces they form.
    above
        How many voxels there were before small pieces were left out.
    """

    data: NDArray[np.bool_]
    lowest: float
    highest: float
    clusters: int
    above: int

    @property
    def voxels(self) -> int:
        """How many there are."""
        return int(np.count_nonzero(self.data))


def select(
    values: NDArray[Any],
    *,
    best: int = 0,
    threshold: float = 0.0,
    cluster: int = 1,
    within: NDArray[np.bool_] | None = None,
) -> Selection:
    """The best voxels of a map, those above a threshold, or the best of those.

    Parameters
    ----------
    values
        Map, shape (i, j, k); 0 or not-a-number where nothing is known. Only values above 0 are ever
        selected: turn the contrast round for the others.
    best
        So many, with the largest values; of equal ones, the first in C order. 0 takes all.
    threshold
        The value that they reach at least.
    cluster
        Pieces of fewer voxels are left out; voxels are connected that share a face (NN1 of AFNI). This comes
        last, so that fewer than ``best`` may be left.
    within
        Booleans, shape (i, j, k): where to look; everywhere by default.

    Examples
    --------
    >>> line = np.array([0.0, 3.0, 4.0, 1.0, 5.0, 0.0]).reshape(6, 1, 1)
    >>> select(line, best=3).data.ravel().astype(int).tolist()
    [0, 1, 1, 0, 1, 0]
    >>> select(line, threshold=2.0, cluster=2).data.ravel().astype(int).tolist()
    [0, 1, 1, 0, 0, 0]
    """
    known = np.where(np.isfinite(values), values, 0.0)
    chosen = (known > 0) & (known >= threshold)
    if within is not None:
        chosen &= within
    if best:
        order = np.argsort(-known[chosen], kind="stable")
        places = np.flatnonzero(chosen.ravel())[order[:best]]
        chosen = np.zeros(known.shape, dtype=bool)
        chosen.ravel()[places] = True
    above = int(np.count_nonzero(chosen))
    pieces, count = ndimage.label(chosen)
    if cluster > 1:
        sizes = np.bincount(pieces.ravel(), minlength=count + 1)
        large = sizes >= cluster
        large[0] = False
        chosen, count = large[pieces], int(np.count_nonzero(large))
    found = known[chosen]
    lowest, highest = (float(found.min()), float(found.max())) if found.size else (np.nan, np.nan)
    return Selection(chosen, lowest, highest, count, above)


def positions(region: Mask, mask: Mask) -> NDArray[np.intp]:
    """Where the voxels of a region stand among those of a mask.

    Raises
    ------
    GridError
        If the grids differ, or a voxel of the region is not in the mask.
    """
    mask.grid.require(region.grid, "the region")
    found = np.searchsorted(mask.indices, region.indices)
    inside = found < mask.indices.size
    inside[inside] = mask.indices[found[inside]] == region.indices[inside]
    if not inside.all():
        raise GridError(
            f"{np.count_nonzero(~inside)} of the region's {inside.size} voxels are not within the mask of "
            "the features; give a region that lies within it"
        )
    return found


def millilitres(mask: Mask) -> float:
    """Volume of a voxel of a mask, ml."""
    return abs(float(np.linalg.det(mask.grid.matrix()[:3, :3]))) / 1000.0
