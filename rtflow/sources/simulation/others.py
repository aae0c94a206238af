"""What comes beside functional images: localizers, physiology, reports, and files that are no DICOM."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtflow.dicom.writing import ScanSeries, Written
from rtflow.dicom.writing.encoding import Elements, dicom_file, public

MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4"
RAW_DATA = "1.2.840.10008.5.1.4.1.1.66"
ENHANCED_REPORT = "1.2.840.10008.5.1.4.1.1.88.22"

_MAKERS = {"siemens": "SIEMENS", "ge": "GE MEDICAL SYSTEMS", "philips": "Philips Medical Systems"}
# Rows and columns of the three images, to the patient's left, back and head.
_PLANES = ((1, 0, 0, 0, 1, 0), (0, 1, 0, 0, 0, -1), (1, 0, 0, 0, 0, -1))
_SIZE, _PIXEL = 64, 4.0


def localizer(vendor: str, series: ScanSeries) -> list[Written]:
    """Three images at right angles, by a gradient echo: of a ball, for want of anything better to see."""
    axis = np.arange(_SIZE) - (_SIZE - 1) / 2
    ball: NDArray[Any] = np.where(axis[:, None] ** 2 + axis**2 < 22**2, 800, 12).astype("<u2")
    files = []
    for number, plane in enumerate(_PLANES, start=1):
        across, down = np.array(plane[:3]), np.array(plane[3:])
        corner = -_PIXEL * (_SIZE - 1) / 2 * (across + down)
        image = public(
            ImageType=["ORIGINAL", "PRIMARY", "M", "NORM", "DIS2D"],
            ScanningSequence="GR",
            SequenceVariant="SP",
            ScanOptions="PFP",
            SequenceName="*fl2d1",
            MRAcquisitionType="2D",
            SliceThickness=8,
            SpacingBetweenSlices=8,
            RepetitionTime=8.6,
            EchoTime=4,
            EchoNumbers=1,
            FlipAngle=20,
            EchoTrainLength=1,
            InstanceNumber=number,
            AcquisitionNumber=1,
            ImageOrientationPatient=list(plane),
            ImagePositionPatient=corner.tolist(),
            SliceLocation=0,
            SamplesPerPixel=1,
            PhotometricInterpretation="MONOCHROME2",
            Rows=_SIZE,
            Columns=_SIZE,
            PixelSpacing=[_PIXEL, _PIXEL],
            BitsAllocated=16,
            BitsStored=12,
            HighBit=11,
            PixelRepresentation=0,
            PixelData=ball.tobytes(),
        )
        uid = f"{series.series_uid}.1.{number}"
        data = dicom_file(MR_IMAGE, uid, _common(vendor, series), image)
        files.append(Written(f"{series.number:06d}_{number:06d}.dcm", data))
    return files


def stray(kind: str, vendor: str, series: ScanSeries, number: int) -> Written:
    """Something among the images that is none.

    Parameters
    ----------
    kind
        One of `rtflow.sources.simulation.faults.STRAYS`: ``physio`` and ``report`` are DICOM objects, of a
        series of their own; ``empty`` and ``text`` are no DICOM.
    vendor, series
        Whose, and which.
    number
        Which one of the series it is, from 1.
    """
    if kind == "empty":
        return Written(f"stray_{number:04d}.dcm", b"")
    if kind == "text":
        text = "volume\tpulse\tbreath\n" + "".join(f"{n}\t{n % 7}\t{n % 3}\n" for n in range(1, 30))
        return Written(f"stray_{number:04d}.log", text.encode())
    common = _common(vendor, series)
    uid = f"{series.series_uid}.9.{number}"
    if kind == "physio":
        own = public(
            ImageType=["ORIGINAL", "PRIMARY", "RAWDATA", "PHYSIO"],
            SeriesDescription=series.name + "_PhysioLog",
            InstanceNumber=number,
            ImageComments="pulse 611 598 604 612 recorded with the run",
        )
        return Written(f"stray_{number:04d}.dcm", dicom_file(RAW_DATA, uid, common, own))
    own = public(
        Modality="SR",
        SeriesDescription="Report",
        InstanceNumber=number,
        ValueType="CONTAINER",
        ContinuityOfContent="SEPARATE",
        CompletionFlag="COMPLETE",
        VerificationFlag="UNVERIFIED",
    )
    return Written(f"stray_{number:04d}.dcm", dicom_file(ENHANCED_REPORT, uid, common, own))


def _common(vendor: str, series: ScanSeries) -> Elements:
    from rtflow.dicom.writing.common import study

    return study(series) | public(
        Manufacturer=_MAKERS[vendor.partition("-")[0]],
        MagneticFieldStrength=3,
        AcquisitionDate=series.began.strftime("%Y%m%d"),
        AcquisitionTime=series.began.strftime("%H%M%S.%f"),
        ContentDate=series.began.strftime("%Y%m%d"),
        ContentTime=series.began.strftime("%H%M%S.%f"),
    )
