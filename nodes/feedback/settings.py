"""The choices of an experimenter about feedback, for the settings of a workflow."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from rtflow.design import DesignSettings
from rtflow.errors import SettingsError, UsageError
from rtflow.setting_types import NotNegative, Positive, Whole
from rtflow.settings import RunSettings

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
        ``none``, ``exponential`` or ``mean``: over the past of the same block; continuous only.
    seconds
        Time constant, or length of the mean.
    scaling
        ``none``; ``range``: low is shown as 0, high as 1; ``training``, ``opening``: these two are
        percentiles over the training, or over the rest before the first block (continuous only).
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

    def require(self, *, design: bool, train_blocks: int) -> None:
        """Refuse before the scan what could show the participant nothing in it.

        Parameters
        ----------
        design
            Whether the run has one.
        train_blocks
            How many of its first blocks are for training.

        Raises
        ------
        SettingsError
            If blocks, rest or training are needed, and there are none.
        """
        if self.mode == "intermittent" and not design:
            raise SettingsError(
                'feedback.mode = "intermittent" shows a value after each block, and no design says when '
                'blocks are; set [design], or mode = "continuous"'
            )
        if self.load or self.scaling not in ("training", "opening"):
            return
        if not design:
            raise SettingsError(
                f'feedback.scaling = "{self.scaling}" finds its range by the design, and there is none; set '
                '[design], or scaling = "range" with low and high'
            )
        if self.scaling == "training" and not train_blocks:
            raise SettingsError(
                'feedback.scaling = "training" finds its range in the training blocks, and train_blocks is '
                '0; set it to 1 or more, or take scaling = "opening" or "range", or load a range'
            )


class FeedbackRunSettings(RunSettings):
    """What workflows that show the participant a value can be told; their own Settings add to it.

    Parameters
    ----------
    lag
        Seconds by which the haemodynamic response trails the trials.
    design
        What the participant is asked to do, and when, where that is known.
    train_blocks
        How many of the first blocks are without feedback, for its range.
    feedback
        What is shown of the value; where there is none, the value itself.
    """

    lag: NotNegative = 5.0
    design: DesignSettings | None = None
    train_blocks: Whole = 0
    feedback: FeedbackSettings | None = None

    def require(self) -> None:
        """Refuse feedback that could show nothing."""
        super().require()
        if self.feedback:
            self.feedback.require(design=self.design is not None, train_blocks=self.train_blocks)


def check_choices(inputs: Any) -> None:
    """Refuse choices that contradict each other.

    Parameters
    ----------
    inputs
        Of `rtflow.nodes.feedback.feedback.Feedback`, or `FeedbackSettings`.

    Raises
    ------
    UsageError
        Saying which.
    """
    thresholds = list(inputs.thresholds)
    wrong = ""
    if inputs.scaling == "range" and not inputs.low < inputs.high:
        wrong = f"low is {inputs.low:g} and high {inputs.high:g}, expected low below high"
    elif not inputs.low_percentile < inputs.high_percentile:
        wrong = "low_percentile is not below high_percentile"
    elif inputs.levels and thresholds:
        wrong = "levels and thresholds are both given; give one of them"
    elif inputs.levels and inputs.scaling == "none":
        wrong = "levels are steps of a range; give a scaling, or thresholds"
    elif thresholds and inputs.scaling != "none":
        wrong = "thresholds are in the units of the value; leave scaling away"
    elif thresholds != sorted(set(thresholds)):
        wrong = f"the thresholds {thresholds} do not ascend; give them in order"
    elif inputs.mode == "intermittent" and inputs.smoothing != "none":
        wrong = "smoothing is over volumes, and mode='intermittent' shows the mean of a block; leave it away"
    elif inputs.mode == "intermittent" and inputs.scaling == "opening":
        wrong = "the opening has no blocks, and mode='intermittent' shows blocks; use 'training' or 'range'"
    elif (inputs.load or inputs.save) and inputs.scaling not in ("training", "opening"):
        wrong = "save and load are for a range that is found; give scaling='training' or 'opening'"
    elif inputs.load and inputs.save:
        wrong = "a range is loaded or saved, not both"
    if wrong:
        raise UsageError(f"Feedback: {wrong}")
