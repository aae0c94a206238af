"""What the hosts of a run say to each other: one typed message for each thing that happens.

Every message is a tagged structure, in MessagePack or, for clients that have only a WebSocket, in JSON. No
message names a class, a module or code; what is not in the list below is refused. Bytes (an object of the
scanner, a piece of a file) stand beside a message as parts, never in it.

Times are seconds since 1970 on the clock of the host that says them; whoever hears them turns them into its
own scale (`rtflow.server.clock`).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

SCHEMA_VERSION = 1
"""Of this list; hosts that speak another one are told so, and do not connect."""

Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$(?!\n)")]
"""Of an agent, a run or a method: up to 64 letters, digits, dots, hyphens and underscores."""
Text = Annotated[str, msgspec.Meta(max_length=2000)]
"""A sentence or a few, for people."""
Key = Annotated[str, msgspec.Meta(max_length=4096)]
"""What an agent calls an object by; only it knows what the text means."""
VolumeNumber = Annotated[int, msgspec.Meta(ge=1, le=10_000_000)]
Volumes = Annotated[int, msgspec.Meta(ge=0, le=10_000_000)]
"""A number of volumes."""
Time = Annotated[float, msgspec.Meta(ge=-1e11, le=1e11)]
"""Seconds since 1970, and finite: what is no number is refused, too."""
Repetition = Annotated[float, msgspec.Meta(gt=0, le=1000)]
"""Repetition time in seconds."""
Duration = Annotated[float, msgspec.Meta(ge=0, le=86_400)]
"""Seconds, of a day at most."""
Plain = bool | int | float | str | None
"""What may stand under a name of one's own."""


class Message(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", forbid_unknown_fields=True):
    """Base of all messages."""


# To an agent


class BeginRun(Message, frozen=True, kw_only=True, tag=True):
    """A run begins, or one is taken up: told to every agent, and to one that comes later.

    Parameters
    ----------
    run_uid
        Identity of the run.
    workflow
        Its name.
    volumes, tr
        What is planned, if known; TR in seconds.
    existing
        Whether what is there on the scanner's host already belongs to the run.
    pattern
        Which file names to look at.
    """

    run_uid: Name
    workflow: str = ""
    volumes: Volumes | None = None
    tr: Repetition | None = None
    existing: bool = False
    pattern: str = "*"


class EndRun(Message, frozen=True, kw_only=True, tag=True):
    """The run is over: ``completed``, ``failed`` or ``aborted``."""

    run_uid: Name
    status: str = ""


class Done(Message, frozen=True, kw_only=True, tag=True):
    """An object was taken, or will never be of use: keep nothing of it."""

    run_uid: Name
    key: Key


class Again(Message, frozen=True, kw_only=True, tag=True):
    """An object was not whole: send it again once it has changed."""

    run_uid: Name
    key: Key


class Value(Message, frozen=True, kw_only=True, tag=True):
    """What the participant is to be shown of one volume; also the content of ``feedback/volume-0013.json``.

    Parameters
    ----------
    run_uid, volume
        What the value belongs to; whoever has it already drops it.
    value
        The value; null where it is not a number, or there are only ``values``.
    values
        Further values by names of the experimenter's own: numbers, words, and lists of them.
    kind
        What the value is: ``neutral``, ``evidence``, ``percent_signal_change``, ...
    stale
        Whether anything in the volume's Result repeats an earlier volume.
    status, quality
        Of the volume's Result.
    time
        When it was handed over, seconds since 1970 on the clock of the analysis host.
    delay
        Seconds after ``time`` before which it is not to be shown.
    received
        When the volume's last byte was there, in the scale of ``time``, if known.
    acquired
        When the volume's acquisition began, in the scale of ``time``, if triggers say so.
    next_volume
        When the next volume's acquisition begins, in the scale of ``time``, if that can be told.
    """

    run_uid: Name
    volume: VolumeNumber
    value: float | None = None
    values: dict[Annotated[str, msgspec.Meta(max_length=100)], Plain | list[Plain]] = {}
    kind: str = ""
    stale: bool = False
    status: str = "ok"
    quality: str = "good"
    time: Time = 0.0
    delay: Duration = 0.0
    received: Time | None = None
    acquired: Time | None = None
    next_volume: Time | None = None


class Note(Message, frozen=True, kw_only=True, tag=True):
    """A message to the participant's display, in words."""

    text: Text


class Request(Message, frozen=True, kw_only=True, tag=True):
    """Something that an agent is asked to do: one of its declared methods, with checked arguments."""

    id: int
    method: Annotated[str, msgspec.Meta(pattern=r"^[a-z_][a-z0-9_]{0,31}\.[a-z_][a-z0-9_]{0,63}\Z")]
    arguments: dict[str, Any] = {}


# From the scanner's host


class Arrived(Message, frozen=True, kw_only=True, tag=True):
    """An object came in, whole or not; its bytes are the one part beside this.

    Parameters
    ----------
    key
        What the agent calls it by in `Done` and `Again`.
    name
        File name without folder.
    received
        When its last byte was there.
    before
        Whether it was there before the agent began to listen.
    """

    run_uid: Name
    key: Key
    name: Annotated[str, msgspec.Meta(max_length=255)]
    received: Time
    before: bool = False


class Listening(Message, frozen=True, kw_only=True, tag=True):
    """All that came up to ``until`` was sent; ``hint`` says what else to check if nothing comes."""

    run_uid: Name
    until: Time
    hint: Text = ""


class Trouble(Message, frozen=True, kw_only=True, tag=True):
    """What keeps things from coming, or does so no more."""

    run_uid: Name
    says: Text


class PartName(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """File name and media type of one part of a volume."""

    name: Annotated[str, msgspec.Meta(max_length=255)]
    media_type: Annotated[str, msgspec.Meta(max_length=100)]


class VolumeSent(Message, frozen=True, kw_only=True, tag=True):
    """A volume of a source that knows its volumes (a data set, say): its parts stand beside this."""

    run_uid: Name
    volume: VolumeNumber
    received: Time
    acquired: Time | None = None
    missing: Text = ""
    parts: tuple[PartName, ...] = ()


class SourceOpened(Message, frozen=True, kw_only=True, tag=True):
    """The source on the scanner's host is open: what it brings, and what is planned as far as it knows."""

    run_uid: Name
    brings: Literal["objects", "volumes"]
    uri: Text = ""
    volumes: Volumes | None = None
    tr: Repetition | None = None


class SourceEnded(Message, frozen=True, kw_only=True, tag=True):
    """The source on the scanner's host has no more; ``error`` says what was wrong, if something was."""

    run_uid: Name
    error: Text = ""


# From the subject's host


class Received(Message, frozen=True, kw_only=True, tag=True):
    """A value is at the subject's host."""

    run_uid: Name
    volume: VolumeNumber
    at: Time


class Shown(Message, frozen=True, kw_only=True, tag=True):
    """A value is on the display; ``late`` if it had come late, and so was given to it as late."""

    run_uid: Name
    volume: VolumeNumber
    at: Time
    late: bool = False


class Response(Message, frozen=True, kw_only=True, tag=True):
    """What the participant pressed, and when."""

    button: Annotated[str, msgspec.Meta(max_length=100)]
    at: Time
    run_uid: str = ""


class Trigger(Message, frozen=True, kw_only=True, tag=True):
    """The scanner's n-th trigger (from 1), and when it came."""

    n: VolumeNumber
    at: Time
    run_uid: str = ""


class StimulusEvent(Message, frozen=True, kw_only=True, tag=True):
    """What was really shown or played: ``onset`` on the subject's clock, ``duration`` in seconds."""

    name: Annotated[str, msgspec.Meta(max_length=100)]
    onset: Time
    duration: Duration
    run_uid: str = ""


Said = Shown | Response | Trigger | StimulusEvent
"""What a display, or who sits before it, has to say."""


# From any agent


class Piece(Message, frozen=True, kw_only=True, tag=True):
    """A piece of what a request or its reply carries; its bytes are the one part beside this."""

    id: int
    offset: Annotated[int, msgspec.Meta(ge=0)]


class Kept(Message, frozen=True, kw_only=True, tag=True):
    """So many bytes of what came in pieces are kept: as many more may be sent."""

    id: int
    size: Annotated[int, msgspec.Meta(ge=0)]


class Reply(Message, frozen=True, kw_only=True, tag=True):
    """What came of a request: a value, or what was wrong."""

    id: int
    value: Any = None
    error: Text = ""


Body = (
    BeginRun
    | EndRun
    | Done
    | Again
    | Value
    | Note
    | Request
    | Arrived
    | Listening
    | Trouble
    | VolumeSent
    | SourceOpened
    | SourceEnded
    | Received
    | Shown
    | Response
    | Trigger
    | StimulusEvent
    | Piece
    | Kept
    | Reply
)
