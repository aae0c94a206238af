"""Which series and volume does a DICOM object belong to, and how are its voxels laid out?

Never by file name or order: only the header counts. Each vendor's rule is a function that says yes with an
`Instance`, or None; another vendor joins by adding one to ``_RULES``.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from rtflow.dicom.csa import read_protocol
from rtflow.dicom.read import Header, read_header
from rtflow.errors import DicomError

SUPPORTED = "Siemens mosaics (one file a volume)"

Layout = Literal["mosaic"]


class UnsupportedError(DicomError):
    """A sound DICOM object that is no fMRI volume of a supported kind."""


@dataclass(frozen=True)
class Series:
    """What all volumes of a run have in common.

    Parameters
    ----------
    uid
        SeriesInstanceUID.
    number
        SeriesNumber, as the console shows it.
    echo
        Number of the echo, from 1: the echoes of a series are streamed apart.
    name
        SeriesDescription or ProtocolName; may be empty.
    """

    uid: str
    number: int
    echo: int
    name: str

    def __str__(self) -> str:
        echo = f" echo {self.echo}" if self.echo > 1 else ""
        return f"series {self.number}{echo}" + (f" {self.name!r}" if self.name else "")


@dataclass(frozen=True)
class Instance:
    """One DICOM object's place in a run.

    Parameters
    ----------
    series
        Which series it belongs to.
    volume
        Number of the volume, from 1.
    uid
        SOPInstanceUID.
    layout
        How its voxels are laid out.
    acquired
        When its acquisition began: seconds since 1970 by the scanner's clock, which is taken to be in this
        machine's time zone; None if the header does not say.
    tr
        Repetition time in seconds, if the header says.
    planned
        Number of volumes that the protocol asks for, if the header has the protocol. A scan that was
        stopped has fewer.
    """

    series: Series
    volume: int
    uid: str
    layout: Layout
    acquired: float | None
    tr: float | None
    planned: int | None


@dataclass(frozen=True)
class DicomObject:
    """A DICOM object that was read: its place in the run, and the header with the pixel data."""

    instance: Instance
    header: Header


def read_object(data: bytes) -> DicomObject:
    """Read one DICOM file of an fMRI series.

    Raises
    ------
    DicomError
        If it is incomplete, damaged, or of a kind that is not supported.
    """
    header = read_header(data)
    return DicomObject(identify(header), header)


def identify(header: Header) -> Instance:
    """The place of a DICOM object in its run.

    Raises
    ------
    UnsupportedError
        If it is no fMRI volume of a supported kind; says what it is.
    DicomError
        If the header lacks what is needed to tell.
    """
    for rule in _RULES:
        instance = rule(header)
        if instance is not None:
            return instance
    raise UnsupportedError(f"{describe(header)}: not a kind that can be streamed; supported: {SUPPORTED}")


def describe(header: Header) -> str:
    """What a DICOM object is, in a few words, for messages."""
    number = header.integer("SeriesNumber")
    name = header.text("SeriesDescription") or header.text("ProtocolName")
    kind = "/".join(header.texts("ImageType")) or "no image type"
    maker = header.text("Manufacturer") or "unknown vendor"
    return (
        f"series {number if number is not None else '?'}"
        + (f" {name!r}" if name else "")
        + f", {maker} {kind}"
    )


def _siemens_mosaic(header: Header) -> Instance | None:
    kinds = header.texts("ImageType")
    if not header.text("Manufacturer").upper().startswith("SIEMENS") or "MOSAIC" not in kinds:
        return None
    if "P" in kinds[2:3]:
        raise UnsupportedError(f"{describe(header)}: phase images are not streamed, magnitude images are")
    name = header.text("SeriesDescription") or header.text("ProtocolName")
    if "single-band reference" in header.text("ImageComments").lower() or name.endswith("_SBRef"):
        raise UnsupportedError(f"{describe(header)}: a single-band reference is not a volume of the run")
    # AcquisitionNumber counts volumes; InstanceNumber counts files, and so echoes too.
    volume = header.integer("AcquisitionNumber")
    if volume is None or volume < 1:
        raise DicomError(f"{describe(header)}: no AcquisitionNumber, so the volume's number is not known")
    tr = header.number("RepetitionTime")
    return Instance(
        series=Series(
            uid=header.text("SeriesInstanceUID"),
            number=header.integer("SeriesNumber") or 0,
            echo=header.integer("EchoNumbers") or 1,
            name=name,
        ),
        volume=volume,
        uid=header.text("SOPInstanceUID"),
        layout="mosaic",
        acquired=acquisition_time(header),
        tr=tr / 1000 if tr else None,
        planned=_planned(header),
    )


_RULES: tuple[Callable[[Header], Instance | None], ...] = (_siemens_mosaic,)


def _planned(header: Header) -> int | None:
    raw = header.raw("CsaSeries")
    if not raw:
        return None
    protocol = read_protocol(raw)
    try:
        # Absent fields of the protocol are zero (repetitions) or one (averages).
        repetitions = int(protocol.get("lRepetitions", "0")) if protocol else -1
        averages = int(protocol.get("lAverages", "1"))
    except ValueError:
        return None
    # With averages, or without repetitions, the count of files is not the protocol's to tell.
    return repetitions + 1 if repetitions > 0 and averages == 1 else None


def acquisition_time(header: Header) -> float | None:
    """AcquisitionDate and AcquisitionTime as seconds since 1970, in this machine's time zone."""
    text = header.text("AcquisitionDate") + header.text("AcquisitionTime").partition(".")[0]
    try:
        whole = datetime.datetime.strptime(text, "%Y%m%d%H%M%S").timestamp()
    except ValueError:
        return None
    fraction = header.text("AcquisitionTime").partition(".")[2]
    return whole + (float(f"0.{fraction}") if fraction.isascii() and fraction.isdigit() else 0.0)
