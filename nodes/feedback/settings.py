"""The choices of an experimenter about feedback, for the settings of a workflow."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from rtflow.setting_types import NotNegative, Positive, Whole

Percentile = Annotated[float, msgspec.Meta(ge=0, le=100)]


class FeedbackSettings(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """What the participant is shown of a value, and when; see `rtflow.nodes.feedback.feedback.Feedback`.

    Parameters
    ----------
    mode
        ``continuous``: a value with every volume of a block; ``intermittent``: one after each block.
    show
        Seconds after which the value of a block gives way to neutral; 0 shows it until the next block.
    smoothing
        ``none``, ``exponential`` or ``mean``: over the past of the same block.
    seconds
        Time constant, or length of the mean.
    scaling
        ``none``; ``range``: low is shown as 0, high as 1; ``training``, ``opening``: these two are
        percentiles over the training, or over the rest before the first block.
    low, high
        The range.
    low_percentile, high_percentile
        Of the training, or of the opening.
    levels
        Steps of a thermometer, 0 for none; needs a scaling.
    thresholds
        Or steps of one's own, ascending, in the units of the value.
    missing
        What a volume without a value gets: ``hold`` (the last value, marked as stale) or ``neutral``.
    neutral
        What is shown where there is no feedback.
    save, load
        Session item to keep the range under, or to take it from.
    """

    mode: Literal["continuous", "intermittent"] = "continuous"
    show: NotNegative = 0.0
    smoothing: Literal["none", "exponential", "mean"] = "none"
    seconds: Positive = 4.0
    scaling: Literal["none", "range", "training", "opening"] = "none"
    low: float = 0.0
    high: float = 1.0
    low_percentile: Percentile = 5.0
    high_percentile: Percentile = 95.0
    levels: Whole = 0
    thresholds: list[float] = msgspec.field(default_factory=list)
    missing: Literal["hold", "neutral"] = "hold"
    neutral: float = 0.0
    save: str = ""
    load: str = ""
