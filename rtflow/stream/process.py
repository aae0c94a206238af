"""One interface in a worker process: the engine's side."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from rtflow.errors import CompileError, DeadlineError, RunError, VolumeError
from rtflow.stream.interface import RunContext
from rtflow.stream.transfer import Wire, new_block
from rtflow.stream.worker import end_descendants

_START_LIMIT = 120.0
_STOP_LIMIT = 30.0
_PROGRAM = "import sys; sys.path[:] = {path!r}; from rtflow.stream.worker import serve; serve({fds})"


class WorkerLostError(VolumeError):
    """The worker process ended by itself in the middle of a call."""


class Worker:
    """A worker process that is started again when it was killed.

    Parameters
    ----------
    name
        Name of the node.
    interface
        What the worker calls; must pickle.
    context
        The run.
    directory
        Where the worker makes its per-volume directories.
    files
        Modules that the worker must load from a file first: name to path.
    """

    def __init__(
        self,
        name: str,
        interface: Any,
        context: RunContext,
        directory: Path,
        files: dict[str, str],
    ) -> None:
        self.name = name
        self._stateful = bool(getattr(interface, "stateful", False))
        self._state: Any = None
        self._has_state = False
        self._gaps: list[int] = []
        self._ready = False
        self._process: subprocess.Popen[bytes] | None = None
        directory.mkdir(parents=True, exist_ok=True)
        try:
            pickled = pickle.dumps((interface, context.in_worker()), protocol=5)
        except Exception as error:
            raise CompileError(
                name,
                f"cannot be sent to a worker process: {error}",
                "define its class in a module or in the workflow file, and open resources in start_run",
            ) from None
        self._first = (files, pickled, str(directory))

    def start(self) -> None:
        """Start the process, without waiting until it is ready."""
        ours, theirs = socket.socketpair()
        outgoing, incoming = new_block(), new_block()
        lifeline, self._lifeline = os.pipe()
        fds = (theirs.fileno(), lifeline, outgoing, incoming)
        environment = {
            **os.environ,
            **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
        }
        program = _PROGRAM.format(path=sys.path, fds=", ".join(map(str, fds)))
        self._process = subprocess.Popen(
            [sys.executable, "-c", program],
            pass_fds=fds,
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr.fileno() if _has_descriptor(sys.stderr) else subprocess.DEVNULL,
            env=environment,
        )
        theirs.close()
        os.close(lifeline)
        self._wire = Wire(Connection(ours.detach()), outgoing, incoming)
        self._ready = False
        with contextlib.suppress(OSError):  # it ended at once: wait_ready says so
            self._wire.send(self._first)

    def wait_ready(self) -> None:
        """Wait until the process takes calls; give it the state of the one before.

        Raises
        ------
        RunError
            If it cannot be started.
        """
        if self._process is None:
            self.start()
        if self._ready:
            return
        try:
            if not self._wire.connection.poll(_START_LIMIT):
                raise EOFError
            self._wire.receive()
            if self._has_state:
                self._ask("restore", self._state, _START_LIMIT)
            while self._gaps:
                self._keep(self._ask("gap", self._gaps.pop(0), _START_LIMIT))
        except (EOFError, OSError):
            self._end()
            raise RunError(
                f"{self.name}: its worker process did not start; its messages stand above, and mode='thread' "
                "would show the error itself"
            ) from None
        self._ready = True

    def call(
        self, volume: int, inputs: dict[str, Any], limit: float | None
    ) -> tuple[dict[str, Any], list[str]]:
        """Run one volume: its outputs, and what the node doubts of them.

        Parameters
        ----------
        limit
            Seconds after which the call is killed; None in a replay, which kills nothing by the clock.

        Raises
        ------
        DeadlineError
            If the limit passed; the process and all it started are gone then.
        WorkerLostError
            If the process ended by itself.
        VolumeError
            If the node raised.
        """
        self.wait_ready()
        outputs, doubts, state = self._ask("call", (volume, inputs), limit)
        self._keep(state)
        return outputs, doubts

    def gap(self, volume: int, limit: float | None) -> None:
        """Tell a stateful node of a volume that it does not see; a process that is starting hears it then."""
        if not self._ready:
            self._gaps.append(volume)
            return
        self._keep(self._ask("gap", volume, limit))

    def stop(self) -> None:
        """Let the node end its run, and end the process."""
        if self._process is None:
            return
        try:
            if self._ready:
                self._wire.send(("stop", None))
                if self._wire.connection.poll(_STOP_LIMIT):
                    self._wire.receive()
        except (EOFError, OSError):
            pass
        finally:
            self._end()

    def _keep(self, state: Any) -> None:
        if self._stateful:
            self._state, self._has_state = state, True

    def _ask(self, what: str, value: Any, limit: float | None) -> Any:
        began = time.perf_counter()
        try:
            self._wire.send((what, value))
            if not self._wire.connection.poll(limit):
                self._end()
                self.start()
                raise DeadlineError(
                    f"{what} took longer than {limit:g} s and was killed after "
                    f"{time.perf_counter() - began:.2f} s"
                )
            kind, answer = self._wire.receive()
        except (EOFError, OSError):
            status = self._end()
            self.start()
            raise WorkerLostError(
                f"its worker process ended with status {status} in the middle of a call"
            ) from None
        if kind == "error":
            raise VolumeError(": ".join(answer))
        return answer

    def _end(self) -> int | None:
        """Kill the process and all it started; its exit status."""
        process = self._process
        if process is None:
            return None
        if process.poll() is None:
            # Stopped first, it can start nothing more while its children are looked for.
            process.send_signal(signal.SIGSTOP)
            end_descendants(process.pid)
            process.kill()
        status = process.wait()
        os.close(self._lifeline)
        self._wire.close()
        self._process = None
        self._ready = False
        return status


def _has_descriptor(stream: Any) -> bool:
    try:
        stream.fileno()
    except (AttributeError, OSError, ValueError):
        return False
    return True
