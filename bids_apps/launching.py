"""Starting an app's worker, in its container or native, and ending all that belongs to it."""

from __future__ import annotations

import os
import secrets
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from rtflow.bids_apps.command_line import Binding, Invocation, command_line, header
from rtflow.bids_apps.descriptor import Descriptor
from rtflow.bids_apps.process import AppProcess
from rtflow.bids_apps.runtime import Runtime

_END = 4096  # bytes of what it said last


class WorkerProcess:
    """A worker that was started.

    Parameters
    ----------
    runtime
        What runs it.
    descriptor
        The app; it has a worker.
    bindings
        What it sees of this machine.
    arguments
        The app's options.
    log
        File that its stderr is appended to.
    environment
        Variables to set.
    planted
        Links that lead nowhere for it, which its log names.

    Raises
    ------
    UsageError
        If the runtime cannot run it.
    OSError
        If the runtime's program cannot be started.
    """

    def __init__(
        self,
        runtime: Runtime,
        descriptor: Descriptor,
        bindings: Sequence[Binding],
        arguments: Sequence[str],
        log: Path,
        environment: Mapping[str, str] | None = None,
        planted: Sequence[Path] = (),
    ) -> None:
        self._log = log
        name = f"rtflow-{descriptor.name}-{secrets.token_hex(6)}".lower()
        argv = command_line(
            runtime,
            Invocation(
                descriptor=descriptor,
                name=name,
                command=worker_command(descriptor, runtime),
                arguments=tuple(arguments),
                bindings=tuple(bindings),
                environment=environment or {},
                interactive=True,
            ),
        )
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as errors:
            errors.write(header(descriptor, runtime, argv, planted))
            errors.flush()
            self._from = errors.tell()
            self.process = AppProcess(runtime, name, argv, stdin=subprocess.PIPE, stderr=errors, bufsize=0)

    def end(self) -> None:
        """End it now; returns when nothing of it is left.

        Raises
        ------
        AppError
            If its container cannot be ended.
        """
        self.process.end(grace=0)

    def said(self) -> str:
        """The last line that it said on stderr."""
        try:
            with self._log.open("rb") as log:
                log.seek(max(self._from, log.seek(0, os.SEEK_END) - _END))
                lines = log.read().decode(errors="replace").split("\n")
        except OSError:
            return ""
        return next((" ".join(line.split()) for line in reversed(lines) if line.strip()), "")


def worker_command(descriptor: Descriptor, runtime: Runtime | None = None) -> tuple[str, ...]:
    """What starts the app's worker; empty if it has none for this runtime."""
    if runtime is not None and runtime.native:
        return descriptor.native.worker
    return descriptor.worker.command if descriptor.worker is not None else ()
