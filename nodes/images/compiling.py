"""How the numeric loops are compiled: by numba, once for a machine, wherever the package is installed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba

# Sums may be taken in another order and products fused; NaN keeps its meaning.
_FAST = {"arcp", "contract", "nsz", "reassoc"}


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Decorator: compile a function when it is first called, and keep the machine code on disk.

    numba keeps it beside the source, else in the user's cache folder. Where neither can be written (a
    package installed by root, run by a user without a home) it goes to a folder of the user's own under the
    system's temporary folder; if that cannot be had, each process compiles for itself.

    A function that compiled ones call takes ``forceinline=True``. As one of its own it would be there twice,
    and optimised otherwise in each: in the process that compiles, callers find the one that stands alone, in
    those that read the machine code from disk, the one within their own; sums then end in other bits.

    Parameters
    ----------
    **options
        Of `numba.njit`, in addition.
    """
    options = {"fastmath": _FAST, "error_model": "numpy", "nogil": True, **options}

    def wrap(function: Callable[..., Any]) -> Any:
        try:
            return numba.njit(cache=True, **options)(function)
        except RuntimeError:  # "no locator available": no folder can be written
            folder = _own_folder()
        if folder is None:
            return numba.njit(**options)(function)
        setattr(numba.config, "CACHE_DIR", str(folder))  # noqa: B010 - mypy does not know the name
        return numba.njit(cache=True, **options)(function)

    return wrap


def _own_folder() -> Path | None:
    """A folder that nobody else can write: what lies in it is run."""
    user = os.getuid() if hasattr(os, "getuid") else 0
    folder = Path(tempfile.gettempdir()) / f"rtflow-numba-{user}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        there = folder.lstat()
    except OSError:
        return None
    theirs = hasattr(os, "getuid") and there.st_uid != user
    return None if theirs or folder.is_symlink() or there.st_mode & 0o022 else folder
