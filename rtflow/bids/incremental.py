"""One volume on its way through the graph: an image with BIDS metadata."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from functools import partial
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from rtflow.bids import clock, fields
from rtflow.bids.entities import bids_name, file_name, relative_path
from rtflow.bids.grid import Grid
from rtflow.bids.names import SUFFIXES
from rtflow.bids.seconds import warn_of
from rtflow.errors import VolumeError

if TYPE_CHECKING:
    import nibabel as nib


class BidsIncremental:
    """One volume as an image plus BIDS metadata; never changed, only succeeded by the next one.

    Metadata and entities are taken as they are given, since this is called several times for each volume;
    `checked` looks at them.

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
    suffix
        What kind of image it is, in BIDS terms: ``bold``, ``sbref``, ...

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
        "suffix",
        "volume",
    )
    _dimensions: ClassVar[int] = 3

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
        suffix: str = "bold",
    ) -> None:
        affine = np.array(affine, dtype=np.float64)
        if data.ndim != self._dimensions:
            raise VolumeError(
                f"volume {volume}: expected {self._dimensions} dimensions, got shape {data.shape}"
            )
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
        self.suffix = suffix
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
        except (KeyError, TypeError, ValueError):
            raise VolumeError(
                f"volume {self.volume} has no RepetitionTime; give it in the settings: [bids] tr = SECONDS"
            ) from None

    @property
    def voxel_size(self) -> tuple[float, float, float]:
        """Millimetres along i, j, k."""
        x, y, z = np.sqrt((self.affine[:3, :3] ** 2).sum(axis=0)).tolist()
        return x, y, z

    @property
    def acquired(self) -> datetime.time:
        """When the scanner began to acquire it, by the scanner's clock.

        Raises
        ------
        VolumeError
            If the metadata do not say it.
        """
        return clock.acquisition_time(self.metadata)

    def time_to_next_tr(self, clock_skew: float = 0.0, now: datetime.time | None = None) -> float:
        """Seconds until the scanner begins with its next volume, at most one TR.

        Parameters
        ----------
        clock_skew
            Seconds that the scanner's clock is ahead of this machine's.
        now
            Time of day on this machine; by default the present.

        Raises
        ------
        VolumeError
            If the metadata lack the acquisition time or the repetition time.
        """
        now = datetime.datetime.now().time() if now is None else now
        return clock.time_to_next(self.acquired, self.tr, now, clock_skew)

    @property
    def image(self) -> nib.Nifti1Image:
        """The volume as a NIfTI image: stored values, float32 affine, slope and intercept in the header.

        Booleans become 0 and 1.

        Raises
        ------
        VolumeError
            If NIfTI images have no such voxels: integers of 64 bits, say.
        """
        from rtflow.bids.nifti import to_image

        return to_image(self)

    @property
    def datatype(self) -> str:
        """The folder of BIDS that such images lie in: ``func``, ``anat``, ``fmap``."""
        return SUFFIXES.get(self.suffix, "func")

    def file_name(self, extension: str = ".nii") -> str:
        """The name of its file, by its entities; a UsageError if one cannot stand in a name."""
        return file_name(self.entities, self.suffix, extension)

    def path(self, extension: str = ".nii") -> PurePosixPath:
        """Where its file lies from the root of a data set; ``.parent`` is the folder.

        Raises
        ------
        UsageError
            If there is no subject, or an entity cannot stand in a name.
        """
        return relative_path(self.entities, self.datatype, self.suffix, extension)

    @property
    def events_path(self) -> PurePosixPath:
        """Where the events of its run lie: those of all echoes and parts are the same.

        Raises
        ------
        UsageError
            If there is no subject, or an entity cannot stand in a name.
        """
        of_run = {name: label for name, label in self.entities.items() if name not in fields.OF_ONE_IMAGE}
        return relative_path(of_run, "func", "events", ".tsv")

    def checked(self) -> Self:
        """The next one, with entities that the protocol's name says, and times in seconds.

        Raises
        ------
        UsageError
            If something is missing that BIDS wants, or an entity cannot stand in a name.
        VolumeError
            If a time is no time, or may be meant in seconds or in milliseconds.

        Warns
        -----
        UnitsWarning
            If a time was in milliseconds without a doubt; it is put right.
        """
        changes, told = fields.checked(self.metadata, self.entities, self.suffix, f"volume {self.volume}")
        warn_of(told)
        return self._next(self.data, self.affine, **changes)

    def get(self, field: str, default: Any = fields.ABSENT, *, strict: bool = False) -> Any:
        """The value of a field.

        Parameters
        ----------
        field
            An entity's long name, ``suffix``, ``datatype``, or the name of a sidecar field.
        default
            What is returned if there is no such field.
        strict
            Whether entities alone may be asked for.

        Raises
        ------
        UsageError
            If there is no such field and no default, or with ``strict`` if it is no entity.
        """
        return fields.get(self, field, default, strict=strict)

    def set(self, field: str, value: Any, *, strict: bool = False) -> Self:
        """The next one, with another value of a field; this one stays as it is.

        Parameters
        ----------
        field
            As for `get`, without ``datatype``: that is the suffix's.
        value
            The new value; times in seconds, and treated as `checked` does. Indices may be numbers.
        strict
            Whether entities alone may be set.

        Raises
        ------
        UsageError
            If the value cannot stand in a BIDS name, or with ``strict`` if the field is no entity.
        VolumeError
            If a time is no time, or may be meant in seconds or in milliseconds.
        """
        return self._next(self.data, self.affine, **fields.with_field(self, field, value, strict=strict))

    def remove(self, field: str, *, strict: bool = False) -> Self:
        """The next one, without a field; this one stays as it is.

        Raises
        ------
        UsageError
            If there is no such field, if BIDS requires it, or with ``strict`` if it is no entity.
        """
        return self._next(self.data, self.affine, **fields.without_field(self, field, strict=strict))

    def write(self, root: Path | str, *, only_data: bool = False) -> Path:
        """Write it as a data set of one volume, as `rtflow.bids.one_volume.write_dataset`; its image."""
        from rtflow.bids.one_volume import write_dataset

        return write_dataset([self], Path(root), only_data=only_data)[0]

    def with_data(self, data: NDArray[Any], *, reference: str | None = None, **metadata: Any) -> Self:
        """The next one: other voxels on the same affine, metadata updated by ``metadata``.

        Parameters
        ----------
        data
            Voxels, shape (i, j, k).
        reference
            Identity of the volume that the new data are aligned with; None leaves it as it is.
        """
        return self._next(
            data,
            self.affine,
            metadata={**self.metadata, **metadata},
            reference=self.reference if reference is None else reference,
        )

    def on_affine(self, data: NDArray[Any], affine: NDArray[Any], *, reference: str) -> Self:
        """The next one, resampled to another grid (that of the volume ``reference``)."""
        return self._next(data, affine, reference=reference)

    def _rest(self) -> dict[str, Any]:
        """What it is made of, except data and affine."""
        return {
            "volume": self.volume,
            "metadata": self.metadata,
            "entities": self.entities,
            "slope": self.slope,
            "intercept": self.intercept,
            "reference": self.reference,
            "suffix": self.suffix,
        }

    def _next(self, data: NDArray[Any], affine: NDArray[Any], **changes: Any) -> Self:
        return type(self)(data, affine, **{**self._rest(), **changes})

    def __reduce__(self) -> tuple[Any, ...]:
        rest = {**self._rest(), "metadata": dict(self.metadata), "entities": dict(self.entities)}
        return partial(type(self), **rest), (self.data, np.asarray(self.affine))

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        assert isinstance(other, BidsIncremental)
        return (
            self.volume == other.volume
            and self.suffix == other.suffix
            and self.grid == other.grid
            and self.data.dtype == other.data.dtype
            and np.array_equal(self.data, other.data, equal_nan=self.data.dtype.kind in "fc")
            and (self.slope, self.intercept) == (other.slope, other.intercept)
            and fields.same(self.metadata, other.metadata)
            and dict(self.entities) == dict(other.entities)
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        name = "_".join(filter(None, (bids_name(self.entities), self.suffix)))
        return (
            f"{type(self).__name__}({name} volume {self.volume}, shape {self.data.shape}, {self.data.dtype})"
        )
