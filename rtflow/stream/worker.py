"""One interface in a worker process: the program that runs there.

The process leads a session of its own and adopts orphans, so that all it started can be found and ended.
It ends itself, and all of them, when the engine is gone.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib.util
import os
import signal
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from rtflow.documents import Event
from rtflow.errors import in_words
from rtflow.stream.descendants import end_descendants
from rtflow.stream.transfer import Wire

_PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True)
class Raised:
    """What was raised in the worker; the error itself may not unpickle on the other side."""

    message: str


def serve(socket: int, lifeline: int, incoming: int, outgoing: int) -> None:
    """Answer the engine's messages until it says ``stop`` or is gone."""
    _lead()
    for descriptor in (socket, lifeline, incoming, outgoing):
        # A program that the node starts would hold them open when this process is gone.
        os.set_inheritable(descriptor, False)
    threading.Thread(target=_watch, args=(lifeline,), daemon=True).start()
    try:
        _Served(Wire(Connection(socket), outgoing, incoming)).run()
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass  # the engine is gone
    finally:
        end_descendants(os.getpid())


def import_file(name: str, path: str) -> Any:
    """Import a Python file under a module name, unless that module is there already."""
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        # Not by the loader, which takes an edited file for the old one where second and size are the same.
        exec(compile(Path(path).read_bytes(), path, "exec", dont_inherit=True), module.__dict__)
    except BaseException:
        del sys.modules[name]
        raise
    return module


class _Served:
    """The interface and what the engine asks of it: one message, one answer.

    An answer has three parts: what was asked for or `Raised`, the state after it in a list, if there is one,
    and the events that the node told meanwhile.
    """

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.events: list[Event] = []

    def run(self) -> None:
        try:
            self.begin()
        except BaseException as error:
            self.answer(Raised(in_words(error)))
            return
        # What is there now is there for good: a collection need not look at it again.
        gc.collect()
        gc.freeze()
        self.answer(None)
        what = ""
        while what != "stop":
            states: list[Any] = []
            try:
                what, value = self.wire.receive()
                try:
                    answer = getattr(self, "do_" + what)(value)
                finally:
                    if self.keeps_state and what in ("call", "gap"):
                        states.append(self.interface.snapshot())
                self.answer(answer, states)
            except (EOFError, BrokenPipeError, ConnectionResetError):
                raise
            except BaseException as error:
                self.answer(Raised(in_words(error)), states)

    def answer(self, answer: Any, states: Sequence[Any] = ()) -> None:
        self.wire.send((answer, states, self.events))
        self.events.clear()

    def begin(self) -> None:
        import pickle

        from rtflow.stream.calls import Call

        files, pickled, directory = self.wire.receive()
        for name, path in files.items():
            import_file(name, path)
        self.interface, context = pickle.loads(pickled)
        self.call = Call(self.interface)
        self.call.begin(Path(directory), context.seed)
        self.keeps_state = self.call.is_stream and self.interface.keeps_state()
        if self.call.is_stream:
            self.interface.start_run(replace(context, emit=self.events.append))

    def do_call(self, value: tuple[int, dict[str, Any]]) -> tuple[dict[str, Any], list[str]]:
        volume, inputs = value
        for field, item in inputs.items():
            setattr(self.interface.inputs, field, item)
        doubts: list[str] = []
        if self.call.is_stream:
            self.interface.take_doubts()  # of a call that failed
            self.interface.volume = volume
        outputs = self.call(volume)
        if self.call.is_stream:
            doubts = self.interface.take_doubts()
        if self.call.is_command:
            _reap()
        return outputs, doubts

    def do_gap(self, volume: int) -> None:
        self.interface.gap(volume)

    def do_restore(self, state: Any) -> None:
        self.interface.restore(state)

    def do_stop(self, nothing: None) -> None:
        del nothing
        if self.call.is_stream:
            self.interface.end_run()


def _reap() -> None:
    """Take the status of orphans that have ended; a command leaves no others behind that are waited for."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _lead() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _watch(lifeline: int) -> None:
    while os.read(lifeline, 1):
        pass
    end_descendants(os.getpid())
    os._exit(1)
