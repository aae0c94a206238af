"""Decoding with L2 logistic regressions, each one condition against everything else: pure functions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtflow.errors import VolumeError

Values = NDArray[np.float32]

# Voxels per block of the Gram matrix: a float64 copy of all of them at once would be several hundred MB.
_BLOCK = 16384


@dataclass(frozen=True)
class Decoder:
    """One logistic regression a condition, against everything else, on z-scored voxels.

    Parameters
    ----------
    conditions
        Two or more.
    mean, deviation
        Of each voxel over the training volumes, shape (voxels,), float64, frozen. Where the deviation is 0
        the voxel did not vary, or was not chosen, and has no say.
    coef
        Weights of the z-scored voxels, shape (conditions, voxels), float64.
    intercept
        Shape (conditions,), float64.
    """

    conditions: tuple[str, ...]
    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]
    coef: NDArray[np.float64]
    intercept: NDArray[np.float64]

    @property
    def voxels(self) -> NDArray[np.bool_]:
        """Which voxels have a say, shape (voxels,)."""
        return self.deviation > 0

    def decide(self, values: Values) -> NDArray[np.float64]:
        """Log-odds of each condition against everything else, shape (conditions,).

        Parameters
        ----------
        values
            One volume within the mask, shape (voxels,), in the units of the training volumes. A voxel that
            is not a number has no say.
        """
        z = standardise(values, self.mean, self.deviation)
        decision: NDArray[np.float64] = self.coef @ z + self.intercept
        return decision

    def grade(self, decision: NDArray[np.float64]) -> NDArray[np.float64]:
        """Probability of each condition against everything else; they need not add up to 1."""
        return logistic(decision)


def logistic(decision: NDArray[np.float64]) -> NDArray[np.float64]:
    """``1 / (1 + exp(-decision))``, without overflow at either end."""
    half: NDArray[np.float64] = 0.5 * (1.0 + np.tanh(0.5 * decision))
    return half


def standardise(
    values: Values, mean: NDArray[np.float64], deviation: NDArray[np.float64]
) -> NDArray[np.float64]:
    """z-scores, float64; 0 for voxels that never varied, and for values that are not numbers."""
    usable = deviation > 0
    z = np.where(usable, values - mean, 0.0) / np.where(usable, deviation, 1.0)
    return np.nan_to_num(z, copy=False, nan=0.0, posinf=0.0, neginf=0.0)


def percent(values: NDArray[np.floating[Any]], baseline: NDArray[np.float64]) -> Values:
    """Values as percent above a baseline, float32.

    Parameters
    ----------
    values, baseline
        Shape (voxels,). Where the baseline is not a number, or not above a thousandth of its median, the
        voxel lies outside the head or outside the field of view, and becomes not-a-number.
    """
    known = baseline[np.isfinite(baseline)]
    usable = baseline > (1e-3 * np.median(known) if known.size else 0.0)
    ratio = np.divide(values, baseline, out=np.full(values.shape, np.nan), where=usable)
    change: Values = (100.0 * (ratio - 1.0)).astype(np.float32)
    return change


def moments(samples: Values) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation (divided by n) of each voxel, float64.

    A voxel that does not vary beyond rounding, or is not a number somewhere, has deviation 0.

    Parameters
    ----------
    samples
        Shape (volumes, voxels).
    """
    mean = samples.mean(axis=0, dtype=np.float64)
    deviation = samples.std(axis=0, dtype=np.float64)
    # The deviation of n equal float32 values is not always exactly 0.
    constant = ~(deviation > 1e-6 * np.abs(mean))
    deviation[constant] = 0.0
    mean[~np.isfinite(mean)] = 0.0
    return mean, deviation


def separation(samples: Values, labels: Sequence[str]) -> NDArray[np.float64]:
    """F of a one-way analysis of variance over the labels, for each voxel; 0 where it does not vary.

    F = (between / (groups - 1)) / (within / (volumes - groups)), sums of squares.

    Parameters
    ----------
    samples
        Shape (volumes, voxels).
    labels
        One per volume; more volumes than different labels.
    """
    truth = np.array(labels)
    groups = [truth == name for name in np.unique(truth)]
    mean, deviation = moments(samples)
    total = len(samples) * deviation**2
    between = np.zeros(samples.shape[1])
    for members in groups:
        between += members.sum() * (samples[members].mean(axis=0, dtype=np.float64) - mean) ** 2
    varies = deviation > 0
    within = np.where(varies, np.maximum(total - between, 1e-12 * total), 1.0)
    ratio = np.where(varies, between, 0.0) / within
    found: NDArray[np.float64] = ratio * (len(samples) - len(groups)) / max(len(groups) - 1, 1)
    return found


def require_examples(labels: Sequence[str], conditions: tuple[str, ...]) -> None:
    """Refuse to train on fewer than two volumes of a condition.

    Raises
    ------
    VolumeError
        With the number of volumes of each.
    """
    counts = {name: labels.count(name) for name in conditions}
    if min(counts.values()) < 2:
        raise VolumeError(
            f"training saw {counts} volumes of the conditions, needs two of each at least; "
            "check the conditions, the number of training trials and the motion limit"
        )


def train(
    samples: Values,
    labels: Sequence[str],
    conditions: tuple[str, ...],
    *,
    strength: float,
    seed: int,
    best: int = 0,
) -> Decoder:
    """Fit the regressions.

    The L2 penalty is the same in every rotation of the voxels, and the weights lie in the span of the
    volumes (the representer theorem: Kimeldorf & Wahba 1971). So scikit-learn fits them on the n
    principal coordinates of n volumes, and the weights of the voxels follow exactly.

    Parameters
    ----------
    samples
        Training volumes within the mask, shape (volumes, voxels), float32.
    labels
        One per volume: a condition, or anything else, which counts as none.
    conditions
        Two or more.
    strength
        Inverse of the penalty: scikit-learn's ``C``.
    seed
        Given to scikit-learn.
    best
        Take only so many voxels, those that tell the labels of the training volumes apart best
        (`separation`); 0 takes all.

    Raises
    ------
    VolumeError
        If there are fewer than two volumes of a condition, or no voxel varies.
    """
    from sklearn.base import clone
    from sklearn.linear_model import LogisticRegression

    truth = np.array(labels)
    require_examples(labels, conditions)
    mean, deviation = moments(samples)
    if not deviation.any():
        raise VolumeError(
            f"none of {samples.shape[1]} voxels varies over the training volumes; check the mask"
        )
    if 0 < best < samples.shape[1]:
        order = np.argsort(-separation(samples, labels), kind="stable")
        deviation[order[best:]] = 0.0
    gram = np.zeros((len(samples), len(samples)))
    for _, z in _blocks(samples, mean, deviation):
        gram += z @ z.T
    squares, axes = np.linalg.eigh(gram)
    kept = squares > 1e-12 * squares[-1]
    scale = np.sqrt(squares[kept])
    coordinates = axes[:, kept] * scale
    model = LogisticRegression(
        C=strength, solver="newton-cholesky", tol=1e-8, max_iter=500, random_state=seed
    )
    fits = [clone(model).fit(coordinates, truth == name) for name in conditions]
    duals = np.stack([axes[:, kept] @ (fit.coef_[0] / scale) for fit in fits])
    coef = np.zeros((len(conditions), samples.shape[1]))
    for where, z in _blocks(samples, mean, deviation):
        coef[:, where] = duals @ z
    return Decoder(conditions, mean, deviation, coef, np.array([fit.intercept_[0] for fit in fits]))


def _blocks(
    samples: Values, mean: NDArray[np.float64], deviation: NDArray[np.float64]
) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    for start in range(0, samples.shape[1], _BLOCK):
        where = slice(start, start + _BLOCK)
        yield where, standardise(samples[:, where], mean[where], deviation[where])


def pack(decoder: Decoder) -> dict[str, NDArray[Any]]:
    """The arrays of a decoder, as a session item keeps them."""
    return {
        "mean": decoder.mean,
        "deviation": decoder.deviation,
        "coef": decoder.coef,
        "intercept": decoder.intercept,
    }


def unpack(arrays: Mapping[str, NDArray[Any]], conditions: tuple[str, ...]) -> Decoder:
    """The decoder whose arrays `pack` gave."""
    return Decoder(conditions, arrays["mean"], arrays["deviation"], arrays["coef"], arrays["intercept"])
