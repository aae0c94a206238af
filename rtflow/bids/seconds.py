"""Milliseconds where BIDS wants seconds: put right where that is certain, refused where it is not."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from numbers import Real
from typing import Any, NamedTuple

from rtflow.errors import VolumeError


class UnitsWarning(UserWarning):
    """A time was in milliseconds, and was put right."""


class _Range(NamedTuple):
    """What no scanner exceeds in seconds, and what none falls below in milliseconds."""

    seconds: float
    milliseconds: float


# Between the two numbers of a field lies what can be neither, or either. A volume of fMRI takes 0.1 to 30 s,
# an echo comes 0.001 to 0.3 s after its excitation, lines of k-space are 0.0001 to 0.01 s apart.
_RANGES = {
    "RepetitionTime": _Range(30.0, 100.0),
    "RepetitionTimeExcitation": _Range(30.0, 100.0),
    "RepetitionTimePreparation": _Range(30.0, 100.0),
    **dict.fromkeys(("EchoTime", "EchoTime1", "EchoTime2"), _Range(0.3, 1.0)),
    "InversionTime": _Range(10.0, 50.0),
    "EffectiveEchoSpacing": _Range(0.01, 0.1),
    "TotalReadoutTime": _Range(0.5, 2.0),
}
#: The fields that are looked at.
TIMES = (*_RANGES, "SliceTiming")
# Slices are spread over this part of a repetition time at least; those of sparse sampling are close together.
_SPREAD = 0.2


def in_seconds(metadata: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Times in seconds, whatever they came in.

    Parameters
    ----------
    metadata
        Sidecar fields in BIDS terms.

    Returns
    -------
    metadata
        With the times put right.
    changes
        What was put right, a sentence each; empty if all was right.

    Raises
    ------
    VolumeError
        If a time is no number above zero, or may be meant in either unit.

    Examples
    --------
    >>> in_seconds({"RepetitionTime": 1500, "EchoTime": 0.028})
    ({'RepetitionTime': 1.5, 'EchoTime': 0.028}, ('RepetitionTime 1500 was in milliseconds, and is 1.5 s',))
    """
    right = dict(metadata)
    changes = []
    for field, limits in _RANGES.items():
        # null is how some programs say that they do not know.
        if (value := metadata.get(field)) is None:
            continue
        right[field] = _time(field, value, limits)
        if right[field] != value:
            changes.append(f"{field} {value:g} was in milliseconds, and is {right[field]:g} s")
    if times := metadata.get("SliceTiming"):
        right["SliceTiming"] = _slices(times, right.get("RepetitionTime"))
        if right["SliceTiming"] != times:
            changes.append(
                f"SliceTiming up to {max(times):g} was in milliseconds, and is up to "
                f"{max(right['SliceTiming']):g} s"
            )
    return right, tuple(changes)


def warn_of(changes: tuple[str, ...], stacklevel: int = 2) -> None:
    """Say what was put right, as an `UnitsWarning` each.

    Parameters
    ----------
    stacklevel
        As that of `warnings.warn`, from the caller of this: 2 is his caller.
    """
    for change in changes:
        warnings.warn(change, UnitsWarning, stacklevel=stacklevel + 1)


def _time(field: str, value: Any, limits: _Range) -> Any:
    # Zero is what some headers have where there is none: no inversion, one excitation.
    none = value == 0 and field != "RepetitionTime"
    if not _is_number(value) or not (none or 0 < value < math.inf):
        raise VolumeError(f"{field} is {value!r}, expected a number of seconds above 0; correct it")
    if value <= limits.seconds:
        return value
    if limits.milliseconds <= value <= 1000 * limits.seconds:
        return _divided(value)
    raise VolumeError(
        f"{field} is {value:g}: in seconds it is at most {limits.seconds:g}, in milliseconds "
        f"{limits.milliseconds:g} to {1000 * limits.seconds:g}; give it in seconds"
    )


def _slices(times: Any, tr: Any) -> Any:
    if not isinstance(times, (list, tuple)) or not all(
        _is_number(time) and 0 <= time < math.inf for time in times
    ):
        raise VolumeError(f"SliceTiming is {times!r}, expected a list of seconds, 0 or above; correct it")
    last = max(times)
    # Headers round their times: by 2.5 ms those of some scanners.
    if tr is None or last <= tr + 0.01:
        return times
    if _SPREAD * tr <= last / 1000 <= tr + 0.01:
        return [_divided(time) for time in times]
    raise VolumeError(
        f"SliceTiming goes up to {last:g}, and RepetitionTime is {tr:g} s: times of slices lie within it; "
        "give both in seconds"
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _divided(milliseconds: float) -> float:
    # 1500.19 ms is 1.50019 s, not 1.5001900000000001.
    return float(f"{milliseconds / 1000:.12g}")
