"""A stack to its files: NIfTI and JSON, one pair per echo, by the code that converts while a run goes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import rtflow
from rtflow.bids.agreement import voxel_differences
from rtflow.bids.dataset import write_json
from rtflow.bids.image_file import ImageFile
from rtflow.bids.incremental import BidsIncremental
from rtflow.dicom.convert import to_incrementals
from rtflow.dicom.instance import DicomObject
from rtflow.dicom.offline.found import Found, Left
from rtflow.dicom.offline.scan import Scanner
from rtflow.dicom.offline.sort import Stack, Volume, placed
from rtflow.dicom.read import Header
from rtflow.errors import DicomError, VolumeError

# Millimetres that the corners of a volume may lie from those of the first one: so far prospective motion
# correction may move it. What lies farther away was planned anew.
_MOVED_MAX = 20.0
_MOVED_SAID = 0.05
# By how much of it volumes may be further apart than a repetition time that is rounded.
_DIFFERENT = 0.05


class Volumes:
    """Converts the volumes of stacks, reading each file when its turn comes.

    Parameters
    ----------
    held
        Headers, with pixel data, that were read already, by file; they are given away when they are used.
    """

    def __init__(self, held: dict[str, Header] | None = None) -> None:
        self._held = {} if held is None else held
        self._scanner = Scanner()
        self._several: dict[tuple[str, tuple[str, str]], DicomObject] = {}

    def convert(self, stack: Stack, volume: Volume) -> tuple[BidsIncremental, ...]:
        """One volume, echo by echo.

        Raises
        ------
        VolumeError
            If it cannot be converted, or a file has changed since it was found.
        """
        objects = [self._object(one, stack, volume.number) for one in volume.members]
        return to_incrementals(objects, volume.number)

    def _object(self, found: Found, stack: Stack, volume: int) -> DicomObject:
        key = found.path, (found.instance.series.kind, found.instance.series.part)
        item = self._several.pop(key, None)
        if item is None:
            header = self._held.pop(found.path) if found.path in self._held else self._read(found)
            item = DicomObject(placed(found.instance, stack, volume), header)
        # An object of several volumes is kept for those to come.
        if len(item.instance.pieces) > 1 and found.instance.last_volume > volume:
            self._several[key] = item
        return item

    def _read(self, found: Found) -> Header:
        read = self._scanner.read(Path(found.path))
        if isinstance(read, Left) or read.found[0].instance.uid != found.instance.uid:
            raise DicomError(f"{Path(found.path).name} has changed since it was found; convert again")
        return read.header


@dataclass(frozen=True)
class Result:
    """What came of a stack.

    Parameters
    ----------
    stack
        As it was converted: what could not be is lost.
    shape
        Voxels.
    tr
        Repetition time, seconds, if it is known.
    moved
        Millimetres that the corners of a volume lie from the first's, at most.
    """

    stack: Stack
    shape: tuple[int, ...] = ()
    voxel_size: tuple[float, ...] = ()
    tr: float | None = None
    moved: float = 0.0


def without(stack: Stack, failed: Mapping[int, str]) -> Stack:
    """The stack without volumes that cannot be converted."""
    whole = tuple(volume for volume in stack.volumes if volume.number not in failed)
    lost = dict(sorted({**stack.lost, **failed}.items()))
    return replace(stack, volumes=whole, lost=lost)


def try_stack(stack: Stack, volumes: Volumes) -> Result:
    """What a stack would become: its first volume is converted, nothing is written."""
    for volume in stack.volumes:
        try:
            first = volumes.convert(stack, volume)[0]
        except VolumeError as error:
            stack = without(stack, {volume.number: str(error)})
        else:
            return _result(stack, first, 0.0)
    return Result(stack)


def write_stack(
    stack: Stack,
    paths: Mapping[int, Path],
    volumes: Volumes,
    about: Mapping[str, Any],
    done: Callable[[], None] = lambda: None,
) -> Result:
    """Write a stack's files; they appear when they are whole.

    Parameters
    ----------
    stack
        The volumes.
    paths
        Image file of each echo; the JSON is written beside it.
    volumes
        Converts them.
    about
        What else the JSON says.
    done
        Called after each volume.

    Returns
    -------
    Result
        Without volumes nothing was written.

    Raises
    ------
    OutputError
        If a file cannot be written.
    """
    while stack.volumes:
        with _Files(stack, paths) as files:
            try:
                failed = files.write(volumes, done)
            except VolumeError as error:  # the format does not hold it
                failed = {volume.number: str(error) for volume in stack.volumes}
            if not failed:
                files.finish(about)
                return files.result
        # A volume that fails changes how many there are, which stands at the beginning: once more.
        stack = without(stack, failed)
    return Result(stack)


class _Files:
    """The files of one stack, one per echo."""

    def __init__(self, stack: Stack, paths: Mapping[int, Path]) -> None:
        self._stack = stack
        self._paths = paths
        self._open: dict[int, ImageFile] = {}
        self._first: dict[int, BidsIncremental] = {}
        self._times: dict[int, dict[str, Any]] = {}
        self._moved = 0.0

    def __enter__(self) -> _Files:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._open.values():
            file.discard()

    @property
    def result(self) -> Result:
        return _result(self._stack, next(iter(self._first.values())), self._moved)

    def write(self, volumes: Volumes, done: Callable[[], None]) -> dict[int, str]:
        """Write all volumes; after one that cannot be, only look for others."""
        whole = {volume.number: volume for volume in self._stack.volumes}
        failed: dict[int, str] = {}
        for number in self._stack.numbers:
            if number not in whole:
                for file in self._open.values():
                    file.append_zeros()
                continue
            try:
                echoes = volumes.convert(self._stack, whole[number])
                self._check(echoes)
            except VolumeError as error:
                failed[number] = str(error)
            else:
                if not failed:
                    for echo, incremental in zip(self._stack.echoes, echoes, strict=True):
                        self._file(echo).append(incremental)
                        self._slice_times(echo, incremental)
            done()
        return failed

    def finish(self, about: Mapping[str, Any]) -> None:
        numbers = self._stack.numbers
        for echo, file in self._open.items():
            times = self._times.get(echo, {})
            content = {**times, **self._first[echo].metadata, **about, **_of_volumes(self._stack, numbers)}
            if (tr := _repetition(self._stack, content.get("RepetitionTime"))) is not None:
                content["RepetitionTime"] = tr
            content["ConversionSoftware"] = "rtflow"
            content["ConversionSoftwareVersion"] = rtflow.__version__
            file.finish()
            write_json(json_beside(self._paths[echo]), content)

    def _file(self, echo: int) -> ImageFile:
        if echo not in self._open:
            path = self._paths[echo]
            self._open[echo] = ImageFile(path, self._first[echo], len(self._stack.numbers))
        return self._open[echo]

    def _slice_times(self, echo: int, incremental: BidsIncremental) -> None:
        """Of the first volume that has them: some scanners write wrong ones into the first of all."""
        if echo not in self._times and "SliceTiming" in incremental.metadata:
            names = ("SliceTiming", "MultibandAccelerationFactor")
            self._times[echo] = {
                name: incremental.metadata[name] for name in names if name in incremental.metadata
            }

    def _check(self, echoes: Sequence[BidsIncremental]) -> None:
        if len(echoes) != len(self._stack.echoes):
            raise VolumeError(f"{len(echoes)} echoes, expected {len(self._stack.echoes)}")
        for echo, incremental in zip(self._stack.echoes, echoes, strict=True):
            first = self._first.setdefault(echo, incremental)
            if differences := voxel_differences(incremental, first):
                raise VolumeError(f"it has {'; '.join(differences)}")
            moved = _displacement(incremental, first)
            if moved > _MOVED_MAX:
                raise VolumeError(f"it lies {moved:.0f} mm from the first volume")
            self._moved = max(self._moved, moved)


def json_beside(image: Path) -> Path:
    """The JSON file of an image file."""
    return image.with_name(image.name.removesuffix(".gz").removesuffix(".nii") + ".json")


def _of_volumes(stack: Stack, numbers: Sequence[int]) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "SeriesInstanceUID": stack.series.uid,
        "SeriesNumber": stack.series.number,
        "NumberOfVolumes": len(numbers),
    }
    if stack.series.kind == "bold" and numbers and numbers[0] > 1:
        fields["FirstVolume"] = numbers[0]
    missing = {place: stack.lost[number] for place, number in enumerate(numbers, 1) if number in stack.lost}
    if missing:
        fields["MissingVolumes"] = list(missing)
        fields["MissingVolumesReasons"] = list(missing.values())
    left = {number: why for number, why in stack.lost.items() if number not in numbers}
    if left:
        fields["VolumesLeftOut"] = list(left)
        fields["VolumesLeftOutReasons"] = list(left.values())
    return fields


def _repetition(stack: Stack, stated: float | None) -> float | None:
    """Seconds from volume to volume.

    Philips states the time from excitation to excitation, which is less where a volume takes several, as
    in 3D; the volumes' own times tell. They are rounded to 10 ms, so that they count only beyond that.
    """
    times = [(one.number, one.members[0].began) for one in stack.volumes]
    if stated is None or stack.vendor != "Philips" or stack.series.kind != "bold" or len(times) < 2:
        return stated
    (first, begin), (last, end) = times[0], times[-1]
    if begin is None or end is None or end <= begin:
        return stated
    interval = round((end - begin) / (last - first), 4)
    return interval if abs(interval - stated) > _DIFFERENT * stated else stated


def _result(stack: Stack, first: BidsIncremental, moved: float) -> Result:
    return Result(
        stack,
        first.data.shape,
        tuple(round(size, 3) for size in first.voxel_size),
        _repetition(stack, first.metadata.get("RepetitionTime")),
        moved if moved > _MOVED_SAID else 0.0,
    )


def _displacement(one: BidsIncremental, other: BidsIncremental) -> float:
    """How far apart the corners of two volumes lie at most, mm."""
    if np.array_equal(one.affine, other.affine):
        return 0.0
    i, j, k = (size - 1 for size in one.data.shape)
    corners = np.array([[a, b, c, 1] for a in (0, i) for b in (0, j) for c in (0, k)], dtype=float)
    apart = corners @ (one.affine - other.affine).T
    return float(np.linalg.norm(apart[:, :3], axis=1).max())
