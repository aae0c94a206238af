"""Volumes at the start of a run that the scanner saves and nobody uses."""

from __future__ import annotations

from typing import Any

from nipype.interfaces.base import BaseInterfaceInputSpec, TraitedSpec, traits

from rtflow.documents import Event
from rtflow.errors import UsageError
from rtflow.stream.interface import RunContext, StreamInterface


class SkipDummiesInput(BaseInterfaceInputSpec):  # type: ignore[misc]
    """Inputs of `SkipDummies`."""

    incremental = traits.Any(mandatory=True, desc="BidsIncremental")
    volumes = traits.Range(low=0, value=0, usedefault=True, desc="how many volumes at the start are dummies")


class SkipDummiesOutput(TraitedSpec):  # type: ignore[misc]
    """Outputs of `SkipDummies`."""

    incremental = traits.Any(desc="the same, for all volumes but the dummies")


class SkipDummies(StreamInterface):
    """Let volumes pass, but for the first few, in which the magnetisation has not settled.

    Volumes are counted by their number: a dummy that never came does not make the next volume one.
    If none came that is no dummy, that is said at the end of the run.

    Raises
    ------
    UsageError
        At the start of the run, if it is known by then that all volumes will be dummies.
    """

    input_spec = SkipDummiesInput
    output_spec = SkipDummiesOutput

    def start_run(self, context: RunContext) -> None:
        """Refuse a run of dummies alone."""
        self._emit, self._last = context.emit, 0
        count = self.inputs.volumes
        if context.volumes and count >= context.volumes and not context.replaying:
            raise UsageError(
                f"all {context.volumes} volumes of the run would be dummies (dummy_volumes={count}); set "
                "dummy_volumes to how many the scanner saves at the start of a run, and nobody uses"
            )

    def end_run(self) -> None:
        """Say that nothing was computed."""
        if 0 < self._last <= self.inputs.volumes:
            says = (
                f"all volumes up to the last, {self._last}, were dummies (dummy_volumes="
                f"{self.inputs.volumes}): nothing was computed from them"
            )
            self._emit(Event(name="dummies_only", data={"says": says}))

    def _run_interface(self, runtime: Any) -> Any:
        self._last = self.inputs.incremental.volume
        if self.inputs.incremental.volume > self.inputs.volumes:
            self._results["incremental"] = self.inputs.incremental
        return runtime
