"""The settings of a workflow that fits a linear model with every volume."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec

from rtflow.setting_types import Count, LocalPath, NotNegative, Positive


class GLMSettings(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """How the design is fitted; see `rtflow.nodes.models.glm.GLM`.

    Parameters
    ----------
    contrast
        An expression of conditions; empty compares the first two, or takes the only one.
    region
        An image of a region on the grid of the series; empty for the brain.
    hrf
        Haemodynamic response.
    drift
        Slow changes; ``cosine`` needs a run of known length.
    high_pass
        Hz, of ``cosine``.
    longest
        Seconds that ``polynomial`` stands on: one order for 150 of them.
    slice_time_ref
        Moment of a volume that its data stand for, as a fraction of the repetition time: 0.5 without slice
        timing correction, 0 with one to the start of the volume.
    max_fd
        Volumes that moved more (framewise displacement, mm) are left out of the model; 0 takes all.
    min_dof
        Fewest degrees of freedom that a map is given with.
    save
        Item of the session that keeps the maps; empty for none.
    """

    contrast: str = ""
    region: LocalPath = ""
    hrf: Literal["glover", "spm"] = "glover"
    drift: Literal["polynomial", "cosine", "none"] = "polynomial"
    high_pass: Positive = 0.01
    longest: Positive = 900.0
    slice_time_ref: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.5
    max_fd: NotNegative = 0.0
    min_dof: Count = 10
    save: str = "glm"

    def inputs(self, conditions: Sequence[str]) -> dict[str, Any]:
        """What these settings mean for a `GLM` of some conditions; its region comes from a `Mask`."""
        inputs = msgspec.structs.asdict(self)
        inputs["contrast"] = self.contrast or " - ".join(conditions[:2])
        del inputs["region"]
        return inputs
