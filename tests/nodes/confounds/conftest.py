"""What tests of the confounds share."""

import pytest
from noisy_run import noisy_run, started, through


@pytest.fixture
def play(call, make_context):
    """Callable that takes a run through the node: outputs and doubts of each volume."""

    def go(data, node=None, *, context=None, motion=None, fd=None, tr=2.0, start=1, **inputs):
        node = node or started(context or make_context(), **inputs)
        return through(call, node, data, motion=motion, fd=fd, tr=tr, start=start)

    return go


@pytest.fixture
def run():
    """The run of noise with a drift, shape (i, j, k, volumes)."""
    return noisy_run()
