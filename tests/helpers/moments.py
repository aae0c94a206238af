"""rtflow in a process that stops, or dies, just before the n-th change it makes to a data set.

As a program: ``moments.py SIGNAL COUNTS ROOT PLACES ARGUMENT...``, where PLACES are numbers of changes
below ROOT with commas between, and COUNTS is a file that is told at the end how many changes there were.
"""

import atexit
import os
import runpy
import signal
import sys
import threading
from pathlib import Path

_CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.truncate"}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def _changed(event: str, arguments: tuple[object, ...]) -> str:
    """The path that is about to change; empty if none is."""
    if event == "open":
        path, _, flags = arguments
        writes = isinstance(flags, int) and bool(flags & _WRITING)
    else:
        path, writes = (arguments[0] if arguments else None), event in _CHANGES
    return os.fsdecode(path) if writes and isinstance(path, str | bytes | os.PathLike) else ""


def watch(sign: int, counts: Path, root: str, places: set[int]) -> None:
    """Count the changes below a folder, those of its ``derivatives`` only if it is that one."""
    count = 0

    def changing(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal count
        path = _changed(event, arguments)
        if not path.startswith(root + os.sep) or "derivatives" in path[len(root) :]:
            return
        count += 1
        if count in places:
            # To this thread: the change is not made before the signal is acted on.
            signal.pthread_kill(threading.get_ident(), sign)

    atexit.register(lambda: counts.write_text(str(count)))
    sys.addaudithook(changing)


if __name__ == "__main__":
    sign, counts, root, places, *arguments = sys.argv[1:]
    watch(int(sign), Path(counts), root, {int(one) for one in places.split(",") if one})
    sys.argv = ["rtflow", *arguments]
    runpy.run_module("rtflow", run_name="__main__")
