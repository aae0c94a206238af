"""Ctrl-C: the first one ends what goes on cleanly, the second one at once."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import NoReturn


def interrupt() -> NoReturn:
    """What Python does at Ctrl-C."""
    raise KeyboardInterrupt


def say(text: str) -> None:
    """Say it on stderr, past any buffer or lock: the thread that was interrupted may hold one."""
    os.write(2, f"\nrtflow: {text}\n".encode())


@contextlib.contextmanager
def on_interrupt(first: Callable[[], None], again: Callable[[], None] = interrupt) -> Iterator[None]:
    """While in here, Ctrl-C and SIGTERM call ``first``, and from the second one on ``again``.

    Signals come to the main thread only; in another one nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    count = 0

    def interrupted(number: int, frame: FrameType | None) -> None:
        nonlocal count
        del number, frame
        count += 1
        (first if count == 1 else again)()

    before = {number: signal.signal(number, interrupted) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def ending_on_interrupt(stopping: threading.Event, *, tell: bool, goes_on: str) -> Iterator[threading.Event]:
    """While in here, Ctrl-C sets ``stopping``, and what this gives; another one ends the process.

    What the journal has by then is whole, because it is written line by line.

    Parameters
    ----------
    stopping
        Set by the first one.
    tell
        Whether to say so on stderr; a live display, which says it itself, must not be written into.
    goes_on
        How what is ended at once goes on, for the one who ended it.
    """

    pressed = threading.Event()

    def first() -> None:
        pressed.set()
        stopping.set()
        if tell:
            say("ending the run; Ctrl-C again to end it at once")

    def again() -> None:
        if sys.stderr.isatty():
            os.write(2, b"\x1b[?25h")  # the display has hidden the cursor
        say(f"ended at once; {goes_on}")
        os._exit(1)

    with on_interrupt(first, again):
        yield pressed
