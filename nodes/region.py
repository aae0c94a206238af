"""The mean of a region, as percent signal change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nipype.interfaces.base import BaseInterfaceInputSpec, TraitedSpec, isdefined, traits

from rtflow.bids.incremental import BidsIncremental
from rtflow.bids.masked import Mask
from rtflow.errors import VolumeError
from rtflow.nodes.baseline import OpeningBaseline, RestBaseline, percent_change
from rtflow.nodes.mask import MaskFiles, covered_mean, take
from rtflow.stream.interface import RunContext, StreamInterface

KIND = "percent_signal_change"


class RegionInput(BaseInterfaceInputSpec):  # type: ignore[misc]
    """Inputs of `Region`."""

    incremental = traits.Any(mandatory=True, desc="the volume: a BidsIncremental")
    mask = traits.Any(mandatory=True, desc="the region: a Mask, or the path of an image")
    trial_type = traits.Str(desc="rest or a condition, of Labels; needed for baseline='rest'")
    baseline = traits.Enum(
        "rest", "opening", usedefault=True, desc="compare with the preceding rest block, or with the opening"
    )
    opening = traits.Range(
        low=0.0, value=20.0, exclude_low=True, usedefault=True, desc="seconds of baseline='opening'"
    )


class RegionOutput(TraitedSpec):  # type: ignore[misc]
    """Outputs of `Region`."""

    mean = traits.Float(desc="mean over the voxels of the region that have signal")
    value = traits.Float(desc="percent signal change against the baseline")
    kind = traits.Enum(KIND, desc="what the value is")


class Region(StreamInterface):
    """Average a region, and compare with rest: the mean first, then the ratio.

    With ``baseline="rest"`` a task volume is compared with the mean over the rest block before it, as
    `rtflow.nodes.baseline.RestBaseline` says in full; ``trial_type`` carries the haemodynamic lag
    already. With ``baseline="opening"`` every volume after the first ``opening`` seconds is compared
    with the mean over those, counted from the first volume that comes to the node. ``value`` and
    ``kind`` are withheld while there is no baseline. No baseline holds a later volume, that against
    rest none of a task.

    Voxels that are exactly 0 lie outside the field of view after motion correction and are left out of the
    mean; if more than 5 % of the region do, the volume is doubted.

    Raises
    ------
    GridError
        If the region is on another grid than the volume.
    VolumeError
        If a voxel of the region is not finite, if none has signal, or if ``trial_type`` is needed and
        missing.
    """

    input_spec = RegionInput
    output_spec = RegionOutput
    stateful = True

    def start_run(self, context: RunContext) -> None:
        """Begin without a baseline."""
        del context
        self._masks = MaskFiles()
        if isinstance(self.inputs.mask, str | Path):
            self._masks.find(self.inputs.mask)
        self._state: RestBaseline[float] | OpeningBaseline = (
            RestBaseline[float]() if self.inputs.baseline == "rest" else OpeningBaseline(self.inputs.opening)
        )

    def snapshot(self) -> RestBaseline[float] | OpeningBaseline:
        """The means so far."""
        return self._state

    def restore(self, state: RestBaseline[float] | OpeningBaseline) -> None:
        """Go on from them."""
        self._state = state

    def _run_interface(self, runtime: Any) -> Any:
        incremental: BidsIncremental = self.inputs.incremental
        mask: Mask = self._masks.find(self.inputs.mask)
        mean, doubt = covered_mean(take(incremental, mask), incremental.volume)
        if doubt:
            self.doubt(f"region: {doubt}")
        baseline = self._baseline(mean, incremental)
        self._results: dict[str, Any] = {"mean": mean}
        if baseline is None:
            return runtime
        if baseline <= 0.0:
            self.doubt(f"region: the baseline is {baseline:g}; percent signal change needs one above 0")
            return runtime
        self._results |= {"value": percent_change(mean, baseline), "kind": KIND}
        return runtime

    def _baseline(self, mean: float, incremental: BidsIncremental) -> float | None:
        if isinstance(self._state, OpeningBaseline):
            return self._state.add(mean, incremental.volume, incremental.tr)
        if not isdefined(self.inputs.trial_type):
            raise VolumeError(
                "Region: baseline='rest' needs to know when rest is; connect trial_type of Labels, "
                "or use baseline='opening'"
            )
        return self._state.add(mean, self.inputs.trial_type)
