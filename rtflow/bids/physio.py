"""Physiological logs of Siemens scanners, as BIDS has them.

Two formats: the text logs of the physiological monitoring unit (``.puls``, ``.resp``, ``.ecg``, ``.ext``),
and the log that CMRR's multiband sequences put into a DICOM object, in private element (7FE1,1010).
"""

from __future__ import annotations

import gzip
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtflow.errors import VolumeError

TICK = 0.0025
"""Seconds in a tick of CMRR's clock, which counts from midnight."""

DAY = 86400.0
_DAY_IN_TICKS = round(DAY / TICK)

#: How a channel is called in BIDS, and what it is; label of its recording, if there are several.
_CHANNELS = {
    "PULS": ("cardiac", "cardiac", "Pulse at the finger"),
    "RESP": ("respiratory", "respiratory", "Respiration by belt"),
    "ECG": ("cardiac", "ecg", "Electrocardiogram"),
    "EXT": ("trigger", "external", "External trigger"),
}
# Values of 5000 and above are marks in the text logs; 5002 and 6002 enclose text.
_MARK = 5000
_TRIGGER = 5000
_END = 5003
_TEXT = re.compile(r"\b5002\b.*?\b6002\b", re.DOTALL)
_LOG = 0x7FE11010


class PhysioError(VolumeError):
    """A physiological log is damaged, or of an unknown kind."""


@dataclass(frozen=True)
class Recording:
    """One physiological signal.

    Parameters
    ----------
    channel
        ``PULS``, ``RESP``, ``ECG`` or ``EXT``; with the number of the lead where there are several.
    start
        When its first sample was taken, seconds after midnight on the scanner's clock.
    frequency
        Samples per second.
    samples
        Values, float64, one per sample; not-a-number where there is none.
    triggers
        1 where the scanner saw a beat, a breath or an external trigger, else 0; as many as samples.
    """

    channel: str
    start: float
    frequency: float
    samples: NDArray[np.float64]
    triggers: NDArray[np.uint8]


@dataclass(frozen=True)
class CmrrLog:
    """What a CMRR log holds.

    Parameters
    ----------
    recordings
        The signals that there are; those that were zero throughout are left out.
    first_volume
        When volume 1 began, seconds after midnight on the scanner's clock; None if it is not said.
    """

    recordings: tuple[Recording, ...]
    first_volume: float | None


def read_pmu(text: str, channel: str, frequency: float = 0.0) -> Recording:
    """The signal in a text log of the physiological monitoring unit.

    Parameters
    ----------
    text
        Content of the file.
    channel
        Of the file, by its ending: ``PULS``, ``RESP``, ``ECG`` or ``EXT``.
    frequency
        Samples per second, where it is known; 0 takes it from the log: the number of samples over the time
        from LogStartMDHTime to LogStopMDHTime.

    Raises
    ------
    PhysioError
        If there are no samples, or the log does not say when it was begun.
    """
    if channel not in _CHANNELS:
        raise PhysioError(f"channel {channel!r}: expected one of {', '.join(_CHANNELS)}; rename the file")
    head, _, tail = _TEXT.sub(" ", text).partition(f" {_END}")
    try:
        numbers = [int(word) for word in head.split()]
    except ValueError as error:
        raise PhysioError(f"{channel} log: {error}; give a text log as the scanner wrote it") from None
    # Four parameters come first; leads of an ECG are marked by their order, which only 5000 and above break.
    values, triggers = [], []
    for number in numbers[4:]:
        if number < _MARK:
            values.append(float(number))
            triggers.append(0)
        elif number == _TRIGGER and triggers:
            triggers[-1] = 1
    start, stop = (_mdh(tail, name) for name in ("LogStartMDHTime", "LogStopMDHTime"))
    if not values or start is None:
        what = "no samples" if not values else "no LogStartMDHTime"
        raise PhysioError(f"{channel} log has {what} (cut off?); give a text log as the scanner wrote it")
    if not frequency:
        length = ((stop or start) - start) % DAY
        if not length:
            raise PhysioError(f"{channel} log does not say when it ended; give its sampling frequency")
        frequency = len(values) / length
    return Recording(channel, start, frequency, np.array(values), np.array(triggers, np.uint8))


def read_cmrr(data: bytes) -> CmrrLog:
    """The signals in the content of (7FE1,1010) of a CMRR physiological log.

    Parameters
    ----------
    data
        The bytes: blocks of equal size, each with the length of its text, that of its name, the name and
        the text; little-endian.

    Raises
    ------
    PhysioError
        If it holds no such blocks, or no signal.
    """
    first: float | None = None
    recordings: list[Recording] = []
    for name, text in _blocks(data):
        lines = [line.split() for line in text.splitlines()]
        if "_Info" in name or "ACQUISITION_INFO" in text:
            starts = [
                int(line[2]) for line in lines if len(line) >= 4 and line[0] == "0" and _all_int(line[:3])
            ]
            first = min(starts) * TICK if starts else None
        else:
            recordings += _signals(text, lines)
    if not recordings:
        raise PhysioError("physiological log without a signal; was the sensor worn?")
    return CmrrLog(tuple(recordings), first)


def cmrr_content(path: Path) -> bytes | None:
    """The content of (7FE1,1010) of a DICOM file; None if it is none, or no physiological log."""
    import pydicom
    from pydicom.errors import InvalidDicomError

    try:
        with pydicom.dcmread(path) as dataset:
            types = [str(value).upper() for value in dataset.get("ImageType", ())]
            found = dataset.get(_LOG)
    except (InvalidDicomError, OSError, EOFError):
        return None
    return bytes(found.value) if found is not None and "PHYSIO" in types else None


def physio_files(recording: Recording, first_volume: float) -> tuple[bytes, dict[str, Any]]:
    """A signal as BIDS has it.

    Parameters
    ----------
    recording
        The signal.
    first_volume
        When volume 1 began, seconds after midnight on the scanner's clock.

    Returns
    -------
    bytes
        The ``.tsv.gz``: no header, columns as the JSON names them.
    dict
        The JSON: ``StartTime`` is that of the first sample against volume 1, negative before it.
    """
    name, _, says = _CHANNELS[recording.channel.rstrip("0123456789")]
    # Across midnight the nearer day is meant.
    start = (recording.start - first_volume + DAY / 2) % DAY - DAY / 2
    rows = zip(recording.samples, recording.triggers, strict=True)
    text = "".join(f"{_number(value)}\t{trigger}\n" for value, trigger in rows)
    columns = [name, "trigger" if name != "trigger" else "trigger_seen"]
    about = {
        "SamplingFrequency": recording.frequency,
        "StartTime": round(start, 6),
        "Columns": columns,
        "Manufacturer": "Siemens",
        columns[0]: {"Description": f"{says}, channel {recording.channel}", "Units": "arbitrary"},
        columns[1]: {"Description": "1 where the scanner detected a beat, a breath or a trigger, else 0"},
    }
    return gzip.compress(text.encode(), mtime=0), about


def label_of(channel: str) -> str:
    """The label of ``recording-`` for a channel: ``cardiac``, ``respiratory``, ``ecg1``, ``external``.

    >>> label_of("PULS"), label_of("ECG2")
    ('cardiac', 'ecg2')
    """
    kind = channel.rstrip("0123456789")
    return _CHANNELS[kind][1] + channel[len(kind) :]


def _mdh(text: str, name: str) -> float | None:
    found = re.search(rf"{name}:\s*(\d+)", text)
    return int(found[1]) / 1000 if found else None


def _blocks(data: bytes) -> Iterator[tuple[str, str]]:
    """Name and text of each block; all have the same size, a multiple of 1024 bytes."""
    count = len(data) // 1024
    sizes = [len(data) // n for n in range(min(count, 16), 0, -1) if len(data) % (1024 * n) == 0]
    for size in sizes:
        heads = [struct.unpack_from("<II", data, at) for at in range(0, len(data), size)]
        if all(0 < length <= size - 1024 and 0 < named < 1016 for length, named in heads):
            for at, (length, named) in zip(range(0, len(data), size), heads, strict=True):
                name = data[at + 8 : at + 8 + named].decode("latin-1")
                yield name, data[at + 1024 : at + 1024 + length].decode("latin-1")
            return
    raise PhysioError(
        f"{len(data)} bytes that are no physiological log of CMRR; is it a log of another kind?"
    )


def _signals(text: str, lines: list[list[str]]) -> Iterator[Recording]:
    step = re.search(r"SampleTime\s*=\s*(\d+)", text)
    rows = [line for line in lines if len(line) >= 3 and line[0].isdigit() and line[2].isdigit()]
    if step is None or not int(step[1]):
        return
    every = int(step[1])
    for channel in dict.fromkeys(row[1] for row in rows):
        if channel.rstrip("0123456789") not in _CHANNELS:
            continue
        own = [row for row in rows if row[1] == channel]
        ticks = np.array([int(row[0]) for row in own])
        if np.ptp(ticks) > _DAY_IN_TICKS // 2:  # it went on over midnight
            ticks[ticks < _DAY_IN_TICKS // 2] += _DAY_IN_TICKS
        if not any(int(row[2]) for row in own):
            continue
        places = (ticks - ticks.min()) // every
        samples = np.full(int(places.max()) + 1, np.nan)
        triggers = np.zeros(len(samples), np.uint8)
        samples[places] = [float(row[2]) for row in own]
        triggers[places] = [len(row) > 3 for row in own]
        yield Recording(channel, float(ticks.min()) * TICK, 1 / (every * TICK), samples, triggers)


def _all_int(words: list[str]) -> bool:
    return all(word.isdigit() for word in words)


def _number(value: float) -> str:
    return "n/a" if np.isnan(value) else f"{value:g}" if value == int(value) else repr(float(value))
