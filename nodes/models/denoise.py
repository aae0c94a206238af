"""What is not of interest, taken out of every voxel as the run goes on."""

from __future__ import annotations

import cmath
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from nipype.interfaces.base import TraitedSpec, isdefined, traits
from numpy.typing import NDArray

from rtflow.bids.incremental import BidsIncremental
from rtflow.bids.masked import Features
from rtflow.errors import UsageError, VolumeError
from rtflow.nodes.masks.mask import covered_mean
from rtflow.nodes.models.glm import on_grid
from rtflow.nodes.models.regression import Regression, RegressionInput, RegressionState
from rtflow.nodes.models.regressors import Columns
from rtflow.nodes.signals.region import OMIT
from rtflow.stream.interface import RunContext
from rtflow.trials import REST

Floats = NDArray[np.float64]

#: Fewest volumes that a standard deviation is taken over.
BASELINE_VOLUMES = 5


@dataclass
class HighPass:
    """A causal high-pass filter of the first order.

    What an exponentially weighted mean of the past holds is taken out: with time constant
    ``T = 1 / (2 pi cutoff)``, ``m += (1 - exp(-dt / T)) (x - m)`` and the output is ``x - m``. It begins
    at the first value, so that the output begins at 0.

    It is no replacement for regressors: a response of f Hz keeps ``f / sqrt(f^2 + cutoff^2)`` of its height
    and comes ``atan(cutoff / f)`` too early, where samples are close; `response` says it for any distance
    (at 2 s and 0.01 Hz 6 % less is kept). During a block the output sags back towards 0 with time constant
    T; what is wrong about the first volume takes 3 T to be forgotten (48 s at 0.01 Hz).

    Parameters
    ----------
    cutoff
        Hz.
    """

    cutoff: float
    _mean: Floats | None = None
    _at: float = 0.0

    def response(self, frequency: float, tr: float) -> complex:
        """What becomes of a frequency in samples that are ``tr`` apart.

        With ``a = exp(-tr / T)``, the transfer function ``a (1 - z^-1) / (1 - a z^-1)`` at
        ``z = exp(2 pi i frequency tr)``. For ``tr`` much smaller than T and the period it is that of the
        analogue filter, ``f / (f - i cutoff)``; for a longer one it is smaller: what is fastest keeps
        ``2 a / (1 + a)``, 0.94 with 0.01 Hz and 2 s.

        Parameters
        ----------
        frequency
            Hz.
        tr
            Seconds.

        Returns
        -------
        Its absolute value is the height that is kept, its angle (radians) by how much that comes early.

        Examples
        --------
        >>> kept = HighPass(0.01).response(0.03, 2.0)
        >>> print(f"{abs(kept):.3f}, analogue {0.03 / math.hypot(0.03, 0.01):.3f}")
        0.890, analogue 0.949
        """
        kept = math.exp(-tr * 2.0 * math.pi * self.cutoff)
        before = cmath.exp(-2j * math.pi * frequency * tr)
        return kept * (1.0 - before) / (1.0 - kept * before)

    def step(self, values: NDArray[Any], at: float) -> Floats:
        """One sample of every time course.

        Parameters
        ----------
        values
            Shape (n,).
        at
            Its time, seconds; after a gap the mean has moved on for as long as the gap was.

        Returns
        -------
        Shape (n,), float64.
        """
        if self._mean is None:
            self._mean = np.array(values, dtype=np.float64)
        share = -math.expm1(-(at - self._at) * 2.0 * math.pi * self.cutoff)
        self._mean = self._mean + share * (values - self._mean)
        self._at = at
        filtered: Floats = values - self._mean
        return filtered


@dataclass
class Baseline:
    """Mean and standard deviation of every voxel over some volumes, then frozen."""

    total: Floats
    squares: Floats
    offset: Floats
    volumes: int = 0
    first: int = 0
    frozen: bool = False

    @classmethod
    def of(cls, values: Floats, volume: int) -> Baseline:
        """An empty one for values like these."""
        return cls(np.zeros(values.size), np.zeros(values.size), values.copy(), first=volume)

    def add(self, values: Floats) -> None:
        """Take a volume."""
        # About the first volume: sums of squares of raw values would lose what they differ by.
        apart = values - self.offset
        self.total += apart
        self.squares += apart * apart
        self.volumes += 1

    def score(self, values: Floats) -> Floats:
        """Values as z-scores, 0 where the baseline did not vary; needs two volumes."""
        mean = self.total / self.volumes
        variance = (self.squares - self.volumes * mean * mean) / (self.volumes - 1)
        deviation = np.sqrt(np.maximum(variance, 0.0))
        return np.divide(
            values - self.offset - mean, deviation, out=np.zeros(values.size), where=deviation > 0
        )


@dataclass
class _State(RegressionState):
    """And what the signal is brought back to.

    ``level`` (of each voxel) and ``reference`` (of each column) are sums until the first output, then means.
    """

    level: Floats
    reference: Floats
    given: bool = False
    signal_filter: HighPass | None = None
    row_filter: HighPass | None = None
    baseline: Baseline | None = None


class DenoiseInput(RegressionInput):
    """Inputs of `Denoise`."""

    causal_high_pass = traits.Range(
        low=0.0,
        value=0.0,
        usedefault=True,
        desc="Hz: a filter of the first order before the regression; shifts phase, forgets slowly; 0: none",
    )
    zscore = traits.Enum(
        "none",
        "opening",
        "rest",
        "training",
        usedefault=True,
        desc="give z-scores, by mean and deviation of the first seconds, of the first rest, or of training",
    )
    opening = traits.Range(
        low=0.0, value=20.0, exclude_low=True, usedefault=True, desc="seconds of zscore='opening'"
    )
    trial_type = traits.Str(desc="rest or a condition, of Labels; for zscore='rest'")
    phase = traits.Str(
        desc="of Labels; needed for zscore='training'; rest of phase omit enters no zscore='rest'"
    )


class DenoiseOutput(TraitedSpec):  # type: ignore[misc]
    """Outputs of `Denoise`."""

    features = traits.Any(desc="the cleaned values within the mask: Features, float32")
    mean = traits.Float(desc="mean over the voxels of the mask that have signal")
    incremental = traits.Any(desc="the same as a volume, 0 outside the mask; if incremental is connected")


class Denoise(Regression):
    """Take nuisance and drift out of every voxel of the mask, by a regression that grows with the run.

    With each volume the model is fitted anew to all volumes so far, by recursive least squares, and the part
    of nuisance and drift in this volume is taken out: the value is what it would have been, had they stayed
    at their mean over the volumes up to the first output. **The mean of the signal stays**, in the scanner's
    units: percent signal change may be computed of it. Earlier volumes are not gone back to: the first
    outputs rest on few volumes, and are less clean than the later ones.

    Nuisance regressors are those of ``nuisance``. A spike regressor is what ``max_fd`` amounts to: a volume
    that moved more has no say in the model, and no output. Drift is as `regressors.Drift` says.
    With a ``design``, the conditions have columns as in `GLM`, and these are not taken out: without, drift
    and motion that go with the task take some of the response along.

    ``causal_high_pass`` filters data and regressors before the regression, see `HighPass`; the level
    that it takes away is put back (the mean over the volumes up to the first output). Set ``drift`` to
    ``none`` with it.

    With ``zscore`` the output has mean 0 and deviation 1 over a baseline: the first ``opening`` seconds of
    output, its first rest, or its volumes of training; five volumes at least. Rest of phase ``omit`` (the
    response still dies away) is in none, if ``phase`` is connected. It is frozen with the first volume
    after it, and until then nothing is given. No percentages may be computed of z-scores.

    Outputs are withheld until the model has ``min_dof`` degrees of freedom and its columns are well
    conditioned, and for a volume that is left out, as in `GLM`. A voxel that was outside the field of
    view in a volume of the model is 0 from then on.

    Raises
    ------
    UsageError
        At the start of the run, if the design cannot be read.
    GridError
        For features on another grid.
    VolumeError
        If a voxel is not finite, if motion or confounds come that have no columns, or another number of
        them, if the repetition time is not known, or if what ``zscore`` needs is not connected.
    """

    input_spec = DenoiseInput
    output_spec = DenoiseOutput

    def needed_inputs(self) -> dict[str, str]:
        """Also what says where the baseline of z-scores is."""
        of = {"rest": "trial_type", "training": "phase"}.get(self.inputs.zscore)
        why = f"zscore={self.inputs.zscore!r} needs to know when that is, of Labels; or use 'opening'"
        return super().needed_inputs() | ({of: why} if of else {})

    def start_run(self, context: RunContext) -> None:
        """Read the design, if there is one."""
        super().start_run(context)
        if self.inputs.causal_high_pass > 0 and self.inputs.drift != "none":
            raise UsageError(
                f"Denoise takes causal_high_pass = {self.inputs.causal_high_pass:g} Hz, or drift = "
                f"{self.inputs.drift!r}, not both; set drift to 'none'"
            )

    def _begin(self, columns: Columns, features: Features) -> _State:
        begun = super()._begin(columns, features)
        state = _State(
            **vars(begun), level=np.zeros(features.values.size), reference=np.zeros(len(columns.names))
        )
        if self.inputs.causal_high_pass > 0:
            state.signal_filter, state.row_filter = (HighPass(self.inputs.causal_high_pass) for _ in range(2))
        return state

    def _row(self, row: Floats, values: NDArray[np.float32]) -> tuple[Floats, NDArray[Any]]:
        state: _State = self._state
        self._values: NDArray[Any] = values
        if state.signal_filter is not None and state.row_filter is not None:
            at = self.volume * state.columns.tr
            self._values = state.signal_filter.step(values, at)
            row = np.concatenate([[1.0], state.row_filter.step(row[1:], at)])
        if not state.given:
            state.level += values
            state.reference += row
        return row, self._values

    def _run_interface(self, runtime: Any) -> Any:
        self._results: dict[str, Any] = {}
        advanced = self._advance()
        if advanced is None or not self._conditioned(advanced[0]):
            return runtime
        model, row = advanced
        state: _State = self._state
        if not state.given:
            state.given = True
            state.level /= len(state.volumes)
            state.reference /= len(state.volumes)
        moved = np.zeros(row.size)
        unwanted = state.columns.unwanted
        moved[unwanted] = (row - state.reference)[unwanted]
        cleaned = self._values - state.squares.combine(model.weights(moved))
        if state.signal_filter is not None:
            cleaned += state.level
        scored = self._score(cleaned)
        if scored is None:
            return runtime
        scored[~state.seen] = 0.0
        values = scored.astype(np.float32)
        self._results["features"] = Features(values, state.mask)
        self._results["mean"] = covered_mean(values, self.volume)[0]
        if isdefined(self.inputs.incremental):
            incremental: BidsIncremental = self.inputs.incremental
            state.mask.grid.require(incremental.grid, f"volume {incremental.volume}")
            self._results["incremental"] = incremental.with_data(on_grid(values, state.mask))
        return runtime

    def _score(self, cleaned: Floats) -> Floats | None:
        """The values as they are given; None while the baseline grows."""
        kind = self.inputs.zscore
        if kind == "none":
            return cleaned
        state: _State = self._state
        if state.baseline is None:
            state.baseline = Baseline.of(cleaned, self.volume)
        baseline = state.baseline
        if not baseline.frozen:
            belongs, over = self._belongs(baseline)
            if belongs:
                baseline.add(cleaned)
                return None
            if not over or baseline.volumes < BASELINE_VOLUMES:
                return None
            baseline.frozen = True
        return baseline.score(cleaned)

    def _belongs(self, baseline: Baseline) -> tuple[bool, bool]:
        """Whether the volume is one of the baseline, and whether the baseline may be over with it."""
        inputs = self.inputs
        if inputs.zscore == "opening":
            since = (self.volume - baseline.first) * self._state.columns.tr
            # However short the opening is: a deviation needs some volumes.
            within = since < inputs.opening - 1e-6 or baseline.volumes < BASELINE_VOLUMES
            return within, True
        name, wanted = ("trial_type", REST) if inputs.zscore == "rest" else ("phase", "train")
        given = getattr(inputs, name)
        if not isdefined(given):
            raise VolumeError(f"Denoise: zscore = {inputs.zscore!r} needs {name}; connect that of Labels")
        # While the response dies away it is neither what is wanted nor the end of that.
        omitted = isdefined(inputs.phase) and inputs.phase == OMIT
        return given == wanted and not omitted, given not in (wanted, OMIT)
