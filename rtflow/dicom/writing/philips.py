"""Philips, classic objects: one for each slice and echo, numbered over echoes, then volumes, then slices."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from numpy.typing import NDArray

from rtflow.dicom.writing.common import (
    MR_IMAGE,
    along_columns,
    clock,
    echo_planar,
    grey,
    lines,
    study,
)
from rtflow.dicom.writing.encoding import Elements, dicom_file, private, public
from rtflow.dicom.writing.series import Layout, ScanSeries, Written, lay_out, stacked
from rtflow.errors import UsageError

IMAGING, MR = "Philips Imaging DD 001", "Philips MR Imaging DD 001"
MR_4, MR_5 = "Philips MR Imaging DD 004", "Philips MR Imaging DD 005"

# Between the numbers of two slices, where the number of volumes is not known beforehand.
_MANY = 10_000


def write_slice_major(series: ScanSeries, echoes: Sequence[NDArray[Any]], volume: int) -> list[Written]:
    """A volume: one file a slice and echo, as they are reconstructed: all slices of an echo in turn."""
    if series.planned is not None and volume > series.planned:
        raise UsageError(
            f"volume {volume}: a Philips series numbers its slices over {series.planned} volumes"
        )
    files = []
    layout, shared = _shared(series, echoes[0].shape)
    acquired = series.acquired(volume)
    after = (volume - 1) * series.tr
    of_volume = public(
        AcquisitionDate=f"{acquired:%Y%m%d}",
        ContentDate=f"{acquired:%Y%m%d}",
        AcquisitionTime=clock(acquired),
        ContentTime=clock(acquired),
        TriggerTime=after * 1000,
        TemporalPositionIdentifier=volume,
    ) | private(0x2005, MR, {0x63: ("SS", volume), 0xA0: ("FL", after)})
    for echo, data in enumerate(echoes, start=1):
        of_echo = _of_echo(series, echo)
        for place, image in enumerate(stacked(series, data)):
            instance = (place * (series.planned or _MANY) + volume - 1) * len(echoes) + echo
            uid = f"{series.series_uid}.{volume}.{echo}.{place + 1}"
            layers = (shared, of_volume, of_echo, _of_slice(series, layout, place))
            own = public(InstanceNumber=instance)
            files.append(Written(f"MR.{uid}", dicom_file(MR_IMAGE, uid, *layers, own, grey(image))))
    return files


def philips(series: ScanSeries, layout: Layout) -> Elements:
    """What all objects of a series have in common, classic or enhanced."""
    return (
        study(series)
        | public(
            Manufacturer="Philips Medical Systems",
            ManufacturerModelName="Achieva dStream",
            SoftwareVersions=["5.1.1", "5.1.1.0"],
            NumberOfTemporalPositions=series.planned,
            AcquisitionNumber=series.number // 100 or 1,
            PerformedStationAETitle=series.station,
            PresentationLUTShape="IDENTITY",
        )
        | private(
            0x2001,
            IMAGING,
            {
                0x08: ("IS", 1),
                0x0B: ("CS", slice_orientation(layout)),
                0x12: ("CS", "Y"),
                0x13: ("SL", lines(series, layout)),
                0x14: ("SL", len(series.echo_times)),
                0x15: ("SS", 1),
                0x17: ("SL", 1),
                0x18: ("SL", layout.slices),
                0x20: ("LO", "FEEPI"),
                0x22: ("FL", 11.0),
                0x23: ("DS", series.flip_angle),
                0x60: ("SL", 1),
                0x63: ("CS", "ELSEWHERE"),
                0x7B: ("IS", series.number // 100 or 1),
                0x81: ("IS", series.planned or 1),
                0x82: ("IS", lines(series, layout)),
                0x83: ("DS", 123.2),
                0x85: ("DS", 3),
                0x87: ("SH", "1H"),
                0xC8: ("LO", series.name),
            },
        )
    )


def slice_orientation(layout: Layout) -> str:
    """As Philips names the plane of the slices."""
    return {"axial": "TRANSVERSAL", "coronal": "CORONAL", "sagittal": "SAGITTAL"}[layout.plane]


def scaling(series: ScanSeries) -> tuple[float, float, float]:
    """Slope and intercept to the displayed values, and the slope from them to floating-point ones."""
    return (1.534, -3142.0, 0.001) if series.image_type == "phase" else (1.25, 0.0, 0.005)


def kinds(series: ScanSeries) -> list[str]:
    """Of magnitude or phase images of a gradient echo."""
    if series.image_type == "phase":
        return ["ORIGINAL", "PRIMARY", "PHASE MAP", "P", "FFE"]
    return ["ORIGINAL", "PRIMARY", "M_FFE", "M", "FFE"]


@lru_cache(maxsize=8)
def _shared(series: ScanSeries, shape: tuple[int, ...]) -> tuple[Layout, Elements]:
    layout = lay_out(series, shape)
    slope, intercept, scale = scaling(series)
    elements = (
        philips(series, layout)
        | echo_planar(series, layout)
        | public(
            ImageType=kinds(series),
            ScanningSequence="GR",
            SequenceVariant="SK",
            ScanOptions="FS",
            NumberOfPhaseEncodingSteps=lines(series, layout),
            EchoTrainLength=lines(series, layout),
            PixelBandwidth=2111,
            ReconstructionDiameter=max(layout.rows * layout.spacing[0], layout.columns * layout.spacing[1]),
            ReceiveCoilName="MULTI COIL",
            AcquisitionDuration=series.tr * (series.planned or 1),
            RescaleIntercept=intercept,
            RescaleSlope=slope,
            RescaleType="normalized",
            WindowCenter=1070,
            WindowWidth=1860,
        )
        | private(
            0x2005,
            MR,
            {
                0x0D: ("FL", intercept),
                0x0E: ("FL", scale),
                0x11: ("CS", kinds(series)[3]),
                0x1D: ("SS", layout.columns if along_columns(series) else layout.rows),
                0x30: ("FL", [series.tr * 1000, 0.0]),
                0x33: ("FL", series.tr * (series.planned or 1)),
                0x6E: ("CS", "FFE"),
                0x6F: ("CS", "MS"),
                0xA9: ("CS", "2D"),
                0xC0: ("CS", "GR"),
            },
        )
        | private(
            0x2005,
            MR_4,
            {
                0x81: ("IS", 3),
                0x91: ("PN", series.patient_name),
                0x95: ("ST", "7,IMAGE_TYPE,SLICE_NUMBER,DYNAMIC_SCAN,ECHO_NUMBER,PHASE_NUMBER,"),
                0x97: ("LO", "SRT.T-A0100.Brain"),
            },
            block=0x13,
        )
    )
    return layout, elements


@lru_cache(maxsize=32)
def _of_echo(series: ScanSeries, echo: int) -> Elements:
    time = series.echo_times[echo - 1] * 1000
    return public(EchoTime=time, EchoNumbers=echo) | private(0x2001, IMAGING, {0x25: ("SH", f"{time:g}")})


@lru_cache(maxsize=512)
def _of_slice(series: ScanSeries, layout: Layout, place: int) -> Elements:
    corner = layout.corners[place]
    return public(
        ImagePositionPatient=corner.tolist(), SliceLocation=float(corner @ layout.normal)
    ) | private(0x2001, IMAGING, {0x0A: ("IS", place + 1)})
