"""Files to volumes: what a file is, and what is remembered of those that are none."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from rtflow.dicom.elements import IncompleteError
from rtflow.dicom.identify import SUPPORTED, DicomObject, Instance, UnsupportedError, identify, read_object
from rtflow.dicom.read import NotDicomError, TruncatedError, looks_like_dicom
from rtflow.documents import Frame, Part, now
from rtflow.errors import DicomError


@dataclass(frozen=True)
class VolumeFile:
    """A file that holds a volume.

    Parameters
    ----------
    path
        The file.
    instance
        Its place in the run.
    received
        When its last byte was there; None for a file that was there at the start.
    item, data
        What was read, kept only until the volume's turn: files that were there at the start are read
        again then, so that a long run takes no more memory than a short one.
    """

    path: Path
    instance: Instance
    received: float | None = None
    item: DicomObject | None = None
    data: bytes = b""

    def without_data(self) -> VolumeFile:
        """The same, to be read again."""
        return replace(self, item=None, data=b"", received=None)

    def frame(self) -> Frame:
        """The volume as a frame; a missing one if the file can no longer be read."""
        data, item, received = self.data, self.item, self.received
        if item is None or received is None:
            try:
                data = self.path.read_bytes()
                item = read_object(data)
            except (OSError, DicomError) as error:
                return Frame(
                    self.instance.volume, now(), missing=f"{self.path.name} can no longer be read ({error})"
                )
            received = now()
        part = Part(self.path.name, "application/dicom", data)
        return Frame(self.instance.volume, received, (part,), acquired=self.instance.acquired, payload=item)


class Reader:
    """Reads files, and keeps account of what is no volume.

    Attributes
    ----------
    cut_off
        Volume to reason, for files whose header is there and whose pixel data are not, or not all.
    waiting
        Whether there was a DICOM file that may yet become complete.
    """

    def __init__(self) -> None:
        self.cut_off: dict[int, tuple[Instance, str]] = {}
        self.waiting = False
        self._others: Counter[str] = Counter()

    def read(self, path: Path, received: float | None = None) -> VolumeFile | None:
        """The volume in a file, None if there is none."""
        try:
            with path.open("rb") as stream:
                start = stream.read(132)
                # A file of another kind may be large: it is not read to its end.
                data = start + stream.read() if looks_like_dicom(start) else start
            item = read_object(data)
        except OSError:
            return None
        except IncompleteError as error:
            # A preamble is zeros: a file that begins otherwise, and ends within it, will be no DICOM file.
            if len(start) < 132 and any(start):
                self._others["no DICOM"] += 1
            else:
                self.waiting = True
            self._incomplete(path, error)
        except NotDicomError:
            self._others["no DICOM"] += 1
        except UnsupportedError as error:
            self._others[str(error).partition(": not a kind")[0]] += 1
        except DicomError as error:
            self._others[f"{path.name}: {error}"] += 1
        else:
            return VolumeFile(path, item.instance, received, item, data)
        return None

    @property
    def others(self) -> str:
        """What else there was, in words; empty if there was nothing else."""
        return "; ".join(
            f"{what} ({count} file{'s' if count > 1 else ''})" for what, count in self._others.most_common(4)
        )

    def _incomplete(self, path: Path, error: IncompleteError) -> None:
        if not isinstance(error, TruncatedError) or error.header is None:
            return
        try:
            instance = identify(error.header)
        except DicomError:
            return
        self.cut_off[instance.volume] = (instance, f"{path.name} is cut off: {error}")


def unusable(folder: Path, others: str) -> str:
    """The message for a folder that holds files, and no volume among them."""
    return (
        f"{folder} holds no fMRI volume that can be read: {others}; supported: {SUPPORTED}. "
        "For a folder that a scan is yet to be written to, set existing=false"
    )
