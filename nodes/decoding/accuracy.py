"""How often the decoder was right: at the end of a run."""

from __future__ import annotations

from typing import Any

from nipype.interfaces.base import BaseInterfaceInputSpec, SimpleInterface, TraitedSpec, traits


class AccuracyInput(BaseInterfaceInputSpec):  # type: ignore[misc]
    """Inputs of `Accuracy`."""

    correct = traits.List(traits.Any(), mandatory=True, desc="1 or 0 of each test volume, of Decode")


class AccuracyOutput(TraitedSpec):  # type: ignore[misc]
    """Outputs of `Accuracy`."""

    accuracy = traits.Float(desc="share of the test volumes that were decoded rightly, 0 to 1")
    volumes = traits.Int(desc="number of test volumes")


class Accuracy(SimpleInterface):  # type: ignore[misc]
    """Share of right decisions over the test volumes of a run; withheld where there was none.

    An ordinary Nipype interface, for the end of the run:
    ``JoinNode(Accuracy(), joinsource="scanner", joinfield=["correct"], name="score")``.
    """

    input_spec = AccuracyInput
    output_spec = AccuracyOutput
    at_end = True

    def _run_interface(self, runtime: Any) -> Any:
        correct = [float(value) for value in self.inputs.correct]
        self._results: dict[str, float] = {"volumes": len(correct)}
        if correct:
            self._results["accuracy"] = sum(correct) / len(correct)
        return runtime
