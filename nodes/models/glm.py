"""Which voxels answer the design: a linear model that is up to date with every volume."""

from __future__ import annotations

import gzip
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from nipype.interfaces.base import TraitedSpec, isdefined, traits
from numpy.typing import NDArray

from rtflow.bids.grid import Grid
from rtflow.bids.masked import Features, Mask
from rtflow.errors import UsageError, VolumeError
from rtflow.nodes.masks.mask import MaskFiles, covered_mean
from rtflow.nodes.models.recursive import LeastSquares, Model, t_values, z_values
from rtflow.nodes.models.regression import Regression, RegressionInput, RegressionState
from rtflow.nodes.models.regressors import Columns, contrast_weights
from rtflow.session import Session
from rtflow.stream.interface import RunContext
from rtflow.whole_file import write_whole

NOISE = "ols"

#: A condition is known when its responses add up to so many volumes at its largest one.
RESPONSES = 3.0


@dataclass
class _State(RegressionState):
    """And the region: which features it has, its mean in the last volume, and the sum of these."""

    region: NDArray[np.intp] | None = None
    region_mean: float = 0.0
    region_total: float = 0.0


class GLMInput(RegressionInput):
    """Inputs of `GLM`."""

    contrast = traits.Str(mandatory=True, desc="an expression of conditions: 'scene - face'")
    region = traits.Any(desc="a Mask, or the path of an image: its mean is modelled as one more voxel")
    betas = traits.Bool(
        False, usedefault=True, desc="whether to give `betas` too: each condition costs as much as the effect"
    )
    save = traits.Str("", usedefault=True, desc="session item to keep the maps under")
    folder = traits.Str("glm", usedefault=True, desc="folder of the maps, in that of the run")


class GLMOutput(TraitedSpec):  # type: ignore[misc]
    """Outputs of `GLM`."""

    effect = traits.Any(desc="the contrast of each voxel, in the units of the features: Features")
    t = traits.Any(desc="its t, by ordinary least squares, not corrected for autocorrelation: Features")
    z = traits.Any(desc="the normal deviate that is about as unlikely as that t: Features")
    betas = traits.Dict(
        desc="the coefficient of each condition that is known by now, by its name: Features, as effect"
    )
    t_max = traits.Float(desc="largest t within the mask")
    region_mean = traits.Float(desc="mean of the region in this volume, in the units of the features")
    region_t = traits.Float(desc="t of the region's mean")
    region_percent = traits.Float(
        desc="contrast of the region's mean, in percent of its mean over the run, for a column of 1: what a "
        "trial without end settles at; a block of 16 s peaks at 1.56 of that (glover) or 1.14 (spm)"
    )
    dof = traits.Int(desc="degrees of freedom of the residual")


class GLM(Regression):
    """Fit the design to every voxel of the mask, by ordinary least squares, anew with each volume.

    The model has a constant, a column for each condition (its trials convolved with a haemodynamic response,
    `regressors.TaskColumns`), nuisance regressors, and drift (`regressors.Drift`).
    What is given with a volume is what an offline analysis of the volumes up to it would give, with the same
    columns and ``noise_model="ols"``; it costs the same time with every volume. The lag of the response is in
    the columns: nothing of `Labels` is needed.

    Effects, and ``region_percent``, are for a column of 1, which is where the response to a trial without end
    settles; shorter ones peak elsewhere (`regressors.TaskColumns`).

    ``t`` is not corrected for autocorrelation, and thus larger than that of an offline analysis that is.

    All but ``region_mean`` is withheld until every condition of the contrast is known (the sum of squares of
    its column is three times the largest square), the model has ``min_dof`` degrees of freedom, and
    its columns are well conditioned. All is withheld for a volume that is left out: one that moved more than
    ``max_fd``, whose motion or confounds are not known, or that lacks more than 5 % of the voxels seen so
    far. To leave a volume out does to all others what a regressor of its own (a spike) would do. Volumes
    that never come leave no row, and those after them keep their time. Volumes are doubted once fewer than
    95 % of the first one's voxels have been seen in all, and if slice timing was corrected to a moment
    (their own ``StartTime``) that is not ``slice_time_ref``.

    A voxel that was outside the field of view in a volume of the model has effect and t 0 from then on.

    At the end of the run, if the contrast is known by then, maps stand in ``RUN_DIR/glm`` (effect, t and z of
    the contrast, the effect of each condition: NIfTI, 0 outside the mask) beside ``design.tsv`` (the rows of
    the model) and ``glm.json``.

    The features should not come from `Denoise`: nuisance belongs into one model with the task, or its
    degrees of freedom are not counted.

    Raises
    ------
    UsageError
        At the start of the run, if the design cannot be read, or the contrast is no expression of its
        conditions.
    GridError
        For features, or a region, on another grid.
    VolumeError
        If a voxel is not finite, if motion or confounds come that have no columns, or another number
        of them, or if the repetition time is not known.
    """

    input_spec = GLMInput
    output_spec = GLMOutput

    def start_run(self, context: RunContext) -> None:
        """Read design, contrast and region."""
        super().start_run(context)
        if self._design is None:
            raise UsageError("GLM has no design; give a Design, or the path of an events.tsv")
        try:
            self._conditions = contrast_weights(self.inputs.contrast, self._design.conditions)
        except ValueError as error:
            raise UsageError(f"GLM: contrast: {error}") from None
        self._session = Session(context)
        self._masks = MaskFiles()
        if isinstance(self.inputs.region, str | Path):
            self._masks.find(self.inputs.region)

    def end_run(self) -> None:
        """Leave the maps."""
        state: _State | None = self._state
        if state is None or not state.volumes:
            return
        model = self._model()
        contrast = self._contrast(state.columns)
        if not self._tells(state, model, contrast):
            return
        facts = self._facts(state, model)
        maps, contrasts = self._maps(state, model, contrast)
        folder = self._context.run_dir / self.inputs.folder
        for name, values in maps.items():
            write_whole(folder / f"{name}_statmap.nii.gz", statmap(values, state.mask))
        rows = zip(state.volumes, np.array(state.design)[:, model.active], strict=True)
        table = ["\t".join(("volume", *facts["columns"]))]
        table += ["\t".join([str(volume), *(f"{value:.12g}" for value in row)]) for volume, row in rows]
        write_whole(folder / "design.tsv", ("\n".join(table) + "\n").encode())
        about = facts | {"contrasts": contrasts}
        write_whole(folder / "glm.json", (json.dumps(about, indent=2) + "\n").encode())
        if self.inputs.save:
            label = contrast_label(self.inputs.contrast)
            arrays = {
                stat: on_grid(maps[f"contrast-{label}_stat-{stat}"], state.mask) for stat in ("effect", "t")
            }
            self._session.save(self.inputs.save, arrays, state.mask.grid, **facts)

    def _contrast(self, columns: Columns) -> NDArray[np.float64]:
        weights = np.zeros(len(columns.names))
        weights[1 : 1 + self._conditions.size] = self._conditions
        return weights

    def _facts(self, state: _State, model: Model) -> dict[str, Any]:
        inputs, columns = self.inputs, state.columns
        names = columns.names
        return {
            "contrast": inputs.contrast,
            "reference": state.mask.grid.reference,
            "noise_model": NOISE,
            "degrees_of_freedom": model.dof,
            "condition": model.condition,
            "columns": [names[index] for index in model.active],
            "hrf_model": inputs.hrf,
            "drift_model": columns.drift.kind,
            "slice_time_ref": inputs.slice_time_ref,
            "RepetitionTime": columns.tr,
            "volumes": state.volumes,
            "note": "t and z by ordinary least squares, not corrected for autocorrelation; 0: not known",
        }

    def _begin(self, columns: Columns, features: Features) -> _State:
        begun = super()._begin(columns, features)
        region = self._region(features.mask)
        count = features.values.size + (region is not None)
        begun.squares = LeastSquares(len(columns.names), count)
        return _State(**vars(begun), region=region)

    def _region(self, mask: Mask) -> NDArray[np.intp] | None:
        if not isdefined(self.inputs.region):
            return None
        region = self._masks.find(self.inputs.region)
        mask.grid.require(region.grid, "the region")
        within = np.flatnonzero(np.isin(mask.indices, region.indices, assume_unique=True))
        if not within.size:
            raise VolumeError("GLM: the region has no voxel within the mask; choose a mask that holds it")
        return within

    def _row(
        self, row: NDArray[np.float64], values: NDArray[np.float32]
    ) -> tuple[NDArray[np.float64], NDArray[Any]]:
        state: _State = self._state
        if state.region is None:
            return row, values
        mean, doubt = covered_mean(values[state.region], self.volume)
        if doubt:
            self.doubt(f"glm: of the region, {doubt}")
        state.region_mean = mean
        state.region_total += mean
        return row, np.append(values, mean)

    def _run_interface(self, runtime: Any) -> Any:
        self._results: dict[str, Any] = {}
        advanced = self._advance()
        if advanced is None:
            return runtime
        model, _ = advanced
        state: _State = self._state
        contrast = self._contrast(state.columns)
        if state.region is not None:
            self._results["region_mean"] = state.region_mean
        if not self._tells(state, model, contrast):
            return runtime
        effect, t = self._test(state, model, contrast)
        voxels = state.seen.size
        inside = Features(t[:voxels], state.mask)
        self._results |= {
            "effect": Features(effect[:voxels], state.mask),
            "t": inside,
            "z": Features(z_values(inside.values, model.dof), state.mask),
            "t_max": float(inside.values.max()),
            "dof": model.dof,
        }
        if self.inputs.betas:
            self._results["betas"] = self._betas(state, model)
        if state.region is not None:
            self._results["region_t"] = float(t[-1])
            mean = state.region_total / len(state.volumes)
            if mean > 0:
                self._results["region_percent"] = 100.0 * float(effect[-1]) / mean
        return runtime

    def _tells(self, state: _State, model: Model, contrast: NDArray[np.float64]) -> bool:
        """Whether the model tells the contrast: the responses to all its conditions have been seen."""
        known = _known(state)[np.flatnonzero(contrast)]
        return bool(np.all(known)) and self._conditioned(model) and model.estimable(contrast)

    def _test(
        self, state: _State, model: Model, contrast: NDArray[np.float64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Effect and t of every time course, float32."""
        weights = model.weights(contrast)
        effect = state.squares.combine(weights)
        unexplained = state.squares.unexplained(state.columns.leading(state.volumes[-1]))
        t = t_values(effect, unexplained, float(weights @ weights), model.dof)
        hidden = np.flatnonzero(~state.seen)
        effect[hidden] = t[hidden] = 0.0
        return effect.astype(np.float32), t.astype(np.float32)

    def _alone(self, state: _State, model: Model) -> dict[str, NDArray[np.float32]]:
        """The effect of each condition that the rows fix: shape (voxels,), 0 where it is not known."""
        found = {}
        for number, name in enumerate(state.columns.conditions, start=1):
            alone = np.zeros(len(state.columns.names))
            alone[number] = 1.0
            if model.estimable(alone):
                values = state.squares.combine(model.weights(alone))[: state.seen.size].astype(np.float32)
                values[~state.seen] = 0.0
                found[name] = values
        return found

    def _betas(self, state: _State, model: Model) -> dict[str, Features]:
        """The effects of those conditions whose responses have been seen."""
        known = dict(zip(state.columns.conditions, _known(state)[1:], strict=False))
        alone = self._alone(state, model)
        return {name: Features(values, state.mask) for name, values in alone.items() if known[name]}

    def _maps(
        self, state: _State, model: Model, contrast: NDArray[np.float64]
    ) -> tuple[dict[str, NDArray[np.float32]], dict[str, str]]:
        """The maps of the end of the run, by the beginnings of their names; labels to expressions."""
        voxels = state.seen.size
        effect, t = (values[:voxels] for values in self._test(state, model, contrast))
        label = contrast_label(self.inputs.contrast)
        z, labels = z_values(t, model.dof), {label: str(self.inputs.contrast)}
        maps = {
            f"contrast-{label}_stat-{stat}": values
            for stat, values in (("effect", effect), ("t", t), ("z", z))
        }
        alone = self._alone(state, model)
        for number, name in enumerate(state.columns.conditions, start=1):
            if name != self.inputs.contrast and name in alone:
                label = contrast_label(name)
                if f"contrast-{label}_stat-effect" in maps:  # "left hand" and "leftHand" have one label
                    label += str(number)
                maps[f"contrast-{label}_stat-effect"] = alone[name]
                labels[label] = name
        return maps, labels


def _known(state: _State) -> NDArray[np.bool_]:
    """Of which columns enough has been seen, shape (columns,)."""
    known: NDArray[np.bool_] = state.squares.squares >= RESPONSES * state.largest
    return known & (state.largest > 0)


def contrast_label(expression: str) -> str:
    """A contrast in letters and digits, for the names of files, as nilearn writes it.

    >>> contrast_label("scene - face"), contrast_label("(a + b) / 2")
    ('sceneMinusFace', 'aPlusBOver2')
    """
    words = {"-": " Minus ", "+": " Plus ", "*": " Times ", "/": " Over "}
    spelled = "".join(words.get(letter, letter) for letter in expression)
    first, *rest = re.findall(r"[0-9A-Za-z]+", spelled) or ["contrast"]
    return str(first) + "".join(word[:1].upper() + word[1:] for word in rest)


def on_grid(values: NDArray[Any], mask: Mask) -> NDArray[np.float32]:
    """Values of a mask's voxels as an image: shape (i, j, k), float32, 0 outside the mask."""
    image = np.zeros(mask.data.shape, dtype=np.float32)
    image.ravel()[mask.indices] = values
    return image


def statmap(values: NDArray[Any], mask: Mask) -> bytes:
    """A map as the bytes of a gzipped NIfTI file: float32, 0 outside the mask.

    Parameters
    ----------
    values
        Shape (voxels,), in the order of ``mask.indices``.
    mask
        Where they are.
    """
    import nibabel

    grid: Grid = mask.grid
    image = nibabel.Nifti1Image(on_grid(values, mask), grid.matrix())
    image.header.set_xyzt_units("mm")
    image.set_qform(grid.matrix(), code=1)
    image.set_sform(grid.matrix(), code=1)
    # No time in the gzip header: the same map gives the same file.
    return gzip.compress(image.to_bytes(), mtime=0)
