"""Several echoes to one image, weighted by how the signal of each voxel decays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from nipype.interfaces.base import BaseInterfaceInputSpec, TraitedSpec, isdefined, traits
from numpy.typing import NDArray

from rtflow.bids.grid import Grid
from rtflow.bids.incremental import BidsIncremental
from rtflow.errors import SessionError, UsageError, VolumeError
from rtflow.items import Item
from rtflow.nodes.images.reslice import require_signal, reslice
from rtflow.session import Session
from rtflow.stream.interface import RunContext, StreamInterface

#: Shortest and longest decay time that a voxel is given, s (tedana's limits).
SHORTEST, LONGEST = 0.001, 0.5

#: Echo times that differ by no more are the same, s.
_SAME_TIME = 1e-4


def fit_t2star(means: NDArray[Any], times: NDArray[np.float64]) -> NDArray[np.float32]:
    """Decay time of each voxel, by a straight line through the logarithms of the echoes.

    ``log S = log S0 - TE / T2*``, ordinary least squares (as tedana's ``loglin``).

    Parameters
    ----------
    means
        Mean of each echo over some volumes, shape (echoes, ...).
    times
        Echo times, s, shape (echoes,); two or more.

    Returns
    -------
    Shape (...), float32, seconds, from `SHORTEST` to `LONGEST`, also where the signal does not fall. Where an
    echo is 0 or less there is no logarithm: the voxel gets the median of the others.
    """
    positive = (means > 0).all(axis=0)
    off = times - times.mean()
    logs = np.log(means, out=np.zeros(means.shape), where=means > 0)
    rate = -np.tensordot(off, logs, axes=1) / (off @ off)
    t2star = np.full(rate.shape, LONGEST)
    np.divide(1.0, rate, out=t2star, where=rate > 0)
    t2star = np.clip(t2star, SHORTEST, LONGEST)
    if not positive.all():
        t2star[~positive] = np.median(t2star[positive]) if positive.any() else LONGEST
    return t2star.astype(np.float32)


def t2star_weights(t2star: NDArray[Any], times: NDArray[np.float64]) -> NDArray[np.float32]:
    """Weight of each echo: ``TE * exp(-TE / T2*)``, so scaled that those of a voxel add up to 1.

    What contrast the BOLD effect has in an echo (Posse et al., Magn Reson Med 1999; 42:87-97).

    Parameters
    ----------
    t2star
        Seconds, shape (...).
    times
        Echo times, s, shape (echoes,).

    Returns
    -------
    Shape (echoes, ...), float32.

    Examples
    --------
    >>> weights = t2star_weights(np.array([0.03]), np.array([0.015, 0.03, 0.045]))
    >>> [round(float(weight), 3) for weight in weights[:, 0]]
    [0.302, 0.366, 0.333]
    """
    late = times.reshape(-1, *(1 for _ in t2star.shape))
    # Times from the first echo: the common factor goes, and nothing underflows to 0 everywhere.
    weights = late * np.exp(-(late - times.min()) / t2star)
    weights /= weights.sum(axis=0)
    scaled: NDArray[np.float32] = weights.astype(np.float32)
    return scaled


@dataclass
class _State:
    """What `Echoes` knows in the middle of a run: sums until the weights are there, then the weights."""

    times: NDArray[np.float64] | None = None
    sums: list[NDArray[np.float64]] = field(default_factory=list)
    count: int = 0
    weights: list[NDArray[np.float32]] = field(default_factory=list)


class EchoesInput(BaseInterfaceInputSpec):  # type: ignore[misc]
    """Inputs of `Echoes`."""

    echoes = traits.Any(mandatory=True, desc="the echoes as they came: tuple of BidsIncrementals")
    transform = traits.Any(mandatory=True, desc="of Realign: 4x4, RAS mm, reference to moved volume")
    reference = traits.Any(mandatory=True, desc="of Realign: a BidsIncremental, whose grid it will be")
    aligned = traits.Any(desc="the incremental of Realign: its echo is not resliced once more")
    trusted = traits.Bool(
        True, usedefault=True, desc="of Realign: a volume whose motion cannot be trusted calibrates nothing"
    )
    calibration = traits.Range(
        low=1, value=10, usedefault=True, desc="trusted volumes whose mean the weights are made from"
    )
    load = traits.Str("", usedefault=True, desc="session item with the T2* of an earlier run")
    save = traits.Str("", usedefault=True, desc="session item to keep T2* under")


class EchoesOutput(TraitedSpec):  # type: ignore[misc]
    """Outputs of `Echoes`; withheld until the weights are there."""

    incremental = traits.Any(desc="the echoes combined, on the grid of the reference; float32")
    calibrated = traits.Bool(desc="whether the weights are there")


class Echoes(StreamInterface):
    """Align all echoes by the motion of one, and combine them by their T2* weights.

    Realign finds the motion from the first echo (`DicomToBids` gives it on as ``incremental``, all of them as
    ``echoes``): it has the most signal, and a head does not move between the echoes of one excitation. Each
    echo is resliced with that transform onto the grid of the reference, once, and then combined
    (`t2star_weights`).

    The weights come from the mean of the first ``calibration`` volumes (`fit_t2star`) or from the session,
    and then stay: weights that were made anew with each volume would change the image, and pass for signal.
    While a run calibrates, ``incremental`` is withheld, and so is all that needs it: an image of other
    weights would jump when the weights come. Rest at the start of a run is the time for it.

    Volumes that never come, or fail, do not count for the calibration, nor do those whose motion cannot be
    trusted (connect ``trusted``): echoes of a head that lies elsewhere would give other weights to a voxel
    for the rest of the run.

    Voxels outside the field of view are 0.

    Raises
    ------
    VolumeError
        If there is one echo only, an echo has no ``EchoTime``, the echo times are not those of the first
        volume (or of the session's item), or an echo is not finite or holds no signal.
    SessionError
        If the session has no such item, it is of another reference, or holds no T2*.
    UsageError
        At the start of the run, if T2* is to be both loaded and saved.
    """

    input_spec = EchoesInput
    output_spec = EchoesOutput
    stateful = True

    def start_run(self, context: RunContext) -> None:
        """Find the T2* of an earlier run, if asked for."""
        self._session = Session(context)
        self._state = _State()
        self._loaded: Item | None = None
        if self.inputs.load and self.inputs.save:
            raise UsageError(
                f"Echoes is to load T2* ({self.inputs.load}) and to save it ({self.inputs.save}); "
                "choose one of the two"
            )
        if self.inputs.load:
            self._loaded = self._session.load(self.inputs.load)
            if "t2star" not in self._loaded.arrays or "echo_times" not in self._loaded.facts:
                raise SessionError(
                    f"session item {self.inputs.load!r} holds {', '.join(sorted(self._loaded.arrays))}, "
                    "expected t2star; name one that Echoes saved"
                )

    def snapshot(self) -> _State:
        """The weights, or what has been gathered for them."""
        return self._state

    def restore(self, state: _State) -> None:
        """Go on from there."""
        self._state = state

    def _run_interface(self, runtime: Any) -> Any:
        state, inputs = self._state, self.inputs
        echoes: Sequence[BidsIncremental] = inputs.echoes
        reference: BidsIncremental = inputs.reference
        times = echo_times(echoes)
        grid = reference.grid
        if state.times is None and self._loaded is not None:
            self._loaded.require(grid, inputs.load)
            known = np.array(self._loaded.facts["echo_times"], dtype=np.float64)
            _require_times(times, known, echoes[0].volume, f"session item {inputs.load!r}")
            state.times = known
        if state.times is not None:
            _require_times(times, state.times, echoes[0].volume, "the run")
        aligned = [self._align(echo, grid) for echo in echoes]
        if state.times is None:
            state.times = times
        if not state.weights:
            self._calibrate(aligned, state.times, grid)
        self._results: dict[str, Any] = {"calibrated": bool(state.weights)}
        if state.weights:
            self._results["incremental"] = _combined(echoes[0], aligned, state.weights, reference)
        return runtime

    def _align(self, echo: BidsIncremental, grid: Grid) -> NDArray[np.float32]:
        """An echo on the grid of the reference, in the scanner's units."""
        given = self.inputs.aligned
        mine = isdefined(given) and given.entities.get("echo") == echo.entities.get("echo")
        if mine and given.volume == echo.volume and given.grid == grid:
            data: NDArray[np.float32] = given.data
        else:
            name = f"volume {echo.volume}, echo {echo.entities.get('echo', '?')}"
            require_signal(echo.data, name)
            data = reslice(echo.data, echo.affine, self.inputs.transform, grid)
        if (echo.slope, echo.intercept) == (1.0, 0.0):
            return data
        scaled = np.float32(echo.slope) * data + np.float32(echo.intercept)
        # 0 is no value, but what lies outside the field of view.
        return np.where(data == 0.0, np.float32(0.0), scaled)

    def _calibrate(
        self, aligned: Sequence[NDArray[np.float32]], times: NDArray[np.float64], grid: Grid
    ) -> None:
        """Take a volume into the means; with the last one the weights are there, for this volume too."""
        state = self._state
        if self._loaded is not None:
            t2star = self._loaded.arrays["t2star"]
        elif not self.inputs.trusted:
            return
        else:
            state.sums = state.sums or [np.zeros_like(one, dtype=np.float64) for one in aligned]
            for total, one in zip(state.sums, aligned, strict=True):
                total += one
            state.count += 1
            if state.count < self.inputs.calibration:
                return
            t2star = fit_t2star(np.stack(state.sums) / state.count, times)
            if self.inputs.save:
                self._session.save(self.inputs.save, {"t2star": t2star}, grid, echo_times=times.tolist())
        state.sums = []
        # In memory as the images lie: sums over both are quick then.
        for weight, one in zip(t2star_weights(t2star, times), aligned, strict=True):
            laid_out = np.empty_like(one)
            laid_out[...] = weight
            state.weights.append(laid_out)


def echo_times(echoes: Sequence[BidsIncremental]) -> NDArray[np.float64]:
    """Times of the echoes of a volume, s, shape (echoes,).

    Raises
    ------
    VolumeError
        If there is one only, if one has no time, or two have the same.
    """
    number = echoes[0].volume if echoes else 0
    if len(echoes) < 2:
        raise VolumeError(
            f"volume {number} has {len(echoes)} echo, expected two or more; leave Echoes out of the workflow"
        )
    times = np.array([float(echo.metadata.get("EchoTime") or np.nan) for echo in echoes])
    if not (times > 0).all():
        raise VolumeError(f"volume {number}: its echoes have EchoTime {times.tolist()}, expected seconds")
    if np.diff(np.sort(times)).min() <= _SAME_TIME:
        raise VolumeError(f"volume {number}: its echo times are {times.tolist()} s, expected different ones")
    return times


def _require_times(times: NDArray[np.float64], known: NDArray[np.float64], volume: int, what: str) -> None:
    if times.shape != known.shape or np.abs(times - known).max() > _SAME_TIME:
        raise VolumeError(
            f"volume {volume} has echoes at {times.tolist()} s, {what} at {known.tolist()} s; "
            "weights hold for one set of echo times"
        )


def _combined(
    first: BidsIncremental,
    aligned: Sequence[NDArray[np.float32]],
    weights: Sequence[NDArray[np.float32]],
    reference: BidsIncremental,
) -> BidsIncremental:
    """The weighted sum: exactly 0 outside the field of view, where all echoes are."""
    total = weights[0] * aligned[0]
    for weight, one in zip(weights[1:], aligned[1:], strict=True):
        total += weight * one
    metadata = {
        name: value for name, value in first.metadata.items() if name not in ("EchoTime", "EchoNumber")
    }
    entities = {name: label for name, label in first.entities.items() if name != "echo"}
    return BidsIncremental(
        total,
        reference.affine,
        volume=first.volume,
        metadata=metadata,
        entities=entities,
        reference=reference.reference,
        suffix=first.suffix,
    )
