"""GE: one object for each slice and echo, numbered over slices, then echoes, then volumes."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtflow.dicom.writing.common import MR_IMAGE, along_columns, echo_planar, grey, study
from rtflow.dicom.writing.encoding import Elements, dicom_file, private, public
from rtflow.dicom.writing.series import Layout, ScanSeries, Written, lay_out, stacked
from rtflow.errors import UsageError

# The timer starts with the scanner's clock of pulses, a moment before the first slice.
_TIMER_START = 0.0022
_RELATION = "GEMS_RELA_01"


def write_slices(series: ScanSeries, echoes: Sequence[NDArray[Any]], volume: int) -> list[Written]:
    """A volume: one file a slice and echo, all slices of an echo in turn."""
    files = []
    layout, shared = _shared(series, echoes[0].shape)
    for echo, data in enumerate(echoes, start=1):
        if data.max() > 32767:
            raise UsageError("a GE scanner stores signed values: expected at most 32767")
        of_echo = public(EchoTime=series.echo_times[echo - 1] * 1000, EchoNumbers=echo)
        for place, image in enumerate(stacked(series, data)):
            instance = ((volume - 1) * len(echoes) + echo - 1) * layout.slices + place + 1
            own = public(InstanceNumber=instance)
            if layout.times:
                timer = (volume - 1) * series.tr + layout.times[place] + _TIMER_START
                own |= private(0x21, _RELATION, {0x5E: ("DS", f"{timer:.6f}")})
            uid = f"{series.series_uid}.{volume}.{echo}.{place + 1}"
            layers = (shared, _of_slice(series, layout, place), of_echo, own)
            content = dicom_file(MR_IMAGE, uid, *layers, grey(image.astype(np.int16, copy=False), 16))
            files.append(Written(f"i{series.number:03d}{instance:06d}.MRDC.{instance}", content))
    return files


@lru_cache(maxsize=8)
def _shared(series: ScanSeries, shape: tuple[int, ...]) -> tuple[Layout, Elements]:
    layout = lay_out(series, shape)
    field_of_view = max(layout.rows * layout.spacing[0], layout.columns * layout.spacing[1])
    first, last = (_location(layout, place) for place in (0, layout.slices - 1))
    whole_run = series.tr * (series.planned or 1)
    elements = (
        study(series)
        | echo_planar(series, layout)
        | public(
            ImageType=["ORIGINAL", "PRIMARY", "EPI", "NONE"],
            AcquisitionDate=f"{series.began:%Y%m%d}",
            ContentDate=f"{series.began:%Y%m%d}",
            # Of the whole series: they do not tell volumes apart.
            AcquisitionTime=f"{series.began:%H%M%S}",
            ContentTime=f"{series.began:%H%M%S}",
            StudyTime=f"{series.began:%H%M%S}",
            SeriesTime=f"{series.began:%H%M%S}",
            Manufacturer="GE MEDICAL SYSTEMS",
            ManufacturerModelName="SIGNA Architect",
            ScanningSequence=["EP", "GR"],
            SequenceVariant="SS",
            ScanOptions=["EPI_GEMS", "PFF"],
            AngioFlag="N",
            NumberOfAverages=1,
            ImagingFrequency=123.2,
            ImagedNucleus="1H",
            EchoTrainLength=1,
            PixelBandwidth=7812.5,
            SoftwareVersions=["28", "LX", "MR Software release:DV28.0_R02_1947.a"],
            ReconstructionDiameter=field_of_view,
            ReceiveCoilName="48HA",
            VariableFlipAngleFlag="N",
            AcquisitionNumber=1,
            NumberOfTemporalPositions=series.planned,
            ImagesInAcquisition=layout.slices,
            StackID="1",
            PerformedStationName=series.station,
        )
        | private(
            0x09,
            "GEMS_IDEN_01",
            {
                0x02: ("SH", series.station[:4]),
                0x04: ("SH", "SIGNA"),
                0x27: ("SL", int(series.began.timestamp())),
                0x30: ("SH", series.station),
                0xE3: ("UI", f"{series.uid}.7"),
                0xE9: ("SL", int(series.began.timestamp())),
            },
        )
        | private(
            0x19,
            "GEMS_ACQU_01",
            {
                0x17: ("SS", {"axial": 2, "sagittal": 4, "coronal": 8}[layout.plane]),
                0x18: ("LO", first[0]),
                0x19: ("DS", first[1]),
                0x1A: ("LO", last[0]),
                0x1B: ("DS", last[1]),
                0x1E: ("DS", field_of_view),
                0x5A: ("FL", whole_run * 1e6),
                0x7D: ("DS", series.echo_times[1] * 1e6 if len(series.echo_times) > 1 else 0),
                0x7E: ("SS", len(series.echo_times)),
                0x8F: ("SS", int(along_columns(series))),
                0x9B: ("SS", 1),
                0x9C: ("LO", "epiRT"),
                0x9E: ("LO", "EPI"),
                0xA2: ("SL", 12800),
                0xF2: ("SS", series.planned or 1),
            },
        )
        | private(0x21, _RELATION, {0x37: ("SS", 16), 0x4F: ("SS", layout.slices), 0x5E: ("DS", "0.000000")})
        | private(
            0x25,
            "GEMS_SERS_01",
            {
                0x06: ("SS", 4),
                0x07: ("SL", layout.slices),
                0x11: ("SS", 1),
                0x19: ("SL", layout.slices),
                0x1A: ("SH", series.station),
                0x1B: ("OB", _protocol(series, layout)),
            },
        )
        | private(
            0x43,
            "GEMS_PARM_01",
            {
                0x06: ("SS", 1),
                0x2A: ("OB", _user_data(series)),
                0x2C: ("SS", 500),
                0x2F: ("SS", 1 if series.image_type == "phase" else 0),
                0x61: ("UI", series.uid),
                0x62: ("SH", "1"),
                0x70: ("LO", series.name),
                0x79: ("US", layout.slices),
                0x7A: ("US", series.planned or 1),
                0x7C: ("FL", 0.0),
                0x83: ("DS", [1, 1]),
                0x8A: ("CS", "COL" if along_columns(series) else "ROW"),
                0x96: ("CS", "RESEARCH"),
                0xB6: (
                    "LO",
                    [str(series.multiband if series.multiband > 1 else 0), "0", "0", "", "", "", ""],
                ),
            },
        )
    )
    return layout, elements


@lru_cache(maxsize=512)
def _of_slice(series: ScanSeries, layout: Layout, place: int) -> Elements:
    letter, location = _location(layout, place)
    return (
        public(
            ImagePositionPatient=layout.corners[place].tolist(),
            SliceLocation=location,
            InStackPositionNumber=place + 1,
        )
        | private(
            0x27,
            "GEMS_IMAG_01",
            {
                0x40: ("SH", letter),
                0x41: ("FL", location),
                0x60: ("FL", float(layout.columns)),
                0x61: ("FL", float(layout.rows)),
            },
        )
        | private(
            0x43,
            "GEMS_PARM_01",
            {0x28: ("OB", f"MR Recon 1/1/{series.number}/{place + 1}".encode("ascii").ljust(80, b"\0"))},
        )
    )


def _location(layout: Layout, place: int) -> tuple[str, float]:
    """Side of the patient and millimetres, along the axis that the slices are stacked along."""
    axis = int(np.argmax(np.abs(layout.normal)))
    centre = (
        layout.corners[place]
        + np.array(layout.cosines[:3]) * layout.spacing[1] * (layout.columns - 1) / 2
        + np.array(layout.cosines[3:]) * layout.spacing[0] * (layout.rows - 1) / 2
    )
    # GE's axes point to the right, to the front and to the head.
    value = float(centre[axis]) * (1 if axis == 2 else -1)
    return ("LR", "PA", "IS")[axis][int(value >= 0)], value


def _protocol(series: ScanSeries, layout: Layout) -> bytes:
    """The protocol: names and values, compressed, and the length before."""
    entries = {
        "PLANE": layout.plane.upper(),
        "SEDESC": series.description,
        "IMODE": "2D",
        "PSEQ": "Gradient Echo",
        "IOPT": "EPI, FMRI" + (", HB" if series.multiband > 1 else ""),
        "FLIPANG": f"{series.flip_angle:g}",
        "TE": f"{series.echo_times[0] * 1000:.1f}",
        "NECHO": str(len(series.echo_times)),
        "TR": f"{series.tr * 1000:.1f}",
        "NUMSHOTS": "1",
        "SLICEORDER": str(int(_interleaved(series, layout))),
        "VIEWORDER": "1",
        "SLPERLOC": str(series.planned or 1),
        "FOV": f"{layout.columns * layout.spacing[1] / 10:.1f}",
        "SLTHICK": f"{layout.spacing[2]:.1f}",
        "SPC": "0.0",
        "NOSLC": str(layout.slices),
        "MATRIXX": str(layout.columns),
        "MATRIXY": str(layout.rows),
        "SWAPPF": "R/L" if along_columns(series) else "A/P",
    }
    if series.multiband > 1:
        entries["MBACCEL"] = str(series.multiband)
    text = "".join(f'{name} "{value}"\n' for name, value in entries.items()) + "\n"
    packed = gzip.compress(text.encode("latin-1"), mtime=0)
    return struct.pack("<I", len(packed)) + packed


def _interleaved(series: ScanSeries, layout: Layout) -> bool:
    """Whether neighbouring slices are not excited one after the other."""
    excitations = layout.times[: -(-layout.slices // series.multiband)]
    return excitations != sorted(excitations)


def _user_data(series: ScanSeries) -> bytes:
    """The image's user header, of which only the polarity of phase encoding is known here.

    Offsets are those that dcm2niix reads: at byte 24 lies where the image's header begins, which holds its
    version first, and from version 25.002 on its flags 76 bytes further.
    """
    content = bytearray(7480)
    begin = 3244
    struct.pack_into("<H", content, 24, begin)
    struct.pack_into("<f", content, begin, 28.0)
    flags = begin + 0x4C
    struct.pack_into("<H", content, flags + 0x3A, 0x800)  # echo-planar
    # Not flipped, k-space is filled from the top, which makes it j- along columns.
    flipped = series.phase_encoding in ("j", "i-")
    struct.pack_into("<H", content, flags + 0x30, 4 if flipped else 0)
    return bytes(content)
