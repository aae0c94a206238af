"""Arrivals to objects: what each is, and what is remembered of those that are no use."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from rtflow.dicom.elements import IncompleteError
from rtflow.dicom.identify import SUPPORTED, identify, read_object
from rtflow.dicom.instance import DicomObject, Instance, UnsupportedError
from rtflow.dicom.read import NoImageError, NotDicomError, TruncatedError
from rtflow.errors import DicomError
from rtflow.sources.feed import Arrival


@dataclass(frozen=True)
class StoredObject:
    """An object that was read, and where it stands on disk.

    Parameters
    ----------
    arrival
        How it came.
    instance
        Its place in the run.
    shape
        Columns, rows, number of slices and direction cosines, to compare with the run's.
    item
        What was read, kept only until the volume's turn: objects that were there at the start are read
        again then, so that a long run takes no more memory than a short one.
    """

    arrival: Arrival
    instance: Instance
    shape: tuple[int, int, int, tuple[float, ...]]
    item: DicomObject | None = None

    @property
    def path(self) -> Path:
        """Where it stands on disk."""
        return self.arrival.path

    def without_data(self) -> StoredObject:
        """The same, to be read again."""
        return replace(self, arrival=replace(self.arrival, data=b""), item=None)

    def read_again(self) -> StoredObject:
        """The same with its data.

        Raises
        ------
        OSError
            If its file is gone.
        DicomError
            If it is no longer what it was.
        """
        if self.item is not None:
            return self
        data = self.path.read_bytes()
        item = read_object(data)
        return replace(self, arrival=replace(self.arrival, data=data), item=item)


class Reader:
    """Reads arrivals, and keeps account of what is no volume.

    Attributes
    ----------
    cut_off
        Volume to reason, for objects whose header is there and whose pixel data are not, or not all.
    waiting
        Whether there was an object that may yet become complete.
    """

    def __init__(self) -> None:
        self.cut_off: dict[int, tuple[Instance, str]] = {}
        self.waiting = False
        self._others: Counter[str] = Counter()

    def read(self, arrival: Arrival) -> StoredObject | None:
        """The object in an arrival, None if it is of no use.

        Its slices are decompressed here, as they come: the last one then has only itself to wait for.

        Raises
        ------
        IncompleteError
            If it is not whole, and may become so.
        """
        data = arrival.data
        try:
            item = read_object(data)
            shape = _shape(item)
            if len(item.instance.pieces) == 1:
                item.planes  # noqa: B018 - decoded now, and kept
        except IncompleteError as error:
            # A preamble is zeros: a file that begins otherwise, and ends within it, will be no DICOM file.
            if len(data) < 132 and any(data):
                self._others["no DICOM"] += 1
                return None
            self.waiting = True
            self._incomplete(arrival.name, error)
            raise
        except NotDicomError:
            # It may be a DICOM file of which the beginning is written last.
            self._others["no DICOM"] += 1
            raise IncompleteError("no DICOM as yet") from None
        except NoImageError as error:
            self._others[str(error)] += 1
        except UnsupportedError as error:
            self._others[str(error).partition(": not supported")[0]] += 1
        except DicomError as error:
            # Damaged, or caught while its parts were being written.
            self._others[f"{arrival.name}: {error}"] += 1
            raise IncompleteError(str(error)) from None
        else:
            return StoredObject(arrival, item.instance, shape, item)
        return None

    def note(self, what: str) -> None:
        """Count something else that came."""
        self._others[what] += 1

    @property
    def others(self) -> str:
        """What else there was, in words; empty if there was nothing else."""
        return "; ".join(
            f"{what} ({count} file{'s' if count > 1 else ''})" for what, count in self._others.most_common(4)
        )

    def unusable(self, where: str) -> str:
        """The message for a place that holds files, and no volume among them."""
        return (
            f"{where} holds no fMRI volume that can be read: {self.others}; supported: {SUPPORTED}. "
            "For a folder that a scan is yet to be written to, set existing=false"
        )

    def _incomplete(self, name: str, error: IncompleteError) -> None:
        if not isinstance(error, TruncatedError) or error.header is None:
            return
        try:
            instance = identify(error.header)
        except DicomError:
            return
        self.cut_off[instance.volume] = (instance, f"{name} is cut off: {error}")


def _shape(item: DicomObject) -> tuple[int, int, int, tuple[float, ...]]:
    header = item.header.frame(0)
    cosines = tuple(header.numbers("ImageOrientationPatient"))
    return header.required("Columns"), header.required("Rows"), item.instance.slices, cosines
