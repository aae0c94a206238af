"""What a DICOM object is in a run: its series, its volume, its planes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from numpy.typing import NDArray

from rtflow.dicom.pixels import read_planes
from rtflow.dicom.read import Header
from rtflow.errors import DicomError

Kind = Literal["bold", "sbref", "spin-echo", "perfusion", "fieldmap", "anatomy", "derived"]
#: Kinds of echo-planar images.
EPI: tuple[Kind, ...] = ("bold", "sbref", "spin-echo", "perfusion")
Part = Literal["mag", "phase", "real", "imag"]
Vendor = Literal["Siemens", "GE", "Philips"]


class UnsupportedError(DicomError):
    """A sound DICOM object of a vendor or a layout that is not supported."""


@dataclass(frozen=True)
class Series:
    """What all volumes of a run have in common.

    Parameters
    ----------
    uid
        SeriesInstanceUID; where each volume has one of its own, that of the series they were split from.
    number
        SeriesNumber, as the console shows it.
    name
        SeriesDescription or ProtocolName; may be empty.
    kind
        ``bold``, ``sbref`` (single-band reference), ``spin-echo`` (EPI for field maps or diffusion),
        ``perfusion`` (EPI with labelled blood or a contrast agent),
        ``fieldmap``, ``anatomy`` (what is not EPI) or ``derived`` (maps that the scanner computed).
    part
        ``mag`` for magnitude, ``phase``, ``real`` or ``imag``.
    """

    uid: str
    number: int
    name: str
    kind: Kind = "bold"
    part: Part = "mag"

    @property
    def streamed(self) -> bool:
        """Whether its volumes are those of a run: magnitude images of BOLD."""
        return self.kind == "bold" and self.part == "mag"

    def __str__(self) -> str:
        return f"series {self.number}" + (f" {self.name!r}" if self.name else "") + self.what

    @property
    def what(self) -> str:
        """In brackets what it is, where it is no BOLD magnitude."""
        words = [word for word in (self.kind, self.part) if word not in ("bold", "mag")]
        return f" ({', '.join(words)})" if words else ""


@dataclass(frozen=True)
class Piece:
    """What one object holds of one echo of one volume.

    Parameters
    ----------
    volume
        Number of the volume, from 1.
    echo
        Number of the echo, from 1.
    frames
        Which frames of the object they are, from 0.
    place
        Where the plane of an object with one plane lies along the normal, mm; None for a mosaic or for
        several planes, which are all there are.
    """

    volume: int
    echo: int = 1
    frames: tuple[int, ...] = (0,)
    place: float | None = None


@dataclass(frozen=True)
class Instance:
    """One DICOM object's place in a run.

    Parameters
    ----------
    series
        Which series it belongs to.
    vendor
        Who made the scanner.
    uid
        SOPInstanceUID.
    pieces
        What it holds; one piece for all but objects of several volumes or echoes.
    slices
        Number of planes of a whole volume; 0 if no header says it.
    echoes
        Number of echoes of a volume.
    mosaic
        Whether all slices stand in one plane.
    acquired
        When the acquisition of its (first) volume began: seconds since 1970 by the scanner's clock, which is
        taken to be in this machine's time zone; None if the header does not say.
    tr
        Repetition time in seconds, if the header says.
    planned
        Number of volumes that the protocol asks for, if the header says. A scan that was stopped has fewer.
    uncounted
        Why the header alone does not tell which volume it is of; the number in its pieces then says nothing.
        Live it is refused with that; offline a whole series can be counted by its places.
    """

    series: Series
    vendor: Vendor
    uid: str
    pieces: tuple[Piece, ...]
    slices: int
    echoes: int = 1
    mosaic: bool = False
    acquired: float | None = None
    tr: float | None = None
    planned: int | None = None
    uncounted: UnsupportedError | None = None

    @property
    def volume(self) -> int:
        """Number of its first volume."""
        return min(piece.volume for piece in self.pieces)

    @property
    def last_volume(self) -> int:
        """Number of its last volume."""
        return max(piece.volume for piece in self.pieces)


@dataclass(frozen=True)
class DicomObject:
    """A DICOM object that was read: its place in the run, and the header with the pixel data."""

    instance: Instance
    header: Header

    @cached_property
    def planes(self) -> NDArray[Any]:
        """Its planes, shape (frames, rows, columns), as `rtflow.dicom.pixels.read_planes` gives them."""
        return read_planes(self.header)
