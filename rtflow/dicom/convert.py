"""DICOM objects to BIDS-incrementals, in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from rtflow.bids.incremental import BidsIncremental
from rtflow.dicom.csa import CSA_MARK, read_csa
from rtflow.dicom.geometry import stack_affine, stack_order
from rtflow.dicom.instance import DicomObject
from rtflow.dicom.mosaic import CSA_FIELDS, mosaic_affine, mosaic_csa, mosaic_times, mosaic_voxels
from rtflow.dicom.read import Header
from rtflow.dicom.sidecar import sidecar
from rtflow.dicom.timing import stack_times
from rtflow.errors import DicomError, VolumeError


def to_incrementals(
    objects: Sequence[DicomObject], volume: int, entities: Mapping[str, str] | None = None
) -> tuple[BidsIncremental, ...]:
    """One volume, echo by echo: stored integers, float32 affine, metadata in BIDS terms.

    Voxels, their order and the affine are those of the file that dcm2niix makes of it.

    Parameters
    ----------
    objects
        What `rtflow.dicom.identify.read_object` gave, in any order; what they hold of other volumes is
        passed over.
    volume
        Number of the volume.
    entities
        BIDS entities by their long names; ``echo`` is added where there are several echoes.

    Raises
    ------
    DicomError
        If the headers lack what is needed, or parts are missing or disagree.
    """
    held: dict[int, list[tuple[DicomObject, int]]] = {}
    for item in objects:
        for piece in item.instance.pieces:
            if piece.volume == volume:
                held.setdefault(piece.echo, []).extend((item, frame) for frame in piece.frames)
    if not held:
        numbers = sorted({item.instance.volume for item in objects})
        there = ", ".join(map(str, numbers)) or "none"
        raise VolumeError(f"volume {volume}: by their headers the parts are of volume {there}")
    several = max(max(item.instance.echoes for item in objects), max(held)) > 1
    return tuple(
        _echo(held[echo], volume, dict(entities or {}) | ({"echo": str(echo)} if several else {}))
        for echo in sorted(held)
    )


def _echo(held: list[tuple[DicomObject, int]], volume: int, entities: dict[str, str]) -> BidsIncremental:
    item = held[0][0]
    instance, header = item.instance, item.header
    if instance.mosaic:
        csa = mosaic_csa(header)
        data, affine = mosaic_voxels(item.planes[0], csa), mosaic_affine(header, csa)
        metadata = sidecar(instance, header, data.shape, mosaic_times(header, csa), csa)
    else:
        headers = [one.header.frame(number) for one, number in held]
        order = stack_order(headers)
        headers = [headers[index] for index in order]
        _complete(headers, instance.slices)
        # Rows from the bottom upwards, in Fortran order, as they lie in a NIfTI file.
        data = np.stack([held[index][0].planes[held[index][1]][::-1] for index in order]).T
        affine = stack_affine(headers)
        raw = headers[0].raw("CsaImage")
        csa = read_csa(raw, CSA_FIELDS) if raw.startswith(CSA_MARK) else {}
        metadata = sidecar(instance, headers[0], data.shape, stack_times(instance, headers), csa)
    if "echo" in entities:
        metadata["EchoNumber"] = int(entities["echo"])
    # An affine in a NIfTI file is of single precision: rounded here, a run replayed from its files is equal.
    return BidsIncremental(
        data, affine.astype(np.float32), volume=volume, metadata=metadata, entities=entities
    )


def _complete(headers: Sequence[Header], slices: int) -> None:
    if slices and len(headers) != slices:
        raise DicomError(f"{len(headers)} of {slices} slices")
