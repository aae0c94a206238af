"""What tests of the linear models share."""

import pytest
from head_run import TR, VOLUMES, HeadRun, feed, start_glm

RUN = HeadRun()


@pytest.fixture
def started(make_context):
    """Callable from options to a node at the start of a run."""

    def start(run_uid="run-a", volumes=VOLUMES, tr=TR, **options):
        return start_glm(make_context(run_uid, volumes=volumes, tr=tr), **options)

    return start


@pytest.fixture
def through(started):
    """Callable that takes some volumes of a run through a node, and returns it and what it gave."""

    def run(numbers=range(1, VOLUMES + 1), data=RUN, changes=None, **options):
        node = started(**options)
        return node, feed(node, data, numbers, changes)

    return run
