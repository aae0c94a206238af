"""A participant whose head answers a design, as features; what must hold of a decoder that sees them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from rtflow.bids.grid import Grid
from rtflow.bids.masked import Mask
from rtflow.design import block_design
from rtflow.nodes.labels import Label, label_volume
from rtflow.trials import Design

Outputs = list[dict[str, Any]]
Labeller = Callable[[int], Label]

TR, LAG, VOLUMES, VOXELS = 2.0, 4.0, 110, 400
CONDITIONS = ["scene", "face"]
# Blocks of five volumes: a lag that is wrong by two spoils much of each.
DESIGN = block_design(CONDITIONS, blocks=12, block=10.0, rest=6.0, opening=20.0)


def make_mask(reference: str = "abc", shift: float = 0.0) -> Mask:
    affine = np.diag([3.0, 3.0, 3.0, 1.0])
    affine[0, 3] = shift
    return Mask(np.ones((10, 8, 5), bool), Grid.of((10, 8, 5), affine, reference))


MASK = make_mask()


@dataclass
class Participant:
    """Features of a head that answers the design exactly `LAG` seconds later, with noise and motion."""

    seed: int = 0
    effect: float = 12.0
    gain: float = 1.0
    drift: float = 0.0
    motion: float = 0.0
    conditions: tuple[str, ...] = tuple(CONDITIONS)

    def features(self, design: Design = DESIGN) -> np.ndarray:
        rng = np.random.default_rng(self.seed)
        base = np.random.default_rng(99).uniform(600.0, 1400.0, VOXELS)
        labels = [design.label(volume, TR, LAG) for volume in range(1, VOLUMES + 1)]
        run = base + rng.normal(0.0, 12.0, (VOLUMES, VOXELS))
        run += self.drift * np.arange(VOLUMES)[:, None]
        if self.motion:
            # The head nods in every trial, whatever it is of, and wanders; no two voxels show it alike.
            nods = np.array([label != "rest" for label in labels]) * rng.normal(1.0, 0.3, VOLUMES)
            wander = rng.normal(0.0, 0.3, (VOLUMES, 3)).cumsum(axis=0)
            shown_by = rng.normal(0.0, self.motion, (4, VOXELS))
            run += np.column_stack([nods, wander]) @ shown_by
        for start, condition in enumerate(self.conditions):
            shown = np.array([label == condition for label in labels])
            run[np.ix_(shown, np.arange(40 * start, 40 * start + 40))] += self.effect
        return (self.gain * run).astype(np.float32)


def right_labels(volume: int) -> Label:
    return label_volume(DESIGN, volume, TR, lag=LAG, train_trials=6)


def all_tests(volume: int) -> Label:
    return label_volume(DESIGN, volume, TR, lag=LAG, train_trials=0)


def accuracy(outputs: Outputs, first: int = 6) -> float:
    """Share of right decisions over the volumes that truly show trial ``first`` or a later one.

    By the truth of the design, not by what the node says of itself; a volume without a decision is wrong.
    """
    truth = {volume: DESIGN.trial(volume, TR, LAG) for volume in range(1, len(outputs) + 1)}
    tested = {volume: trial for volume, trial in truth.items() if trial is not None and trial >= first}
    right = [
        outputs[volume - 1].get("predicted") == DESIGN.trials[trial].trial_type
        for volume, trial in tested.items()
    ]
    return float(np.mean(right))


def reported(outputs: Outputs) -> float:
    """Share of right decisions by the labels that the decoder was given."""
    return float(np.mean([output["correct"] for output in outputs if "correct" in output]))


# What must hold of a decoder in a run; the wrong ones below must break one of these.


def check_accuracy(outputs: Outputs, first: int = 6) -> None:
    assert accuracy(outputs, first) >= 0.9
    assert reported(outputs) == accuracy(outputs, first)


# Samples without a run around them, for what is fitted.

NAMES = ("face", "house", "shoe")


def make_samples(names=NAMES, volumes: int = 72, voxels: int = 120, seed: int = 0):
    """Volumes in which each condition has ten voxels of its own, and rest between the trials."""
    rng = np.random.default_rng(seed)
    cycle = [label for name in names for label in (name, "rest")]
    labels = [cycle[n // 6 % len(cycle)] for n in range(volumes)]
    samples = rng.normal(0.0, 1.0, (volumes, voxels))
    for start, name in enumerate(names):
        samples[np.ix_([label == name for label in labels], range(10 * start, 10 * start + 10))] += 1.5
    return samples.astype(np.float32), labels
