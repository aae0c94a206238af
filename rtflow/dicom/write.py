"""Volumes to DICOM files as a Siemens scanner writes them: one mosaic a volume, with its CSA header."""

from __future__ import annotations

import datetime
import io
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

_TAG = struct.Struct("<64si4siii")
_ITEM = struct.Struct("<4i")


@dataclass(frozen=True)
class MosaicSeries:
    """What the volumes of a series share.

    Parameters
    ----------
    affine
        4x4, voxel indices (of arrays as NIfTI files hold them) to RAS+ millimetres; columns at right
        angles.
    tr
        Repetition time, seconds.
    echo_time
        Seconds.
    flip_angle
        Degrees.
    slice_times
        Seconds from the first slice, one per slice; empty for none.
    number
        SeriesNumber.
    name
        SeriesDescription and ProtocolName.
    echo
        Number of the echo, from 1.
    planned
        Number of volumes that the protocol asks for; None leaves the protocol away.
    began
        When volume 1 was acquired, by the scanner's clock.
    reversed_slices
        Whether the protocol numbers the slices backwards.
    phase_encoding
        ``i``, ``i-``, ``j`` or ``j-``.
    uid
        Stem of all unique identifiers.
    """

    affine: NDArray[Any]
    tr: float = 2.0
    echo_time: float = 0.03
    flip_angle: float = 77.0
    slice_times: Sequence[float] = ()
    number: int = 5
    name: str = "func_task-feedback"
    echo: int = 1
    planned: int | None = None
    began: datetime.datetime = field(default_factory=lambda: datetime.datetime(2024, 5, 17, 10, 30))
    reversed_slices: bool = False
    phase_encoding: str = "j-"
    uid: str = "1.2.826.0.1.3680043.8.498.5"


def write_mosaic(series: MosaicSeries, data: NDArray[Any], volume: int) -> bytes:
    """One volume as a DICOM file.

    Parameters
    ----------
    series
        What it shares with the others.
    data
        Stored values, shape (i, j, k), of 16 bits, as `rtflow.dicom.mosaic.mosaic_voxels` gives them: with
        as many as 12 bits if signed, with all 16 if unsigned.
    volume
        Number of the volume, from 1.
    """
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import UID, ExplicitVRLittleEndian, MRImageStorage

    width, height, slices = data.shape
    across = math.ceil(math.sqrt(slices))
    stack = data.T[:, ::-1]
    affine = np.array(series.affine, dtype=float)
    affine[:2] *= -1  # to DICOM's axes: left, back, up
    step_i, step_j, step_k, corner = affine[:3].T
    if series.reversed_slices:
        stack, corner, step_k = stack[::-1], corner + step_k * (slices - 1), -step_k
    # Back to rows from the top, and from the first tile's corner to that of the whole mosaic.
    corner, step_j = corner + step_j * (height - 1), -step_j
    corner = corner - (step_i * width + step_j * height) * (across - 1) / 2
    tiles = np.zeros((across * across, height, width), data.dtype)
    tiles[:slices] = stack
    image = tiles.reshape(across, across, height, width).transpose(0, 2, 1, 3)
    size_i, size_j, size_k = (float(np.linalg.norm(step)) for step in (step_i, step_j, step_k))

    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = MRImageStorage
    meta.MediaStorageSOPInstanceUID = UID(f"{series.uid}.{series.number}.{series.echo}.{volume}")
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    acquired = series.began + datetime.timedelta(seconds=(volume - 1) * series.tr)
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]
    dataset.SOPClassUID = MRImageStorage
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    dataset.StudyDate = dataset.SeriesDate = dataset.AcquisitionDate = dataset.ContentDate = (
        acquired.strftime("%Y%m%d")
    )
    dataset.StudyTime = dataset.SeriesTime = series.began.strftime("%H%M%S.%f")
    dataset.AcquisitionTime = dataset.ContentTime = acquired.strftime("%H%M%S.%f")
    dataset.Modality = "MR"
    dataset.Manufacturer = "SIEMENS"
    dataset.ManufacturerModelName = "Prisma"
    dataset.SoftwareVersions = "syngo MR E11"
    dataset.SeriesDescription = dataset.ProtocolName = series.name
    dataset.PatientName = dataset.PatientID = "simulated"
    dataset.ScanningSequence = "EP"
    dataset.SequenceVariant = "SK"
    dataset.ScanOptions = "FS"
    dataset.MRAcquisitionType = "2D"
    dataset.SequenceName = f"*epfid2d1_{width}"
    dataset.SliceThickness = _decimal(size_k)
    dataset.RepetitionTime = _decimal(series.tr * 1000)
    dataset.EchoTime = _decimal(series.echo_time * 1000)
    dataset.EchoNumbers = series.echo
    dataset.MagneticFieldStrength = "3"
    dataset.SpacingBetweenSlices = _decimal(size_k)
    dataset.AcquisitionMatrix = [width, 0, 0, height]
    dataset.InPlanePhaseEncodingDirection = "COL" if series.phase_encoding[0] == "j" else "ROW"
    dataset.FlipAngle = _decimal(series.flip_angle)
    dataset.PatientPosition = "HFS"
    dataset.StudyInstanceUID = series.uid
    dataset.SeriesInstanceUID = f"{series.uid}.{series.number}"
    dataset.StudyID = "1"
    dataset.SeriesNumber = series.number
    dataset.AcquisitionNumber = dataset.InstanceNumber = volume
    dataset.ImagePositionPatient = [_decimal(x) for x in corner]
    dataset.ImageOrientationPatient = [_decimal(x) for x in (*(step_i / size_i), *(step_j / size_j))]
    dataset.FrameOfReferenceUID = f"{series.uid}.0"
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = across * height, across * width
    dataset.PixelSpacing = [_decimal(size_j), _decimal(size_i)]
    bits = 12 if data.dtype.kind == "i" else 16
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, bits, bits - 1
    dataset.PixelRepresentation = 0
    positive = series.phase_encoding in ("i", "j-")
    times = [1000 * time for time in series.slice_times]
    fields: dict[str, list[str]] = {
        "NumberOfImagesInMosaic": [str(slices)],
        "ProtocolSliceNumber": [str(slices - 1 if series.reversed_slices else 0)],
        "PhaseEncodingDirectionPositive": [str(int(positive))],
        "SliceNormalVector": [f"{x:.8f}" for x in step_k / size_k],
        "BandwidthPerPixelPhaseEncode": ["25.0"],
        "MosaicRefAcqTimes": [f"{t:.8f}" for t in (times[::-1] if series.reversed_slices else times)],
    }
    block = dataset.private_block(0x29, "SIEMENS CSA HEADER", create=True)
    block.add_new(0x10, "OB", write_csa(fields))
    if series.planned is not None:
        protocol = f"### ASCCONV BEGIN ###\nlRepetitions\t = \t{series.planned - 1}\n### ASCCONV END ###"
        block.add_new(0x20, "OB", write_csa({"MrPhoenixProtocol": [protocol]}))
    dataset.PixelData = np.ascontiguousarray(image).astype("<u2").tobytes()
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def write_csa(fields: Mapping[str, Sequence[str]]) -> bytes:
    """A CSA header of version 2 with these fields; `rtflow.dicom.csa.read_csa` reads it back.

    >>> from rtflow.dicom.csa import read_csa
    >>> read_csa(write_csa({"A": ["1", "2"], "B": []}), {"A", "B"})
    {'A': ['1', '2']}
    """
    pieces = [b"SV10\4\3\2\1", struct.pack("<2i", len(fields), 77)]
    for name, values in fields.items():
        # Scanners write six items for every field, with the values first.
        items = max(6, len(values))
        pieces.append(_TAG.pack(name.encode("ascii"), len(values), b"FD\0\0", 4, items, 77))
        for number in range(items):
            value = values[number].encode("latin-1") + b"\0" if number < len(values) else b""
            pieces.append(_ITEM.pack(len(value), len(value), 77, len(value)))
            pieces.append(value + b"\0" * (-len(value) % 4))
    joined = b"".join(pieces)
    return joined + b"\0" * (len(joined) % 2)


def _decimal(value: float) -> str:
    """A number as a DICOM decimal string, which has room for 16 characters."""
    text = f"{value:.10g}"
    return text if len(text) <= 16 else f"{value:.8g}"
