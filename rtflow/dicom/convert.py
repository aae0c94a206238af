"""DICOM objects to BIDS-incrementals, in memory."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from rtflow.bids.incremental import BidsIncremental
from rtflow.dicom.identify import DicomObject
from rtflow.dicom.mosaic import mosaic_affine, mosaic_csa, mosaic_voxels
from rtflow.dicom.sidecar import siemens_sidecar


def to_incremental(item: DicomObject, entities: Mapping[str, str] | None = None) -> BidsIncremental:
    """The volume in a DICOM object: stored integers, float32 affine, metadata in BIDS terms.

    Voxels, their order and the affine are those of the file that dcm2niix makes of it.

    Parameters
    ----------
    item
        What `rtflow.dicom.identify.read_object` gave.
    entities
        BIDS entities by their long names; ``echo`` is added for an echo after the first.

    Raises
    ------
    DicomError
        If the header lacks what is needed, or its parts disagree.
    """
    header, series = item.header, item.instance.series
    csa = mosaic_csa(header)
    data = mosaic_voxels(header, csa)
    # An affine in a NIfTI file is of single precision: rounded here, a run replayed from its files is equal.
    affine = mosaic_affine(header, csa).astype(np.float32)
    names = dict(entities or {})
    if series.echo > 1:
        names.setdefault("echo", str(series.echo))
    return BidsIncremental(
        data,
        affine,
        volume=item.instance.volume,
        metadata=siemens_sidecar(header, csa, data.shape),
        entities=names,
    )
