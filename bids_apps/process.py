"""An app's process, and its end for good: a container outlives the command that started it."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO, Any

from rtflow.bids_apps import watcher
from rtflow.bids_apps.runtime import Runtime, ask
from rtflow.errors import AppError, OutputError

#: Seconds that an app has to end by itself when it is asked to.
GRACE = 2.0
_REMOVAL_SECONDS = 30.0


class AppProcess(subprocess.Popen[bytes]):
    """The command that runs an app, in a session of its own: Ctrl-C at the terminal comes to rtflow alone.

    Nothing of the app is left after `end`, and nothing if this process is killed before (`watcher`).

    Parameters
    ----------
    runtime
        What runs it.
    name
        Of its container.
    argv
        The command line.
    stdin, stdout, stderr, bufsize
        As of `subprocess.Popen`.

    Raises
    ------
    OSError
        If there is no such program.
    OutputError
        If a folder for temporary files cannot be written.
    """

    def __init__(
        self,
        runtime: Runtime,
        name: str,
        argv: list[str],
        *,
        stdin: int,
        stdout: int = subprocess.PIPE,
        stderr: int | IO[Any] = subprocess.PIPE,
        bufsize: int = -1,
    ) -> None:
        self._runtime, self._name = runtime, name if runtime.named else ""
        if shutil.which(argv[0]) is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), argv[0])
        aside = _own_folder(self._name) if self._name else None
        theirs, mine = os.pipe()
        self._lifeline = os.fdopen(mine, "wb", buffering=0)
        watched = [sys.executable, "-I", "-S", str(Path(watcher.__file__)), str(theirs)]
        try:
            super().__init__(
                [*watched, runtime.name, self._name, *argv],
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                bufsize=bufsize,
                start_new_session=True,
                pass_fds=(theirs,),
                cwd=aside,
            )
        except BaseException:
            self._lifeline.close()
            if aside is not None:
                aside.rmdir()
            raise
        finally:
            os.close(theirs)

    def end(self, grace: float = GRACE) -> None:
        """End the app, and return when nothing of it runs any more.

        Parameters
        ----------
        grace
            Seconds that it has to end by itself.

        Raises
        ------
        AppError
            If it cannot be ended; the message says by which command to try.
        """
        with self._lifeline as lifeline:
            if grace and self.poll() is None:
                if self._name:
                    ask([self._runtime.name, "kill", "--signal=TERM", self._name])
                else:
                    self._signal(signal.SIGTERM)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self.wait(grace)
            # The whole session: a native app's children, and the command that might still start a container.
            self._signal(signal.SIGKILL)
            self.wait()
            if self._name:
                self._remove()
            with contextlib.suppress(OSError):
                lifeline.write(b".")

    def _remove(self) -> None:
        program = self._runtime.name
        if why := watcher.removed(program, self._name, _REMOVAL_SECONDS):
            argv = [program, *watcher.removal(program, self._name)]
            raise AppError(
                f"the container {self._name} cannot be removed ({why}); remove it: {' '.join(argv)}",
                "runtime",
                argv=argv,
            )

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)


def _own_folder(name: str) -> Path:
    """For a container to be started in: its monitor leaves a file there when memory runs out.

    The watcher removes it.
    """
    path = Path(tempfile.gettempdir(), name)
    try:
        path.mkdir(mode=0o700)
    except OSError as error:
        raise OutputError(
            f"{path}: {error.strerror}; a container is started there; make room, or set TMPDIR"
        ) from None
    return path
