"""The node that volumes come from."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import msgspec
from nipype.interfaces.base import BaseInterfaceInputSpec, TraitedSpec, isdefined, traits

from rtflow.dicom.identify import read_object
from rtflow.dicom.participant import require_participant
from rtflow.documents import Frame
from rtflow.errors import DicomError, UsageError
from rtflow.nodes.given_design import DESIGN, given_design
from rtflow.source_settings import AnySource, SourceTable
from rtflow.source_uri import parse_source
from rtflow.sources import Source, open_source
from rtflow.sources.agent import AgentStream
from rtflow.stream.interface import RunContext, StreamSource


def source_table(uri: str | AnySource, speed: float | str | None = None) -> AnySource:
    """The table behind a URI, with another speed if one is given.

    Parameters
    ----------
    uri
        A source URI, or a table already.
    speed
        Factor on the scanner's pace, or ``max``.

    Raises
    ------
    SettingsError
        If the URI is wrong.
    UsageError
        If a speed is given for a source that comes at its own.

    Examples
    --------
    >>> source_table("simulate:?tr=1", speed="max").speed
    'max'
    """
    table = parse_source(uri) if isinstance(uri, str) else uri
    if speed is None:
        return table
    if "speed" not in table.__struct_fields__:
        raise UsageError(
            f"a source of kind {table.__struct_config__.tag} comes at its own pace; leave speed away"
        )
    changed: AnySource = msgspec.structs.replace(table, speed=speed)
    return changed


def patient_id(frame: Frame) -> str:
    """PatientID of a volume, empty if its header has none or it is no DICOM."""
    part = frame.parts[0]
    if part.media_type != "application/dicom":
        return ""
    try:
        return read_object(part.data).header.text("PatientID")
    except DicomError:
        return ""  # a damaged volume fails by itself, and says why


class ScannerInputInput(BaseInterfaceInputSpec):  # type: ignore[misc]
    """Inputs of `ScannerInput`."""

    uri = traits.Any(mandatory=True, desc="where volumes come from: a source URI, or a source table")
    design = traits.Any(desc=f"{DESIGN}; the simulated one follows it, real ones have their own")
    speed = traits.Any(desc="how many times faster than a scanner, or 'max'; for sources that can be paced")


class ScannerInputOutput(TraitedSpec):  # type: ignore[misc]
    """Outputs of `ScannerInput`."""

    frame = traits.Any(desc="Frame of one volume")


class ScannerInput(StreamSource):
    """The stream's source: one frame for each volume.

    The source behind ``uri`` is opened when it is first asked for anything, and once.

    Examples
    --------
    >>> scanner = ScannerInput(uri="simulate:?tr=1.5&volumes=20", speed="max")
    >>> scanner.tr, scanner.volumes
    (1.5, 20)
    """

    input_spec = ScannerInputInput
    output_spec = ScannerInputOutput
    _source: Source | None = None
    _asks: RunContext | None = None

    def open_source(self) -> Source:
        """Open the source if it is not open yet.

        Raises
        ------
        UsageError
            If the URI is wrong, or there is no such source, or it holds no volumes.
        """
        if self._source is None:
            uri: Any = self.inputs.uri
            if not isinstance(uri, str | SourceTable):
                raise UsageError(f"uri should be a source URI or a source table, got {uri!r}")
            speed = self.inputs.speed if isdefined(self.inputs.speed) else None
            design = given_design(self)
            self._source = open_source(source_table(uri, speed), design)  # type: ignore[arg-type]
        return self._source

    @property
    def tr(self) -> float | None:  # type: ignore[override]
        """Repetition time in seconds, if it is known by now."""
        return self.open_source().tr

    @property
    def volumes(self) -> int | None:  # type: ignore[override]
        """Planned number of volumes, if it is known by now."""
        return self.open_source().volumes

    def start_run(self, context: RunContext) -> None:
        """Let the source keep, and tell, what is no volume; one on another machine needs the run's server."""
        self._asks = None if context.replaying or not context.subject else context
        source = self.open_source()
        if isinstance(source, AgentStream):
            source.connect(context.server)
        source.begin(context.run_dir, context.emit)

    def frames(self, stopping: threading.Event) -> Iterator[Frame]:
        """Frames in the order of their volumes; ends soon after ``stopping`` is set.

        Raises
        ------
        SessionError
            If the first volume's header names another participant than the session's earlier runs of the
            subject.
        """
        for frame in self.open_source().frames(stopping):
            if self._asks is not None and frame.parts:
                require_participant(self._asks.session_dir, self._asks.subject, patient_id(frame))
                self._asks = None
            yield frame

    def end_run(self) -> None:
        """Forget the source: another run opens it anew."""
        source, self._source = self._source, None
        if source is not None:
            source.end()

    def __getstate__(self) -> dict[str, Any]:
        # An open source holds threads and queues; a copy of the node opens its own.
        return {name: value for name, value in self.__dict__.items() if name != "_source"}
