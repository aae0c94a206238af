"""End an app for good: a container outlives the command that started it, so it is ended by its name."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time

from rtflow.bids_apps.runtime import Runtime, ask, is_gone
from rtflow.errors import AppError

#: Seconds that an app has to end by itself when it is asked to.
GRACE = 2.0
_REMOVAL_SECONDS = 30.0


def end_app(runtime: Runtime, name: str, process: subprocess.Popen[bytes], grace: float = GRACE) -> None:
    """End an app, and return when nothing of it runs any more.

    Parameters
    ----------
    runtime
        What runs it.
    name
        Of its container.
    process
        The command that started it, in a session of its own.
    grace
        Seconds that it has to end by itself.

    Raises
    ------
    AppError
        If it cannot be ended; the message says by which command to try.
    """
    if runtime.named and process.poll() is None:
        ask([runtime.name, "kill", "--signal=TERM", name])
    elif process.poll() is None:
        _signal(process, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(grace)
    # The whole session: a native app's children too, and the command that might still start a container.
    _signal(process, signal.SIGKILL)
    process.wait()
    if runtime.named:
        remove(runtime, name)


def remove(runtime: Runtime, name: str) -> None:
    """Remove a container, whether it runs or has ended; return when it is gone.

    Raises
    ------
    AppError
        If it is still there after half a minute.
    """
    force = [runtime.name, "rm", "--force", *(["--time=0"] if runtime.name == "podman" else []), name]
    give_up = time.monotonic() + _REMOVAL_SECONDS
    while True:
        done = ask(force)
        if is_gone(runtime, name):
            return
        if time.monotonic() > give_up:
            why = done.stderr.strip()
            raise AppError(
                f"the container {name} cannot be removed ({why}); remove it: {' '.join(force)}",
                "runtime",
                argv=force,
            )
        time.sleep(0.2)


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
