"""The value for the person in the scanner: a file per volume, and the display on another machine."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from nipype.interfaces.base import BaseInterfaceInputSpec, TraitedSpec, isdefined, traits

from rtflow.documents import Result, now
from rtflow.errors import UsageError, VolumeError
from rtflow.server.messages import Name, Note, Plain, Value
from rtflow.server.wire import FRAME_LIMIT
from rtflow.stream.interface import RunContext, StreamSink
from rtflow.whole_file import put_whole

if TYPE_CHECKING:
    from rtflow.server.subject_channel import SubjectChannel

_DISPLAY = "subject"
_LAST_WORD = 1.0
_NAME_LENGTH = 100
_SIZE_LIMIT = FRAME_LIMIT // 2
"""Bytes of all values of a volume: the message has them, and little else."""


def plain_values(values: Mapping[str, Any]) -> dict[str, Plain | list[Plain]]:
    """Numbers, words and lists of them, as they can be said to a display; what is no number is null.

    Raises
    ------
    VolumeError
        If there is something else among them, a name is too long, or all is too much for one message.

    Examples
    --------
    >>> plain_values({"left": np.float32(0.5), "right": math.nan, "both": np.arange(2), "word": "go"})
    {'left': 0.5, 'right': None, 'both': [0, 1], 'word': 'go'}
    """
    found: dict[str, Plain | list[Plain]] = {}
    for name, value in values.items():
        given = value.tolist() if isinstance(value, np.ndarray | np.generic) else value
        found[name] = (
            [_plain(name, one) for one in given] if isinstance(given, list | tuple) else _plain(name, given)
        )
        if not isinstance(name, str) or len(name) > _NAME_LENGTH:
            raise VolumeError(
                f"{str(name)[:20]!r}... is no name of a value for the display; "
                f"give a word of {_NAME_LENGTH} characters at most"
            )
    try:
        size = len(msgspec.json.encode(found))
    except UnicodeError as error:
        raise VolumeError(f"the values for the display are no text: {error}") from None
    if size > _SIZE_LIMIT:
        raise VolumeError(
            f"the values for the display have {size} bytes as text, {_SIZE_LIMIT} at most; give fewer"
        )
    return found


def _plain(name: str, value: Any) -> Plain:
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise VolumeError(f"'{name}' for the display is {value:.3g}, expected a whole number of 64 bits")
    if value is None or isinstance(value, bool | int | str):
        plain: Plain = value
        return plain
    raise VolumeError(
        f"'{name}' for the display is a {type(value).__name__}, expected a number, a word, or a list of them"
    )


class SubjectOutputInput(BaseInterfaceInputSpec):  # type: ignore[misc]
    """Inputs of `SubjectOutput`."""

    value = traits.Float(mandatory=True, xor=["values"], desc="what the participant is shown")
    values = traits.Dict(
        mandatory=True,
        xor=["value"],
        desc="or several values by names of your own: numbers, words, and lists of them",
    )
    kind = traits.Str(desc="what the value is")
    note = traits.Str(desc="a message to the participant's display, told when it changes")
    display = traits.Str(_DISPLAY, usedefault=True, desc="name of the display, where there are several")
    delay = traits.Range(
        0.0, None, 0.0, usedefault=True, desc="seconds that the display waits before it shows the value"
    )


class SubjectOutputOutput(TraitedSpec):  # type: ignore[misc]
    """Outputs of `SubjectOutput`."""

    message = traits.Any(desc="value, values, kind and note, as they are handed over")


class SubjectOutput(StreamSink):
    """Offer a value, or several, to the participant's display.

    The node only offers: once the Result of the volume is in the journal, the value goes to the display of
    that name where the run has a server (`rtflow.server.subject_channel`), and to
    ``RUN_DIR/feedback/volume-0013.json`` (`rtflow.server.messages.Value`), written in one step, so that
    whoever watches the folder never reads half a file. Files of another display than ``subject`` stand in a
    folder of its name. The message of ``note`` is in ``note.json``.

    A volume has one file, which is written once: where a run was cut off behind its
    file, and before the journal could say that it was delivered, the run that goes on finds it and leaves it
    as it is. A volume without a value (withheld, or lost with a node that failed) has no file, and nothing
    goes to the display. A run that goes on offers what the display has not received; a replay has no display
    unless it was given one.
    """

    input_spec = SubjectOutputInput
    output_spec = SubjectOutputOutput

    @property
    def channel(self) -> str:  # type: ignore[override]
        """Where files go, as `Delivered` has it."""
        name = self.inputs.display
        return "file" if name == _DISPLAY else f"file.{name}"

    def start_run(self, context: RunContext) -> None:
        """Make the folder for the files, and find the display.

        Raises
        ------
        UsageError
            If the name of the display cannot be one.
        """
        name = self.inputs.display
        try:
            msgspec.convert(name, Name)
        except msgspec.ValidationError:
            name = "file"
        if name == "file" or name.startswith("file."):
            raise UsageError(
                f"a display cannot be called '{self.inputs.display}'; give a word of letters and digits"
            )
        self._context = context
        self._folder: Path = context.run_dir / "feedback" / ("" if name == _DISPLAY else name)
        self._folder.mkdir(parents=True, exist_ok=True)
        for partial in self._folder.glob(".*.partial"):
            partial.unlink()  # of a run that was cut off
        self._noted, self._told = "", ""
        self._value: Value | None = None
        self._said: Mapping[str, Any] | None = None
        self._display: SubjectChannel | None = None
        self._received = {volume for channel, volume in context.delivered if channel == name}
        if context.server is not None:
            self._display = context.server.subject(name)
            self._display.was_received(self._received)

    def _run_interface(self, runtime: Any) -> Any:
        inputs = self.inputs
        given = {name: getattr(inputs, name) for name in ("value", "values", "kind", "note")}
        message = {name: value for name, value in given.items() if isdefined(value)}
        if "values" in message:
            message["values"] = plain_values(message["values"])
        self._results = {"message": message}
        return runtime

    def offer(self, result: Result, outputs: Mapping[str, Any]) -> None:
        """Send the value to the display, unless it was received before the run was cut off."""
        message = outputs.get("message")
        if not message or self._display is None or result.volume in self._received:
            return
        self._display.offer(self._value_of(result, message))
        note = message.get("note", "")
        if note != self._told:
            self._told = note
            self._display.post(Note(text=note[:2000]))

    def deliver(self, result: Result, outputs: Mapping[str, Any]) -> bool:
        """Write the file of one volume; False if the node gave nothing for it."""
        message = outputs.get("message")
        if not message:
            return False
        note = message.get("note", "")
        if note != self._noted:
            self._noted = note
            put_whole(self._folder / "note.json", msgspec.json.encode(Note(text=note[:2000])))
        path = self._folder / f"volume-{result.volume:04d}.json"
        if not (self._context.resuming and self._is_whole(path)):
            put_whole(path, msgspec.json.encode(self._value_of(result, message)))
        return True

    def settle(self) -> None:
        """Let the display say that it has the last values."""
        if self._display is not None:
            self._display.settle(_LAST_WORD + self.inputs.delay)

    def _value_of(self, result: Result, message: Mapping[str, Any]) -> Value:
        """The same for the display and the file."""
        if self._value is None or self._said is not message:
            self._said = message
            at, clock = now(), self._context.clock
            value = message.get("value")
            self._value = Value(
                run_uid=self._context.run_uid,
                volume=result.volume,
                value=value if value is not None and math.isfinite(value) else None,
                values=message.get("values", {}),
                kind=message.get("kind", ""),
                stale=bool(result.stale),
                status=result.status,
                quality=result.quality,
                time=at,
                delay=self.inputs.delay,
                received=(result.time or at) - result.latency / 1e3,
                acquired=clock.acquired(result.volume),
                next_volume=clock.next_volume(at),
            )
        return self._value

    def _is_whole(self, path: Path) -> bool:
        """Whether the file is there, as this run wrote it: a power cut may leave an empty one."""
        try:
            return msgspec.json.decode(path.read_bytes(), type=Value).run_uid == self._context.run_uid
        except (OSError, msgspec.DecodeError):
            return False
