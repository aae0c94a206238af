"""What flows: frames, and the documents that tell the story of a run.

A run is ``RunStart, (VolumeReceived | VolumeMissing, Result, Delivered)*, RunStop`` with `Event`
between. Every volume ends in exactly one `Result`. Volumes are numbered from 1, as the scanner's
console numbers them; onset 0 is the start of volume 1.

Times are seconds since 1970 (UTC) on the clock of the analysis host, durations of computations are
milliseconds. Documents of different volumes may interleave; ``seq`` has no gap.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import msgspec

SCHEMA_VERSION = 1

Scalar = bool | int | float | str | None
Status = Literal["ok", "late", "missing", "failed"]
Ending = Literal["completed", "failed", "aborted"]

_EPOCH = time.time() - time.perf_counter()


def now() -> float:
    """Seconds since 1970 by a clock that never jumps during a run."""
    return _EPOCH + time.perf_counter()


@dataclass(frozen=True)
class Part:
    """One piece of a volume as it came in: a file, or a received object.

    Parameters
    ----------
    name
        File name without folder.
    media_type
        ``application/dicom``, ``application/x-nifti`` or ``application/json``.
    data
        The bytes, unchanged.
    """

    name: str
    media_type: str
    data: bytes

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the bytes, in hexadecimal."""
        return hashlib.sha256(self.data).hexdigest()


@dataclass(frozen=True)
class Frame:
    """What a source yields for one volume.

    Parameters
    ----------
    volume
        Number of the volume in the run, from 1.
    received
        When its last byte was there.
    parts
        Its bytes; empty for a missing volume.
    acquired
        When its acquisition began, on the scanner's clock, if known.
    missing
        Why there is no volume; empty if there is one.
    payload
        What the source has decoded already, if anything. The engine and the journal never open it,
        and whoever does must be able to work from ``parts`` alone: a replay has nothing else.
    """

    volume: int
    received: float
    parts: tuple[Part, ...] = ()
    acquired: float | None = None
    missing: str = ""
    payload: Any = field(default=None, compare=False, repr=False)


class Document(msgspec.Struct, frozen=True, kw_only=True, tag_field="document"):
    """What every document of a run carries."""

    run_uid: str = ""
    seq: int = -1
    time: float = 0.0
    schema_version: int = SCHEMA_VERSION


class RunStart(Document, frozen=True, kw_only=True, tag=True):
    """The first document of a run: all that is needed to run it again.

    ``versions`` maps package names to versions, ``settings`` is the whole of the settings,
    ``workflow_sha256`` the hash of the workflow file, ``seeds`` the seeds of everything random.
    ``volumes`` and ``tr`` (seconds) are what was planned, if known. ``places`` are the folders of the
    run. ``replay_of`` is the run_uid of the run that this one replays.
    """

    workflow: str
    workflow_file: str = ""
    workflow_sha256: str = ""
    source: str = ""
    settings: dict[str, Any] = {}
    versions: dict[str, str] = {}
    seeds: dict[str, int] = {}
    nodes: dict[str, dict[str, Any]] = {}
    volumes: int | None = None
    tr: float | None = None
    places: dict[str, str] = {}
    replay_of: str = ""


class PartRecord(msgspec.Struct, frozen=True):
    """Where the journal keeps one part of a frame: ``size`` bytes from ``offset`` on."""

    name: str
    media_type: str
    size: int
    sha256: str
    offset: int = -1


class VolumeReceived(Document, frozen=True, kw_only=True, tag=True):
    """A volume's last byte is there."""

    volume: int
    received: float
    acquired: float | None = None
    parts: tuple[PartRecord, ...] = ()


class VolumeMissing(Document, frozen=True, kw_only=True, tag=True):
    """A volume was given up."""

    volume: int
    received: float
    reason: str


class Result(Document, frozen=True, kw_only=True, tag=True):
    """How one volume ended.

    Parameters
    ----------
    volume
        Number of the volume, from 1.
    status
        ``ok``, ``late`` (all done, but after the run's deadline), ``missing`` or ``failed``.
    values
        Every scalar output, as ``node.field``. Not-a-number and infinities stand as null in JSON, integers
        of more than 64 bits as floats.
    values_sha256
        Hash of ``values``, bit for bit, and of nothing that depends on time; empty if the run ended before
        the volume was through the graph.
    stale
        Names in ``values`` that repeat an earlier volume's value.
    skipped
        Nodes that gave nothing for this volume, and did not fail it.
    errors
        Node to message, for each node that failed.
    timings
        Node to milliseconds.
    latency
        Milliseconds from the last byte to this Result.
    margin
        Milliseconds that were left until the run's deadline, negative if late, None without one.
    quality
        ``suspect`` if a node doubted its own output or a value is stale or skipped.
    reasons
        Why the quality is suspect.
    """

    volume: int
    status: Status
    values: dict[str, Scalar] = {}
    values_sha256: str = ""
    stale: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    errors: dict[str, str] = {}
    timings: dict[str, float] = {}
    latency: float = 0.0
    margin: float | None = None
    quality: Literal["good", "suspect"] = "good"
    reasons: tuple[str, ...] = ()

    @property
    def given_up(self) -> bool:
        """Whether the run ended before the volume was through the graph."""
        return not self.values_sha256


class Delivered(Document, frozen=True, kw_only=True, tag=True):
    """A value has reached the subject's side: ``received`` there, or ``shown``.

    ``channel`` is ``file``, or the name of a display; ``at`` is when it did, as the subject's host says, on
    the clock of the analysis host. ``late`` says of one that is ``shown`` that the display marked it as late:
    it had come there more than a TR after its volume.
    """

    volume: int
    channel: str
    stage: Literal["received", "shown"] = "received"
    at: float | None = None
    late: bool = False


class Event(Document, frozen=True, kw_only=True, tag=True):
    """What the stimulus, the operator or the clock decided.

    ``name`` is one of ``deadline_missed`` (a replay misses it again), ``late``, ``response``, ``trigger`` and
    ``stimulus`` (from the subject's side), ``note`` (of the operator ``data["who"]``), ``step`` (a node at
    set-up or at the end has begun or ended), a name of the source's (what came and is no volume of the run)
    or of a node's own; ``data`` says more, ``data["says"]`` in words.
    """

    name: str
    volume: int | None = None
    node: str = ""
    data: dict[str, Any] = {}


class RunStop(Document, frozen=True, kw_only=True, tag=True):
    """The last document of a run.

    ``counts`` has the number of Results of each status, ``values`` what the nodes at the end of the
    run gave, ``outputs`` what the run left on disk (name to path).
    """

    status: Ending
    reason: str = ""
    counts: dict[str, int] = {}
    values: dict[str, Scalar] = {}
    outputs: dict[str, str] = {}


AnyDocument = RunStart | VolumeReceived | VolumeMissing | Result | Delivered | Event | RunStop

_ENCODER = msgspec.json.Encoder()
_DECODER: msgspec.json.Decoder[AnyDocument] = msgspec.json.Decoder(AnyDocument)
_CANONICAL = msgspec.msgpack.Encoder(order="deterministic")


def encode(document: Document) -> bytes:
    """One line of JSON, without its newline; what cannot stand in UTF-8 is spelled out by its code."""
    try:
        return _ENCODER.encode(document)
    except UnicodeEncodeError:  # a file name of another age, say, in the message of an error
        return _ENCODER.encode(_spelled_out(msgspec.to_builtins(document)))


def decode(line: bytes) -> AnyDocument:
    """The document in one line of JSON.

    Raises
    ------
    msgspec.DecodeError
        If the line is not a document of this schema.
    """
    return _DECODER.decode(line)


def hash_values(values: dict[str, Scalar]) -> str:
    """SHA-256 over names and values; floats count bit for bit, not by their printed form.

    >>> hash_values({"a.x": 1.0, "b.y": 2}) == hash_values({"b.y": 2, "a.x": 1.0})
    True
    >>> hash_values({"a.x": 0.0}) == hash_values({"a.x": -0.0})
    False
    """
    try:
        encoded = _CANONICAL.encode(values)
    except UnicodeEncodeError:
        encoded = _CANONICAL.encode(_spelled_out(values))
    return hashlib.sha256(encoded).hexdigest()


def _spelled_out(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_spelled_out(key): _spelled_out(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_spelled_out(item) for item in value]
    return value
