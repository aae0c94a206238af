"""When a volume was acquired, and when the next one is due."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from typing import Any

from rtflow.errors import VolumeError

_DAY = 86400.0
# As BIDS writes it, 09:31:02.5, and as DICOM does, 093102.5; a date may stand before. Of those with colons,
# some programs leave out zeros: 9:31:2.5.
_CLOCK = re.compile(
    r"(?:.*T|\d{8}(?=\d{6}))?"
    r"(?:(\d{1,2}):(\d{1,2}):(\d{1,2})|(\d{2})(\d{2})(\d{2}))(?:\.(\d+))?(?:Z|[+-]\d{2}:?\d{2})?",
    re.ASCII,
)


def time_of_day(value: object) -> datetime.time | None:
    """A time as BIDS or DICOM write it, with a date or without; None if it is none.

    >>> time_of_day("9:31:2.5") == time_of_day("20260102093102.500000") == datetime.time(9, 31, 2, 500000)
    True
    """
    found = _CLOCK.fullmatch(str(value).strip())
    if found is None:
        return None
    hour, minute, second = (int(one) for one in found.groups()[:6] if one is not None)
    try:
        return datetime.time(hour, minute, second, int(f"{found[7] or '':0<6}"[:6]))
    except ValueError:
        return None


def later(value: object, seconds: float) -> str | None:
    """The time of day that many seconds after a time, as BIDS writes it; None if it is no time.

    >>> later("23:59:59.5", 1.5)
    '00:00:01.000000'
    """
    begin = time_of_day(value)
    if begin is None:
        return None
    moment = datetime.datetime.combine(datetime.date(2000, 1, 1), begin) + datetime.timedelta(seconds=seconds)
    return moment.time().isoformat("microseconds")


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
        found = time_of_day(value)
        if found is None:
            raise VolumeError(f"{field} is {value!r}, expected HH:MM:SS.ffffff; correct it")
        return found
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
