"""Volumes of NIfTI images as frames: a run that was recorded, at the scanner's pace or without waiting."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rtflow.bids.clock import later
from rtflow.bids.run_file import header_of
from rtflow.bids.seconds import in_seconds
from rtflow.documents import Event, Frame, Part, now
from rtflow.errors import SourceError, VolumeError
from rtflow.source_settings import Speed
from rtflow.sources.base import Pacer

# What a sidecar says of the run, or of its first volume only: of each volume it would be wrong.
_OF_THE_RUN = frozenset({"MissingVolumes", "RequestedRun", "RunUID"})
_OF_THE_FIRST = frozenset(
    {"AcquisitionNumber", "ContentTime", "InstanceNumber", "SOPInstanceUID", "TriggerTime", "VolumeNumber"}
)


class Images(Protocol):
    """One NIfTI image of a run, read volume by volume.

    Attributes
    ----------
    shape, dtype
        Voxels along i, j, k (and more), and their type as stored.
    affine
        4x4, as the header has it.
    slope, intercept
        What turns stored values into the scanner's units.
    volumes
        Number of volumes.
    tr
        Repetition time by the header, seconds; None if it says none.
    """

    @property
    def affine(self) -> NDArray[Any]: ...  # noqa: D102
    @property
    def slope(self) -> float: ...  # noqa: D102
    @property
    def intercept(self) -> float: ...  # noqa: D102
    @property
    def shape(self) -> tuple[int, ...]: ...  # noqa: D102
    @property
    def dtype(self) -> np.dtype[Any]: ...  # noqa: D102
    @property
    def volumes(self) -> int: ...  # noqa: D102
    @property
    def tr(self) -> float | None: ...  # noqa: D102

    def read(self, number: int) -> NDArray[Any]:
        """Stored values of volume ``number`` (from 1), shape (i, j, k)."""

    def close(self) -> None:
        """Hold no file open."""


class ImageReplay:
    """A run of NIfTI images as a source: one for each echo.

    Parameters
    ----------
    what
        What the run is called in messages.
    uri
        What the source was opened from.
    open_images
        Opens the images, echo by echo.
    metadata
        Metadata of each echo, as its sidecars have it. Times in milliseconds are put right, and that is told.
    speed
        How many times faster than the scanner, or ``max``.
    limit
        Number of volumes to give at most; None for all.
    was_late
        Tells whether the bytes of the volume that was read last had to be waited for.

    Raises
    ------
    SourceError
        If the images cannot be read or are not of one length, if VolumeTiming is not one ascending time for
        each volume, if a time may be meant in seconds or in
        milliseconds, or a pace is asked for and nothing says the repetition time.
    """

    def __init__(
        self,
        what: str,
        uri: str,
        open_images: Callable[[], Sequence[Images]],
        metadata: Sequence[Mapping[str, Any]],
        speed: Speed,
        *,
        limit: int | None = None,
        was_late: Callable[[], bool] = lambda: False,
    ) -> None:
        self.uri = uri
        self._open, self._speed, self._was_late = open_images, speed, was_late
        try:
            right = [in_seconds(of_echo) for of_echo in metadata]
        except VolumeError as error:
            raise SourceError(f"{what}: {error}") from None
        try:
            images = open_images()
        except VolumeError as error:
            raise SourceError(str(error)) from None
        self._metadata = metadata = [of_echo for of_echo, _ in right]
        self._changes = dict.fromkeys(change for _, changes in right for change in changes)
        try:
            lengths = [image.volumes for image in images]
            self._unfit = _unfit_slices(metadata[0].get("SliceTiming"), metadata[0], images[0].shape)
            tr = metadata[0].get("RepetitionTime", images[0].tr)
        finally:
            for image in images:
                image.close()
        if not any(lengths):
            raise SourceError(f"{what} holds no volume; give a run that has one at least")
        if len(set(lengths)) != 1:
            raise SourceError(
                f"{what}: the echoes have {lengths} volumes, expected as many of each; fetch them again"
            )
        self.volumes: int = min(lengths[0], limit or lengths[0])
        self.tr: float | None = _seconds(tr, what)
        self._times = _times(metadata[0], self.tr, lengths[0], what)
        if self._times is None and speed != "max":
            raise SourceError(
                f"{what}: neither a sidecar nor the image says the RepetitionTime, so no pace is known; "
                "replay it with speed=max, and give [bids] tr"
            )
        missing = metadata[0].get("MissingVolumes", ())
        self._missing = frozenset(missing if isinstance(missing, list) else ())

    def begin(self, run_dir: Path, emit: Callable[[Event], None]) -> None:
        """Tell which times of the sidecars were in milliseconds, and which do not go with the image."""
        del run_dir
        if self._unfit:
            emit(Event(name="slice_timing", data={"says": f"the sidecar's {self._unfit}"}))
        for change in self._changes:
            emit(Event(name="units", data={"says": f"the sidecar's {change}"}))

    def end(self) -> None:
        """Nothing is open but while frames are asked for."""

    def frames(self, stopping: threading.Event) -> Iterator[Frame]:
        """Frames in the order of their volumes; ends soon after ``stopping`` is set.

        The clock starts with the first one asked for. Volume n is acquired from its time in the run on, (n -
        1) * TR, and there one TR later, both divided by the speed and counted from the start: waiting makes
        no error that grows.

        Raises
        ------
        SourceError
            If the images turn out to be damaged.
        """
        images = self._open()
        try:
            headers = [_header(image, self.tr) for image in images]
            yield from self._paced(images, headers, stopping)
        except VolumeError as error:
            raise SourceError(str(error)) from None
        finally:
            for image in images:
                image.close()

    def _paced(
        self, images: Sequence[Images], headers: Sequence[bytes], stopping: threading.Event
    ) -> Iterator[Frame]:
        pacer = Pacer(self._speed)
        start = now()
        pacer.wait(0.0, stopping)
        for number in range(1, self.volumes + 1):
            asked = now()
            if stopping.is_set():
                return
            gone = number in self._missing
            parts = () if gone else self._parts(images, headers, number)
            late = self._was_late()
            if self._speed == "max" or self._times is None:
                received, acquired = now(), None
            else:
                at, due = self._times[number - 1]
                if not pacer.wait(due, stopping):
                    return
                # What nobody fetched in time was there in time all the same.
                on_time = start + due / self._speed
                received = on_time if on_time <= asked and not late else now()
                acquired = start + at / self._speed
            missing = "missing in the recording, by MissingVolumes of its sidecar" if gone else ""
            yield Frame(number, received, parts, None if gone else acquired, missing)

    def _parts(self, images: Sequence[Images], headers: Sequence[bytes], number: int) -> tuple[Part, ...]:
        parts = []
        for echo, (image, header) in enumerate(zip(images, headers, strict=True), start=1):
            name = f"volume-{number:04d}" + (f"_echo-{echo}" if len(images) > 1 else "")
            sidecar = volume_metadata(self._metadata[echo - 1], number, self.tr)
            voxels = image.read(number)
            little = voxels.astype(voxels.dtype.newbyteorder("<"), copy=False)
            parts += [
                Part(f"{name}.nii", "application/x-nifti", header + little.tobytes(order="F")),
                Part(f"{name}.json", "application/json", json.dumps(sidecar).encode()),
            ]
        return tuple(parts)


def volume_metadata(metadata: Mapping[str, Any], number: int, tr: float | None) -> dict[str, Any]:
    """What the sidecars of a run say of its volume ``number`` (from 1).

    The time of acquisition, which is that of the first volume, moves on by TR; what else is true of the
    first volume, or of the run, only is left out.

    >>> volume_metadata({"AcquisitionTime": "23:59:59.5", "MissingVolumes": [4]}, 2, 1.5)
    {'AcquisitionTime': '00:00:01.000000', 'RepetitionTime': 1.5}
    """
    dropped = _OF_THE_RUN | (_OF_THE_FIRST if number > 1 else frozenset())
    about = {name: value for name, value in metadata.items() if name not in dropped}
    if tr is not None:
        about.setdefault("RepetitionTime", tr)
    if number > 1 and "AcquisitionTime" in about:
        shifted = later(about["AcquisitionTime"], (number - 1) * tr) if tr is not None else None
        if shifted is None:
            del about["AcquisitionTime"]
        else:
            about["AcquisitionTime"] = shifted
    return about


def _seconds(tr: Any, what: str) -> float | None:
    if tr is None:
        return None
    if isinstance(tr, int | float) and not isinstance(tr, bool) and 0 < tr < np.inf:
        return float(tr)
    raise SourceError(f"{what}: RepetitionTime should be seconds above 0, got {tr!r}; correct its sidecar")


def _times(
    metadata: Mapping[str, Any], tr: float | None, volumes: int, what: str
) -> list[tuple[float, float]] | None:
    """Seconds from the start of the run to start and end of each volume."""
    timing = metadata.get("VolumeTiming")
    if timing is None:
        return None if tr is None else [(number * tr, (number + 1) * tr) for number in range(volumes)]
    if not isinstance(timing, list) or len(timing) != volumes:
        got = f"{len(timing)} times" if isinstance(timing, list) else repr(timing)
        raise SourceError(
            f"{what}: VolumeTiming has {got}, expected {volumes}, one for each volume; correct or remove it "
            "in its sidecar"
        )
    starts = [float(time) for time in timing if isinstance(time, int | float) and np.isfinite(time)]
    if starts != sorted(starts) or len(starts) != volumes:
        raise SourceError(f"{what}: VolumeTiming should be seconds in ascending order; correct its sidecar")
    # The last one lasts as long as the one before it.
    last = starts[-1] - starts[-2] if volumes > 1 else (tr or 0.0)
    return list(zip(starts, [*starts[1:], starts[-1] + last], strict=True))


def _unfit_slices(times: Any, metadata: Mapping[str, Any], shape: Sequence[int]) -> str:
    """How SliceTiming does not go with an image, which only slice timing correction minds; or empty."""
    direction = str(metadata.get("SliceEncodingDirection", "k"))[:1]
    if not isinstance(times, list) or direction not in ("i", "j", "k"):
        return ""
    slices = shape["ijk".index(direction)]
    if len(times) == slices:
        return ""
    return (
        f"SliceTiming has {len(times)} times, and there are {slices} slices along {direction}: slices cannot "
        "be brought to one time; correct SliceTiming or SliceEncodingDirection"
    )


def _header(image: Images, tr: float | None) -> bytes:
    """What stands before the voxels of one volume in a NIfTI-1 file."""
    dtype = image.dtype.newbyteorder("<")
    return header_of(image.shape[:3], dtype, image.affine, tr or 0.0, image.slope, image.intercept)
