"""How a simulated scanner is set: whose it is, how its slices lie, and when each is taken."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rtflow.errors import UsageError
from rtflow.setting_types import suggestion
from rtflow.sources.simulation.anatomy import ORIENTATIONS, REFERENCE_ECHO

ORDERS = ("ascending", "descending", "interleaved")
POSITIONS = ("HFS", "HFP", "HFDR", "HFDL", "FFS", "FFP", "FFDR", "FFDL")
BEGAN = datetime.datetime(2024, 5, 17, 10, 30)

ONE_OBJECT = ("philips-enhanced",)
"""Vendors that put a whole run into one object."""


@dataclass(frozen=True, kw_only=True)
class ScanProtocol:
    """What is set at the console, beside what `rtflow.source_settings.SimulateSource` has.

    Parameters
    ----------
    vendor
        Whose DICOM it is: one of `rtflow.dicom.writing.VENDORS`.
    echo_times
        Seconds, ascending.
    multiband
        How many slices are excited at once; a divisor of their number.
    slice_order
        One of `ORDERS`, along k.
    moving
        Whether each slice shows the head as it is when the slice is taken; otherwise every slice shows it as
        it is at the start of the volume, whatever the slice times say.
    orientation
        One of `rtflow.sources.simulation.anatomy.ORIENTATIONS`.
    position
        How the patient lies; one of `POSITIONS`.
    phase
        Whether phase images come too, in a series of their own, each after its magnitude image.
    sbref
        Whether a single-band reference comes first, in a series of its own.
    localizer
        Whether three images of another kind come before all.
    number
        SeriesNumber of the run; series before and after it count on.
    name
        What the protocol is called.
    began
        When volume 1 is acquired, by the scanner's clock.

    Raises
    ------
    UsageError
        If a value is none that a scanner can be set to.
    """

    vendor: str = "siemens-mosaic"
    echo_times: tuple[float, ...] = (REFERENCE_ECHO,)
    multiband: int = 1
    slice_order: str = "interleaved"
    moving: bool = False
    orientation: str = "oblique"
    position: str = "HFS"
    phase: bool = False
    sbref: bool = False
    localizer: bool = False
    number: int = 5
    name: str = "func_task-feedback"
    began: datetime.datetime = BEGAN

    def __post_init__(self) -> None:
        from rtflow.dicom.writing import VENDORS

        for what, value, known in (
            ("vendor", self.vendor, VENDORS),
            ("slice order", self.slice_order, ORDERS),
            ("orientation", self.orientation, ORIENTATIONS),
            ("position", self.position, POSITIONS),
        ):
            if value not in known:
                raise UsageError(f"no {what} '{value}'; {suggestion(value, known)}")
        times = self.echo_times
        if not times or times[0] <= 0 or list(times) != sorted(set(times)):
            raise UsageError(
                f"echo times: expected seconds above 0, each later than the one before, got {times}"
            )
        least = 1 + self.localizer + self.sbref
        if self.number < least:
            raise UsageError(
                f"series number: {self.number} leaves none for what comes before; give {least} or more"
            )


def echo_times(echoes: int) -> tuple[float, ...]:
    """Times of so many echoes, seconds: of one as usual at 3 T, of several 15 ms apart from 13 ms on.

    >>> echo_times(1), echo_times(3)
    ((0.03,), (0.013, 0.028, 0.043))
    """
    if echoes < 1:
        raise UsageError(f"echoes: expected 1 or more, got {echoes}")
    if echoes == 1:
        return (REFERENCE_ECHO,)
    return tuple(round(0.013 + 0.015 * number, 6) for number in range(echoes))


def slice_times(
    slices: int, tr: float, order: str = "interleaved", multiband: int = 1, *, vendor: str = "siemens"
) -> tuple[float, ...]:
    """When each slice along k is taken, seconds from the start of the volume.

    The excitations share TR evenly. With multiband the slices are so many equal stacks, one slice of each at
    once. Interleaved takes every other slice and then those between. It begins with the first slice; Siemens
    scanners begin with the second where the number is even, and GE's exchange the last two excitations
    there, with multiband.

    Raises
    ------
    UsageError
        If the slices cannot be shared among so many bands.

    >>> slice_times(6, 3.0, "interleaved")
    (1.5, 0.0, 2.0, 0.5, 2.5, 1.0)
    >>> slice_times(8, 1.0, "interleaved", multiband=2, vendor="ge")
    (0.0, 0.75, 0.25, 0.5, 0.0, 0.75, 0.25, 0.5)
    >>> slice_times(6, 3.0, "ascending", multiband=2)
    (0.0, 1.0, 2.0, 0.0, 1.0, 2.0)
    """
    if multiband < 1 or slices % multiband:
        raise UsageError(
            f"multiband {multiband} does not divide {slices} slices; "
            f"choose one of {', '.join(str(n) for n in range(1, slices + 1) if slices % n == 0)}"
        )
    shots = slices // multiband
    turns: Sequence[int]
    if order == "interleaved":
        even = shots % 2 == 0
        first = 1 if even and vendor.startswith("siemens") else 0
        turns = [*range(first, shots, 2), *range(1 - first, shots, 2)]
        if even and shots > 2 and multiband > 1 and vendor == "ge":
            turns[-2:] = turns[:-3:-1]
    else:
        turns = range(shots) if order == "ascending" else range(shots)[::-1]
    times = np.empty(shots)
    times[list(turns)] = np.arange(shots) * (tr / shots)
    # Scanners give them in tenths of a millisecond or coarser.
    return tuple(round(float(time), 4) for time in np.tile(times, multiband))
