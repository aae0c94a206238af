"""The value for the person in the scanner, as a file per volume."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from nipype.interfaces.base import BaseInterfaceInputSpec, TraitedSpec, isdefined, traits

from rtflow.documents import Result, now
from rtflow.stream.interface import RunContext, StreamSink


class Feedback(msgspec.Struct, frozen=True, kw_only=True):
    """One line to the presentation script: the content of ``feedback/volume-0013.json``.

    Parameters
    ----------
    run_uid, volume
        What the value belongs to; whoever reads it drops what it has already.
    value
        The value; null where it is not a number.
    kind
        What the value is: ``neutral``, ``evidence``, ``percent_signal_change``, ...
    stale
        Whether anything in the volume's Result repeats an earlier volume.
    status, quality
        Of the volume's Result.
    time
        When it was handed over, seconds since 1970.
    """

    run_uid: str
    volume: int
    value: float | None
    kind: str
    stale: bool
    status: str
    quality: str
    time: float


class SubjectOutputInput(BaseInterfaceInputSpec):  # type: ignore[misc]
    """Inputs of `SubjectOutput`."""

    value = traits.Float(mandatory=True, desc="what the participant is shown")
    kind = traits.Str(desc="what the value is")


class SubjectOutputOutput(TraitedSpec):  # type: ignore[misc]
    """Outputs of `SubjectOutput`."""

    message = traits.Any(desc="value and kind, as they are handed over")


class SubjectOutput(StreamSink):
    """Offer a value to the participant's display.

    The node only offers: once the Result of the volume is in the journal, `deliver` writes
    ``RUN_DIR/feedback/volume-0013.json`` (`Feedback`) in one step, so that whoever watches the folder
    never reads half a file. A volume has one file, which is written once: where a run was cut off behind its
    file, and before the journal could say that it was delivered, the run that goes on finds it and leaves it
    as it is. A volume without a value (withheld, or lost with a node that failed) has no file.
    """

    input_spec = SubjectOutputInput
    output_spec = SubjectOutputOutput
    channel = "file"

    def start_run(self, context: RunContext) -> None:
        """Make the folder for the files."""
        self._run_uid = context.run_uid
        self._folder: Path = context.run_dir / "feedback"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._resuming = context.resuming
        for partial in self._folder.glob(".*.partial"):
            partial.unlink()  # of a run that was cut off

    def _run_interface(self, runtime: Any) -> Any:
        kind = self.inputs.kind
        self._results = {"message": {"value": self.inputs.value, "kind": kind if isdefined(kind) else ""}}
        return runtime

    def deliver(self, result: Result, outputs: Mapping[str, Any]) -> bool:
        """Write the file of one volume; False if the node gave nothing for it."""
        message = outputs.get("message")
        if not message:
            return False
        path = self._folder / f"volume-{result.volume:04d}.json"
        if self._resuming and self._is_whole(path):
            return True
        feedback = Feedback(
            run_uid=self._run_uid,
            volume=result.volume,
            value=message["value"],
            kind=message["kind"],
            stale=bool(result.stale),
            status=result.status,
            quality=result.quality,
            time=now(),
        )
        partial = path.with_name(f".{path.name}.partial")
        partial.write_bytes(msgspec.json.encode(feedback))
        partial.replace(path)
        return True

    def _is_whole(self, path: Path) -> bool:
        """Whether the file is there, as this run wrote it: a power cut may leave an empty one."""
        try:
            return msgspec.json.decode(path.read_bytes(), type=Feedback).run_uid == self._run_uid
        except (OSError, msgspec.DecodeError):
            return False
