"""A port of this machine that a scanner sends DICOM objects to."""

from __future__ import annotations

import contextlib
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from rtflow.documents import Frame
from rtflow.errors import SourceError
from rtflow.source_settings import DicomSource
from rtflow.source_uri import format_source
from rtflow.sources.account import Emit
from rtflow.sources.dicom_stream import DicomStream
from rtflow.sources.receiving import Receiver


class PortStream:
    """Volumes from the DICOM objects that a scanner sends (C-STORE).

    What is received is written to ``received/`` in the folder of the run before the sender is told so, and
    removed once the journal has it: a run that is resumed after a crash goes on with what was left there.

    Parameters
    ----------
    spec
        The source table.

    Raises
    ------
    SourceError
        If the address is wrong or taken.
    """

    def __init__(self, spec: DicomSource) -> None:
        self._spec = spec
        host, _, port = spec.address.rpartition(":")
        if not port.isdigit():
            raise SourceError(f"'{spec.address}' is no address to listen at; write HOST:PORT")
        self._host, self._port = host.strip("[]"), int(port)
        self._ending = contextlib.ExitStack()
        self._stream: DicomStream | None = None
        # What is wrong with the address is said now, before there is a run.
        self._receiver(Path()).check_address()

    @property
    def uri(self) -> str:
        """What the source was opened from."""
        return format_source(self._spec)

    @property
    def tr(self) -> float | None:
        """Repetition time in seconds, once a header was seen."""
        return self._stream.tr if self._stream else None

    @property
    def volumes(self) -> int | None:
        """Number of volumes: the setting, else what was planned, once a header was seen."""
        return self._stream.volumes if self._stream else self._spec.volumes

    @property
    def port(self) -> int:
        """The port that it listens at, once it does."""
        return self._port

    def begin(self, run_dir: Path, emit: Emit) -> None:
        """Listen: what comes from now on belongs to the run.

        Raises
        ------
        SourceError
            If the address is taken.
        """
        stream = self._listen(run_dir / "received")
        stream.begin(run_dir, emit)

    def end(self) -> None:
        """Listen no more."""
        self._ending.close()
        self._stream = None

    def frames(self, stopping: threading.Event) -> Iterator[Frame]:
        """Frames in the order of their volumes, one for each; ends soon after ``stopping`` is set.

        Raises
        ------
        SourceError
            If no volume comes within ``wait`` seconds, or two series come at once and none was chosen.
        """
        stream = self._stream
        if stream is None:
            stream = self._listen(Path(self._ending.enter_context(tempfile.TemporaryDirectory())))
        try:
            yield from stream.frames(stopping)
        finally:
            self.end()

    def _listen(self, spool: Path) -> DicomStream:
        receiver = self._ending.enter_context(self._receiver(spool))
        self._port = receiver.port
        self._stream = DicomStream(receiver, self._spec, f"{self._host or '0.0.0.0'}:{self._port}")
        says = f"listening at port {self._port} as {self._spec.ae_title}"
        self._stream.account.tell("listening", says, port=self._port)
        return self._stream

    def _receiver(self, spool: Path) -> Receiver:
        return Receiver(
            self._host,
            self._port,
            ae_title=self._spec.ae_title,
            calling=self._spec.calling,
            peers=self._spec.peers,
            spool=spool,
        )
