"""What `Decode` takes and gives."""

from __future__ import annotations

from nipype.interfaces.base import BaseInterfaceInputSpec, TraitedSpec, traits

LOGISTIC = "logistic"


class DecodeInput(BaseInterfaceInputSpec):  # type: ignore[misc]
    """Inputs of `Decode`."""

    features = traits.Any(mandatory=True, desc="the volume within the mask: Features of ApplyMask")
    trial_type = traits.Str(mandatory=True, desc="rest or a condition, of Labels")
    trial = traits.Int(mandatory=True, desc="number of the trial, of Labels")
    phase = traits.Str(mandatory=True, desc="rest, train, test or omit, of Labels")
    time = traits.Float(desc="seconds, of Labels; needed for normalise='running' only")
    framewise_displacement = traits.Float(desc="mm, of Realign; needed for max_fd only")
    conditions = traits.List(
        traits.Str(), [], usedefault=True, desc="two or more; with load, default those of the training"
    )
    target = traits.Str(
        "", usedefault=True, desc="the condition that the value speaks for; default the first"
    )
    estimator = traits.Any(
        LOGISTIC,
        usedefault=True,
        desc="'logistic', 'lda', the dotted path of a classifier of scikit-learn, or one (a pipeline, say)",
    )
    normalise = traits.Enum(
        "training",
        "opening",
        "rest",
        "running",
        usedefault=True,
        desc="z-scores by the training volumes; of percent of this run's opening rest, of the rest before a "
        "trial, or of the rest so far",
    )
    memory = traits.Range(
        low=0.0,
        value=60.0,
        exclude_low=True,
        usedefault=True,
        desc="seconds that normalise='running' looks back",
    )
    within = traits.Bool(
        False,
        usedefault=True,
        desc="whether each volume is standardised over its voxels first; not of 'logistic'",
    )
    strength = traits.Float(1.0, usedefault=True, desc="of 'logistic': inverse of the L2 penalty, C")
    best = traits.Int(0, usedefault=True, desc="how many voxels, the best of the training volumes; 0: all")
    choose = traits.Enum(
        "separation",
        "activation",
        usedefault=True,
        desc="best at telling conditions apart (F), or most active in any (t, not of 'logistic')",
    )
    rest_class = traits.Bool(
        True, usedefault=True, desc="whether rest between training trials is a class too, never predicted"
    )
    accumulate = traits.Bool(
        False, usedefault=True, desc="whether a volume is decided by all volumes of its trial so far"
    )
    output = traits.Enum("evidence", "probability", usedefault=True, desc="what the value is; see `Decode`")
    max_fd = traits.Float(
        0.0,
        usedefault=True,
        desc="no training on volumes that moved more, mm, or of unknown motion; 0 takes all",
    )
    notes = traits.Dict(
        desc="numbers and texts to keep beside the decoder, such as the lag; a run that differs is told"
    )
    save = traits.Str("", usedefault=True, desc="session item to keep the trained decoder under")
    load = traits.Str(
        "", usedefault=True, desc="session item, or PLACE/NAME, with a decoder of an earlier run: no training"
    )


class DecodeOutput(TraitedSpec):  # type: ignore[misc]
    """Outputs of `Decode`; beside them, in test trials, ``score_NAME`` of each condition NAME."""

    value = traits.Float(desc="evidence or probability of the target in test trials, 0 elsewhere")
    kind = traits.Enum("neutral", "evidence", "probability", desc="what the value is")
    predicted = traits.Str(desc="the likeliest condition; in test trials only")
    correct = traits.Float(desc="1 if it was, else 0; in test trials of the conditions only")
