"""What volumes are compared with, by units."""

import numpy as np
import pytest

from rtflow.nodes.decoding.normalisation import Normalisation


@pytest.mark.parametrize("kind", ["rest", "running"])
def test_rest_that_is_left_out_is_compared_with_and_does_not_enter_the_rest(kind) -> None:
    units = Normalisation(kind)
    shown = [
        (100.0, "rest", "rest"),
        (110.0, "face", "test"),
        (108.0, "rest", "omit"),
        (104.0, "rest", "omit"),
    ]
    shown += [(100.0, "rest", "rest"), (110.0, "face", "test")]
    found = [
        units.relate(np.full(3, value, np.float32), label, phase, 2.0 * index)
        for index, (value, label, phase) in enumerate(shown)
    ]
    assert found[0] is None
    changes = [float(values[0]) for values in found[1:]]
    assert changes == pytest.approx([10.0, 8.0, 4.0, 0.0, 10.0], abs=1e-4)
