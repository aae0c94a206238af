"""A folder that a scanner writes DICOM files to, or wrote them to."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

from rtflow.documents import Frame
from rtflow.errors import SourceError, in_words
from rtflow.source_settings import FolderSource
from rtflow.source_uri import format_source
from rtflow.sources.account import Emit
from rtflow.sources.dicom_stream import DicomStream
from rtflow.sources.left_alone import keep_left_alone
from rtflow.sources.watching import Watcher

_LEFT_ALONE = "left_alone.json"


class FolderStream:
    """Volumes from the DICOM files of a folder, live or after the fact.

    Parameters
    ----------
    spec
        The source table.

    Raises
    ------
    SourceError
        If the folder does not exist or is none; or if it holds files already, and none of them is a volume
        of a supported kind, or several series are there and none was chosen.
    """

    def __init__(self, spec: FolderSource) -> None:
        self._spec = spec
        folder = Path(spec.path).expanduser()
        if not folder.exists():
            raise SourceError(
                f"source folder {folder} does not exist; create it or correct the path, which "
                "counts from the current folder, in a TOML file from the folder of that file"
            )
        if not folder.is_dir():
            raise SourceError(f"source {folder} is a file, expected a folder of DICOM files")
        self._ending = contextlib.ExitStack()
        self._watcher = Watcher(folder, spec.pattern, existing=spec.existing)
        self._stream = DicomStream(self._watcher, spec, str(folder))
        if spec.existing:
            self._stream.survey()

    @property
    def uri(self) -> str:
        """What the source was opened from."""
        return format_source(self._spec)

    @property
    def tr(self) -> float | None:
        """Repetition time in seconds, once a header was seen."""
        return self._stream.tr

    @property
    def volumes(self) -> int | None:
        """Number of volumes: the setting, else what is there in a finished folder, else what was planned."""
        return self._stream.volumes

    def begin(self, run_dir: Path, emit: Emit) -> None:
        """There is a run now: what is no volume is told to it, and kept in its folder.

        From now on it listens: what comes while nodes warm up is brought in the order in which it came. Which
        files were left alone stands in the run's folder too: a run that is taken up leaves the same ones.
        """
        if not self._spec.existing:
            self._leave_alone(run_dir / _LEFT_ALONE)
        self._ending.enter_context(self._watcher)
        self._stream.begin(run_dir, emit)

    def _leave_alone(self, listing: Path) -> None:
        account = self._stream.account
        try:
            if keep_left_alone(self._watcher, listing):
                return
        except (OSError, ValueError) as error:
            account.tell("source_trouble", f"{listing} cannot be kept ({in_words(error)})")
        if self._watcher.left_alone:
            count = len(self._watcher.left_alone)
            account.tell("left_alone", f"{count} files that were there already are left alone", files=count)

    def end(self) -> None:
        """Listen no more."""
        self._ending.close()

    def frames(self, stopping: threading.Event) -> Iterator[Frame]:
        """Frames in the order of their volumes, one for each; ends soon after ``stopping`` is set.

        Raises
        ------
        SourceError
            If no volume comes within ``wait`` seconds, or two series come at once and none was chosen.
        """
        return self._stream.frames(stopping)
