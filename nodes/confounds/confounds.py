"""What disturbs a run: displacement, DVARS, tSNR, outliers, spikes and mean signals, volume by volume."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from nipype.interfaces.base import BaseInterfaceInputSpec, TraitedSpec, isdefined, traits
from numpy.typing import NDArray

from rtflow.bids.incremental import BidsIncremental
from rtflow.bids.masked import Mask
from rtflow.documents import Event
from rtflow.errors import UsageError
from rtflow.nodes.confounds.alarm import Alarm, Thresholds, alarms
from rtflow.nodes.confounds.voxel_statistics import Slices, Spread, VoxelStatistics, warm_up
from rtflow.nodes.images.slice_timing import slice_axis
from rtflow.nodes.masks.mask import MaskFiles, covered_mean, take
from rtflow.nodes.motion.displacement import FAST_TR, displacement_lift, rms_deviation
from rtflow.nodes.motion.rigid import PARAMETERS
from rtflow.stream.interface import RunContext, StreamInterface

#: A slice lies apart from its own past by more standard deviations than this (MRIQC's `find_spikes`).
SPIKE = 6.0

#: Alarms: where each begins and ends if the experimenter does not say otherwise.
ALARMS = {
    "framewise_displacement": Thresholds(0.5, 0.25, "mm"),
    "rmsd": Thresholds(0.25, 0.15, "mm"),
    "dvars_running": Thresholds(1.5, 1.2),
    "outlier_fraction": Thresholds(0.05, 0.02),
    "spikes": Thresholds(0.0, 0.0, "slices", clean=5),
    "tsnr": Thresholds(20.0, 25.0),
    "global_signal": Thresholds(SPIKE, SPIKE / 2, "SD from its past"),
    "white_matter": Thresholds(SPIKE, SPIKE / 2, "SD from its past"),
    "csf": Thresholds(SPIKE, SPIKE / 2, "SD from its past"),
}

_DISPLACEMENTS = ("framewise_displacement", "rmsd")
_SIGNALS = ("global_signal", "white_matter", "csf")
_MEASURES = (
    *("framewise_displacement", "rmsd", "dvars", "dvars_running", "tsnr", "outlier_fraction", "spikes"),
    *_SIGNALS,
)


@dataclass
class _State:
    """What `Confounds` knows in the middle of a run."""

    alarms: dict[str, Alarm]
    signals: Spread
    voxels: VoxelStatistics | None = None
    slices: Spread | None = None
    mask: str = ""
    values: NDArray[np.float32] | None = None
    motion: NDArray[np.float64] | None = None
    volume: int = 0
    dvars: list[float] = field(default_factory=list)
    displacements: dict[str, list[float]] = field(
        default_factory=lambda: {name: [] for name in _DISPLACEMENTS}
    )


class ConfoundsInput(BaseInterfaceInputSpec):  # type: ignore[misc]
    """Inputs of `Confounds`."""

    incremental = traits.Any(mandatory=True, desc="the volume, realigned and not smoothed: a BidsIncremental")
    mask = traits.Any(mandatory=True, desc="the brain: a Mask, or the path of an image")
    white_matter = traits.Any(desc="a Mask or the path of an image")
    csf = traits.Any(desc="a Mask or the path of an image")
    motion = traits.Any(desc="the six parameters of Realign, shape (6,); withheld where not trusted")
    framewise_displacement = traits.Any(desc="of Realign, mm; withheld where not trusted")
    settle = traits.Range(
        low=3, value=10, usedefault=True, desc="volumes before measures that need a past are given"
    )
    regressors = traits.List(
        traits.Str, desc="what `confounds` holds, in this order; default: see there", usedefault=True
    )
    alarms = traits.Dict(
        desc="name to (on, off) in place of the default, or to None for no such alarm", usedefault=True
    )


class ConfoundsOutput(TraitedSpec):  # type: ignore[misc]
    """Outputs of `Confounds`; what is not known of a volume is withheld."""

    rmsd = traits.Float(desc="mm against the volume before, Jenkinson 1999")
    dvars = traits.Float(desc="root mean square difference to the volume before, in the scanner's units")
    dvars_running = traits.Float(desc="dvars over the median dvars of the earlier volumes")
    tsnr = traits.Float(desc="median over the mask of mean / SD over the run so far")
    outlier_fraction = traits.Float(desc="fraction of voxels that lie apart from their own past")
    spikes = traits.Int(desc="number of slices that lie apart from their own past")
    global_signal = traits.Float(desc="mean over the brain, in the scanner's units")
    white_matter = traits.Float(desc="mean over the white matter, in the scanner's units")
    csf = traits.Float(desc="mean over the cerebrospinal fluid, in the scanner's units")
    confounds = traits.Any(desc="the regressors of this volume: shape (n,), float64")
    alarm = traits.Str(desc="names of the alarms that are on")


class Confounds(StreamInterface):
    """Measure what disturbs each volume, and raise an alarm where it is too much.

    All measures are of this volume and earlier ones. Names are fMRIPrep's where the definition is the same
    (``dvars`` but for its scale: there the run is first divided by its median, and multiplied by 1000).

    ``rmsd``
        `rtflow.nodes.motion.displacement.rms_deviation` against the volume before. Withheld for the first
        volume, after a gap, and where this estimate or the last was not trusted, as Realign withholds
        ``framewise_displacement``.
    ``dvars``
        Root mean square over the brain's voxels of the difference to the volume before (Power et al.,
        NeuroImage 2012; 59:2142-2154). Withheld for the first volume and after a gap.
    ``dvars_running``
        ``dvars`` over the median of the run's earlier ones. A normalisation of its own: the ``std_dvars`` of
        nipype and fMRIPrep needs each voxel's spread and autocorrelation over the whole run. 1 is usual here
        as there. Withheld until ``settle`` earlier ones are there.
    ``tsnr``
        Of each voxel mean over standard deviation (divided by n), over all volumes so far, this one included
        (as nipype's TSNR without detrending); the median over the brain. Withheld for ``settle - 1`` volumes.
    ``outlier_fraction``
        Fraction of the brain's voxels outside the 99.9 % prediction interval of their own earlier volumes
        (after AFNI's 3dToutcount, which knows the whole run): 0.001 is what noise gives. Withheld for
        ``settle`` volumes.
    ``spikes``
        How many slices have a mean farther than 6 standard deviations from that of their own earlier volumes
        (more while these are few), less what most slices share (after MRIQC's ``find_spikes``); slices are
        those of the reference, along ``SliceEncodingDirection`` (k if not said). Withheld for ``settle``
        volumes.
    ``global_signal``, ``white_matter``, ``csf``
        Means over the three masks.
    ``confounds``
        The regressors, in the order of ``regressors``: names of the above, of Realign's six parameters, or
        ``framewise_displacement``. By default the six parameters, then ``white_matter`` and ``csf`` where
        there is a mask. Withheld where one of them is.

    Voxels that are exactly 0 lie outside the field of view: they are left out of everything in that volume,
    and if they are more than 5 % of the brain the volume is doubted.

    Each measure has an alarm (`ALARMS`; ``dvars`` by way of ``dvars_running``, mean signals by their distance
    from their own past): it begins beyond one threshold and ends beyond another (that of ``spikes`` after
    five volumes in a row without one), is told as an event each time, stands in ``alarm`` while it is on, and
    makes the volume doubted (but for ``tsnr``, which is not the volume's, and volumes without a spike). At a
    TR below 1 s the thresholds of displacements are raised by
    `rtflow.nodes.motion.displacement.displacement_lift`. A value that is not known leaves an alarm as it is.

    Raises
    ------
    UsageError
        At the start of the run, if a mask is no mask, or a name of a regressor or an alarm is not known.
    GridError
        If a mask is on another grid than the volume.
    VolumeError
        If a voxel of a mask is not finite, or none has signal, or the volume has no repetition time.
    """

    input_spec = ConfoundsInput
    output_spec = ConfoundsOutput
    stateful = True

    def start_run(self, context: RunContext) -> None:
        """Begin without a past; compile."""
        self._emit = context.emit
        self._masks = MaskFiles()
        for name in ("mask", "white_matter", "csf"):
            given = getattr(self.inputs, name)
            if isinstance(given, str | Path):
                self._masks.find(given)
        known = (*PARAMETERS, *_MEASURES)
        if unknown := [name for name in self.inputs.regressors if name not in known]:
            raise UsageError(f"no regressor {', '.join(unknown)}; there are {', '.join(known)}")
        self._state = _State(alarms(ALARMS, self.inputs.alarms), Spread(len(_SIGNALS)))
        self._slices: tuple[Mask, Slices] | None = None
        warm_up()

    def snapshot(self) -> _State:
        """The statistics so far, and which alarms are on."""
        return self._state

    def restore(self, state: _State) -> None:
        """Go on from there."""
        self._state = state

    def gap(self, volume: int) -> None:
        """The next volume has no predecessor."""
        del volume
        self._state.values = self._state.motion = None

    def _run_interface(self, runtime: Any) -> Any:
        state, inputs = self._state, self.inputs
        incremental: BidsIncremental = inputs.incremental
        follows = incremental.volume == state.volume + 1
        before, moved = (state.values, state.motion) if follows else (None, None)
        # Should this volume fail, the next one has no predecessor.
        state.values, state.motion, state.volume = None, None, incremental.volume
        mask = self._masks.find(inputs.mask)
        values = take(incremental, mask)
        mean, doubt = covered_mean(values, incremental.volume)
        if doubt:
            self.doubt(f"confounds: {doubt}")
        found: dict[str, float | None] = dict.fromkeys(_MEASURES)
        found["global_signal"] = mean
        for name in ("white_matter", "csf"):
            if isdefined(given := getattr(inputs, name)):
                values_there = take(incremental, self._masks.find(given))
                found[name] = covered_mean(values_there, incremental.volume)[0]
        tr = incremental.tr
        if self._slices is None or self._slices[0] is not mask:
            self._slices = mask, Slices(mask, slice_axis(incremental.metadata)[0])
        # Nothing fails from here on: the state changes as a whole.
        if isdefined(inputs.framewise_displacement):
            found["framewise_displacement"] = float(inputs.framewise_displacement)
        if isdefined(inputs.motion):
            state.motion = np.asarray(inputs.motion, dtype=np.float64)
            found["rmsd"] = None if moved is None else rms_deviation(moved, state.motion)
        if mask.identity != state.mask:
            # Another mask has no past, whatever there was of this one, and be it of as many voxels.
            state.mask, state.voxels, state.slices, before = mask.identity, None, None, None
        self._statistics(found, values, before, self._slices[1])
        state.values = values
        self._results: dict[str, Any] = {
            name: value
            for name, value in found.items()
            if value is not None and name != "framewise_displacement"
        }
        self._alarm(found, tr)
        regressors = self._regressors(found)
        if regressors is not None:
            self._results["confounds"] = regressors
        return runtime

    def _statistics(
        self,
        found: dict[str, float | None],
        values: NDArray[np.float32],
        before: NDArray[np.float32] | None,
        slices: Slices,
    ) -> None:
        """Fill in what rests on the voxels of the brain."""
        state, settle = self._state, self.inputs.settle
        if state.voxels is None:
            state.voxels = VoxelStatistics(values.size)
        settled = state.voxels.volumes >= settle
        _, found["dvars"], outliers = state.voxels.take(values, before)
        if state.voxels.volumes >= settle:
            found["tsnr"] = state.voxels.tsnr()
        if found["dvars"] is not None:
            if len(state.dvars) >= settle and (usual := float(np.median(state.dvars))) > 0:
                found["dvars_running"] = found["dvars"] / usual
            state.dvars.append(found["dvars"])
        means = slices.means(values)
        if state.slices is None:
            state.slices = Spread(means.size, SPIKE, shared=True)
        apart = state.slices.take(means)
        if settled:
            found["outlier_fraction"] = outliers
            found["spikes"] = int(np.count_nonzero(apart > SPIKE))

    def _alarm(self, found: dict[str, float | None], tr: float) -> None:
        """Take the volume through the alarms; tell what begins and ends."""
        state = self._state
        watched = dict(found)
        past = state.signals.take(np.array([np.nan if found[n] is None else found[n] for n in _SIGNALS]))
        settled = state.signals.count > self.inputs.settle
        for name, distance, known in zip(_SIGNALS, past.tolist(), settled.tolist(), strict=True):
            watched[name] = distance if known and not np.isnan(distance) else None
        on = []
        for name, alarm in state.alarms.items():
            value, lift, means = watched[name], 0.0, f"{name} {alarm.thresholds}"
            if name in _DISPLACEMENTS:
                lift = displacement_lift(tr, state.displacements[name])
                means += " plus the run's median" * (tr < FAST_TR)
                state.displacements[name] += [] if value is None else [value]
            was = alarm.on
            if alarm.take(value, lift):
                on.append(name)
                # Not the clean volumes that an alarm is still on for.
                if name != "tsnr" and not alarm.back:
                    self.doubt(f"confounds: {means}")
            if alarm.on != was:
                # No numbers of the volume in words: what is said many times is counted once.
                says = f"alarm: {means}" if alarm.on else f"end of alarm: {means}"
                data = {"says": says, "alarm": name, "on": alarm.on, "value": value, "lift": lift}
                self._emit(Event(name="alarm", volume=state.volume, data=data))
        self._results["alarm"] = " ".join(on)

    def _regressors(self, found: dict[str, float | None]) -> NDArray[np.float64] | None:
        names = self.inputs.regressors or [
            *PARAMETERS,
            *(name for name in ("white_matter", "csf") if isdefined(getattr(self.inputs, name))),
        ]
        motion = self._state.motion
        known = {} if motion is None else dict(zip(PARAMETERS, motion.tolist(), strict=True))
        values = [known.get(name) if name in PARAMETERS else found[name] for name in names]
        if any(value is None for value in values):
            return None
        return np.array(values, dtype=np.float64)
