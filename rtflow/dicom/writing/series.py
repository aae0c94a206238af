"""What the files of a series share, whichever vendor writes them."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from rtflow.errors import UsageError


@dataclass(frozen=True)
class Written:
    """One DICOM object as a scanner hands it over.

    Parameters
    ----------
    name
        What the scanner would name its file; says nothing that a reader may rely on.
    data
        The file's bytes.
    """

    name: str
    data: bytes


# Compared by identity: it holds an array, and what is encoded for it is kept under it.
@dataclass(frozen=True, eq=False, kw_only=False)
class ScanSeries:
    """What the files of a series share.

    Parameters
    ----------
    affine
        4x4, voxel indices (of arrays as NIfTI files hold them) to RAS+ millimetres of the patient; columns
        at right angles. Along i lie the columns of an image, along j its rows from the bottom upwards,
        along k the slices.
    tr
        Repetition time, seconds.
    echo_times
        Seconds, one per echo.
    flip_angle
        Degrees.
    slice_times
        Seconds from the first slice, one per slice along k; empty for none.
    number
        SeriesNumber.
    name
        SeriesDescription and ProtocolName.
    planned
        Number of volumes that the protocol asks for; None leaves it away where the vendor can.
    began
        When volume 1 was acquired, by the scanner's clock.
    reversed_slices
        Whether the scanner numbers the slices against k.
    phase_encoding
        ``i``, ``i-``, ``j`` or ``j-``.
    uid
        Stem of all unique identifiers; StudyInstanceUID.
    multiband
        How many slices are excited at once.
    image_type
        Which part of the complex signal the images show.
    sbref
        Whether this is the single-band reference of a multiband series.
    patient_position
        How the patient lies: ``HFS``, ``FFS``, ``HFP``, ... Positions are the patient's in any case.
    patient_name, patient_id, birth_date, sex
        The person, in DICOM's forms (``Family^Given``, ``YYYYMMDD``, ``M`` ``F`` ``O``).
    institution, address, station, device_serial
        The place.
    operator, physician
        Other persons.
    accession
        AccessionNumber.

    Raises
    ------
    UsageError
        If a value is none that a scanner could write.
    """

    affine: NDArray[Any]
    tr: float = 2.0
    echo_times: Sequence[float] = (0.03,)
    flip_angle: float = 77.0
    slice_times: Sequence[float] = ()
    number: int = 5
    name: str = "func_task-feedback"
    planned: int | None = None
    began: datetime.datetime = field(default_factory=lambda: datetime.datetime(2024, 5, 17, 10, 30))
    reversed_slices: bool = False
    phase_encoding: str = "j-"
    uid: str = "1.2.826.0.1.3680043.8.498.5"
    multiband: int = 1
    image_type: Literal["magnitude", "phase"] = "magnitude"
    sbref: bool = False
    patient_position: str = "HFS"
    patient_name: str = "simulated"
    patient_id: str = "simulated"
    birth_date: str = "19700101"
    sex: str = "O"
    institution: str = "Simulated Institute"
    address: str = "Simulated Street 1"
    station: str = "SIMULATED"
    device_serial: str = "00000"
    operator: str = "simulated"
    physician: str = "simulated"
    accession: str = ""

    def __post_init__(self) -> None:
        steps = np.asarray(self.affine, dtype=float)[:3, :3]
        sizes = np.linalg.norm(steps, axis=0)
        cosines = steps / np.where(sizes > 0, sizes, 1)
        if not np.allclose(cosines.T @ cosines, np.eye(3), atol=1e-4):
            raise UsageError("affine: expected columns at right angles, as slices of a scanner are stacked")
        if self.phase_encoding not in ("i", "i-", "j", "j-"):
            raise UsageError(f"phase_encoding: expected i, i-, j or j-, got {self.phase_encoding!r}")
        if not self.echo_times:
            raise UsageError("echo_times: expected the time of one echo at least")

    @property
    def description(self) -> str:
        """SeriesDescription: the name, and what kind of series it is."""
        return self.name + ("_SBRef" if self.sbref else "")

    @property
    def series_uid(self) -> str:
        """SeriesInstanceUID."""
        return f"{self.uid}.{self.number}"

    def acquired(self, volume: int) -> datetime.datetime:
        """When the acquisition of a volume began."""
        return self.began + datetime.timedelta(seconds=(volume - 1) * self.tr)


@dataclass(frozen=True, eq=False)
class Layout:
    """The slices of a volume in the order in which the scanner numbers them, in DICOM's coordinates.

    DICOM's axes point to the patient's left, back and head.

    Parameters
    ----------
    columns, rows, slices
        Pixels.
    cosines
        Direction along a row and along a column, 6 numbers.
    normal
        Direction from each slice to the next, 3 numbers.
    spacing
        Millimetres between rows, columns and slices.
    corners
        Centre of the first pixel of each slice, shape (slices, 3).
    times
        Seconds from the first slice, one per slice; empty for none.
    """

    columns: int
    rows: int
    slices: int
    cosines: list[float]
    normal: list[float]
    spacing: tuple[float, float, float]
    corners: NDArray[np.float64]
    times: list[float]

    @property
    def plane(self) -> str:
        """In which plane the slices lie, more or less."""
        return ("sagittal", "coronal", "axial")[int(np.argmax(np.abs(self.normal)))]


def lay_out(series: ScanSeries, shape: tuple[int, ...]) -> Layout:
    """Where the slices of a volume of this shape lie.

    Raises
    ------
    UsageError
        If there are not as many slice times as slices.
    """
    columns, rows, slices = shape
    if series.slice_times and len(series.slice_times) != slices:
        raise UsageError(f"slice_times: expected {slices}, one per slice, got {len(series.slice_times)}")
    affine = np.array(series.affine, dtype=float)
    affine[:2] *= -1
    step_i, step_j, step_k, corner = affine[:3].T
    corner, step_j = corner + step_j * (rows - 1), -step_j
    times = list(series.slice_times)
    if series.reversed_slices:
        corner, step_k, times = corner + step_k * (slices - 1), -step_k, times[::-1]
    size_i, size_j, size_k = (float(np.linalg.norm(step)) for step in (step_i, step_j, step_k))
    return Layout(
        columns,
        rows,
        slices,
        cosines=[*(step_i / size_i).tolist(), *(step_j / size_j).tolist()],
        normal=(step_k / size_k).tolist(),
        spacing=(size_j, size_i, size_k),
        corners=corner + np.arange(slices)[:, None] * step_k,
        times=times,
    )


def stacked(series: ScanSeries, data: NDArray[Any]) -> NDArray[Any]:
    """The images of a volume in the order of its `Layout`: shape (slices, rows, columns)."""
    stack = data.T[:, ::-1]
    return stack[::-1] if series.reversed_slices else stack
