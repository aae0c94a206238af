"""When a volume was acquired, and when the next one is due."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from typing import Any

from rtflow.errors import VolumeError

_DAY = 86400.0
# As BIDS writes it, 09:31:02.5, and as DICOM does, 093102.5; a date may stand before.
_CLOCK = re.compile(
    r"(?:.*T|\d{8}(?=\d{6}))?(\d{2}):?(\d{2}):?(\d{2})(?:\.(\d{1,6})\d*)?(?:Z|[+-]\d{2}:?\d{2})?"
)


def acquisition_time(metadata: Mapping[str, Any]) -> datetime.time:
    """The time of day at which the acquisition of a volume began, by the scanner's clock.

    Parameters
    ----------
    metadata
        With ``AcquisitionTime`` or ``AcquisitionDateTime``, as BIDS or DICOM write them.

    Raises
    ------
    VolumeError
        If neither is there, or it is no time.

    Examples
    --------
    >>> acquisition_time({"AcquisitionTime": "09:31:02.500000"})
    datetime.time(9, 31, 2, 500000)
    """
    for field in ("AcquisitionTime", "AcquisitionDateTime"):
        if (value := metadata.get(field)) in (None, ""):
            continue
        found = _CLOCK.fullmatch(str(value))
        try:
            if found is None:
                raise ValueError
            hour, minute, second = (int(found[group]) for group in (1, 2, 3))
            return datetime.time(hour, minute, second, int(f"{found[4] or '':0<6}"))
        except ValueError:
            raise VolumeError(f"{field} is {value!r}, expected HH:MM:SS.ffffff; correct it") from None
    raise VolumeError("the metadata have no AcquisitionTime; set it, as HH:MM:SS.ffffff")


def time_to_next(acquired: datetime.time, tr: float, now: datetime.time, clock_skew: float = 0.0) -> float:
    """Seconds until a scanner that goes on every ``tr`` seconds begins with a volume again.

    Parameters
    ----------
    acquired
        When it began with one of its volumes, by its own clock.
    tr
        Repetition time in seconds.
    now
        By the clock of this machine. A run may go on over midnight.
    clock_skew
        Seconds that the scanner's clock is ahead of this machine's.

    Returns
    -------
    float
        At most ``tr``.

    Examples
    --------
    Half a second after the scanner began with a volume of two seconds, as its own clock says, which is one
    second ahead:

    >>> from datetime import time
    >>> time_to_next(time(9, 31, 2), 2.0, time(9, 31, 1, 500000), clock_skew=1.0)
    1.5
    """
    since = (_seconds(now) + clock_skew - _seconds(acquired) + _DAY / 2) % _DAY - _DAY / 2
    return tr - since % tr


def _seconds(time: datetime.time) -> float:
    return 3600.0 * time.hour + 60.0 * time.minute + time.second + 1e-6 * time.microsecond
