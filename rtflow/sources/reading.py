"""Arrivals to objects: what each is, and what is remembered of those that are no use."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rtflow.dicom.elements import IncompleteError
from rtflow.dicom.identify import SUPPORTED, identify, read_object
from rtflow.dicom.instance import DicomObject, Instance, Series, UnsupportedError
from rtflow.dicom.read import NoImageError, NotDicomError, TruncatedError
from rtflow.errors import DicomError
from rtflow.sources.feed import Arrival

# Prospective motion correction turns slices by a degree or two; a new prescription turns them by more.
_TURNED = 0.1
# Spacings are written with six digits or so; this is far less than any that matters.
_SCALED = 1e-3


@dataclass(frozen=True, slots=True)
class Shape:
    """What all objects of a run have in common.

    Parameters
    ----------
    matrix
        Columns, rows, and number of slices.
    spacing
        Between rows and between columns, mm.
    cosines
        Directions of rows and columns.
    echo
        Number of the (first) echo, and its time in ms, 0 if that is not said.
    """

    matrix: tuple[int, int, int]
    spacing: tuple[float, ...]
    cosines: tuple[float, ...]
    echo: tuple[int, float] = (1, 0.0)

    @classmethod
    def of(cls, item: DicomObject) -> Shape:
        """The shape of an object.

        Raises
        ------
        DicomError
            If its header does not say.
        """
        header = item.header.frame(0)
        return cls(
            (header.required("Columns"), header.required("Rows"), item.instance.slices),
            tuple(header.numbers("PixelSpacing")),
            tuple(header.numbers("ImageOrientationPatient")),
            (
                item.instance.pieces[0].echo,
                header.number("EffectiveEchoTime") or header.number("EchoTime") or 0.0,
            ),
        )

    def compare(self, run: Shape) -> None:
        """See that it is that of the run.

        Raises
        ------
        DicomError
            If it is not.
        """
        if self.matrix != run.matrix:
            raise DicomError(f"its matrix is {_by(self.matrix)}, that of the run {_by(run.matrix)}")
        if not _close(self.spacing, run.spacing, _SCALED * max(run.spacing, default=0.0)):
            raise DicomError(f"its voxels are {_by(self.spacing)} mm, those of the run {_by(run.spacing)}")
        if not _close(self.cosines, run.cosines, _TURNED):
            raise DicomError("its slices are turned against those of the run")


def _by(numbers: Iterable[float]) -> str:
    return "x".join(f"{number:g}" for number in numbers)


def _close(one: Sequence[float], other: Sequence[float], within: float) -> bool:
    return max((abs(a - b) for a, b in zip(one, other, strict=False)), default=0.0) <= within


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object that was read, and where it stands on disk.

    Parameters
    ----------
    arrival
        How it came.
    instance
        Its place in the run.
    shape
        To compare with the run's.
    item
        What was read, kept only until the volume's turn: objects that were there at the start are read
        again then, so that a long run takes no more memory than a short one.
    """

    arrival: Arrival
    instance: Instance
    shape: Shape
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
        if item.instance != self.instance:
            raise DicomError("it is another object than before")
        return replace(self, arrival=replace(self.arrival, data=data), item=item)


class Reader:
    """Reads arrivals, and keeps account of what is no volume.

    Attributes
    ----------
    waiting
        Whether there was an object that may yet become complete.
    """

    def __init__(self) -> None:
        self._cut_off: dict[str, tuple[Instance, str]] = {}
        self.waiting = False
        self._others: Counter[str] = Counter()
        self._not_yet: dict[str, str] = {}
        # One of each for all objects: a run by the slice has tens of thousands.
        self._series: dict[Series, Series] = {}
        self._shapes: dict[Shape, Shape] = {}

    def read(self, arrival: Arrival, *, live: bool = True) -> StoredObject | None:
        """The object in an arrival, None if it is of no use.

        What comes live is decompressed here, as it comes: the last slice then has only itself to wait for.

        Raises
        ------
        IncompleteError
            If it is not whole, and may become so.
        """
        path = str(arrival.path)
        self._not_yet.pop(path, None)
        self._cut_off.pop(path, None)
        try:
            item = read_object(arrival.data)
            shape = Shape.of(item)
            if live and len(item.instance.pieces) == 1:
                item.planes  # noqa: B018 - decoded now, and kept
        except IncompleteError as error:
            if len(arrival.data) < 132 and any(arrival.data):
                # No run waits for it, for most preambles are zeros; but it may have been cut off in the word
                # behind that, or have another preamble, or none.
                self._not_yet[path] = _no_dicom(arrival.name)
                raise
            self.waiting = True
            self._not_yet[path] = "cut off" if arrival.data else "empty"
            self._incomplete(arrival, error)
            raise
        except NotDicomError:
            # It may be a DICOM file of which the beginning is written last.
            self._not_yet[path] = _no_dicom(arrival.name)
            raise IncompleteError("no DICOM as yet") from None
        except NoImageError as error:
            self._others[str(error)] += 1
        except UnsupportedError as error:
            self._others[str(error).partition(": not supported")[0]] += 1
        except DicomError as error:
            # Damaged, or caught while its parts were being written.
            self._not_yet[path] = f"{arrival.name}: {error}"
            raise IncompleteError(str(error)) from None
        else:
            series = self._series.setdefault(item.instance.series, item.instance.series)
            shape = self._shapes.setdefault(shape, shape)
            return StoredObject(arrival, replace(item.instance, series=series), shape, item)
        return None

    @property
    def cut_off(self) -> dict[tuple[Series, int], str]:
        """Series and volume to reason, for objects whose header is there and whose pixel data are not yet."""
        return {
            (instance.series, volume): reason
            for instance, reason in self._cut_off.values()
            for volume in range(instance.volume, instance.last_volume + 1)
        }

    @property
    def others(self) -> str:
        """What else there was, in words; empty if there was nothing else."""
        counts = self._others + Counter(self._not_yet.values())
        return "; ".join(
            f"{what} ({count} file{'s' if count > 1 else ''})" for what, count in counts.most_common(4)
        )

    def unusable(self, where: str) -> str:
        """The message for a place that holds files, and no volume among them."""
        return (
            f"{where} holds no fMRI volume that can be read: {self.others}; supported: {SUPPORTED}. "
            "For a folder that a scan is yet to be written to, set existing=false"
        )

    def _incomplete(self, arrival: Arrival, error: IncompleteError) -> None:
        if not isinstance(error, TruncatedError) or error.header is None:
            return
        try:
            instance = identify(error.header)
        except DicomError:
            return
        self._cut_off[str(arrival.path)] = instance, f"{arrival.name} is cut off: {error}"


def _no_dicom(name: str) -> str:
    """What a file is called that is no DICOM.

    >>> _no_dicom("notes.txt"), _no_dicom("bold.nii.gz")
    ('no DICOM', "no DICOM but NIfTI, which the source 'bids:DIR' takes from a BIDS data set")
    """
    if name.lower().endswith((".nii", ".nii.gz")):
        return "no DICOM but NIfTI, which the source 'bids:DIR' takes from a BIDS data set"
    return "no DICOM"
