"""Siemens before XA: one mosaic of all slices for each volume and echo, with its CSA header."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtflow.dicom.writing.common import MR_IMAGE, clock, grey
from rtflow.dicom.writing.csa import write_csa
from rtflow.dicom.writing.encoding import Elements, dicom_file, private, public
from rtflow.dicom.writing.series import Layout, ScanSeries, Written, lay_out, stacked
from rtflow.dicom.writing.siemens import (
    bandwidth,
    kind,
    positive,
    protocol,
    siemens,
    slice_location,
    slice_plane,
)


def write_mosaics(series: ScanSeries, echoes: Sequence[NDArray[Any]], volume: int) -> list[Written]:
    """A volume: one file an echo."""
    files = []
    layout, shared = _shared(series, echoes[0].shape)
    for echo, data in enumerate(echoes, start=1):
        # AcquisitionNumber counts volumes, InstanceNumber counts files.
        instance = (volume - 1) * len(echoes) + echo
        acquired = series.acquired(volume)
        day, time = acquired.strftime("%Y%m%d"), clock(acquired)
        own = public(
            InstanceCreationDate=day,
            InstanceCreationTime=time,
            AcquisitionDate=day,
            ContentDate=day,
            AcquisitionTime=time,
            ContentTime=time,
            AcquisitionNumber=volume,
            InstanceNumber=instance,
        )
        uid = f"{series.series_uid}.{echo}.{volume}"
        image = _tiled(stacked(series, data))
        content = dicom_file(MR_IMAGE, uid, shared, _of_echo(series, layout, echo), own, grey(image))
        files.append(Written(f"001_{series.number:06d}_{instance:06d}.dcm", content))
    return files


def _across(slices: int) -> int:
    return math.ceil(math.sqrt(slices))


def _tiled(stack: NDArray[Any]) -> NDArray[Any]:
    """Slices side by side, in a square just large enough."""
    slices, rows, columns = stack.shape
    across = _across(slices)
    tiles = np.zeros((across * across, rows, columns), stack.dtype)
    tiles[:slices] = stack
    return (
        tiles.reshape(across, across, rows, columns).swapaxes(1, 2).reshape(across * rows, across * columns)
    )


@lru_cache(maxsize=8)
def _shared(series: ScanSeries, shape: tuple[int, ...]) -> tuple[Layout, Elements]:
    layout = lay_out(series, shape)
    across = _across(layout.slices)
    # Stated is the corner of the mosaic, as if it were one slice around the centre of the first.
    cosines = np.reshape(layout.cosines, (2, 3))
    more = (across - 1) / 2
    corner = layout.corners[0] - more * (
        cosines[0] * layout.columns * layout.spacing[1] + cosines[1] * layout.rows * layout.spacing[0]
    )
    times = [1000 * time for time in layout.times]
    image = {
        "EchoLinePosition": [str(layout.rows // 2)],
        "EchoColumnPosition": [str(layout.columns // 2)],
        "ProtocolSliceNumber": [str(layout.slices - 1 if series.reversed_slices else 0)],
        "RealDwellTime": ["3000"],
        "PhaseEncodingDirectionPositive": [str(positive(series))],
        "NumberOfImagesInMosaic": [str(layout.slices)],
        "SliceNormalVector": [f"{x:.8f}" for x in layout.normal],
        "BandwidthPerPixelPhaseEncode": [f"{bandwidth(series, layout):.3f}"],
        "MosaicRefAcqTimes": [f"{time:.8f}" for time in times],
    }
    whole_series = {
        "UsedPatientWeight": ["70"],
        "PatReinPattern": [f"1;{series.patient_position};70.00;48.00;3;0;2;0"],
        "MrPhoenixProtocol": [protocol(series, layout)],
    }
    elements = (
        siemens(series, layout, "SIEMENS", "syngo MR E11")
        | public(
            ImagePositionPatient=corner.tolist(),
            SliceLocation=slice_location(layout, 0),
            RescaleIntercept=-4096 if series.image_type == "phase" else None,
            RescaleSlope=2 if series.image_type == "phase" else None,
            RescaleType="US" if series.image_type == "phase" else None,
            ReferencedImageSequence=[
                public(ReferencedSOPClassUID=MR_IMAGE, ReferencedSOPInstanceUID=f"{series.uid}.1.{number}")
                for number in (1, 2, 3)
            ],
        )
        | private(
            0x19,
            "SIEMENS MR HEADER",
            {
                0x08: ("CS", "IMAGE NUM 4"),
                0x09: ("LO", "1.0"),
                0x0A: ("US", layout.slices),
                0x0F: ("SH", "Fast"),
                0x11: ("SH", "No"),
                0x15: ("FD", corner.tolist()),
                0x18: ("IS", 3000),
                0x28: ("FD", bandwidth(series, layout)),
                0x29: ("FD", times or None),
            },
        )
        | private(
            0x29,
            "SIEMENS CSA HEADER",
            {
                0x08: ("CS", "IMAGE NUM 4"),
                0x09: ("LO", series.began.strftime("%Y%m%d")),
                0x10: ("OB", write_csa(image)),
                0x18: ("CS", "MR"),
                0x19: ("LO", series.began.strftime("%Y%m%d")),
                0x20: ("OB", write_csa(whole_series)),
            },
        )
        | private(
            0x51,
            "SIEMENS MR HEADER",
            {
                0x08: ("CS", "IMAGE NUM 4"),
                0x09: ("LO", "1.0"),
                0x0B: ("LO", f"{layout.columns}*{layout.rows}"),
                0x0E: ("LO", slice_plane(layout)),
                0x17: ("SH", f"SL {layout.spacing[2]:.1f}"),
            },
        )
    )
    return layout, elements


@lru_cache(maxsize=32)
def _of_echo(series: ScanSeries, layout: Layout, echo: int) -> Elements:
    several = [f"TE{echo}"] if len(series.echo_times) > 1 else []
    return public(
        ImageType=["ORIGINAL", "PRIMARY", kind(series), *several, "ND", "MOSAIC"],
        EchoTime=series.echo_times[echo - 1] * 1000,
        EchoNumbers=echo,
    )
