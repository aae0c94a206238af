"""Ways in which values leave the subject's agent: files, and a stream of the lab streaming layer."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any, Protocol

import msgspec

from rtflow.agents.kept_values import Arrival
from rtflow.errors import OutputError, ProtocolError, UsageError
from rtflow.server.messages import BeginRun, Body, Note
from rtflow.whole_file import put_whole

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)


class Outlet(Protocol):
    """Where values go; none waits for another."""

    name: str

    async def give(self, value: Arrival) -> None:
        """Give a value on; returns when that is done, however long it takes.

        Raises
        ------
        OSError, RtflowError
            If it cannot now: it is asked again.
        """

    def tell(self, body: Body) -> None:
        """Give on what is no value: a run that begins or ends, a message."""

    async def close(self) -> None:
        """Give nothing on any more."""


def run_folder(out: Path, run_uid: str) -> Path:
    """The folder of a run below another one.

    Parameters
    ----------
    out
        A folder that is there.
    run_uid
        As it came over the network.

    Raises
    ------
    ProtocolError
        If the name could lead anywhere else, or is none on some system.

    Examples
    --------
    >>> run_folder(Path("."), "20260101-120000-abcdef").name
    '20260101-120000-abcdef'
    >>> run_folder(Path("."), "../x")
    Traceback (most recent call last):
    rtflow.errors.ProtocolError: '../x' is no name of a run
    """
    folder = out / run_uid
    if not _NAME.fullmatch(run_uid) or run_uid.endswith(".") or _DEVICES.fullmatch(run_uid):
        raise ProtocolError(f"{run_uid[:100]!r} is no name of a run")
    if folder.resolve() != out.resolve() / run_uid:
        raise ProtocolError(f"{folder} is a link to {folder.resolve()}; remove it")
    return folder


class Files:
    """``OUT/RUN_UID/volume-0013.json`` for each value, written in one step; ``note.json`` for a message.

    Parameters
    ----------
    out
        The folder; made if it is missing.

    Raises
    ------
    OutputError
        If it cannot be written.
    """

    name = "files"

    def __init__(self, out: Path) -> None:
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{out} cannot be written ({error.strerror or error}); give another") from None
        self._out = out
        self._run_uid = ""

    async def give(self, value: Arrival) -> None:
        """Write the file of one volume, unless it is there from before a crash."""
        path = self._folder(value.run_uid) / f"volume-{value.volume:04d}.json"
        if not _is_of(path, value.run_uid):
            put_whole(path, msgspec.json.encode(value))

    def tell(self, body: Body) -> None:
        """Write the message of the run that is under way."""
        if isinstance(body, BeginRun):
            self._run_uid = body.run_uid
        elif isinstance(body, Note) and self._run_uid:
            put_whole(self._folder(self._run_uid) / "note.json", msgspec.json.encode(body))

    async def close(self) -> None:
        """Nothing is open."""

    def _folder(self, run_uid: str) -> Path:
        folder = run_folder(self._out, run_uid)
        folder.mkdir(exist_ok=True)
        return folder


class LabStream:
    """An outlet of the lab streaming layer: samples of volume and value (NaN without one), as they come.

    Parameters
    ----------
    name
        Of the display: the stream is ``rtflow-NAME``, of type ``Feedback``.

    Raises
    ------
    UsageError
        If pylsl is not installed.
    """

    name = "lsl"

    def __init__(self, name: str) -> None:
        try:
            import pylsl
        except (ImportError, RuntimeError) as error:  # the second one without its library
            raise UsageError(
                f"--lsl needs pylsl ({error}); install it with: pip install 'rtflow[lsl]'"
            ) from None
        about = pylsl.StreamInfo(
            f"rtflow-{name}", "Feedback", 2, pylsl.IRREGULAR_RATE, pylsl.cf_double64, f"rtflow-{name}"
        )
        channels = about.desc().append_child("channels")
        for label in ("volume", "value"):
            channels.append_child("channel").append_child_value("label", label)
        self._outlet: Any = pylsl.StreamOutlet(about)

    async def give(self, value: Arrival) -> None:
        """Push one sample."""
        shown = math.nan if value.value is None else value.value
        self._outlet.push_sample([float(value.volume), shown])

    def tell(self, body: Body) -> None:
        """There are only values."""

    async def close(self) -> None:
        """End the stream."""
        self._outlet = None


def _is_of(path: Path, run_uid: str) -> bool:
    """Whether a file is there and whole, as this run's: a power cut may leave an empty one."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Arrival).run_uid == run_uid
    except (OSError, msgspec.DecodeError):
        return False
