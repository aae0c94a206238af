"""The prefix test itself must be able to fail."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest
from nipype import Node
from streamtools import Number, counting

from rtflow.documents import Frame, Part
from rtflow.testing import prefix_test


def other_number(frame: Frame, chance: np.random.Generator) -> Frame:
    number = int(chance.integers(100, 200))
    return replace(frame, parts=(Part("other", "text/plain", str(number).encode()),))


def test_a_causal_workflow_passes(tmp_path):
    prefix_test(counting(tmp_path, 6, missing=(2,)), after=4, replace=other_number)


class Clairvoyant(Number):
    """Knows whether later volumes were replaced."""

    replaced: ClassVar[list[int]] = []

    def _run_interface(self, runtime: Any) -> Any:
        super()._run_interface(runtime)
        if self.volume == 3:
            self._results["number"] += len(self.replaced)
        return runtime


def test_a_node_that_knows_the_future_is_caught(tmp_path):
    def replaced(frame: Frame, chance: np.random.Generator) -> Frame:
        return other_number(frame, chance)

    class Now(Clairvoyant):
        runs: ClassVar[int] = 0

        def start_run(self, context: Any) -> None:
            type(self).runs += 1
            type(self).replaced = [0] * (type(self).runs - 1)  # the second run is the one with other frames

    flow = counting(tmp_path, 6)
    flow.connect(flow.get_node("scanner"), "frame", Node(Now(), name="knows"), "frame")
    with pytest.raises(AssertionError, match=r"volume 3 depends on a volume after 4: knows\.number"):
        prefix_test(flow, after=4, replace=replaced)


def test_a_test_that_changes_nothing_proves_nothing(tmp_path):
    with pytest.raises(AssertionError, match="no Result changed"):
        prefix_test(counting(tmp_path, 6), after=4, replace=lambda frame, chance: frame)
