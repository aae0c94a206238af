"""Elements that every vendor writes alike."""

from __future__ import annotations

import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtflow.dicom.writing.encoding import Elements, pixels, public, sequence_of
from rtflow.dicom.writing.series import Layout, ScanSeries

MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4"
ENHANCED_MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4.1"


def clock(time: datetime.datetime) -> str:
    """A time of day as DICOM writes it, with microseconds."""
    return time.strftime("%H%M%S.%f")


def study(series: ScanSeries) -> Elements:
    """Patient, place, study and series."""
    day = series.began.strftime("%Y%m%d")
    return public(
        SpecificCharacterSet="ISO_IR 100",
        StudyDate=day,
        SeriesDate=day,
        StudyTime=clock(series.began),
        SeriesTime=clock(series.began),
        AccessionNumber=series.accession,
        Modality="MR",
        InstitutionName=series.institution,
        InstitutionAddress=series.address,
        ReferringPhysicianName=series.physician,
        StationName=series.station,
        StudyDescription="simulated",
        SeriesDescription=series.description,
        PerformingPhysicianName=series.physician,
        OperatorsName=series.operator,
        PatientName=series.patient_name,
        PatientID=series.patient_id,
        PatientBirthDate=series.birth_date,
        PatientSex=series.sex,
        PatientWeight=70.0,
        BodyPartExamined="BRAIN",
        DeviceSerialNumber=series.device_serial,
        ProtocolName=series.name,
        PatientPosition=series.patient_position,
        StudyInstanceUID=series.uid,
        SeriesInstanceUID=series.series_uid,
        StudyID="1",
        SeriesNumber=series.number,
        FrameOfReferenceUID=f"{series.uid}.0",
        PositionReferenceIndicator="",
        PerformedProcedureStepStartDate=day,
        PerformedProcedureStepStartTime=clock(series.began),
        PerformedProcedureStepDescription="simulated",
        PerformedProcedureStepID="MR" + series.began.strftime("%Y%m%d%H%M%S"),
    )


def echo_planar(series: ScanSeries, layout: Layout) -> Elements:
    """The sequence, where it is described on the top level; the echo time is the file's."""
    return public(
        MRAcquisitionType="2D",
        SliceThickness=layout.spacing[2],
        RepetitionTime=series.tr * 1000,
        MagneticFieldStrength=3,
        SpacingBetweenSlices=layout.spacing[2],
        PercentSampling=100,
        PercentPhaseFieldOfView=100,
        AcquisitionMatrix=acquisition_matrix(series, layout),
        InPlanePhaseEncodingDirection="COL" if along_columns(series) else "ROW",
        FlipAngle=series.flip_angle,
        ImageOrientationPatient=layout.cosines,
        PixelSpacing=layout.spacing[:2],
    )


def along_columns(series: ScanSeries) -> bool:
    """Whether phase is encoded along the columns of the images."""
    return series.phase_encoding[0] == "j"


def lines(series: ScanSeries, layout: Layout) -> int:
    """How many lines are phase-encoded."""
    return layout.rows if along_columns(series) else layout.columns


def field_of_view(series: ScanSeries, layout: Layout) -> Elements:
    """How an enhanced object tells the matrix and the phase encoding."""
    columns = along_columns(series)
    return sequence_of(
        "MRFOVGeometrySequence",
        [
            public(
                PercentSampling=100,
                PercentPhaseFieldOfView=100,
                InPlanePhaseEncodingDirection="COLUMN" if columns else "ROW",
                MRAcquisitionFrequencyEncodingSteps=layout.columns if columns else layout.rows,
                MRAcquisitionPhaseEncodingStepsInPlane=lines(series, layout),
            )
        ],
    )


def acquisition_matrix(series: ScanSeries, layout: Layout) -> list[int]:
    """Frequency rows and columns, phase rows and columns; two of them are zero."""
    if along_columns(series):
        return [layout.columns, 0, 0, layout.rows]
    return [0, layout.rows, layout.columns, 0]


def grey(image: NDArray[Any], bits: int | None = None) -> Elements:
    """Pixel data of 16 bits, and how they are stored.

    Parameters
    ----------
    image
        Shape (rows, columns) or (frames, rows, columns), int16 or uint16.
    bits
        How many are used; None for 12 of signed values and 16 of unsigned ones, none of them the sign.
    """
    signed = image.dtype.kind == "i"
    stored = bits or (12 if signed else 16)
    return public(
        SamplesPerPixel=1,
        PhotometricInterpretation="MONOCHROME2",
        Rows=image.shape[-2],
        Columns=image.shape[-1],
        BitsAllocated=16,
        BitsStored=stored,
        HighBit=stored - 1,
        PixelRepresentation=int(signed and stored == 16),
    ) | pixels(np.ascontiguousarray(image).astype("<u2", copy=False).tobytes())
