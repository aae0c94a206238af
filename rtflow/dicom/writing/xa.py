"""Siemens XA, enhanced objects: one for each volume and echo, with a frame for each slice."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from numpy.typing import NDArray

from rtflow.dicom.writing.common import (
    ENHANCED_MR_IMAGE,
    clock,
    field_of_view,
    grey,
    lines,
    study,
)
from rtflow.dicom.writing.encoding import Elements, dicom_file, private, public, sequence_of
from rtflow.dicom.writing.series import Layout, ScanSeries, Written, lay_out, stacked
from rtflow.dicom.writing.siemens import (
    SERIES,
    SLICE,
    SOFTWARE_XA,
    frame_counters,
    frame_private,
    image_comments,
    sequence_name,
    series_private,
)


def write_enhanced(series: ScanSeries, echoes: Sequence[NDArray[Any]], volume: int) -> list[Written]:
    """A volume: one file an echo."""
    files = []
    layout, shared = _shared(series, echoes[0].shape)
    began = series.acquired(volume)
    for echo, data in enumerate(echoes, start=1):
        instance = (volume - 1) * len(echoes) + echo
        uid = f"{series.series_uid}.{echo}.{volume}"
        own = public(
            InstanceCreationDate=f"{began:%Y%m%d}",
            InstanceCreationTime=clock(began),
            ContentDate=f"{began:%Y%m%d}",
            ContentTime=clock(began),
            AcquisitionDateTime=moment(began),
            AcquisitionNumber=volume,
            InstanceNumber=instance,
        ) | sequence_of(
            "PerFrameFunctionalGroupsSequence",
            [
                groups | _content(series, layout, number, volume) | _counted(inner, counters)
                for number, (groups, inner) in enumerate(_frames(series, layout, echo))
                for counters in [frame_counters(series, layout, number, echo, volume)]
            ],
        )
        content = dicom_file(ENHANCED_MR_IMAGE, uid, shared, own, grey(stacked(series, data)))
        files.append(Written(f"{series.number:04d}_{instance:04d}_{uid}.dcm", content))
    return files


def moment(time: datetime.datetime) -> str:
    """Date and time as DICOM writes them, with microseconds."""
    return f"{time:%Y%m%d%H%M%S.%f}"


def _content(series: ScanSeries, layout: Layout, number: int, volume: int) -> Elements:
    """What differs between the volumes: when the frame was acquired, and where it stands."""
    began = moment(
        series.acquired(volume) + datetime.timedelta(seconds=layout.times[number] if layout.times else 0)
    )
    return sequence_of(
        "FrameContentSequence",
        [
            public(
                FrameAcquisitionDateTime=began,
                FrameReferenceDateTime=began,
                FrameAcquisitionDuration=series.tr * 1000,
                StackID="1",
                InStackPositionNumber=number + 1,
                TemporalPositionIndex=volume,
                FrameAcquisitionNumber=volume,
                DimensionIndexValues=[1, number + 1, volume],
            )
        ],
    )


def _counted(inner: Elements, counters: dict[int, tuple[str, Any]]) -> Elements:
    item = inner | private(0x21, SLICE, counters, block=0x11)
    return private(0x21, SLICE, {0xFE: ("SQ", [item])}, block=0x11)


def _frame_type(series: ScanSeries) -> Elements:
    return public(
        PixelPresentation="MONOCHROME",
        VolumetricProperties="DISTORTED",
        VolumeBasedCalculationTechnique="NONE",
        ComplexImageComponent="PHASE" if series.image_type == "phase" else "MAGNITUDE",
        AcquisitionContrast="UNKNOWN",
    )


@lru_cache(maxsize=32)
def _frames(series: ScanSeries, layout: Layout, echo: int) -> list[tuple[Elements, Elements]]:
    """Of each frame its functional groups and private elements, without what differs between volumes."""
    phase = series.image_type == "phase"
    common = (
        sequence_of("MRAveragesSequence", [public(NumberOfAverages=1)])
        | sequence_of(
            "MRImageFrameTypeSequence",
            [
                public(FrameType=["ORIGINAL", "PRIMARY", "FMRI", "NONE"])
                | _frame_type(series)
                | private(
                    0x21,
                    SLICE,
                    {
                        0x59: ("IS", [0, 0, 0]),
                        0x77: ("LO", sequence_name(series, layout)),
                        0x78: ("CS", "ND"),
                        0x79: ("CS", "ND"),
                    },
                    block=0x11,
                )
            ],
        )
        | sequence_of("PlaneOrientationSequence", [public(ImageOrientationPatient=layout.cosines)])
        | sequence_of(
            "PixelMeasuresSequence",
            [
                public(
                    SliceThickness=layout.spacing[2],
                    SpacingBetweenSlices=layout.spacing[2],
                    PixelSpacing=layout.spacing[:2],
                )
            ],
        )
        | sequence_of("FrameVOILUTSequence", [public(WindowCenter=500, WindowWidth=1000)])
        | sequence_of(
            "PixelValueTransformationSequence",
            [
                public(
                    RescaleIntercept=-4096 if phase else 0,
                    RescaleSlope=2 if phase else 1,
                    RescaleType="US",
                )
            ],
        )
    )
    return [
        (
            common
            | sequence_of("PlanePositionSequence", [public(ImagePositionPatient=corner.tolist())])
            | sequence_of("MREchoSequence", [public(EffectiveEchoTime=series.echo_times[echo - 1] * 1000)]),
            private(0x21, SLICE, frame_private(series, layout, number), block=0x11),
        )
        for number, corner in enumerate(layout.corners)
    ]


@lru_cache(maxsize=8)
def _shared(series: ScanSeries, shape: tuple[int, ...]) -> tuple[Layout, Elements]:
    layout = lay_out(series, shape)
    organization = f"{series.uid}.{series.number}.9"
    elements = (
        study(series)
        | _frame_type(series)
        | public(
            ImageType=["ORIGINAL", "PRIMARY", "FMRI", "NONE"],
            Manufacturer="Siemens Healthineers",
            ManufacturerModelName="MAGNETOM Prisma Fit",
            SoftwareVersions=SOFTWARE_XA,
            PatientIdentityRemoved="NO",
            MRAcquisitionType="2D",
            MagneticFieldStrength=3,
            SpacingBetweenSlices=layout.spacing[2],
            ContentQualification="RESEARCH",
            PulseSequenceName=sequence_name(series, layout),
            EchoPulseSequence="GRADIENT",
            MultiPlanarExcitation="NO",
            PhaseContrast="NO",
            TimeOfFlightContrast="NO",
            SteadyStatePulseSequence="NONE",
            EchoPlanarPulseSequence="YES",
            SaturationRecovery="NO",
            SpectrallySelectedSuppression="FAT",
            GeometryOfKSpaceTraversal="RECTILINEAR",
            SegmentedKSpaceTraversal="SINGLE",
            RectilinearPhaseEncodeReordering="LINEAR",
            AcquisitionDuration=series.tr * (series.planned or 1),
            NumberOfKSpaceTrajectories=1,
            ResonantNucleus="1H",
            NumberOfTemporalPositions=series.planned,
            ImageComments=image_comments(series),
            NumberOfFrames=layout.slices,
            BurnedInAnnotation="NO",
            LossyImageCompression="00",
            PresentationLUTShape="IDENTITY",
        )
        | sequence_of("DimensionOrganizationSequence", [public(DimensionOrganizationUID=organization)])
        | sequence_of(
            "DimensionIndexSequence",
            [
                public(
                    DimensionOrganizationUID=organization,
                    DimensionIndexPointer=pointer,
                    FunctionalGroupPointer=0x00209111,
                )
                for pointer in (0x00209056, 0x00209057, 0x00209128)
            ],
        )
        | private(
            0x21,
            "SIEMENS MR SDR 01",
            {0x01: ("LO", "ACQUISITION"), 0x02: ("LO", "ACQUISITION")},
            block=0x12,
        )
        | sequence_of("SharedFunctionalGroupsSequence", [_shared_groups(series, layout)])
    )
    return layout, elements


def _shared_groups(series: ScanSeries, layout: Layout) -> Elements:
    sequence = {0x5A: ("CS", "EP"), 0x5B: ("CS", ["SK", "SS"])}
    return (
        sequence_of(
            "MRImagingModifierSequence",
            [public(PixelBandwidth=2300, MagnetizationTransfer="NONE", TransmitterFrequency=123.2)],
        )
        | sequence_of("MRTransmitCoilSequence", [public(TransmitCoilName="Body", TransmitCoilType="BODY")])
        | sequence_of(
            "MRTimingAndRelatedParametersSequence",
            [
                public(
                    RepetitionTime=series.tr * 1000,
                    EchoTrainLength=lines(series, layout),
                    FlipAngle=series.flip_angle,
                    RFEchoTrainLength=0,
                    GradientEchoTrainLength=lines(series, layout),
                )
            ],
        )
        | sequence_of(
            "MRModifierSequence",
            [public(InversionRecovery="NO", ParallelAcquisition="NO", PartialFourier="NO")],
        )
        | field_of_view(series, layout)
        | private(
            0x21,
            SERIES,
            {0xFE: ("SQ", [private(0x21, SERIES, series_private(series, layout) | sequence)])},
        )
    )
