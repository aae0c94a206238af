"""The units that a decoder sees: what each volume is compared with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from rtflow.errors import VolumeError
from rtflow.nodes.decoding.classifier import Values, percent
from rtflow.nodes.decoding.running_rest import RunningRest, blend, gain, percent_of_rest
from rtflow.nodes.labels import Phase
from rtflow.nodes.signals.baseline import RestBaseline
from rtflow.trials import REST


@dataclass
class Normalisation:
    """Volumes as they are, or as percent of rest that was seen before them.

    Parameters
    ----------
    kind
        ``training``: as they are. ``opening``: percent of the rest before the first trial. ``rest``: percent
        of the rest block before. ``running``: percent of the rest so far (`RunningRest`), and of the rest
        of the training run as far as it is like it (`blend`).
    memory
        Seconds, of ``running``.
    """

    kind: str
    memory: float = 60.0
    opening: NDArray[np.float64] | None = None
    opening_volumes: int = 0
    opening_over: bool = False
    borrowed: bool = False
    _rest: RestBaseline[NDArray[np.float64]] = field(default_factory=RestBaseline)
    _running: RunningRest | None = None
    _of_training: NDArray[np.float64] | None = None
    _noise: float = 0.0
    _blended: NDArray[np.float64] | None = None
    _rests: list[Values] = field(default_factory=list)
    _rest_times: list[float] = field(default_factory=list)
    _collecting: bool = True

    def borrow(self, rest: NDArray[np.float64], noise: float) -> None:
        """Take the rest of the training run, and its variance (`RunningRest`); there is no training here."""
        self._of_training, self._noise = rest, noise
        self._collecting = False

    @property
    def rest(self) -> NDArray[np.float64] | None:
        """Of ``running``: the mean over the rest of this run, shape (voxels,)."""
        return None if self._running is None else self._running.value

    @property
    def noise(self) -> float | None:
        """Of ``running``: variance of a volume of rest, percent squared."""
        return None if self._running is None else self._running.noise

    def relate(self, values: Values, trial_type: str, phase: Phase, time: float | None) -> Values | None:
        """One volume in these units; what is rest is taken in on the way.

        Parameters
        ----------
        values
            Shape (voxels,); not-a-number where a voxel was not seen.
        trial_type, phase
            Of `Labels`.
        time
            Of the volume, seconds; needed by ``running``.

        Returns
        -------
        Shape (voxels,), float32; None while there is nothing to compare with. For a training volume of
        ``running``: as it is; `training` compares it with the rest on both sides.

        Raises
        ------
        VolumeError
            If there was no opening rest and it is needed; if the time is needed and not known.
        """
        if self.kind == "training":
            return values
        if self.kind == "rest":
            # Where the response still dies away it is no rest, whatever the design says of it.
            shown = "omit" if phase == "omit" else trial_type
            rest = self._rest.add(values.astype(np.float64), shown)
            return None if rest is None else percent(values, rest)
        if self.kind == "opening":
            return self._relate_opening(values, phase)
        if time is None:
            raise VolumeError("Decode: normalise='running' needs to know the time; connect time of Labels")
        before = self._before(values)
        if trial_type == REST and phase != "omit":
            self._running = self._running or RunningRest(self.memory)
            self._running.add(values, time)
            self._blended = None
            if self._collecting:
                self._rests.append(values)
                self._rest_times.append(time)
        if phase == "train":
            return values
        return None if before is None else percent(values, before)

    def _before(self, values: Values) -> NDArray[np.float64] | None:
        """What a volume is compared with: this run's rest so far, and that of the training run."""
        own, other = self.rest, self._of_training
        if other is None:
            return own
        if own is None or self._running is None:
            self.borrowed = True
            return other * gain(values, other)
        if self._blended is None:  # it stays as it is until there is more rest
            self._blended = blend(own, self._running.count, other, self._noise)
        return self._blended

    def training(self) -> Callable[[Values, list[float]], Values]:
        """What brings the training volumes into these units, once all are there: see `related`.

        It speaks of the rest up to now, whenever it is called; no rest is kept one by one from here on.
        """
        rests, times, self._rests, self._rest_times = self._rests, self._rest_times, [], []
        self._collecting = False
        return partial(related, self.kind, self.memory, rests, times)

    def _relate_opening(self, values: Values, phase: Phase) -> Values:
        if not self.opening_over and phase == "rest":
            total = 0.0 if self.opening is None else self.opening
            self.opening = total + values.astype(np.float64)
            self.opening_volumes += 1
            return values
        if not self.opening_over:
            if self.opening is None:
                raise VolumeError(
                    "no volume of rest before the first trial, and normalise = 'opening' needs some; "
                    "begin the design with rest, or take normalise = 'training'"
                )
            self.opening = self.opening / self.opening_volumes
            self.opening_over = True
        assert self.opening is not None
        return percent(values, self.opening)


def related(
    kind: str,
    memory: float,
    rests: list[Values],
    rest_times: list[float],
    samples: Values,
    times: list[float],
) -> Values:
    """Training volumes in the units of `Normalisation`.

    Parameters
    ----------
    kind, memory
        As there.
    rests, rest_times
        Volumes of rest, shape (voxels,) each, and their seconds; of ``running``.
    samples
        As `Normalisation.relate` gave them, shape (volumes, voxels).
    times
        Of their volumes, seconds.

    Raises
    ------
    VolumeError
        If they are to be compared with rest and there was none.
    """
    if kind != "running":
        return samples
    if not rests:
        raise VolumeError(
            "no volume of rest came before or between the training trials, and normalise = 'running' "
            "compares with it; put rest into the design, or take normalise = 'training'"
        )
    return percent_of_rest(samples, np.array(times), np.stack(rests), np.array(rest_times), memory)
