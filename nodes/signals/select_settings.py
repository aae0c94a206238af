"""The settings of a workflow that selects the voxels of a region."""

from __future__ import annotations

from typing import Any

import msgspec

from rtflow.setting_types import Count, LocalPath, NotNegative, Whole


class SelectSettings(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Which voxels become the region; see `rtflow.nodes.signals.select.SelectVoxels`.

    Parameters
    ----------
    mask
        An anatomical mask on the grid of the series: where to look; empty for the brain.
    best
        So many voxels, those of largest t; 0 takes all that reach the threshold.
    threshold
        The t that a voxel reaches at least.
    cluster
        Connected pieces of fewer voxels are left out.
    least
        With fewer voxels than these the run has failed.
    save
        Item of the session that keeps the region.
    """

    mask: LocalPath = ""
    best: Whole = 100
    threshold: NotNegative = 3.1
    cluster: Count = 1
    least: Count = 10
    save: str = "localizer"

    def inputs(self) -> dict[str, Any]:
        """What these settings mean for a `SelectVoxels`; the mask comes to it from a node."""
        inputs = msgspec.structs.asdict(self)
        del inputs["mask"]
        return inputs
