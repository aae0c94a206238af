"""Where there is nothing to decode, nothing is decoded: motion alone, and labels that are not the truth."""

import numpy as np
import pytest
from decoding import (
    CONDITIONS,
    LAG,
    MASK,
    TR,
    VOLUMES,
    Participant,
)

from rtflow.bids.masked import Features
from rtflow.nodes.decoding.decode import Decode
from rtflow.nodes.labels import label_volume
from rtflow.trials import Design, Trial

SEEDS = range(20)
OPTIONS = {
    "lda": {"estimator": "lda", "best": 80, "choose": "activation", "within": True, "normalise": "running"},
    "logistic": {"best": 80, "normalise": "rest"},
}


def random_design(seed: int, shift: float = 0.0) -> Design:
    """Six blocks to train on and six to test, half of each condition in any order: no drift is either.

    Halves of their own, since the test blocks would otherwise make up for what training had too much of.
    """
    rng = np.random.default_rng(seed)
    order = [*rng.permutation(CONDITIONS * 3), *rng.permutation(CONDITIONS * 3)]
    return Design(tuple(Trial(20.0 + 16.0 * n + shift, 10.0, str(name)) for n, name in enumerate(order)))


def decisions(call, make_context, design: Design, told: Design, participant: Participant, options) -> list:
    """Truth and decision of each test trial: by all its volumes, as the node says it of the last one."""
    decode = Decode(conditions=CONDITIONS, accumulate=True, **options)
    decode.start_run(make_context(seed=participant.seed, volumes=VOLUMES))
    last = {}
    for volume, row in enumerate(participant.features(design), start=1):
        label = label_volume(told, volume, TR, lag=LAG, train_trials=6)
        time = TR * (volume - 1)
        output = call(decode, volume, features=Features(row, MASK), time=time, **vars(label))
        if "predicted" in output:
            last[label.trial] = (label.trial_type, output["predicted"])
    return list(last.values())


def block_permutation(found: list, permutations: int = 400, seed: int = 0) -> float:
    """Share of permutations of the labels of whole blocks that fit at least as well.

    Nichols & Holmes 2002, Hum Brain Mapp 15:1-25; blocks, as the volumes of one are not independent.
    """
    truth, predicted = (np.array(column) for column in zip(*found, strict=True))
    rng = np.random.default_rng(seed)
    right = np.sum(truth == predicted)
    null = [np.sum(rng.permutation(truth) == predicted) for _ in range(permutations)]
    return float((1 + np.sum(np.array(null) >= right)) / (1 + permutations))


def check_chance(runs: list[list]) -> None:
    accuracies = np.array([np.mean([truth == answer for truth, answer in found]) for found in runs])
    standard_error = max(accuracies.std(ddof=1), 0.1) / np.sqrt(len(runs))
    assert abs(accuracies.mean() - 0.5) < 3 * standard_error
    # One run in 20 may look significant; more than four in 20 have a probability of 0.3 %.
    assert sum(block_permutation(found) <= 0.05 for found in runs) <= 4


@pytest.fixture
def runs(call, make_context):
    def go(options, *, told=lambda seed, design: design, **participant) -> list[list]:
        return [
            decisions(
                call,
                make_context,
                random_design(seed),
                told(seed, random_design(seed)),
                Participant(seed=seed, **participant),
                options,
            )
            for seed in SEEDS
        ]

    return go


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_motion_alone_decodes_at_chance(runs, options) -> None:
    check_chance(runs(options, effect=0.0, motion=20.0, drift=0.5))


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_a_design_that_is_another_ones_decodes_at_chance(runs, options) -> None:
    # The blocks are where they were; what they show is not what is told.
    check_chance(runs(options, told=lambda seed, design: random_design(1000 + seed)))


def test_a_design_that_is_shifted_decodes_at_chance(runs) -> None:
    # By half a period: each trial is told where rest is.
    check_chance(runs(OPTIONS["lda"], told=lambda seed, design: random_design(1000 + seed, shift=8.0)))


def test_the_check_of_chance_would_notice_an_effect(runs) -> None:
    found = runs(OPTIONS["lda"], effect=12.0, motion=5.0)
    with pytest.raises(AssertionError):
        check_chance(found)
    assert np.mean([np.mean([truth == answer for truth, answer in run]) for run in found]) > 0.85
