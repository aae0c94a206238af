"""Volumes that are BIDS already: NIfTI bytes and a JSON sidecar, to and from nothing but memory."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from rtflow.bids.incremental import BidsIncremental
from rtflow.errors import VolumeError


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
        proxy: Any = nifti.dataobj
        stored = proxy.get_unscaled()
    except (
        *(ImageFileError, HeaderDataError, HeaderTypeError, WrapStructError),
        *(OSError, EOFError, ValueError, zlib.error),
    ) as error:
        raise VolumeError(f"volume {volume}: the NIfTI image cannot be read ({error})") from None
    if stored.ndim > 3 and stored.size != np.prod(stored.shape[:3]):
        raise VolumeError(f"volume {volume}: expected an image of one volume, got shape {stored.shape}")
    data = np.asfortranarray(stored.reshape(stored.shape[:3], order="F"))
    return BidsIncremental(
        data.astype(data.dtype.newbyteorder("="), copy=False),
        nifti.affine,
        volume=volume,
        metadata=_metadata(sidecar, volume),
        entities=entities,
        slope=float(proxy.slope),
        intercept=float(proxy.inter),
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
