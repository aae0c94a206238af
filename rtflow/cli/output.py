"""Keep stdout for what a command has to say, and what others have to say where it can be found."""

from __future__ import annotations

import contextlib
import logging
import logging.handlers
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from rtflow.documents import AnyDocument, RunStart

Observe = Callable[[AnyDocument], None]

_LOGGED = ("nipype", "rtflow")
_DETAILED = ("rtflow", "nipype", "nipype.workflow", "nipype.utils", "nipype.interface")
"""Loggers whose own level would leave something out: Nipype sets those of its own."""

_LARGEST = 8 << 20
"""Bytes of one file; the one before it is kept."""


@contextlib.contextmanager
def stdout_to_stderr(wanted: bool) -> Iterator[None]:
    """Send all that goes to stdout to stderr, whoever prints it: a node, a library, a command line.

    Parameters
    ----------
    wanted
        Whether to do so at all.
    """
    if not wanted:
        yield
        return
    sys.stdout.flush()
    try:
        kept = os.dup(1)
    except OSError:  # started with a closed stdout
        yield
        return
    try:
        os.dup2(2, 1)
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def drop_stdout() -> None:
    """Let stdout, which cannot be written, lead nowhere: what is left in its buffer would fail once more."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)


class PythonLog:
    """What Nipype and rtflow log, for a file in the run's folder instead of stdout.

    It must be made before Nipype is imported: Nipype logs to stdout unless somebody listens already.
    """

    def __init__(self) -> None:
        self._kept = logging.handlers.MemoryHandler(1, flushLevel=logging.CRITICAL + 1, flushOnClose=False)
        logger = logging.getLogger("nipype")
        for handler in logger.handlers[:]:
            if isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler):
                logger.removeHandler(handler)
        for name in _LOGGED:
            logging.getLogger(name).addHandler(self._kept)
        # Warnings of ours are told at once, as they are where nobody listens.
        self._told = logging.lastResort
        if self._told is not None:
            logging.getLogger("rtflow").addHandler(self._told)
        self._levels: dict[str, int] = {}

    def following(self, observe: Observe, out: Path) -> Observe:
        """An observer that also opens ``OUT/runs/RUN_UID/logs/debug.log`` once the run has begun."""

        def watch(document: AnyDocument) -> None:
            if isinstance(document, RunStart):
                self.write_to(out / "runs" / document.run_uid)
            observe(document)

        return watch

    def write_to(self, run_dir: Path) -> None:
        """From now on write to a file of a run, in all detail, beginning with what was logged so far."""
        with contextlib.suppress(OSError):
            file = run_dir / "logs" / "debug.log"
            file.parent.mkdir(parents=True, exist_ok=True)
            target = logging.handlers.RotatingFileHandler(
                file, "a", _LARGEST, 1, encoding="utf-8", errors="backslashreplace", delay=True
            )
            target.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s: %(message)s"))
            self._kept.setTarget(target)
            self._kept.flush()
            for name in _DETAILED:
                logger = logging.getLogger(name)
                self._levels.setdefault(name, logger.level)
                logger.setLevel(logging.DEBUG)

    def close(self) -> None:
        """Close the file."""
        for name, level in self._levels.items():
            logging.getLogger(name).setLevel(level)
        for name in _LOGGED:
            logging.getLogger(name).removeHandler(self._kept)
        if self._told is not None:
            logging.getLogger("rtflow").removeHandler(self._told)
        target = self._kept.target
        self._kept.close()
        if target is not None:
            target.close()
