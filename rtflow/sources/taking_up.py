"""What the journal of a run that is taken up says about its source: where it stood, and in which series."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from rtflow.dicom.identify import read_object
from rtflow.dicom.instance import Instance
from rtflow.errors import DicomError, JournalError
from rtflow.journal import Recording
from rtflow.source_settings import AnySource, FolderSource


@dataclass(frozen=True)
class Standing:
    """Where a run stands.

    Parameters
    ----------
    last
        Number of the last volume that the journal has, or says to be missing; 0 at the start.
    first
        What was first of the run, if the journal has a DICOM object: the run goes on in its series.
    began
        When the run began, seconds since 1970; None if the journal does not have its beginning.
    """

    last: int = 0
    first: Instance | None = None
    began: float | None = None


def standing(run_dir: Path) -> Standing:
    """Where the run in a folder stands; at its start if there is no journal yet."""
    try:
        recording = Recording(run_dir)
        volumes, began = recording.volumes, recording.start.time
        if not volumes:
            return Standing(began=began)
        frame = next((frame for frame in recording.frames() if frame.parts), None)
    except JournalError:
        return Standing()
    last = volumes[-1].volume
    if frame is None or frame.parts[0].media_type != "application/dicom":
        return Standing(last, began=began)
    try:
        return Standing(last, read_object(frame.parts[0].data).instance, began)
    except DicomError:
        return Standing(last, began=began)


def in_its_series(source: AnySource, run_dir: Path) -> AnySource:
    """The source of a run that is taken up: the next series may be in its folder by now, and is not meant."""
    if not isinstance(source, FolderSource) or source.series is not None:
        return source
    first = standing(run_dir).first
    return source if first is None else msgspec.structs.replace(source, series=first.series.number)
