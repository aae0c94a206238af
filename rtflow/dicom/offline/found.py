"""What was found in a folder: images and their place, and what is none."""

from __future__ import annotations

from dataclasses import dataclass

from rtflow.dicom.instance import Instance


@dataclass(frozen=True, slots=True)
class Form:
    """How planes look and lie: only planes of one form can be stacked.

    Parameters
    ----------
    rows, columns
        Pixels; of a mosaic, those of the whole mosaic.
    spacing
        Millimetres between rows and between columns.
    orientation
        Direction along a row and along a column, in DICOM's axes, 6 numbers; empty if it is not said.
    """

    rows: int
    columns: int
    spacing: tuple[float, ...]
    orientation: tuple[float, ...]

    @property
    def plane(self) -> str:
        """In which plane it lies, more or less; empty if that is not known."""
        if len(self.orientation) != 6:
            return ""
        a, b, c, d, e, f = self.orientation
        normal = (b * f - c * e, c * d - a * f, a * e - b * d)
        return ("sagittal", "coronal", "axial")[max(range(3), key=lambda axis: abs(normal[axis]))]


@dataclass(frozen=True, slots=True)
class Traits:
    """What else the header says of a series.

    Parameters
    ----------
    protocol
        ProtocolName.
    corrected
        Whether the scanner has corrected it for motion.
    diffusion
        Whether volumes differ in how they are weighted by diffusion.
    scale
        Slope and intercept to the scanner's units, as stated; not applied.
    """

    protocol: str = ""
    corrected: bool = False
    diffusion: bool = False
    scale: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Found:
    """An image, its place, and the file that it is in.

    Parameters
    ----------
    path
        The file.
    size
        Its bytes.
    instance
        Its place in a run.
    form, traits
        What the header says beyond that. Equal ones are one object.
    number
        InstanceNumber, if the header has it.
    began
        When its volume was acquired, seconds from whenever, if the header has it.
    """

    path: str
    size: int
    instance: Instance
    form: Form
    traits: Traits
    number: int | None = None
    began: float | None = None


@dataclass(frozen=True)
class Left:
    """What was not converted.

    Parameters
    ----------
    what
        What it is: a series, a kind of file.
    reason
        Why it was left.
    files
        How many files.
    example
        One of them.
    wanted
        Whether it should have been converted: an MR image that is damaged, incomplete or not supported.
    """

    what: str
    reason: str
    files: int = 1
    example: str = ""
    wanted: bool = False

    def __str__(self) -> str:
        count = f" ({self.files} files)" if self.files > 1 else ""
        return f"{self.what}{count}: {self.reason}"
