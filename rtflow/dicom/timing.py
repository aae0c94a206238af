"""When each slice of a volume was acquired, by what each vendor writes."""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Sequence
from functools import lru_cache

from rtflow.dicom.ge import sampling_time
from rtflow.dicom.instance import EPI, Instance
from rtflow.dicom.kinds import acquisition_time
from rtflow.dicom.read import Header

#: GE software from which on the last two excitations of an even number change places (27, release 3).
_GE_SWAPPED = (27, 3)
# XA counts in steps of 2.5 ms.
_TICK = 0.0025


def stack_times(instance: Instance, headers: Sequence[Header]) -> list[float]:
    """When each plane was acquired, seconds from the first one; empty if the headers do not say.

    Parameters
    ----------
    instance
        The object of one of the planes.
    headers
        Headers of the planes of one volume, in the order of the stack.
    """
    if instance.vendor == "GE":
        # Slices of diffusion and other spin echoes follow another order, which is not known.
        return _ge_times(headers) if instance.series.kind in ("bold", "sbref") else []
    # What is not echo-planar takes each of its slices many times: they have no time of their own.
    if instance.vendor == "Siemens" and instance.series.kind in EPI:
        times = [acquisition_time(header) for header in headers]
        found = _from_first([time for time in times if time is not None], len(headers))
        # XA writes the times of a single-band volume into multiband ones, into the first at least.
        return found if not found or instance.tr is None or max(found) < instance.tr + _TICK else []
    return []  # Philips does not say


def _from_first(times: Sequence[float], count: int) -> list[float]:
    if len(times) != count or (count > 1 and max(times) == min(times)):
        return []
    first = min(times)
    return [round(time - first, 6) for time in times]


def _ge_times(headers: Sequence[Header]) -> list[float]:
    order = _ge_order(headers[0])
    count, tr = len(headers), headers[0].number("RepetitionTime")
    if order is not None and tr:
        numbers = [header.integer("InstanceNumber") or 0 for header in headers]
        bands = max(ge_bands(headers[0]), 1)
        cycle = ge_cycle(
            math.ceil(count / bands), bands, tr / 1000, interleaved=order, swapped=_swapped(headers[0])
        )
        # Where parts of the signal are numbered in turn, numbers of one part do not follow one another.
        ranks = sorted(range(count), key=numbers.__getitem__)
        reckoned = [0.0] * count
        for rank, index in enumerate(ranks):
            reckoned[index] = round(cycle[rank % len(cycle)], 6)
        # The protocol of a multiphase scan does not say in which order; where it differs from what was
        # reckoned by more than rounding, what each slice says of itself counts.
        stated = _ge_stated(headers, "TriggerTime", 1e-3)
        slot = tr / 1000 / len(cycle)
        differ = any(abs(one - other) > slot for one, other in zip(stated, reckoned, strict=False))
        return stated if differ and max(stated) < tr / 1000 else reckoned
    # Without the protocol: a timer, in seconds (in 0.1 ms in old versions), or the trigger time in ms.
    return _ge_stated(headers, "GeSliceTimer", 1.0) or _ge_stated(headers, "TriggerTime", 1e-3)


def _ge_stated(headers: Sequence[Header], name: str, unit: float) -> list[float]:
    stated = [header.number(name) for header in headers]
    times = [time * unit for time in stated if time is not None]
    if times and (sampling := sampling_time(headers[0])) and (spread := max(times) - min(times)) > sampling:
        # In 0.1 ms, or wrong, as it can be in the first volume of a run.
        times = [time * 1e-4 for time in times] if 100 * sampling < spread <= 1e4 * sampling else []
    return _from_first(times, len(headers))


def ge_cycle(
    excitations: int, bands: int, seconds: float, *, interleaved: bool, swapped: bool
) -> list[float]:
    """When each excitation of a GE EPI begins, in the order of the slices, seconds.

    Parameters
    ----------
    excitations
        Slices divided by bands.
    bands
        Slices excited at once.
    seconds
        RepetitionTime, which leaves out the delay after a volume.
    interleaved
        Whether every other slice comes first.
    swapped
        Whether the software is one that lets the last two of an even number of excitations change places;
        older ones added an excitation to make the number odd.

    >>> ge_cycle(4, 1, 1.0, interleaved=True, swapped=True)
    [0.0, 0.5, 0.25, 0.75]
    """
    slots = excitations
    if bands > 1 and not swapped and excitations % 2 == 0:
        slots += 1
    each = seconds / slots
    if not interleaved:
        return [number * each for number in range(slots)]
    half = (slots + 1) // 2
    turns = [number // 2 if number % 2 == 0 else half + number // 2 for number in range(slots)]
    if bands > 1 and swapped and slots > 2 and slots % 2 == 0:
        turns[-1], turns[-3] = turns[-3], turns[-1]
    return [turn * each for turn in turns]


def ge_bands(header: Header) -> int:
    """How many slices a GE scanner excites at once; 1 if it does not say."""
    first = next(iter(header.texts("GeMultiband")), "")
    return int(first) if first.isdigit() and int(first) > 0 else 1


def _ge_order(header: Header) -> bool | None:
    """Whether slices are interleaved, None if the protocol does not say."""
    protocol = ge_protocol(header.raw("GeProtocol"))
    if "IOPT" in protocol and "SLICEORDER" in protocol:
        return protocol["SLICEORDER"] != "0"
    # Multiphase scans are interleaved where they do not say otherwise.
    return True if "MPH" in protocol.get("IOPT", "").upper() else None


@lru_cache(maxsize=4)
def ge_protocol(block: bytes) -> dict[str, str]:
    """The protocol of a GE scan, name to value; empty if there is none.

    Parameters
    ----------
    block
        Value of element (0025,101B): four bytes of length, then lines packed by gzip. It is the same
        for all slices of a series, so it is unpacked once.
    """
    try:
        lines = gzip.decompress(block[4:]).decode("latin-1").splitlines()
    except (OSError, EOFError, zlib.error):
        return {}
    pairs = (line.partition(" ") for line in lines)
    return {name: value.strip().strip('"') for name, _, value in pairs if name}


def _swapped(header: Header) -> bool:
    # "27\\LX\\MR Software release:DV26.0_R01_1725.a", "30\\LX\\SIGNA_LX1.MR30.0_R01_2242.a"
    _, _, release = header.text("SoftwareVersions").rpartition(":")
    release = release.rpartition(".MR")[2] if ".MR" in release else release
    words = release.lstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZ").split("_")
    try:
        major = float(words[0])
    except ValueError:
        return True
    revision = words[1].lstrip("R") if len(words) > 1 else ""
    if int(major) == _GE_SWAPPED[0]:
        return revision.isdigit() and int(revision) >= _GE_SWAPPED[1]
    return major > _GE_SWAPPED[0]
