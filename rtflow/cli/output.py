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


class NipypeLog:
    """What Nipype logs, for a file in the run's folder instead of stdout.

    It must be made before Nipype is imported: Nipype logs to stdout unless somebody listens already.
    """

    def __init__(self) -> None:
        logger = logging.getLogger("nipype")
        self._kept = logging.handlers.MemoryHandler(1, flushLevel=logging.CRITICAL + 1, flushOnClose=False)
        for handler in logger.handlers[:]:
            if isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler):
                logger.removeHandler(handler)
        logger.addHandler(self._kept)

    def following(self, observe: Observe, out: Path) -> Observe:
        """An observer that also opens ``OUT/runs/RUN_UID/logs/nipype.log`` once the run has begun."""

        def watch(document: AnyDocument) -> None:
            if isinstance(document, RunStart):
                self.write_to(out / "runs" / document.run_uid / "logs" / "nipype.log")
            observe(document)

        return watch

    def write_to(self, file: Path) -> None:
        """From now on write to a file, beginning with what was logged so far."""
        with contextlib.suppress(OSError):
            file.parent.mkdir(parents=True, exist_ok=True)
            target = logging.FileHandler(file, encoding="utf-8", errors="backslashreplace", delay=True)
            target.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s: %(message)s"))
            self._kept.setTarget(target)
            self._kept.flush()

    def close(self) -> None:
        """Close the file."""
        logging.getLogger("nipype").removeHandler(self._kept)
        target = self._kept.target
        self._kept.close()
        if target is not None:
            target.close()
