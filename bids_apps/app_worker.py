"""An app's worker: started once, asked once per volume by a line of JSON, and replaced when it is late.

A worker that missed its deadline may be anywhere in its work: its answer is not waited for any more. The next
one is started at once, in a thread of its own, while the old one is ended: a container takes a tenth of a
second to be ended, which the volumes that follow must not wait for.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from typing import IO, Any, Protocol

from rtflow.errors import DeadlineError, RunError, VolumeError
from rtflow.stream.process import WorkerLostError

START_LIMIT = 120.0
"""Seconds until a worker says that it is ready."""

_STOP_LIMIT = 5.0
_LONGEST = 1 << 20  # bytes of a line
_PIECE = 1 << 16


class Launched(Protocol):
    """A worker that was started: its process here, with pipes, and how it is ended where it really runs."""

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process, with pipes at stdin and stdout."""

    def end(self) -> None:
        """End it now; returns when nothing of it is left."""

    def said(self) -> str:
        """The end of what it said on stderr, in a line."""


class AppWorker:
    """A worker that is started again when it was late, or has ended.

    Parameters
    ----------
    launch
        Starts one.
    start_limit
        Seconds until it must be ready.
    warming
        What it is asked before it is ready; its answer is not looked at.
    """

    def __init__(
        self,
        launch: Callable[[], Launched],
        start_limit: float = START_LIMIT,
        warming: Mapping[str, Any] | None = None,
    ) -> None:
        self._start: Callable[[], _Starting] = lambda: _Starting(launch, start_limit, warming)
        self._current = self._start()
        self._ending: list[threading.Thread] = []
        self._unended: list[Exception] = []
        self._lock = threading.Lock()
        self._over = False

    def wait_ready(self) -> None:
        """Wait until it takes volumes.

        Raises
        ------
        RunError
            If it cannot be started.
        """
        self._current.ready.wait()
        if self._current.error:
            raise RunError(f"its worker did not start: {self._current.error}")

    def ask(self, request: Mapping[str, Any], seconds: float | None) -> dict[str, Any]:
        """The outputs for one volume.

        Parameters
        ----------
        request
            ``volume`` and whatever else the worker is told.
        seconds
            After which it is given up; None waits for as long as it takes.

        Raises
        ------
        DeadlineError
            If it did not answer in time, or is still being started in place of one that did not.
        WorkerLostError
            If it ended, said what no worker says, or could not be started again.
        VolumeError
            If it says that it cannot process the volume.
        """
        until = None if seconds is None else time.monotonic() + seconds
        current = self._current
        if not current.ready.wait(_left(until)):
            raise DeadlineError(f"a new worker is not ready within {seconds:g} s")
        if current.error:
            self._replace(current)
            raise WorkerLostError(f"its worker did not start: {current.error}")
        try:
            answer = current.exchange(request, until)
        except TimeoutError:
            self._replace(current)
            raise DeadlineError(f"no answer within {seconds:g} s; its worker is started again") from None
        except (OSError, ValueError) as error:
            why = current.why(str(error))
            self._replace(current)
            raise WorkerLostError(f"its worker was lost: {why}") from None
        if "error" in answer:
            raise VolumeError(f"the app says: {' '.join(str(answer['error']).split())}")
        outputs = answer.get("outputs")
        if not isinstance(outputs, dict):
            raise VolumeError(f"expected an answer with outputs, got {json.dumps(answer)[:200]}")
        return outputs

    def close(self) -> None:
        """End it, and wait until nothing is left of it nor of those before it; from any thread."""
        with self._lock:
            self._over = True
        self._current.close()
        for thread in self._ending:
            thread.join()
        if self._unended:
            raise self._unended[0]

    def _replace(self, old: _Starting) -> None:
        with self._lock:
            if self._over:
                return
            self._current = self._start()
            thread = threading.Thread(target=self._end, args=(old,), name="app-worker-end")
            self._ending = [*(one for one in self._ending if one.is_alive()), thread]
            thread.start()

    def _end(self, old: _Starting) -> None:
        try:
            old.end()
        except Exception as error:  # told at the end of the run
            self._unended.append(error)


def _left(until: float | None) -> float | None:
    return None if until is None else max(0.0, until - time.monotonic())


class _Starting:
    """One worker, from its start in a thread to its end."""

    def __init__(
        self, launch: Callable[[], Launched], limit: float, warming: Mapping[str, Any] | None
    ) -> None:
        self.ready = threading.Event()
        self.error = ""
        self._launch = launch
        self._limit = limit
        self._warming = warming
        self._launched: Launched | None = None
        self._buffer = bytearray()
        self._thread = threading.Thread(target=self._start, name="app-worker-start")
        self._thread.start()

    def _start(self) -> None:
        try:
            self._launched = self._launch()
            os.set_blocking(_pipe(self._launched.process.stdout).fileno(), False)
            until = time.monotonic() + self._limit
            while not self._line(until).get("ready"):
                pass
            if self._warming is not None:
                self.exchange(self._warming, until)
        except TimeoutError:
            self.error = f"it did not say that it is ready within {self._limit:g} s"
        except Exception as error:
            self.error = self.why(str(error))
        finally:
            self.ready.set()

    def why(self, error: str) -> str:
        """What went wrong, with what the worker said of it."""
        said = self._launched.said() if self._launched is not None else ""
        return f"{error}: {said}" if said else error

    def exchange(self, request: Mapping[str, Any], until: float | None) -> dict[str, Any]:
        """Send a line, and the answer that belongs to it."""
        assert self._launched is not None
        pipe = _pipe(self._launched.process.stdin)
        pipe.write(json.dumps(request).encode() + b"\n")
        pipe.flush()
        answer = self._line(until)
        if answer.get("volume") != request["volume"]:
            raise ValueError(f"asked for volume {request['volume']}, it answered {json.dumps(answer)[:200]}")
        return answer

    def _line(self, until: float | None) -> dict[str, Any]:
        """The next line that is an object of JSON; others are what libraries print."""
        assert self._launched is not None
        descriptor = _pipe(self._launched.process.stdout).fileno()
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        while True:
            left = _left(until)
            if left == 0:  # whatever it says: one that never stops talking is late, too
                raise TimeoutError
            line, newline, rest = self._buffer.partition(b"\n")
            if newline:
                self._buffer = rest
                with contextlib.suppress(ValueError, RecursionError):
                    if isinstance(answer := json.loads(line), dict):
                        return answer
                continue
            if len(self._buffer) > _LONGEST:
                raise ValueError(f"a line of more than {_LONGEST} bytes came")
            if not poll.poll(None if left is None else left * 1e3):
                raise TimeoutError
            piece = os.read(descriptor, _PIECE)
            if not piece:
                raise OSError("it ended")
            self._buffer += piece

    def close(self) -> None:
        """Let it end by itself, if it is ready and does so soon; else as `end`."""
        if self.ready.is_set() and not self.error and self._launched is not None:
            process = self._launched.process
            with contextlib.suppress(OSError, ValueError, subprocess.TimeoutExpired):
                _pipe(process.stdin).close()
                process.wait(_STOP_LIMIT)
        self.end()

    def end(self) -> None:
        """End it, whatever it does."""
        # Being started, it is ended as soon as there is something to end.
        while self._launched is None and not self.ready.wait(0.02):
            pass
        if self._launched is not None:
            self._launched.end()
        self._thread.join()
        if self._launched is not None:
            for pipe in (self._launched.process.stdin, self._launched.process.stdout):
                with contextlib.suppress(OSError):
                    _pipe(pipe).close()


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None
    return pipe
