"""One interface in a worker process: the engine's side."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from rtflow.errors import CompileError, DeadlineError, RunError, VolumeError
from rtflow.stream.algebra import ONE_THREAD
from rtflow.stream.descendants import end_descendants
from rtflow.stream.interface import RunContext
from rtflow.stream.transfer import Wire, new_block
from rtflow.stream.worker import Raised

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
        self._emit = context.emit
        self._states: list[Any] = []  # the latest, or none yet
        self._gaps: list[int] = []
        self._ready = False
        self._begun = False
        self._over = False
        self._ending = threading.Lock()
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
        with self._ending:
            if self._over:
                return
            ours, theirs = socket.socketpair()
            outgoing, incoming = new_block(), new_block()
            lifeline, self._lifeline = os.pipe()
            fds = (theirs.fileno(), lifeline, outgoing, incoming)
            program = _PROGRAM.format(path=sys.path, fds=", ".join(map(str, fds)))
            self._process = subprocess.Popen(
                [sys.executable, "-c", program],
                pass_fds=fds,
                stdin=subprocess.DEVNULL,
                stdout=sys.stderr.fileno() if _has_descriptor(sys.stderr) else subprocess.DEVNULL,
                env={**os.environ, **ONE_THREAD},
                start_new_session=True,  # Ctrl-C on the terminal is the engine's alone
            )
            theirs.close()
            os.close(lifeline)
            self._wire = Wire(Connection(ours.detach()), outgoing, incoming)
            self._ready = False
        with contextlib.suppress(OSError):  # it ended at once: wait_ready says so
            self._wire.send(self._first)

    def wait_ready(self) -> list[str]:
        """Wait until the process takes calls, with the state of the one before and the gaps since.

        Returns
        -------
        list of str
            What the node raised when it was told of those gaps.

        Raises
        ------
        RunError
            If it cannot be started.
        """
        if not self._ready:
            if self._process is None:
                self.start()
            try:
                self._receive(_START_LIMIT)
                if self._states:
                    self._exchange("restore", self._states[0], _START_LIMIT)
            except TimeoutError as error:
                self._end()
                raise self._not_started(str(error)) from None
            except (EOFError, OSError):
                raise self._not_started(f"it ended with status {self._end()}") from None
            except VolumeError as error:
                self._end()
                raise self._not_started(str(error)) from None
            self._ready = self._begun = True
        said = []
        while self._gaps:
            try:
                self._ask("gap", self._gaps[0], _START_LIMIT)
            except (DeadlineError, WorkerLostError):
                raise  # the next process hears it again
            except VolumeError as error:
                said.append(f"gap of volume {self._gaps[0]}: {error}")
            del self._gaps[0]
        return said

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
        said = self.wait_ready()
        outputs, doubts = self._ask("call", (volume, inputs), limit)
        return outputs, [*said, *doubts]

    def gap(self, volume: int, limit: float | None) -> None:
        """Tell a stateful node of a volume that it does not see.

        Raises
        ------
        VolumeError
            If the node raised.
        """
        if not self._ready or self._gaps:
            self.gap_later(volume)
            return
        try:
            self._ask("gap", volume, limit)
        except (DeadlineError, WorkerLostError):
            # What a clock or a signal took away must not change the state.
            self.gap_later(volume)

    def gap_later(self, volume: int) -> None:
        """Tell it before the next call: to the process that takes the place of one that was killed."""
        self._gaps.append(volume)

    def stop(self) -> None:
        """Let the node end its run, and end the process.

        Raises
        ------
        RtflowError
            If the node raised, or its process was lost.
        """
        try:
            if self._begun and not self._over:
                self.wait_ready()  # one that took the place of a killed one has the state to end with
                self._exchange("stop", None, _STOP_LIMIT)
        except (EOFError, OSError) as error:
            raise RunError(str(error) or "its worker process was lost") from None
        finally:
            self.kill()

    def kill(self) -> None:
        """End the process for good, from any thread; a call that is under way is lost."""
        self._over = True
        self._end()

    def _ask(self, what: str, value: Any, limit: float | None) -> Any:
        """One message and its answer; a process that is lost is started again."""
        began = time.perf_counter()
        try:
            return self._exchange(what, value, limit)
        except TimeoutError:
            self._end()
            took = time.perf_counter() - began
            self.start()
            raise DeadlineError(
                f"{what} took longer than {limit:g} s and was killed after {took:.2f} s"
            ) from None
        except (EOFError, OSError):
            status = self._end()
            self.start()
            raise WorkerLostError(
                f"its worker process ended with status {status} in the middle of a call"
            ) from None

    def _exchange(self, what: str, value: Any, limit: float | None) -> Any:
        self._wire.send((what, value))
        return self._receive(limit)

    def _receive(self, limit: float | None) -> Any:
        if not self._wire.connection.poll(limit):
            raise TimeoutError(f"no answer within {limit:g} s")
        answer, states, events = self._wire.receive()
        for event in events:
            self._emit(event)
        # A call that raised may have changed the state too.
        self._states = states or self._states
        if isinstance(answer, Raised):
            raise VolumeError(answer.message)
        return answer

    def _not_started(self, why: str) -> RunError:
        return RunError(f"{self.name}: its worker process did not start: {why}")

    def _end(self) -> int | None:
        """Kill the process and all it started; its exit status."""
        with self._ending:
            process = self._process
            if process is None:
                return None
            # Not by Popen.send_signal, which would take the status, and so give its number away. Stopped
            # first, it can start nothing more while its children are looked for.
            os.kill(process.pid, signal.SIGSTOP)
            end_descendants(process.pid)
            # If it ended by itself, its children have another parent by now, but still its session's group.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
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
