"""The columns of a linear model, row by row: what is known of a volume when it comes, and no more.

The columns stand in this order: the constant, one for each condition, nuisance, drift. Drift stands last, so
that a run that grows longer can take more of it (`rtflow.nodes.models.recursive.LeastSquares`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from rtflow.trials import Design

Floats = NDArray[np.float64]

CONSTANT = "constant"

#: One order of polynomial for so many seconds (AFNI's 3dDeconvolve, -polort A).
POLYNOMIAL_SECONDS = 150.0

#: The longest run that polynomials are made for, seconds: seven of them.
LONGEST = 900.0

#: Steps of the convolution in a repetition time: nilearn's default.
OVERSAMPLING = 50


@dataclass(frozen=True, eq=False)
class TaskColumns:
    """The expected response to each condition: its trials convolved with a haemodynamic response.

    The convolution is nilearn's (`nilearn.glm.first_level.compute_regressor`): trials are boxes on a grid of
    ``step`` seconds that the volumes lie on, a trial begins and ends with the first point of the grid that is
    not before its onset and its end, one of duration 0 lasts one step. The response to a box that has begun
    ``i`` steps ago, and ended ``j`` steps ago, is a difference of two running sums of the response function,
    so that a column costs one look-up a trial, and depends on what has begun by then alone.

    Two things differ. nilearn's grid is stretched by a fraction of a step, unless the repetition time divides
    24 s and volumes are taken at their starts; and it leaves out trials that began more than 24 s before
    the first volume.

    Parameters
    ----------
    names
        Conditions, in the order of their first trial.
    onsets, ends
        Seconds from the start of volume 1, shape (trials,).
    condition
        Index of each trial's condition, shape (trials,).
    running
        Running sum of the response function, shape (steps + 1,): starts at 0, ends at 1.
    step
        Seconds.
    """

    names: tuple[str, ...]
    onsets: Floats
    ends: Floats
    condition: NDArray[np.intp]
    running: Floats
    step: float

    @classmethod
    def of(cls, design: Design, tr: float, hrf: Literal["glover", "spm"] = "glover") -> TaskColumns:
        """The columns of a design.

        Parameters
        ----------
        design
            Trials, in seconds from the start of volume 1.
        tr
            Repetition time, seconds.
        hrf
            ``glover`` (Glover 1999; NeuroImage 9:416-429) or ``spm``, both as nilearn has them: sampled at 50
            points a repetition time, of sum 1. A long trial settles at 1, and overshoots before: one of 16 s
            or more peaks at 1.56 (glover) or 1.14 (spm), one of 1 s at 0.34 or 0.21.
        """
        from nilearn.glm.first_level import glover_hrf, spm_hrf

        kernel = {"glover": glover_hrf, "spm": spm_hrf}[hrf](tr, OVERSAMPLING)
        step = tr / OVERSAMPLING
        onsets = np.array([trial.onset for trial in design.trials], dtype=np.float64)
        ends = np.array([trial.onset + max(trial.duration, step) for trial in design.trials])
        names = design.conditions
        condition = np.array([names.index(trial.trial_type) for trial in design.trials], dtype=np.intp)
        return cls(names, onsets, ends, condition, np.concatenate([[0.0], np.cumsum(kernel)]), step)

    def row(self, at: float) -> Floats:
        """The response to each condition at a time, shape (conditions,).

        Parameters
        ----------
        at
            Seconds from the start of volume 1.
        """
        response = self._since(at - self.onsets) - self._since(at - self.ends)
        summed: Floats = np.bincount(self.condition, weights=response, minlength=len(self.names)).astype(
            float
        )
        return summed

    def _since(self, seconds: Floats) -> Floats:
        # A thousandth of a step's grace: onsets are multiples of the step in most designs, and are not exact.
        steps = np.floor(seconds / self.step + 1e-3) + 1
        chosen: Floats = self.running[np.clip(steps, 0, self.running.size - 1).astype(np.intp)]
        return chosen


@dataclass(frozen=True)
class Drift:
    """Slow changes: columns that are functions of the time of a volume, settled before the first one.

    A run takes the columns that a run of the length that it has come to would have.

    - ``polynomial``: Legendre polynomials of order 1 + length / 150 s at most (AFNI's rule). They stand on
      ``longest`` seconds, whatever is planned: which functions they can make up does not depend on that. A
      longer run has them continued, and takes no further ones.
    - ``cosine``: those of nilearn and SPM, periods down to 1 / high_pass seconds on the planned
      length, which must be known. They are what an offline analysis takes; early in a run they fit worse than
      polynomials, since none of the first ones can be a straight line there. The planned length is that of
      all volumes, from number 1: where the first ones are skipped (dummies), an analysis of the others has
      cosines that begin with those.
    - ``none``.

    Parameters
    ----------
    kind
        Which.
    tr
        Repetition time, seconds.
    volumes
        Planned number of volumes; for cosines.
    high_pass
        Lowest frequency that stays, Hz; for cosines.
    longest
        Seconds; for polynomials.
    """

    kind: Literal["polynomial", "cosine", "none"]
    tr: float
    volumes: int | None = None
    high_pass: float = 0.01
    longest: float = LONGEST

    def __post_init__(self) -> None:
        if self.kind == "cosine" and not self.volumes:
            raise ValueError("cosines need the planned number of volumes")

    @property
    def columns(self) -> int:
        """How many there can be."""
        return self._order((self.volumes or 0) * self.tr if self.kind == "cosine" else self.longest)

    def taken(self, volume: int) -> int:
        """How many of them a run has that has come to a volume."""
        return min(self._order(volume * self.tr), self.columns)

    def _order(self, seconds: float) -> int:
        # A millionth's grace: n * TR is not exact.
        if self.kind == "polynomial":
            return 1 + math.floor(seconds / POLYNOMIAL_SECONDS + 1e-6)
        if self.kind == "cosine":
            most = (self.volumes or 1) - 1
            return min(math.floor(2.0 * seconds * self.high_pass + 1e-6), most)
        return 0

    def row(self, volume: int) -> Floats:
        """All columns in a volume, shape (columns,)."""
        if self.kind == "polynomial":
            at = 2.0 * (volume - 1) * self.tr / self.longest - 1.0
            row: Floats = np.polynomial.legendre.legvander(np.array([at]), self.columns)[0, 1:]
            return row
        if self.kind == "cosine":
            count = float(self.volumes or 1)
            orders = np.arange(1, self.columns + 1)
            cosines: Floats = np.sqrt(2.0 / count) * np.cos(np.pi / count * (volume - 0.5) * orders)
            return cosines
        return np.zeros(0)


@dataclass(frozen=True)
class Columns:
    """The rows of a whole model.

    Parameters
    ----------
    task
        What the design expects; None for a model without.
    nuisance
        Names of the regressors that are measured with each volume.
    drift
        Slow changes.
    tr
        Repetition time, seconds.
    slice_time_ref
        The moment of a volume that its data stand for, as a fraction of ``tr`` after its start.
    """

    task: TaskColumns | None
    nuisance: tuple[str, ...]
    drift: Drift
    tr: float
    slice_time_ref: float = 0.0

    @property
    def conditions(self) -> tuple[str, ...]:
        """Names of the task's columns."""
        return self.task.names if self.task else ()

    @property
    def names(self) -> tuple[str, ...]:
        """Of all columns."""
        drifts = (f"drift_{number}" for number in range(1, self.drift.columns + 1))
        return (CONSTANT, *self.conditions, *self.nuisance, *drifts)

    @property
    def unwanted(self) -> slice:
        """Nuisance and drift."""
        return slice(1 + len(self.conditions), None)

    @property
    def apart(self) -> int:
        """How many columns there are without drift: those that must be told apart, and the constant."""
        return 1 + len(self.conditions) + len(self.nuisance)

    def leading(self, volume: int) -> int:
        """How many of the columns the model has when the run has come to a volume."""
        return self.apart + self.drift.taken(volume)

    def row(self, volume: int, nuisance: NDArray[Any]) -> Floats:
        """One row, shape (columns,).

        Parameters
        ----------
        volume
            Number of the volume, from 1. Volumes that never came leave no row, and those after them keep
            their time.
        nuisance
            Values of the nuisance regressors, in the order of their names.
        """
        at = (volume - 1 + self.slice_time_ref) * self.tr
        task = self.task.row(at) if self.task else np.zeros(0)
        return np.concatenate([[1.0], task, np.asarray(nuisance, dtype=np.float64), self.drift.row(volume)])


def contrast_weights(expression: str, conditions: Sequence[str]) -> Floats:
    """The weight of each condition in a contrast, as nilearn reads it.

    Parameters
    ----------
    expression
        The name of a condition, or an expression of names and numbers: ``scene - face``.
    conditions
        Their names.

    Raises
    ------
    ValueError
        If it is no such expression, or comes out as nothing.

    Examples
    --------
    >>> contrast_weights("(scene + face) / 2 - object", ["face", "object", "scene"]).tolist()
    [0.5, -1.0, 0.5]
    """
    from nilearn.glm.contrasts import expression_to_contrast_vector

    read: Callable[..., Any] = expression_to_contrast_vector
    try:
        found = np.asarray(read(expression, list(conditions)))
    except (ValueError, TypeError, SyntaxError, AttributeError):
        found = np.zeros(0)
    weights = np.zeros(0) if found.dtype == bool else found.astype(np.float64)
    if weights.shape != (len(conditions),) or not np.isfinite(weights).all() or not weights.any():
        raise ValueError(
            f"expected an expression of the conditions {', '.join(conditions)}, such as "
            f"{' - '.join(list(conditions)[:2])!r}, got {expression!r}"
        )
    return weights
