"""Linear algebra on one thread: sums must not depend on how many cores happen to be free."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from threadpoolctl import threadpool_limits

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
"""What a library reads when it is loaded."""


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """While in here, libraries of linear algebra compute on one thread, those loaded later too."""
    before = {name: os.environ.get(name) for name in ONE_THREAD}
    os.environ.update(ONE_THREAD)
    try:
        with threadpool_limits(limits=1):
            yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def this_thread_too() -> None:
    """The same for the thread at hand: OpenMP counts for each thread by itself."""
    threadpool_limits(limits=1, user_api="openmp")
