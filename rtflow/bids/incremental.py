"""One volume on its way through the graph: an image with BIDS metadata."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rtflow.bids.entities import bids_name
from rtflow.bids.grid import Grid
from rtflow.errors import VolumeError

if TYPE_CHECKING:
    import nibabel as nib


class BidsIncremental:
    """One volume as an image plus BIDS metadata; never changed, only succeeded by the next one.

    Parameters
    ----------
    data
        Voxels, shape (i, j, k), stored integers or computed floats. Taken by reference and made read-only.
    affine
        4x4, voxel indices to RAS+ millimetres.
    volume
        Number of the volume in the run, from 1.
    metadata
        Sidecar fields in BIDS terms and units (RepetitionTime in seconds, ...).
    entities
        BIDS entities by their long names: subject, session, task, run, ...
    slope, intercept
        What turns stored values into the scanner's units; not applied.
    reference
        Identity of the volume this one is aligned with; empty before motion correction.

    Raises
    ------
    VolumeError
        If the data are not three-dimensional, or the affine is not an invertible 4x4.
    """

    __slots__ = (
        "_grid",
        "affine",
        "data",
        "entities",
        "intercept",
        "metadata",
        "reference",
        "slope",
        "volume",
    )

    def __init__(
        self,
        data: NDArray[Any],
        affine: NDArray[Any],
        *,
        volume: int,
        metadata: Mapping[str, Any] | None = None,
        entities: Mapping[str, str] | None = None,
        slope: float = 1.0,
        intercept: float = 0.0,
        reference: str = "",
    ) -> None:
        affine = np.array(affine, dtype=np.float64)
        if data.ndim != 3:
            raise VolumeError(f"volume {volume}: expected three dimensions, got shape {data.shape}")
        if affine.shape != (4, 4) or not np.isfinite(affine).all() or abs(np.linalg.det(affine)) < 1e-9:
            raise VolumeError(f"volume {volume}: the affine is not an invertible 4x4: {affine.tolist()}")
        data = data.view()
        data.flags.writeable = False
        affine.flags.writeable = False
        self.data: NDArray[Any] = data
        self.affine: NDArray[np.float64] = affine
        self.volume = int(volume)
        self.metadata: Mapping[str, Any] = MappingProxyType(dict(metadata or {}))
        self.entities: Mapping[str, str] = MappingProxyType(dict(entities or {}))
        self.slope = float(slope)
        self.intercept = float(intercept)
        self.reference = reference
        self._grid: Grid | None = None

    @property
    def grid(self) -> Grid:
        """Shape, affine and reference, to compare with a mask's or a model's."""
        if self._grid is None:
            self._grid = Grid.of(self.data.shape, self.affine, self.reference)
        return self._grid

    @property
    def tr(self) -> float:
        """Repetition time in seconds.

        Raises
        ------
        VolumeError
            If the metadata have none.
        """
        try:
            return float(self.metadata["RepetitionTime"])
        except KeyError:
            raise VolumeError(
                f"volume {self.volume} has no RepetitionTime; give it in the settings: [bids] tr = SECONDS"
            ) from None

    @property
    def voxel_size(self) -> tuple[float, float, float]:
        """Millimetres along i, j, k."""
        x, y, z = np.sqrt((self.affine[:3, :3] ** 2).sum(axis=0)).tolist()
        return x, y, z

    @property
    def image(self) -> nib.Nifti1Image:
        """The volume as a NIfTI image: stored values, float32 affine, slope and intercept in the header."""
        import nibabel as nib

        image = nib.Nifti1Image(np.asarray(self.data), self.affine.astype(np.float32))
        image.header.set_xyzt_units("mm", "sec")
        image.header.set_slope_inter(self.slope, self.intercept)
        return image

    def with_data(
        self, data: NDArray[Any], *, reference: str | None = None, **metadata: Any
    ) -> BidsIncremental:
        """The next one: other voxels on the same affine, metadata updated by ``metadata``.

        Parameters
        ----------
        data
            Voxels, shape (i, j, k).
        reference
            Identity of the volume that the new data are aligned with; None leaves it as it is.
        """
        return BidsIncremental(
            data,
            self.affine,
            volume=self.volume,
            metadata={**self.metadata, **metadata},
            entities=self.entities,
            slope=self.slope,
            intercept=self.intercept,
            reference=self.reference if reference is None else reference,
        )

    def on_affine(self, data: NDArray[Any], affine: NDArray[Any], *, reference: str) -> BidsIncremental:
        """The next one, resampled to another grid (that of the volume ``reference``)."""
        return BidsIncremental(
            data,
            affine,
            volume=self.volume,
            metadata=self.metadata,
            entities=self.entities,
            slope=self.slope,
            intercept=self.intercept,
            reference=reference,
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (
            self.data,
            np.asarray(self.affine),
            {
                "volume": self.volume,
                "metadata": dict(self.metadata),
                "entities": dict(self.entities),
                "slope": self.slope,
                "intercept": self.intercept,
                "reference": self.reference,
            },
        )

    def __deepcopy__(self, memo: dict[int, Any]) -> BidsIncremental:
        return self

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, BidsIncremental):
            return NotImplemented
        return (
            self.volume == other.volume
            and self.grid == other.grid
            and self.data.dtype == other.data.dtype
            and np.array_equal(self.data, other.data)
            and (self.slope, self.intercept) == (other.slope, other.intercept)
            and dict(self.metadata) == dict(other.metadata)
            and dict(self.entities) == dict(other.entities)
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        name = bids_name(self.entities)
        return f"BidsIncremental({name} volume {self.volume}, shape {self.data.shape}, {self.data.dtype})"


def _restore(data: NDArray[Any], affine: NDArray[Any], rest: dict[str, Any]) -> BidsIncremental:
    return BidsIncremental(data, affine, **rest)
