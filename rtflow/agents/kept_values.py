"""What came for a display, and how much of it was given on: on disk, so that nothing is presented twice.

One line is added for each thing that happens: a run, a value, and how far an outlet (files, TCP, LSL) has
come. After a crash the file says where to go on; a last line that was cut off was never acknowledged, and
comes once more.
"""

from __future__ import annotations

import contextlib
from bisect import bisect_right
from collections.abc import Callable
from pathlib import Path
from typing import IO

import msgspec

from rtflow.server.messages import BeginRun, Name, Value, VolumeNumber
from rtflow.whole_file import put_whole

UNKNOWN_TR = 2.0
"""Seconds that stand for a TR where nobody knows it. (The client and the page have it, too.)"""


def is_late(arrived: float, there: float, tr: float | None) -> bool:
    """Whether a value came late: more than a TR after its volume.

    Parameters
    ----------
    arrived
        When it was at the display's host.
    there
        When the volume's last byte was at the server (or, where that is not known, when the value was handed
        over), on the same clock.
    tr
        Repetition time in seconds, if it is known.

    Examples
    --------
    >>> is_late(11.4, 10.0, 1.5), is_late(11.6, 10.0, 1.5), is_late(11.6, 10.0, None)
    (False, True, False)
    """
    return arrived - there > (tr or UNKNOWN_TR)


class Arrival(Value, frozen=True, kw_only=True, tag="Value"):
    """A value as it is given on: also when it came, and whether that was late.

    Parameters
    ----------
    arrived
        When it was at this host, seconds since 1970 on its clock.
    late
        Whether that was late (`is_late`).
    """

    arrived: float = 0.0
    late: bool = False


class Given(msgspec.Struct, frozen=True, kw_only=True, tag=True, tag_field="type"):
    """An outlet has given a value on."""

    outlet: str
    run_uid: Name
    volume: VolumeNumber


_Line = BeginRun | Arrival | Given
_DECODER: msgspec.json.Decoder[_Line] = msgspec.json.Decoder(_Line)
_ENCODER = msgspec.json.Encoder()


class KeptValues:
    """The values of the run that came last, and how far each outlet is.

    Parameters
    ----------
    path
        The file; its folder is there.
    outlets
        Names of the outlets.
    failed
        Called, in words, where the file cannot be written: values are given on all the same, and only a crash
        could then make one come twice.

    Attributes
    ----------
    run
        The run that came last, None before the first.
    """

    def __init__(self, path: Path, outlets: tuple[str, ...], failed: Callable[[str], None]) -> None:
        self.run: BeginRun | None = None
        self._path = path
        self._failed = failed
        self._values: list[Arrival] = []
        self._given = dict.fromkeys(outlets, 0)
        self._read()
        self._file: IO[bytes] | None = None
        self._begin_file()

    @property
    def values(self) -> list[Arrival]:
        """Those of the run that came, in order."""
        return list(self._values)

    @property
    def last(self) -> int:
        """Number of the last volume whose value came."""
        return self._values[-1].volume if self._values else 0

    def begin(self, run: BeginRun) -> None:
        """A run begins, or is told of once more; of one before nothing is given on any more."""
        if self.run == run:
            return
        if self.run is None or self.run.run_uid != run.run_uid:
            self.run, self._values = run, []
            self._given = dict.fromkeys(self._given, 0)
            self._begin_file()
        else:
            self.run = run
            self._write(run)

    def take(self, value: Arrival) -> bool:
        """Keep a value; False if it is here already."""
        if self.run is None or self.run.run_uid != value.run_uid:
            self.begin(BeginRun(run_uid=value.run_uid))
        elif value.volume <= self.last:
            return False
        self._values.append(value)
        self._write(value)
        return True

    def next(self, outlet: str) -> Arrival | None:
        """The next value that an outlet is to give on; None if it has given all."""
        at = bisect_right(self._values, self._given[outlet], key=lambda value: value.volume)
        return self._values[at] if at < len(self._values) else None

    def give(self, outlet: str, value: Arrival) -> None:
        """An outlet has given a value on."""
        if self.run is not None and value.run_uid == self.run.run_uid:
            self._given[outlet] = value.volume
            self._write(Given(outlet=outlet, run_uid=value.run_uid, volume=value.volume))

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            for text in self._path.read_bytes().split(b"\n")[:-1]:
                with contextlib.suppress(msgspec.DecodeError):  # a line that a power cut has damaged
                    self._follow(_DECODER.decode(text))

    def _follow(self, line: _Line) -> None:
        if isinstance(line, BeginRun):
            if self.run is None or self.run.run_uid != line.run_uid:
                self._values, self._given = [], dict.fromkeys(self._given, 0)
            self.run = line
        elif self.run is None or line.run_uid != self.run.run_uid:
            return
        elif isinstance(line, Arrival):
            if line.volume > self.last:
                self._values.append(line)
        elif line.outlet in self._given:
            self._given[line.outlet] = line.volume

    def _begin_file(self) -> None:
        """Write all that counts into a new file, and go on with that."""
        self.close()
        lines: list[_Line] = [] if self.run is None else [self.run, *self._values]
        for outlet, volume in self._given.items():
            if volume and self.run is not None:
                lines.append(Given(outlet=outlet, run_uid=self.run.run_uid, volume=volume))
        try:
            put_whole(self._path, b"".join(_ENCODER.encode(line) + b"\n" for line in lines))
            self._file = self._path.open("ab", buffering=0)
        except OSError as error:
            self._say(error)

    def _write(self, line: _Line) -> None:
        if self._file is None:
            self._begin_file()  # which has the line
            return
        try:
            self._file.write(_ENCODER.encode(line) + b"\n")
        except OSError as error:
            self.close()  # half a line may stand there: the file is made anew
            self._say(error)

    def _say(self, error: OSError) -> None:
        self._failed(f"{self._path} cannot be written ({error.strerror or error}); make room")
