"""Siemens XA, exported as classic objects: one for each slice, and a series of its own for each volume."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from numpy.typing import NDArray

from rtflow.dicom.writing.common import ENHANCED_MR_IMAGE, MR_IMAGE, clock, grey
from rtflow.dicom.writing.encoding import Elements, dicom_file, private, public
from rtflow.dicom.writing.series import Layout, ScanSeries, Written, lay_out, stacked
from rtflow.dicom.writing.siemens import (
    SERIES,
    SLICE,
    SOFTWARE_XA,
    frame_counters,
    frame_private,
    kind,
    sequence_name,
    series_private,
    siemens,
    slice_location,
)
from rtflow.dicom.writing.xa import moment


def write_classic(series: ScanSeries, echoes: Sequence[NDArray[Any]], volume: int) -> list[Written]:
    """A volume: one file a slice and echo, all slices of an echo in turn."""
    files = []
    layout, shared = _shared(series, echoes[0].shape)
    # Series 7 becomes 7001, 7002, ...: a thousand volumes reach into the numbers of series 8.
    number = series.number * 1000 + volume
    began = series.acquired(volume)
    of_volume = public(
        InstanceCreationDate=f"{began:%Y%m%d}",
        InstanceCreationTime=clock(began),
        AcquisitionDate=f"{began:%Y%m%d}",
        ContentDate=f"{began:%Y%m%d}",
        ContentTime=clock(began + datetime.timedelta(seconds=series.tr)),
        SeriesInstanceUID=f"{series.series_uid}.{volume}",
        SeriesNumber=number,
        AcquisitionNumber=volume,
    )
    for echo, data in enumerate(echoes, start=1):
        of_echo = public(EchoTime=series.echo_times[echo - 1] * 1000)
        for place, image in enumerate(stacked(series, data)):
            instance = (echo - 1) * layout.slices + place + 1
            time = began + datetime.timedelta(seconds=layout.times[place] if layout.times else 0)
            own = public(
                AcquisitionDateTime=moment(time), AcquisitionTime=clock(time), InstanceNumber=instance
            ) | private(0x21, SLICE, frame_counters(series, layout, place, echo, volume), block=0x11)
            own |= _origin(series, f"{series.series_uid}.{echo}.{volume}", place + 1)
            uid = f"{series.series_uid}.{volume}.{echo}.{place + 1}"
            layers = (shared, _of_slice(series, layout, place), of_volume, of_echo, own, grey(image))
            name = f"{number}{instance:03d}_{uid}.dcm"
            files.append(Written(name, dicom_file(MR_IMAGE, uid, *layers)))
    return files


def _origin(series: ScanSeries, enhanced: str, frame: int) -> Elements:
    """Which frame of which enhanced object, of one series for all volumes, was split off."""
    source = public(
        ReferencedSOPClassUID=ENHANCED_MR_IMAGE,
        ReferencedSOPInstanceUID=enhanced,
        ReferencedFrameNumber=frame,
    )
    purpose = public(
        CodeValue="121326", CodingSchemeDesignator="DCM", CodeMeaning="Alternate SOP Class instance"
    )
    related = public(
        StudyInstanceUID=series.uid,
        SeriesInstanceUID=series.series_uid,
        ReferencedImageSequence=[source],
        PurposeOfReferenceCodeSequence=[purpose],
    )
    return public(RelatedSeriesSequence=[related], ConversionSourceAttributesSequence=[source])


@lru_cache(maxsize=8)
def _shared(series: ScanSeries, shape: tuple[int, ...]) -> tuple[Layout, Elements]:
    layout = lay_out(series, shape)
    multiband = ["MB"] if series.multiband > 1 else []
    phase = series.image_type == "phase"
    elements = (
        siemens(series, layout, "Siemens Healthineers", SOFTWARE_XA)
        | public(
            ImageType=["ORIGINAL", "PRIMARY", kind(series), *multiband, "ND", "MFSPLIT"],
            ScanningSequence=["GR", "EP"],
            ScanOptions=["PFP", "FS"],
            PatientIdentityRemoved="NO",
            ContentQualification="RESEARCH",
            NumberOfTemporalPositions=series.planned,
            BurnedInAnnotation="NO",
            LossyImageCompression="00",
            RescaleIntercept=-4096 if phase else 0,
            RescaleSlope=2 if phase else 1,
            PresentationLUTShape="IDENTITY",
        )
        | private(0x21, SERIES, series_private(series, layout))
        | private(
            0x21,
            "SIEMENS MR SDR 01",
            {0x01: ("LO", "ACQUISITION"), 0x02: ("LO", "ACQUISITION")},
            block=0x12,
        )
        | private(
            0x51,
            "SIEMENS MR HEADER",
            {0x08: ("CS", "IMAGE NUM X"), 0x09: ("LO", "1.0"), 0x13: ("SH", "+LPH")},
        )
    )
    return layout, elements


@lru_cache(maxsize=512)
def _of_slice(series: ScanSeries, layout: Layout, place: int) -> Elements:
    fields = frame_private(series, layout, place) | {
        0x77: ("LO", sequence_name(series, layout)),
        0x78: ("CS", "ND"),
        0x79: ("CS", "ND"),
    }
    # Of the type that the enhanced object had, since this one says the classic's.
    fields[0x75] = ("CS", ["ORIGINAL", "PRIMARY", "FMRI", "NONE"])
    return public(
        ImagePositionPatient=layout.corners[place].tolist(), SliceLocation=slice_location(layout, place)
    ) | private(0x21, SLICE, fields, block=0x11)
