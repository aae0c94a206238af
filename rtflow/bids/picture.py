"""Images of a run as a browser takes them: a byte for each voxel, axes as close to the body's as can be."""

from __future__ import annotations

import gzip
import math
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation
from numpy.typing import NDArray

from rtflow.bids.incremental import BidsIncremental
from rtflow.bids.masked import Features, Mask
from rtflow.server.images import Kind, Picture

_DARKEST, _BRIGHTEST = 1.0, 99.5
"""Percentiles of the voxels of a volume that are shown black and white."""

_STRONGEST = 99.9
"""Percentile of a map's magnitudes that its colours reach to."""


class Drawn:
    """An output of a node that can be drawn.

    Parameters
    ----------
    kind
        ``volume``, ``mask``, or ``map`` for values on both sides of zero.
    data
        Shape (i, j, k).
    affine
        4x4, voxel indices to RAS+ millimetres.
    slope, intercept
        What turns ``data`` into values.
    file
        What its file is made of, if that is not ``data``.
    """

    def __init__(
        self,
        kind: Kind,
        data: NDArray[Any],
        affine: NDArray[Any],
        *,
        slope: float = 1.0,
        intercept: float = 0.0,
        file: BidsIncremental | None = None,
    ) -> None:
        self.kind = kind
        self._data, self._affine = data, affine
        self._slope, self._intercept = slope, intercept
        self._file = file

    @cached_property
    def _orientation(self) -> NDArray[Any]:
        return np.asarray(io_orientation(self._affine))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along the axes of the picture."""
        lengths = [0, 0, 0]
        for axis, to in enumerate(self._orientation[:, 0]):
            lengths[int(to)] = self._data.shape[axis]
        i, j, k = lengths
        return i, j, k

    def window(self, before: tuple[float, float] | None) -> tuple[float, float]:
        """Values of the voxels 0 and 255.

        For a volume, the 1st and the 99.5th percentile of the first one that was drawn in the run: brightness
        does not flicker. For a map, -m and +m, where m is the 99.9th percentile of the magnitudes that are
        not zero, rounded up to 1, 2 or 5 times a power of ten; it grows with the maps of the run and never
        shrinks.

        Parameters
        ----------
        before
            The window that the same output had before, if it was drawn before.
        """
        if self.kind == "mask":
            return 0.0, 1.0
        if self.kind == "volume" and before is not None:
            return before
        values = self._values
        values = values[np.isfinite(values)]
        if self.kind == "map":
            magnitudes = np.abs(values[values != 0])
            most = _round_up(float(np.percentile(magnitudes, _STRONGEST))) if magnitudes.size else 1.0
            most = max(most, before[1]) if before is not None and magnitudes.size else most
            return -most, most
        if not values.size:
            return 0.0, 1.0
        low, high = (float(one) for one in np.percentile(values, (_DARKEST, _BRIGHTEST)))
        return (low, high) if high > low else (low, low + 1.0)

    def picture(self, window: tuple[float, float]) -> Picture:
        """The image within a window, in closest canonical orientation (RAS+).

        Volumes go linearly from 0 to 255, masks have 0 and 255. Of a map, zero is 128, and so is what is no
        number; negative values go linearly down to 0, positive ones up to 255.

        Parameters
        ----------
        window
            Values of the voxels 0 and 255; what lies beyond is drawn as these.
        """
        low, high = window
        values = self._values
        if self.kind == "map":
            scaled = np.nan_to_num(values / high, nan=0.0, posinf=1.0, neginf=-1.0)
            levels = 128 + scaled * np.where(scaled > 0, 127, 128)
        else:
            filled = np.nan_to_num(values, nan=low, posinf=high, neginf=low)
            levels = (filled - low) * (255 / (high - low))
        levels = np.clip(np.rint(levels), 0, 255).astype(np.uint8)
        turned = apply_orientation(levels, self._orientation)
        affine = self._affine @ inv_ornt_aff(self._orientation, levels.shape)
        return Picture(
            shape=self.shape, affine=affine.tolist(), window=window, voxels=turned.tobytes(order="F")
        )

    def nifti(self) -> bytes:
        """The image itself, as its node gave it: a NIfTI file compressed by gzip.

        Raises
        ------
        VolumeError
            If NIfTI has no such voxels.
        """
        file = self._file or BidsIncremental(self._data, self._affine, volume=1)
        return gzip.compress(file.image.to_bytes(), 1, mtime=0)

    @property
    def _values(self) -> NDArray[np.float32]:
        data = self._data.astype(np.float32)
        if (self._slope, self._intercept) != (1.0, 0.0):
            data = data * np.float32(self._slope) + np.float32(self._intercept)
        return data


def picture(value: Any) -> Drawn | None:
    """What can be drawn of an output of a node.

    Parameters
    ----------
    value
        A BidsIncremental, a Mask, or Features: values within a mask, a statistic map for instance.

    Returns
    -------
    Drawn or None
        None if it is nothing of these.
    """
    if isinstance(value, BidsIncremental):
        if value.data.dtype.kind not in "biuf" or not value.data.size or value.data.ndim != 3:
            return None
        scaling = {"slope": value.slope, "intercept": value.intercept}
        return Drawn("volume", value.data, value.affine, file=value, **scaling)
    if isinstance(value, Mask):
        return Drawn("mask", value.data.astype(np.uint8), value.grid.matrix())
    if isinstance(value, Features) and value.values.ndim == 1 and value.values.dtype.kind in "biuf":
        data = np.zeros(value.mask.grid.shape, np.float32)
        data.reshape(-1)[value.mask.indices] = value.values
        return Drawn("map", data, value.mask.grid.matrix())
    return None


def pictures(name: str, value: Any) -> Iterator[tuple[str, Drawn]]:
    """What can be drawn of an output, by name: of several in one, ``NAME.1``, ``NAME.2`` (echoes).

    Parameters
    ----------
    name, value
        The output of a node.
    """
    several = isinstance(value, tuple | list)
    for number, one in enumerate(value if several else (value,), 1):
        drawn = picture(one)
        if drawn is None:
            return  # of other lists not every element is looked at
        yield (f"{name}.{number}" if several else name), drawn


def _round_up(value: float) -> float:
    """The next of 1, 2, 5, 10, 20, ...

    >>> _round_up(3.2), _round_up(0.07), _round_up(200.0)
    (5.0, 0.1, 200.0)
    """
    ten = 10.0 ** math.floor(math.log10(value))
    return next((step * ten for step in (1, 2, 5) if step * ten >= value * (1 - 1e-9)), 10 * ten)
