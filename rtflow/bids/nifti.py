"""Volumes that are NIfTI already: as bytes with a JSON sidecar, or as images with metadata."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rtflow.bids.fields import checked
from rtflow.bids.incremental import BidsIncremental
from rtflow.bids.seconds import warn_of
from rtflow.errors import UsageError, VolumeError

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Image
    from nibabel.spatialimages import SpatialImage


def read_nifti(
    image: bytes,
    sidecar: bytes = b"",
    *,
    volume: int,
    entities: Mapping[str, str] | None = None,
) -> BidsIncremental:
    """One volume from the bytes of its files.

    Parameters
    ----------
    image
        A NIfTI-1 or NIfTI-2 file of one volume, gzipped or not.
    sidecar
        A JSON object of metadata; may be empty.
    volume
        Number of the volume in the run, from 1.
    entities
        BIDS entities by their long names.

    Returns
    -------
    BidsIncremental
        The stored values in native byte order and Fortran order, as from DICOM, with slope and intercept
        beside them.

    Raises
    ------
    VolumeError
        If either cannot be read, or the image has more than one volume.
    """
    import nibabel as nib
    from nibabel.filebasedimages import ImageFileError
    from nibabel.spatialimages import HeaderDataError, HeaderTypeError
    from nibabel.wrapstruct import WrapStructError

    try:
        raw = gzip.decompress(image) if image[:2] == b"\x1f\x8b" else image
        kind = nib.Nifti2Image if raw[:4] in (b"\x1c\x02\0\0", b"\0\0\x02\x1c") else nib.Nifti1Image
        nifti = kind.from_bytes(raw)
        return _incremental(nifti, volume, _metadata(sidecar, volume), entities)
    except (
        *(ImageFileError, HeaderDataError, HeaderTypeError, WrapStructError),
        *(OSError, EOFError, ValueError, zlib.error),
    ) as error:
        raise VolumeError(f"volume {volume}: the NIfTI image cannot be read ({error})") from None


def from_image(
    image: SpatialImage | Path | str,
    metadata: Mapping[str, Any] | None = None,
    *,
    volume: int = 1,
    entities: Mapping[str, Any] | None = None,
    suffix: str = "",
) -> BidsIncremental:
    """One volume of an image, with metadata that are checked.

    Parameters
    ----------
    image
        A NIfTI image of one volume, or its file.
    metadata
        Sidecar fields in BIDS terms. Entities by their long names, and ``suffix``, may stand among them.
    volume
        Number of the volume in the run, from 1.
    entities
        BIDS entities by their long names. They go before those among the metadata, and these before what
        the protocol's name says (``ProtocolName``, else ``SeriesDescription``).
    suffix
        ``bold``, ``sbref``, ...; empty: as the metadata or the protocol's name say, else ``bold``.

    Returns
    -------
    BidsIncremental
        The stored values, as from `read_nifti`. A repetition time that is in the header alone becomes a
        field.

    Raises
    ------
    UsageError
        If subject, task or RepetitionTime are missing, an entity cannot stand in a BIDS name, or there is no
        such file.
    VolumeError
        If the image has more than one volume, or its voxels cannot be read, or a time is no time, or may be
        meant in either unit.

    Warns
    -----
    UnitsWarning
        If a time was in milliseconds without a doubt; it is put right.
    """
    import nibabel as nib
    from nibabel.filebasedimages import ImageFileError

    nifti: Any = image
    if isinstance(image, (str, Path)):
        try:
            nifti = nib.load(image)
        except (OSError, ImageFileError) as error:
            raise UsageError(f"{image} cannot be read as a NIfTI image: {error}") from None
    given = dict(metadata or {})
    if given.get("RepetitionTime") is None and (tr := _header_tr(nifti)):
        given["RepetitionTime"] = tr
    fields, changes = checked(given, entities or {}, suffix, f"volume {volume}")
    warn_of(changes)
    try:
        return _incremental(nifti, volume, **fields)
    except (OSError, EOFError, ValueError, zlib.error) as error:  # voxels are read only now
        raise VolumeError(f"volume {volume}: the NIfTI image cannot be read ({error})") from None


def to_image(one: BidsIncremental) -> Nifti1Image:
    """As `BidsIncremental.image`."""
    import nibabel as nib
    from nibabel.spatialimages import HeaderDataError

    data = np.asarray(one.data)
    if data.dtype == np.bool_:
        data = data.view(np.uint8)
    try:
        image = nib.Nifti1Image(data, one.affine.astype(np.float32))
    except (HeaderDataError, ValueError) as error:
        raise VolumeError(f"volume {one.volume} is no NIfTI image: {error}") from None
    image.header.set_xyzt_units("mm", "sec")
    image.header.set_slope_inter(one.slope, one.intercept)
    return image


def _header_tr(image: Any) -> float:
    """Seconds from volume to volume, where header and unit say it; else 0."""
    zooms = image.header.get_zooms()
    unit = {"sec": 1.0, "msec": 1e-3, "usec": 1e-6}.get(image.header.get_xyzt_units()[1], 0.0)
    return float(f"{float(zooms[3]) * unit:.7g}") if len(zooms) > 3 else 0.0


def _incremental(
    nifti: Any,
    volume: int,
    metadata: Mapping[str, Any],
    entities: Mapping[str, str] | None,
    suffix: str = "bold",
) -> BidsIncremental:
    proxy = nifti.dataobj
    stored = proxy.get_unscaled() if hasattr(proxy, "get_unscaled") else np.asarray(proxy)
    if stored.ndim > 3 and stored.size != np.prod(stored.shape[:3]):
        raise VolumeError(f"volume {volume}: expected an image of one volume, got shape {stored.shape}")
    data = np.asfortranarray(stored.reshape(stored.shape[:3], order="F"))
    return BidsIncremental(
        data.astype(data.dtype.newbyteorder("="), copy=False),
        nifti.affine,
        volume=volume,
        metadata=metadata,
        entities=entities,
        slope=float(getattr(proxy, "slope", 1.0)),
        intercept=float(getattr(proxy, "inter", 0.0)),
        suffix=suffix,
    )


def _metadata(sidecar: bytes, volume: int) -> dict[str, Any]:
    if not sidecar:
        return {}
    try:
        metadata = json.loads(sidecar)
    except ValueError as error:
        raise VolumeError(f"volume {volume}: the JSON sidecar cannot be read ({error})") from None
    if not isinstance(metadata, dict):
        raise VolumeError(f"volume {volume}: the JSON sidecar should be an object, got {sidecar[:40]!r}")
    return metadata
