"""Names of the files that series are written to, where no data set is asked for."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rtflow.dicom.offline.sort import Stack

_UNSAFE = re.compile(r"[^A-Za-z0-9.+-]+")
_PARTS = {"mag": "", "phase": "_ph", "real": "_real", "imag": "_imaginary"}


def plain_names(stacks: Sequence[Stack]) -> list[str]:
    """A name for each stack, without what tells echoes apart and without ending; none twice.

    Number and name of the series, as in ``5_func_task-faces``, and what it is: ``_sbref``, ``_ph``; the plane
    where a series has several.
    """
    taken: set[str] = set()
    names = []
    for stack in stacks:
        series = stack.series
        words = [str(series.number), _UNSAFE.sub("_", series.name).strip("_.")]
        name = "_".join(filter(None, words))
        if series.kind == "sbref" and not name.lower().endswith("sbref"):
            name += "_sbref"
        name += _PARTS[series.part]
        if stack.of > 1 and stack.form.plane:
            name += f"_{stack.form.plane}"
        # Some file systems do not tell capitals from small letters.
        number, free = 1, name
        while free.lower() in taken:
            number += 1
            free = f"{name}_{number}"
        taken.add(free.lower())
        names.append(free)
    return names


def echo_name(name: str, stack: Stack, echo: int) -> str:
    """The name of one echo's file."""
    return f"{name}_e{echo}" if len(stack.echoes) > 1 else name
