"""Ctrl-C: the first one ends the run cleanly, the second one at once."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType


@contextlib.contextmanager
def ending_on_interrupt(stopping: threading.Event, *, say: bool) -> Iterator[None]:
    """While in here, Ctrl-C (and SIGTERM) sets ``stopping``; another one ends the process.

    What the journal has by then is whole, because it is written line by line.

    Parameters
    ----------
    stopping
        Set by the first one.
    say
        Whether to say so on stderr; a live display, which says it itself, must not be written into.
    """

    def interrupted(number: int, frame: FrameType | None) -> None:
        del number, frame
        # Written past any buffer or lock: the thread that was interrupted may hold one.
        if stopping.is_set():
            cursor = b"\x1b[?25h" if sys.stderr.isatty() else b""
            os.write(2, cursor + b"\nrtflow: ended at once; 'rtflow run --resume RUN_DIR' goes on\n")
            os._exit(1)
        stopping.set()
        if say:
            os.write(2, b"rtflow: ending the run; Ctrl-C again to end it at once\n")

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, interrupted) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
