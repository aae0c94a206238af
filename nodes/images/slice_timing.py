"""Slice timing: every slice as it would have been at the start of the volume."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from nipype.interfaces.base import BaseInterfaceInputSpec, TraitedSpec, isdefined, traits
from numpy.typing import NDArray

from rtflow.bids.incremental import BidsIncremental
from rtflow.errors import GridError, VolumeError
from rtflow.nodes.images.reslice import require_signal
from rtflow.stream.interface import RunContext, StreamInterface


def slice_axis(metadata: Mapping[str, Any]) -> tuple[int, bool]:
    """Along which axis of the voxels the slices lie, and whether ``SliceTiming`` counts from its far end.

    Parameters
    ----------
    metadata
        With BIDS' ``SliceEncodingDirection``, ``i`` to ``k-``; ``k`` if it is not said.

    Raises
    ------
    VolumeError
        If it is something else.

    Examples
    --------
    >>> slice_axis({}), slice_axis({"SliceEncodingDirection": "j-"})
    ((2, False), (1, True))
    """
    direction = metadata.get("SliceEncodingDirection", "k")
    if direction not in ("i", "j", "k", "i-", "j-", "k-"):
        raise VolumeError(
            f"SliceEncodingDirection is {direction!r}, expected i, j or k, with a '-' where slices count "
            "from the far end; correct it"
        )
    return "ijk".index(direction[0]), direction.endswith("-")


def slice_times(metadata: Mapping[str, Any], shape: Sequence[int], tr: float) -> NDArray[np.float64]:
    """When each slice is excited, in the order of the voxels.

    Parameters
    ----------
    metadata
        With BIDS' ``SliceTiming``, seconds after the start of the volume; slices that are excited together
        (multiband) have the same time.
    shape
        Of the volume, (i, j, k).
    tr
        Repetition time, s.

    Returns
    -------
    Shape (slices,), float64, seconds.

    Raises
    ------
    VolumeError
        If there are no times, not one for each slice, or some do not lie within the TR.
    """
    axis, reverse = slice_axis(metadata)
    if metadata.get("SliceTimingCorrected"):
        raise VolumeError("its slices are at one time already (SliceTimingCorrected); leave SliceTiming out")
    times = metadata.get("SliceTiming")
    if times is None:
        raise VolumeError(
            "it has no SliceTiming in its metadata; leave SliceTiming out of the workflow, or have the times "
            "written into the sidecar (seconds, one for each slice)"
        )
    if len(times) != shape[axis]:
        raise VolumeError(
            f"its SliceTiming has {len(times)} times, expected {shape[axis]}, one for each slice along "
            f"{'ijk'[axis]}; correct SliceTiming or SliceEncodingDirection"
        )
    found = np.array(times, dtype=np.float64)
    if not ((found >= 0.0) & (found < tr)).all():
        raise VolumeError(
            f"its SliceTiming goes from {found.min():g} to {found.max():g} s, expected times from 0 to less "
            f"than the RepetitionTime of {tr:g} s"
        )
    return found[::-1] if reverse else found


def at_start(
    data: NDArray[Any], before: NDArray[Any], times: NDArray[np.float64], tr: float, axis: int = 2
) -> NDArray[np.float32]:
    """A volume as it was at its start, by a straight line between each slice's last two acquisitions.

    A slice that is excited ``t`` after the start of each volume was acquired at ``t - tr`` and at ``t``. At
    0, between the two, the line through them has the value ``(t * before + (tr - t) * data) / tr``.

    Parameters
    ----------
    data, before
        The volume and the one before it, shape (i, j, k).
    times
        When each slice is excited, seconds from 0 to less than ``tr``; shape (slices,).
    tr
        Repetition time, s.
    axis
        Along which the slices lie.

    Returns
    -------
    Shape (i, j, k), float32, in the memory order of ``data``.
    """
    share = (times / tr).astype(np.float32).reshape([-1 if n == axis else 1 for n in range(3)])
    now = data.astype(np.float32, copy=False)
    found: NDArray[np.float32] = np.subtract(before, now, dtype=np.float32)
    found *= share
    found += now
    return found


class SliceTimingInput(BaseInterfaceInputSpec):  # type: ignore[misc]
    """Inputs of `SliceTiming`."""

    incremental = traits.Any(mandatory=True, desc="the volume, before motion correction: a BidsIncremental")
    echoes = traits.Any(desc="of DicomToBids, where there are several: all of them are brought to the start")


class SliceTimingOutput(TraitedSpec):  # type: ignore[misc]
    """Outputs of `SliceTiming`."""

    incremental = traits.Any(desc="the volume, all slices at its start; float32")
    echoes = traits.Any(desc="the same of each echo: tuple of BidsIncrementals; for Echoes")
    corrected = traits.Bool(desc="whether it is; else it is as it was acquired")


class SliceTiming(StreamInterface):
    """Bring all slices to the start of the volume, from this volume and the one before it; see `at_start`.

    It stands before Realign: times belong to slices as they were acquired. It is useful where the TR is long
    (2 s or more without multiband, and trials rather than blocks). At a TR of 1 s or less the slices lie less
    than that apart, which the response of the blood does not resolve, and what the node does besides, an
    average of two volumes, costs temporal resolution and mixes two positions of a head that moves.

    Interpolation is linear, and to the *start* of the volume: to its middle would need the next volume. The
    metadata say so: ``SliceTimingCorrected`` is true, ``StartTime`` 0 (seconds from the start of the volume,
    as fMRIPrep writes it), and ``SliceTiming`` is gone. A design is to be sampled at the same time: in
    nilearn's terms ``slice_time_ref=0``. Without this node a volume is on average of the middle of its
    acquisition.

    Of a series of several echoes connect ``echoes`` as well, and give those that come out to Echoes: slices
    are excited once for all echoes, so each echo is brought to the start by itself, before motion is found
    from the first of them, and before they are combined.

    The first volume, and one whose predecessor is missing or failed, is passed as it was acquired, in
    float32, with its ``SliceTiming``; ``corrected`` is false, and the volume is doubted.

    Raises
    ------
    VolumeError
        If the metadata lack ``SliceTiming`` or ``RepetitionTime``, or do not go with the volume, if the
        volume holds no signal or is not finite, or if ``incremental`` is none of ``echoes``.
    GridError
        If the volume before lay on another grid.
    """

    input_spec = SliceTimingInput
    output_spec = SliceTimingOutput
    stateful = True

    def start_run(self, context: RunContext) -> None:
        """Begin without a volume before."""
        del context
        self._before: tuple[BidsIncremental, ...] = ()

    def snapshot(self) -> tuple[BidsIncremental, ...]:
        """The volume before, echo by echo."""
        return self._before

    def restore(self, state: tuple[BidsIncremental, ...]) -> None:
        """Go on from there."""
        self._before = state

    def gap(self, volume: int) -> None:
        """The next volume has none before it."""
        del volume
        self._before = ()

    def _run_interface(self, runtime: Any) -> Any:
        incremental: BidsIncremental = self.inputs.incremental
        echoes = tuple(self.inputs.echoes) if isdefined(self.inputs.echoes) else (incremental,)
        labels = [echo.entities.get("echo") for echo in echoes]
        if (label := incremental.entities.get("echo")) not in labels:
            raise VolumeError(
                f"volume {incremental.volume}: incremental is echo {label}, and echoes are {labels}; connect "
                "both from DicomToBids"
            )
        before: tuple[BidsIncremental | None, ...] = self._before
        if not before or self._before[0].volume != incremental.volume - 1:
            before = (None,) * len(echoes)
        # Should this volume fail, the next one has none before it.
        self._before = ()
        if len(before) != len(echoes):
            raise VolumeError(
                f"volume {incremental.volume} has {len(echoes)} echoes, the one before it {len(before)}; one "
                "run has the same echoes throughout"
            )
        moved = [_moved(echo, earlier) for echo, earlier in zip(echoes, before, strict=True)]
        self._before = echoes
        corrected = all(each is not None for each in moved)
        if not corrected:
            self.doubt("slice timing: passed as it was acquired, the volume before it is missing")
        found = tuple(
            echo.with_data(echo.data.astype(np.float32)) if each is None else each
            for echo, each in zip(echoes, moved, strict=True)
        )
        chosen = found[labels.index(label)]
        self._results = {"incremental": chosen, "echoes": found, "corrected": corrected}
        return runtime


def _moved(incremental: BidsIncremental, before: BidsIncremental | None) -> BidsIncremental | None:
    """An echo with all slices at the start of the volume; None if there is no volume before it to use."""
    number, tr = incremental.volume, incremental.tr
    try:
        axis, _ = slice_axis(incremental.metadata)
        times = slice_times(incremental.metadata, incremental.data.shape, tr)
    except VolumeError as error:
        raise VolumeError(f"volume {number}: {error}") from None
    require_signal(incremental.data, f"volume {number}")
    if before is not None and before.grid != incremental.grid:
        raise GridError(
            f"volume {number} lies on another grid than volume {before.volume}: its slices are at other "
            "places; one run has one position of the slices"
        )
    if before is None and times.any():
        return None
    last = incremental.data if before is None else _in_units_of(incremental, before)
    data = at_start(incremental.data, last, times, tr, axis)
    return incremental.remove("SliceTiming").with_data(data, SliceTimingCorrected=True, StartTime=0.0)


def _in_units_of(incremental: BidsIncremental, before: BidsIncremental) -> NDArray[Any]:
    """The stored values of the volume before, had it been stored with this one's slope and intercept."""
    ours, theirs = ((one.slope, one.intercept) for one in (incremental, before))
    if ours == theirs:
        return before.data
    scaled: NDArray[Any] = (before.data * theirs[0] + (theirs[1] - ours[1])) / ours[0]
    return scaled
