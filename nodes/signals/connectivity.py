"""How much the time courses of regions go together, in a window that moves along with the run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from nipype.interfaces.base import BaseInterfaceInputSpec, TraitedSpec, isdefined, traits
from numpy.typing import NDArray

from rtflow.errors import VolumeError
from rtflow.nodes.signals.covariance import MovingWindow, fisher_z, partial_correlations
from rtflow.stream.interface import RunContext, StreamInterface

#: Fewest degrees of freedom that a correlation is given with: volumes, less 2, less the courses given.
LEAST_DOF = 5

#: The least fraction of a full window's volumes that must have come.
COVERAGE = 0.8

_NAMES = ("first", "second", "third", "fourth", "fifth", "sixth")
_KINDS = ("correlation", "partial_correlation", "fisher_z", "partial_fisher_z")


class ConnectivityInput(BaseInterfaceInputSpec):  # type: ignore[misc]
    """Inputs of `Connectivity`."""

    incremental = traits.Any(mandatory=True, desc="the volume: a BidsIncremental, for its repetition time")
    first = traits.Float(mandatory=True, desc="a region's signal in this volume: mean or value of Region")
    second = traits.Float(mandatory=True, desc="another region's")
    third = traits.Float(desc="a further region's")
    fourth = traits.Float(desc="a further region's")
    fifth = traits.Float(desc="a further region's")
    sixth = traits.Float(desc="a further region's")
    confounds = traits.Any(desc="nuisance regressors of the volume, shape (n,), taken out of every region")
    motion = traits.Any(desc="six parameters, of Realign, taken out of every region")
    trial = traits.Int(desc="of Labels; if connected, the window begins anew with each trial and each rest")
    window = traits.Range(
        low=0.0, value=40.0, exclude_low=True, usedefault=True, desc="length of the window, seconds"
    )
    min_volumes = traits.Range(
        low=0,
        value=0,
        usedefault=True,
        desc="volumes in the window from which on there is a value; 0 waits until the window is full",
    )
    measure = traits.Enum(
        "correlation",
        "partial",
        usedefault=True,
        desc="of all pairs of regions, or of the first two, given the others",
    )
    fisher = traits.Bool(False, usedefault=True, desc="whether the value is Fisher's z of the correlation")


class ConnectivityOutput(TraitedSpec):  # type: ignore[misc]
    """Outputs of `Connectivity`."""

    value = traits.Float(desc="correlation within the window, -1 to 1, or its Fisher z")
    kind = traits.Enum(*_KINDS, desc="what the value is")
    volumes = traits.Int(desc="how many volumes are in the window")


@dataclass
class _State:
    """The window, and what its courses are: names of regions, number of confounds, and the trial."""

    window: MovingWindow | None = None
    courses: tuple[str, ...] = ()
    given: int = 0
    trial: int | None = None


class Connectivity(StreamInterface):
    """Correlate the time courses of regions over the last seconds.

    With ``measure="correlation"`` the value is Pearson's correlation of two regions, or of more, the
    mean over all pairs (of their Fisher z, turned back). With ``measure="partial"`` it is that of the first
    two, given all further regions. ``confounds`` and ``motion``, where they are connected, are regressed out
    of every region, within the window, in both cases; ``kind`` says ``partial`` in the second one only.

    The window is ``window`` seconds long; its number of volumes follows from the repetition time of the
    volume's metadata. ``value`` and ``kind`` are withheld until the window has been open for its whole
    length and four fifths of its volumes have come, or, with ``min_volumes``, until so many are in it; and as
    long as fewer than `LEAST_DOF` degrees of freedom are left. A volume that never comes, or lacks one of the
    regions, motion or a confound, leaves the window with one volume less, and has no value of its own. The
    window is one of time: after a gap, volumes leave it as if there had been none.

    Volumes from both rest and task in a window make any two regions that respond to the task
    correlate, whether or not they are connected: connect ``trial`` if that is not wanted.

    Raises
    ------
    VolumeError
        If a signal or a confound is not finite, if the window is too short for the confounds, or if there is
        no repetition time.
    """

    input_spec = ConnectivityInput
    output_spec = ConnectivityOutput
    stateful = True

    def start_run(self, context: RunContext) -> None:
        """Begin with an empty window."""
        del context
        self._state = _State()

    def snapshot(self) -> _State:
        """The window."""
        return self._state

    def restore(self, state: _State) -> None:
        """Go on with it."""
        self._state = state

    def _run_interface(self, runtime: Any) -> Any:
        self._results: dict[str, Any] = {}
        inputs, state = self.inputs, self._state
        row = self._row()
        window = self._window()
        trial = inputs.trial if isdefined(inputs.trial) else None
        if trial != state.trial:
            state.trial = trial
            window.clear()
        if row is None:
            return runtime
        window.add(self.volume, row)
        self._results["volumes"] = len(window.rows)
        if not self._enough(window):
            return runtime
        value = self._correlate(window)
        if value is None:
            self.doubt("connectivity: a region does not vary within the window")
            return runtime
        partial = "partial_" if inputs.measure == "partial" else ""
        self._results |= {
            "value": fisher_z(value) if inputs.fisher else value,
            "kind": partial + ("fisher_z" if inputs.fisher else "correlation"),
        }
        return runtime

    def _row(self) -> NDArray[np.float64] | None:
        """Signals of the regions, then confounds; None if one of them is not known for this volume."""
        inputs, state = self.inputs, self._state
        courses = tuple(name for name in _NAMES if isdefined(getattr(inputs, name)))
        given = [
            np.asarray(vector, dtype=np.float64).ravel()
            for vector in (inputs.confounds, inputs.motion)
            if isdefined(vector)
        ]
        row = np.concatenate([[getattr(inputs, name) for name in courses], *given])
        count = row.size - len(courses)
        if not np.isfinite(row).all():
            raise VolumeError(
                f"volume {self.volume}: a region's signal or a confound is not finite; expected numbers"
            )
        if len(courses) > len(state.courses) or count > state.given:
            # What is connected shows with the first volume that has all of it.
            if state.window is not None and state.window.rows:
                state.window.clear()
            state.courses, state.given = courses, count
        return row if (courses, count) == (state.courses, state.given) else None

    def _window(self) -> MovingWindow:
        inputs, state = self.inputs, self._state
        if state.window is None:
            tr = inputs.incremental.tr
            state.window = MovingWindow(max(math.floor(inputs.window / tr + 1e-6), 1))
        if self._dof(state.window.size) < LEAST_DOF:
            raise VolumeError(
                f"a window of {inputs.window:g} s has {state.window.size} volumes: too few for "
                f"{len(state.courses)} regions and {state.given} confounds; make the window longer"
            )
        return state.window

    def _dof(self, volumes: int) -> int:
        state = self._state
        others = len(state.courses) - 2 if self.inputs.measure == "partial" else 0
        return volumes - 2 - state.given - others

    def _enough(self, window: MovingWindow) -> bool:
        count, least = len(window.rows), self.inputs.min_volumes
        if self._dof(count) < LEAST_DOF:
            return False
        if least:
            return bool(count >= least)
        return window.full(self.volume) and count >= COVERAGE * window.size

    def _correlate(self, window: MovingWindow) -> float | None:
        courses = len(self._state.courses)
        partial = self.inputs.measure == "partial"
        found = partial_correlations(window.spread, 2 if partial else courses)
        if found is None:
            return None
        if partial or courses == 2:
            return float(found[0, 1])
        pairs = [fisher_z(float(found[pair])) for pair in combinations(range(courses), 2)]
        return math.tanh(math.fsum(pairs) / len(pairs))
