"""What `Denoise` and `GLM` have in common: a model of every voxel that each volume adds a row to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from nipype.interfaces.base import BaseInterfaceInputSpec, isdefined, traits
from numpy.typing import NDArray

from rtflow.bids.masked import Features, Mask
from rtflow.documents import Event
from rtflow.errors import GridError, UsageError, VolumeError
from rtflow.nodes.given_design import DESIGN, given_design
from rtflow.nodes.images.brain import COVERAGE
from rtflow.nodes.models.recursive import LeastSquares, Model
from rtflow.nodes.models.regressors import LONGEST, Columns, Drift, TaskColumns
from rtflow.nodes.motion.rigid import PARAMETERS
from rtflow.stream.interface import RunContext, StreamInterface

#: The least fraction of the mask that the first volume of a model shows; later ones, `COVERAGE` of that.
FIRST_COVERAGE = 0.5

#: A volume's StartTime and ``slice_time_ref`` may differ by so much, as a fraction of TR: the middle of the
#: times of slices comes before the middle of TR.
_APART = 0.1


class RegressionInput(BaseInterfaceInputSpec):  # type: ignore[misc]
    """Inputs of `Denoise` and `GLM`."""

    features = traits.Any(mandatory=True, desc="the volume within the mask: Features of ApplyMask")
    incremental = traits.Any(
        desc="the volume: a BidsIncremental, for its repetition time, and whether slice_time_ref is right"
    )
    motion = traits.Any(desc="six parameters, of Realign; for nuisance='motion'")
    confounds = traits.Any(desc="regressors of the volume, shape (n,); for nuisance='confounds'")
    framewise_displacement = traits.Float(desc="mm, of Realign; for max_fd")
    nuisance = traits.List(
        traits.Enum("motion", "confounds"),
        usedefault=True,
        desc="which of these two inputs have columns in the model",
    )
    max_fd = traits.Range(
        low=0.0,
        value=0.0,
        usedefault=True,
        desc="volumes that moved more, mm, or of unknown motion, are left out of the model; 0 takes all",
    )
    drift = traits.Enum(
        "polynomial", "cosine", "none", usedefault=True, desc="slow changes; cosine needs the planned length"
    )
    high_pass = traits.Range(
        low=0.0, value=0.01, exclude_low=True, usedefault=True, desc="Hz, of drift='cosine'"
    )
    longest = traits.Range(
        low=0.0,
        value=LONGEST,
        exclude_low=True,
        usedefault=True,
        desc="seconds that drift='polynomial' stands on: one order for 150 of them; longer runs take no more",
    )
    design = traits.Any(desc=DESIGN)
    hrf = traits.Enum("glover", "spm", usedefault=True, desc="haemodynamic response, as nilearn has it")
    slice_time_ref = traits.Range(
        low=0.0,
        high=1.0,
        value=0.0,
        usedefault=True,
        desc="moment of a volume that its data stand for, as a fraction of TR: 0 after slice timing "
        "correction to the start, 0.5 without any",
    )
    min_dof = traits.Range(
        low=1, value=10, usedefault=True, desc="fewest degrees of freedom that something is given with"
    )
    max_condition = traits.Range(
        low=1.0,
        value=100.0,
        usedefault=True,
        desc="how badly columns of conditions and nuisance may be confused for something to be given: the "
        "factor that standard errors grow by",
    )


@dataclass
class RegressionState:
    """What such a node knows in the middle of a run.

    ``seen`` has the voxels that lay in the field of view in every volume so far, ``first_seen`` how many did
    in the first, ``design`` the rows of the model, ``volumes`` their volumes, ``largest`` the largest square
    of each column.
    """

    columns: Columns
    squares: LeastSquares
    mask: Mask
    seen: NDArray[np.bool_]
    volumes: list[int]
    design: list[NDArray[np.float64]]
    largest: NDArray[np.float64]
    first_seen: int


class Regression(StreamInterface):
    """One row of a linear model for every volume, for each voxel of a mask; see the nodes made of it."""

    stateful = True

    def needed_inputs(self) -> dict[str, str]:
        """The nuisance that has columns, and what volumes are left out by."""
        inputs = self.inputs
        needed = {name: f"nuisance has {name!r}" for name in inputs.nuisance}
        if inputs.max_fd > 0:
            needed["framewise_displacement"] = "max_fd leaves volumes out by it"
        return needed

    def start_run(self, context: RunContext) -> None:
        """Read the design; the columns are settled by the first volume."""
        self._context = context
        self._state: Any = None
        self._design = given_design(self, context)
        if self._design is not None and not self._design.trials:
            raise UsageError(f"{self._name}: the design has no trial; give one with trials")
        if self._design is not None:
            TaskColumns.of(self._design, 1.0)  # a second of imports, which would else fall into volume 1

    def snapshot(self) -> Any:
        """The model so far."""
        return self._state

    def restore(self, state: Any) -> None:
        """Go on from it."""
        self._state = state

    @property
    def _name(self) -> str:
        return type(self).__name__

    def _row(
        self, row: NDArray[np.float64], values: NDArray[np.float32]
    ) -> tuple[NDArray[np.float64], NDArray[Any]]:
        """The row of the model and its values, of what the volume and the mask say."""
        return row, values

    def _begin(self, columns: Columns, features: Features) -> RegressionState:
        """The state at the first volume."""
        voxels = features.values.size
        return RegressionState(
            columns,
            LeastSquares(len(columns.names), voxels),
            features.mask,
            np.ones(voxels, dtype=bool),
            [],
            [],
            np.zeros(len(columns.names)),
            0,
        )

    def _advance(self) -> tuple[Model, NDArray[np.float64]] | None:
        """Add the volume to the model: the model and the volume's row, or None if it is left out."""
        features: Features = self.inputs.features
        nuisance, names, reason = self._nuisance()
        if reason:
            self.doubt(f"{self._name.lower()}: left out: {reason}")
            return None
        if self._state is None:
            self._state = self._begin(self._columns(names), features)
        state: RegressionState = self._state
        self._require_mask(features.mask)
        if names != state.columns.nuisance:
            raise VolumeError(
                f"volume {self.volume} has {len(names)} nuisance regressors, the model has "
                f"{len(state.columns.nuisance)}; give the same number with every volume"
            )
        values = features.values
        if not np.isfinite(values).all():
            raise VolumeError(f"volume {self.volume} has voxels within the mask that are not finite")
        seen = state.seen & (values != 0)
        # A mask may reach beyond the field of view throughout: the first volume says what can be seen.
        least = COVERAGE if state.volumes else FIRST_COVERAGE
        if np.count_nonzero(seen) < least * np.count_nonzero(state.seen):
            self.doubt(f"{self._name.lower()}: left out: less than {least:.0%} of the voxels have signal")
            return None
        row, modelled = self._row(state.columns.row(self.volume, nuisance), values)
        state.seen = seen
        state.first_seen = state.first_seen or int(np.count_nonzero(seen))
        # Each volume may lack a few of those that are left: what many have taken away, none would say.
        if (left := np.count_nonzero(seen) / state.first_seen) < COVERAGE:
            self.doubt(
                f"{self._name.lower()}: only {left:.1%} of the voxels of the first volume were seen in all"
            )
        self._doubt_time()
        state.squares.add(row, modelled)
        state.largest = np.maximum(state.largest, row * row)
        state.volumes.append(self.volume)
        state.design.append(row)
        return self._model(), row

    def _doubt_time(self) -> None:
        """Doubt a volume that says itself that it stands for another moment than the design is sampled at."""
        if self._design is None or not isdefined(self.inputs.incremental):
            return
        metadata, tr = self.inputs.incremental.metadata, self._state.columns.tr
        start, ours = metadata.get("StartTime"), self.inputs.slice_time_ref
        if not metadata.get("SliceTimingCorrected") or not isinstance(start, int | float):
            return
        if abs(start / tr - ours) > _APART:
            self.doubt(
                f"{self._name.lower()}: slice timing was corrected to {start:g} s of the volume (StartTime), "
                f"and slice_time_ref is {ours:g}; set it to {start / tr:.3g}"
            )

    def _model(self) -> Model:
        """What the columns can tell after the last volume."""
        state: RegressionState = self._state
        return state.squares.model(state.columns.leading(state.volumes[-1]), state.columns.apart)

    def _require_mask(self, mask: Mask) -> None:
        state: RegressionState = self._state
        if mask is state.mask:
            return
        state.mask.grid.require(mask.grid, f"volume {self.volume} within the mask")
        if mask.identity != state.mask.identity:
            raise GridError(
                f"volume {self.volume} comes from mask {mask.identity}, the model from mask "
                f"{state.mask.identity}; use one mask throughout a run"
            )
        state.mask = mask

    def _conditioned(self, model: Model) -> bool:
        """Whether the model has enough rows, and columns that can be told apart."""
        inputs = self.inputs
        if model.dof < inputs.min_dof:
            return False
        if model.condition <= inputs.max_condition:
            return True
        self.doubt(
            f"{self._name.lower()}: nothing can be told: columns of the model are nearly dependent, standard "
            f"errors grow by more than max_condition = {inputs.max_condition:g}"
        )
        return False

    def _columns(self, nuisance: tuple[str, ...]) -> Columns:
        inputs = self.inputs
        tr = self._context.tr
        if tr is None and isdefined(inputs.incremental):
            tr = inputs.incremental.tr
        if tr is None:
            raise VolumeError(
                f"{self._name}: the repetition time is not known; connect incremental, or say it: "
                "[bids] tr = SECONDS"
            )
        kind, planned = inputs.drift, self._context.volumes
        if kind == "cosine" and not planned:
            kind = "polynomial"
            says = "the planned number of volumes is not known: drift is modelled by polynomials, not cosines"
            node = self._name.lower()
            self._context.emit(Event(name="drift", volume=self.volume, node=node, data={"says": says}))
        task = None if self._design is None else TaskColumns.of(self._design, tr, inputs.hrf)
        drift = Drift(kind, tr, planned, inputs.high_pass, inputs.longest)
        return Columns(task, nuisance, drift, tr, inputs.slice_time_ref)

    def _nuisance(self) -> tuple[NDArray[np.float64], tuple[str, ...], str]:
        """The nuisance regressors of the volume, their names, and why the volume must be left out."""
        inputs = self.inputs
        moved = inputs.framewise_displacement
        if inputs.max_fd > 0 and self._state is not None and self._state.volumes:
            # The displacement of the first volume is not known, and it need not be.
            if not isdefined(moved):
                return np.zeros(0), (), "its framewise displacement is not known"
            if moved > inputs.max_fd:
                return np.zeros(0), (), f"it moved more than max_fd = {inputs.max_fd:g} mm"
        values: list[NDArray[np.float64]] = []
        names: tuple[str, ...] = ()
        for kind in ("motion", "confounds"):
            given = getattr(inputs, kind)
            if kind not in inputs.nuisance:
                if isdefined(given):
                    raise VolumeError(
                        f"{self._name}: {kind} is connected and has no columns in the model; "
                        f"add {kind!r} to nuisance, or leave it unconnected"
                    )
                continue
            if not isdefined(given):
                return np.zeros(0), (), f"its {kind} is not known"
            vector = np.asarray(given, dtype=np.float64).ravel()
            if kind == "motion" and vector.size != len(PARAMETERS):
                raise VolumeError(
                    f"volume {self.volume}: motion has {vector.size} values, expected {len(PARAMETERS)}"
                )
            if not np.isfinite(vector).all():
                return np.zeros(0), (), f"its {kind} is not finite"
            values.append(vector)
            numbers = range(1, vector.size + 1)
            names += PARAMETERS if kind == "motion" else tuple(f"confound_{number}" for number in numbers)
        return np.concatenate([np.zeros(0), *values]), names, ""
