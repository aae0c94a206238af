"""One number for a region: its mean, median or first component, as percent signal change."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from nipype.interfaces.base import BaseInterfaceInputSpec, TraitedSpec, isdefined, traits
from numpy.typing import NDArray

from rtflow.bids.incremental import BidsIncremental
from rtflow.bids.masked import Features, Mask
from rtflow.documents import Event
from rtflow.errors import GridError, VolumeError
from rtflow.nodes.masks.mask import MaskFiles, covered_mean, take
from rtflow.nodes.signals.baseline import OpeningBaseline, RestBaseline, percent_change
from rtflow.nodes.signals.eigenvariate import Eigenvariate
from rtflow.nodes.signals.selection import millilitres, positions
from rtflow.stream.interface import RunContext, StreamInterface
from rtflow.trials import REST

KIND = "percent_signal_change"
_PERCENT = (KIND, "percent_signal_change_difference")
OMIT = "omit"
_RAW = tuple(f"{what}{end}" for what in ("mean", "median", "component") for end in ("", "_difference"))

#: Of a region in the scanner's units few voxels are negative; of one without its mean, about half.
_MOST_NEGATIVE = 0.25


class RegionInput(BaseInterfaceInputSpec):  # type: ignore[misc]
    """Inputs of `Region`."""

    incremental = traits.Any(mandatory=True, desc="the volume: a BidsIncremental")
    mask = traits.Any(mandatory=True, desc="the region: a Mask, or the path of an image")
    minus = traits.Any(desc="a second region, whose value is taken off: a Mask, or the path of an image")
    trial_type = traits.Str(desc="rest or a condition, of Labels; needed for baseline='rest'")
    phase = traits.Str(
        desc="of Labels; needed for component='training'; rest of phase omit enters no baseline"
    )
    baseline = traits.Enum(
        "rest",
        "opening",
        "none",
        usedefault=True,
        desc="compare with the preceding rest block, with the opening, or give the signal as it is",
    )
    opening = traits.Range(
        low=0.0,
        value=20.0,
        exclude_low=True,
        usedefault=True,
        desc="seconds of baseline='opening' and of component='opening'",
    )
    summary = traits.Enum(
        "mean", "median", "component", usedefault=True, desc="what becomes of the voxels of a region"
    )
    component = traits.Enum(
        "training",
        "opening",
        usedefault=True,
        desc="volumes that the first component is found from: the training trials, or the opening",
    )
    says = traits.Str("", usedefault=True, desc="a note of the run, told once with the region's size")


class RegionOutput(TraitedSpec):  # type: ignore[misc]
    """Outputs of `Region`."""

    mean = traits.Float(desc="mean over the voxels of the region that have signal")
    value = traits.Float(desc="percent signal change against the baseline, or what baseline='none' asks for")
    kind = traits.Enum(*_PERCENT, *_RAW, desc="what the value is")


@dataclass(frozen=True)
class _Sample:
    """The region in a volume before its component is known: what it will be found from, if ``counts``."""

    values: NDArray[np.float32]
    counts: bool
    label: str
    volume: int
    tr: float


@dataclass
class _Course:
    """What is known of one region in the middle of a run; ``samples`` until its component is known."""

    baseline: RestBaseline[float] | OpeningBaseline | None
    component: Eigenvariate | None = None
    samples: list[_Sample] = field(default_factory=list)


@dataclass
class _State:
    """The regions, their masks, and the first volume; whether the operator has been told."""

    courses: list[_Course]
    masks: list[str] = field(default_factory=list)
    first: int = 0
    told: bool = False


class Region(StreamInterface):
    """Summarise a region, and compare with rest: the summary first, then the ratio.

    With ``baseline="rest"`` a task volume is compared with the mean over the rest block before it, as
    `rtflow.nodes.signals.baseline.RestBaseline` says in full; ``trial_type`` carries the haemodynamic lag
    already, and rest of phase ``omit`` (the response still dies away) is left out of the mean. With
    ``baseline="opening"`` every volume after the first ``opening`` seconds is compared with the mean over
    those, counted from the first volume that comes to the node. ``value`` and ``kind`` are withheld while
    there is no baseline. No baseline holds a later volume, that against rest none of a task. With
    ``baseline="none"`` the value is the summary itself, in the scanner's units, and its ``kind`` is the name
    of the summary.

    ``summary="component"`` is the first component of the region (`eigenvariate`), found from the
    volumes of phase ``train``, or from the opening, with the first volume after those, and frozen then;
    ``value`` is withheld up to there.

    With ``minus`` the value is the difference of two regions, each in percent of its own baseline; its
    ``kind`` ends in ``_difference``. ``mean`` is always that of the first region.

    Voxels that are exactly 0 lie outside the field of view after motion correction and are left out;
    if more than 5 % of a region do, the volume is doubted. Percent signal change needs values that still
    have their mean, in the scanner's units: a volume of which more than a quarter of the region is negative
    (z-scores, say) is refused, but with ``baseline="none"``.

    Raises
    ------
    GridError
        If a region is on another grid than the volume, or is another one than in the volumes before.
    VolumeError
        If a voxel of a region is not finite, if none has signal, if the values have lost their mean, if
        ``trial_type`` or ``phase`` is needed and missing, or if there are too few volumes to find the
        component from.
    """

    input_spec = RegionInput
    output_spec = RegionOutput
    stateful = True

    def needed_inputs(self) -> dict[str, str]:
        """What says where rest, and the training, is."""
        needed = {}
        if self.inputs.baseline == "rest":
            needed["trial_type"] = "baseline='rest' needs to know when rest is, of Labels; or use 'opening'"
        if (self.inputs.summary, self.inputs.component) == ("component", "training"):
            needed["phase"] = (
                "component='training' needs to know when training is, of Labels; or use 'opening'"
            )
        return needed

    def start_run(self, context: RunContext) -> None:
        """Begin without a baseline."""
        self._emit = context.emit
        self._masks = MaskFiles()
        for mask in (self.inputs.mask, self.inputs.minus):
            if isinstance(mask, str | Path):
                self._masks.find(mask)
        self._state = _State([])

    def snapshot(self) -> _State:
        """The means so far."""
        return self._state

    def restore(self, state: _State) -> None:
        """Go on from them."""
        self._state = state

    def _baseline(self) -> RestBaseline[float] | OpeningBaseline | None:
        match self.inputs.baseline:
            case "rest":
                return RestBaseline[float]()
            case "opening":
                return OpeningBaseline(self.inputs.opening)
        return None

    def _values(self, mask: Any) -> tuple[NDArray[np.float32], Mask]:
        """The voxels of a region in the volume at hand."""
        region = self._masks.find(mask)
        return take(self.inputs.incremental, region), region

    def _require_mean(self, values: NDArray[np.float32]) -> None:
        """Refuse percentages of what has lost its mean."""
        negative = np.count_nonzero(values < 0)
        if self.inputs.baseline != "none" and negative > _MOST_NEGATIVE * values.size:
            raise VolumeError(
                f"volume {self.volume}: {negative} of the region's {values.size} values are negative: their "
                "mean was taken out, and percent signal change needs it; give values in the scanner's "
                "units, or use baseline='none'"
            )

    def _run_interface(self, runtime: Any) -> Any:
        inputs, state = self.inputs, self._state
        incremental: BidsIncremental = inputs.incremental
        values, mask = self._values(inputs.mask)
        masks = [mask.identity]
        self._require_mean(values)
        mean, doubt = covered_mean(values, incremental.volume)
        if doubt:
            self.doubt(f"region: {doubt}")
        regions = [(values, mean)]
        if isdefined(inputs.minus):
            values, second = self._values(inputs.minus)
            masks.append(second.identity)
            self._require_mean(values)
            regions.append((values, covered_mean(values, incremental.volume)[0]))
        # Of other voxels there is no baseline: their brightness would pass for a response.
        if masks != (state.masks or masks):
            raise GridError(
                f"volume {self.volume} comes with mask {' and '.join(masks)}, the volumes before with "
                f"{' and '.join(state.masks)}; use one mask throughout a run"
            )
        state.masks = masks
        if inputs.says and not state.told:
            self._tell(mask)
        state.told = True
        state.first = state.first or incremental.volume
        state.courses = state.courses or [_Course(self._baseline()) for _ in regions]
        self._results: dict[str, Any] = {"mean": mean}
        # Each course takes the volume, whether or not the others have a value.
        found = [
            self._value(course, values, mean)
            for course, (values, mean) in zip(state.courses, regions, strict=True)
        ]
        value = found[0] if len(found) == 1 else _difference(found)
        if value is not None:
            kind = inputs.summary if inputs.baseline == "none" else KIND
            self._results |= {"value": value, "kind": kind if len(found) == 1 else f"{kind}_difference"}
        return runtime

    def _value(self, course: _Course, values: NDArray[np.float32], mean: float) -> float | None:
        """What a region says in this volume; None as long as that cannot be known."""
        if self.inputs.summary == "component" and course.component is None and not self._find(course, values):
            return None
        signal = self._signal(course, values, mean)
        if course.baseline is None:
            return signal
        baseline = _compare(course.baseline, signal, self._sample(values))
        if baseline is None:
            return None
        if baseline <= 0.0:
            self.doubt(f"region: the baseline is {baseline:g}; percent signal change needs one above 0")
            return None
        return percent_change(signal, baseline)

    def _signal(self, course: _Course, values: NDArray[np.float32], mean: float) -> float:
        if course.component is not None:
            return course.component.course(values)
        if self.inputs.summary == "median":
            return float(np.median(values[values != 0].astype(np.float64)))
        return mean

    def _find(self, course: _Course, values: NDArray[np.float32]) -> bool:
        """Find the component if all volumes for it have come; whether it is known now."""
        sample = self._sample(values)
        found_from = [earlier.values for earlier in course.samples if earlier.counts]
        training = self.inputs.component == "training"
        if sample.counts or not found_from or (training and self.inputs.phase == OMIT):
            if training and self.inputs.phase == "test":
                raise VolumeError(
                    "no training came before this test trial, and component='training' is found there; "
                    "give train_trials to Labels, or use component='opening'"
                )
            course.samples.append(sample)
            return False
        course.component = Eigenvariate.of(np.stack(found_from))
        # What came before is something to compare with, too.
        earlier, course.samples = course.samples, []
        for each in earlier:
            if course.baseline is not None:
                _compare(course.baseline, course.component.course(each.values), each)
        return True

    def _sample(self, values: NDArray[np.float32]) -> _Sample:
        inputs, incremental = self.inputs, self.inputs.incremental
        counts, label, tr = False, "", 0.0
        if inputs.baseline == "rest":
            if not isdefined(inputs.trial_type):
                raise VolumeError(
                    "Region: baseline='rest' needs to know when rest is; connect trial_type of Labels, "
                    "or use baseline='opening'"
                )
            settling = inputs.trial_type == REST and isdefined(inputs.phase) and inputs.phase == OMIT
            label = OMIT if settling else inputs.trial_type
        if inputs.baseline == "opening" or (inputs.summary, inputs.component) == ("component", "opening"):
            tr = incremental.tr
        if inputs.summary == "component":
            if inputs.component == "opening":
                counts = OpeningBaseline.holds(
                    incremental.volume, self._state.first, tr, seconds=inputs.opening
                )
            elif isdefined(inputs.phase):
                counts = inputs.phase == "train"
            else:
                raise VolumeError(
                    "Region: component='training' needs to know when training is; connect phase of Labels, "
                    "or use component='opening'"
                )
        return _Sample(values, counts, label, incremental.volume, tr)

    def _tell(self, mask: Mask) -> None:
        count = mask.indices.size
        says = f"the region has {count} voxels ({count * millilitres(mask):.3g} ml): {self.inputs.says}"
        self._emit(Event(name="region", volume=self.volume, node="region", data={"says": says}))


def _compare(baseline: RestBaseline[float] | OpeningBaseline, signal: float, sample: _Sample) -> float | None:
    """Let a baseline take a volume, and say what to compare that with."""
    if isinstance(baseline, OpeningBaseline):
        return baseline.add(signal, sample.volume, sample.tr)
    return baseline.add(signal, sample.label)


def _difference(found: list[float | None]) -> float | None:
    first, second = found
    return None if first is None or second is None else first - second


class RegionOfFeaturesInput(RegionInput):
    """Inputs of `RegionOfFeatures`."""

    incremental = traits.Any(
        mandatory=True, desc="the volume: a BidsIncremental, for its number and repetition time"
    )
    features = traits.Any(mandatory=True, desc="values within a mask: Features of ApplyMask or Denoise")
    mask = traits.Any(desc="the region within these: a Mask, or the path of an image; default all of them")


class RegionOfFeatures(Region):
    """`Region` of values within a mask (of `Denoise`, say) in place of a whole volume's.

    Raises
    ------
    GridError
        Also if a region does not lie within the mask of the features.
    """

    input_spec = RegionOfFeaturesInput

    def _values(self, mask: Any) -> tuple[NDArray[np.float32], Mask]:
        features: Features = self.inputs.features
        region = self._masks.find(mask) if isdefined(mask) else features.mask
        values = np.asarray(features.values, dtype=np.float32)
        if region is not features.mask:
            values = values[positions(region, features.mask)]
        if not np.isfinite(values).all():
            raise VolumeError(f"volume {self.volume} has values within the region that are not finite")
        return values, region
