"""Philips, enhanced objects: one for the run, with frames over echoes, then volumes, then slices."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtflow.dicom.writing.common import ENHANCED_MR_IMAGE, clock, field_of_view, grey, lines
from rtflow.dicom.writing.encoding import Elements, dicom_file, private, public, sequence_of
from rtflow.dicom.writing.philips import IMAGING, MR, kinds, philips, scaling
from rtflow.dicom.writing.series import Layout, ScanSeries, Written, lay_out, stacked
from rtflow.dicom.writing.xa import moment
from rtflow.errors import UsageError


def write_whole_run(series: ScanSeries, volumes: Iterable[Sequence[NDArray[Any]]]) -> Written:
    """The one object of a run."""
    stacks = [[stacked(series, data) for data in echoes] for echoes in volumes]
    if not stacks:
        raise UsageError("a run that is one object: expected one volume at least, got none")
    # Slices, volumes, echoes, rows, columns: the order of the frames.
    frames = np.stack([np.stack(echoes, axis=1) for echoes in stacks], axis=1)
    slices, count, echo_count, rows, columns = frames.shape
    layout = lay_out(series, (columns, rows, slices))
    ended = series.acquired(count) + datetime.timedelta(seconds=series.tr)
    pointers = [(0x00209056, 0x00209111), (0x00209057, 0x00209111), (0x00209128, 0x00209111)]
    if echo_count > 1:
        pointers.append((0x00189082, 0x00189114))
    organization = f"{series.uid}.{series.number}.9"
    elements = (
        philips(series, layout)
        | _frame_type(series)
        | public(
            ImageType=["ORIGINAL", "PRIMARY", "T2", "NONE"],
            InstanceNumber=1,
            AcquisitionDateTime=moment(series.began),
            ContentDate=f"{ended:%Y%m%d}",
            ContentTime=clock(ended),
            NumberOfTemporalPositions=count,
            MagneticFieldStrength=3,
            SpacingBetweenSlices=layout.spacing[2],
            MRAcquisitionType="2D",
            ContentQualification="RESEARCH",
            PulseSequenceName="FEEPI",
            EchoPulseSequence="GRADIENT",
            MultipleSpinEcho="NO",
            EchoPlanarPulseSequence="YES",
            SpectrallySelectedSuppression="FAT",
            GeometryOfKSpaceTraversal="RECTILINEAR",
            AcquisitionDuration=series.tr * count,
            ResonantNucleus="1H",
            NumberOfFrames=slices * count * echo_count,
            BurnedInAnnotation="NO",
            LossyImageCompression="00",
        )
        | sequence_of("DimensionOrganizationSequence", [public(DimensionOrganizationUID=organization)])
        | sequence_of(
            "DimensionIndexSequence",
            [
                public(
                    DimensionOrganizationUID=organization,
                    DimensionIndexPointer=pointer,
                    FunctionalGroupPointer=group,
                )
                for pointer, group in pointers
            ],
        )
        | sequence_of("SharedFunctionalGroupsSequence", [_shared_groups(series, layout)])
        | sequence_of("PerFrameFunctionalGroupsSequence", _frames(series, layout, count, echo_count))
    )
    uid = f"{series.series_uid}.1"
    content = dicom_file(
        ENHANCED_MR_IMAGE, uid, elements, grey(frames.reshape(slices * count * echo_count, rows, columns))
    )
    return Written(f"XX_{series.number:04d}", content)


def _frame_type(series: ScanSeries) -> Elements:
    return public(
        PixelPresentation="MONOCHROME",
        VolumetricProperties="VOLUME",
        VolumeBasedCalculationTechnique="NONE",
        ComplexImageComponent="PHASE" if series.image_type == "phase" else "MAGNITUDE",
        AcquisitionContrast="T2",
    )


def _shared_groups(series: ScanSeries, layout: Layout) -> Elements:
    return (
        sequence_of("MRImagingModifierSequence", [public(PixelBandwidth=2111, TransmitterFrequency=123.2)])
        | field_of_view(series, layout)
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
    )


def _frames(series: ScanSeries, layout: Layout, count: int, echo_count: int) -> list[Elements]:
    slope, intercept, scale = scaling(series)
    common = (
        sequence_of("PlaneOrientationSequence", [public(ImageOrientationPatient=layout.cosines)])
        | sequence_of("MRAveragesSequence", [public(NumberOfAverages=1)])
        | sequence_of(
            "MRImageFrameTypeSequence",
            [public(FrameType=["ORIGINAL", "PRIMARY", "T2", "NONE"]) | _frame_type(series)],
        )
        | sequence_of(
            "PixelMeasuresSequence",
            [public(SliceThickness=layout.spacing[2], PixelSpacing=layout.spacing[:2])],
        )
        | sequence_of("FrameVOILUTSequence", [public(WindowCenter=1070, WindowWidth=1860)])
        | sequence_of(
            "PixelValueTransformationSequence",
            [public(RescaleIntercept=intercept, RescaleSlope=slope, RescaleType="normalized")],
        )
    )
    of_echo = [
        sequence_of("MREchoSequence", [public(EffectiveEchoTime=time * 1000)]) for time in series.echo_times
    ]
    of_slice = [
        sequence_of("PlanePositionSequence", [public(ImagePositionPatient=corner.tolist())])
        | private(0x2005, "Philips MR Imaging DD 005", {0x0F: ("SQ", [_private(series, place, scale)])}, 0x14)
        for place, corner in enumerate(layout.corners)
    ]
    moments = [moment(series.acquired(volume)) for volume in range(1, count + 1)]
    frames = []
    for place in range(layout.slices):
        of_place = common | of_slice[place]
        for volume in range(1, count + 1):
            for echo in range(1, echo_count + 1):
                index = [1, place + 1, volume, *([echo] if echo_count > 1 else [])]
                content = public(
                    FrameAcquisitionDateTime=moments[volume - 1],
                    FrameReferenceDateTime=moments[volume - 1],
                    StackID="1",
                    InStackPositionNumber=place + 1,
                    TemporalPositionIndex=volume,
                    DimensionIndexValues=index,
                )
                frames.append(of_place | of_echo[echo - 1] | sequence_of("FrameContentSequence", [content]))
    return frames


def _private(series: ScanSeries, place: int, scale: float) -> Elements:
    """Of a frame, as Philips keeps it beside the standard's functional groups."""
    return private(0x2001, IMAGING, {0x0A: ("IS", place + 1), 0x08: ("IS", 1)}) | private(
        0x2005, MR, {0x0E: ("FL", scale), 0x11: ("CS", kinds(series)[3])}
    )
