"""Volumes at the start of a run that the scanner saves and nobody uses."""

from __future__ import annotations

from typing import Any

from nipype.interfaces.base import BaseInterfaceInputSpec, TraitedSpec, traits

from rtflow.stream.interface import StreamInterface


class SkipDummiesInput(BaseInterfaceInputSpec):  # type: ignore[misc]
    """Inputs of `SkipDummies`."""

    incremental = traits.Any(mandatory=True, desc="BidsIncremental")
    volumes = traits.Int(0, usedefault=True, desc="how many volumes at the start are dummies")


class SkipDummiesOutput(TraitedSpec):  # type: ignore[misc]
    """Outputs of `SkipDummies`."""

    incremental = traits.Any(desc="the same, for all volumes but the dummies")


class SkipDummies(StreamInterface):
    """Let volumes pass, but for the first few, in which the magnetisation has not settled.

    Volumes are counted by their number: a dummy that never came does not make the next volume one.
    """

    input_spec = SkipDummiesInput
    output_spec = SkipDummiesOutput

    def _run_interface(self, runtime: Any) -> Any:
        if self.inputs.incremental.volume > self.inputs.volumes:
            self._results["incremental"] = self.inputs.incremental
        return runtime
