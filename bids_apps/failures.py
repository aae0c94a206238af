"""How an app failed: read off its exit status, what its container came to, and the end of what it said."""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping
from typing import Any

#: Draft 27 of the BIDS extension proposals, and what argparse, click and sysexits.h give.
_STATUSES: Mapping[int, tuple[str, str]] = {
    2: ("usage", "it did not understand its arguments"),
    16: ("invalid BIDS", "the data set is not valid BIDS"),
    17: ("usage", "it does not know that level of analysis"),
    18: ("no match", "the data set holds nothing of what was asked for"),
    64: ("usage", "it did not understand its arguments"),
    65: ("invalid BIDS", "it could not use the data"),
    66: ("no match", "an input is missing"),
    73: ("failed", "it could not write an output"),
    74: ("failed", "it could not read or write a file"),
}

_MEMORY = re.compile(
    r"MemoryError|Cannot allocate memory|std::bad_alloc|OutOfMemoryError|out of memory", re.I
)

#: What podman and docker exit with when it was they who failed.
_OWN_STATUSES = (125, 126, 127)


def failure(status: int, state: Mapping[str, Any], stderr: str, memory: str = "") -> tuple[str, str]:
    """Kind of a failure, as `rtflow.errors.AppError` has them, and what happened in words.

    Parameters
    ----------
    status
        Exit status of the command; below 0 it is a signal.
    state
        What the runtime knows of the container: its ``State``; empty if there is none.
    stderr
        The end of what was said there.
    memory
        The limit of its memory, if it has one.

    Examples
    --------
    >>> failure(16, {}, "")
    ('invalid BIDS', 'the data set is not valid BIDS (exit status 16)')
    >>> failure(137, {"OOMKilled": True}, "")
    ('out of memory', 'it took more memory than it may (exit status 137)')
    """
    ended = f"exit status {status}" if status >= 0 else f"signal {-status}"
    number = -status if status < 0 else status - 128
    signalled = number if number in set(signal.Signals) else 0
    if state.get("OOMKilled") or (_MEMORY.search(stderr) and (signalled or status == 1)):
        return "out of memory", f"it took more memory than it may ({ended})"
    if state.get("Status", "") == "created" or (
        not state and status in _OWN_STATUSES and _is_runtime(stderr)
    ):
        return _not_started(f"{state.get('Error', '')} {stderr}")
    if memory and status == 128 + signal.SIGKILL:  # not every runtime tells why the system killed it
        return "out of memory", f"it was killed, most likely because it took more than {memory} ({ended})"
    if signalled:
        return "killed", f"it was ended by {signal.Signals(signalled).name} ({ended})"
    kind, words = _STATUSES.get(status, ("failed", "it failed"))
    return kind, f"{words} ({ended})"


def _not_started(said: str) -> tuple[str, str]:
    """A container that never ran: its image has no such program, or the runtime cannot start any."""
    broken = re.search(
        r"executable file|no such file|exec format|permission denied.*exec|not found", said, re.I
    )
    if broken:
        return "image", "the image is broken: what it should start cannot be started"
    return "runtime", "the container could not be started"


def _is_runtime(stderr: str) -> bool:
    return bool(re.match(r"\s*(Error|docker):", stderr, re.I))
