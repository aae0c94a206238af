"""One interface in a worker process: the program that runs there.

The process leads a group of its own and adopts orphans, so that all it started can be found and ended.
It ends itself, and all of them, when the engine is gone.
"""

from __future__ import annotations

import ctypes
import gc
import importlib.util
import os
import signal
import sys
import threading
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from rtflow.stream.transfer import Wire

_PR_SET_CHILD_SUBREAPER = 36


def serve(socket: int, lifeline: int, incoming: int, outgoing: int) -> None:
    """Answer the engine's messages until it says ``stop`` or is gone."""
    _lead()
    threading.Thread(target=_watch, args=(lifeline,), daemon=True).start()
    wire = Wire(Connection(socket), outgoing, incoming)
    try:
        interface = _Served(wire)
        interface.run()
    except EOFError:
        pass
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


def end_descendants(pid: int) -> None:
    """Kill what a process has started, and what that has started."""
    import psutil

    try:
        descendants = psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return
    for process in descendants:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(descendants, timeout=5)


class _Served:
    """The interface and what the engine asks of it: one message, one answer."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        files, pickled, directory = wire.receive()
        for name, path in files.items():
            import_file(name, path)
        import pickle

        from rtflow.stream.calls import Call

        self.interface, context = pickle.loads(pickled)
        self.call = Call(self.interface)
        self.call.begin(Path(directory))
        self.context = context
        self.stateful = bool(getattr(self.interface, "stateful", False))

    def run(self) -> None:
        if self.call.is_stream:
            self.interface.start_run(self.context)
        # What is there now is there for good: a collection need not look at it again.
        gc.collect()
        gc.freeze()
        self.wire.send(("ready", None))
        while True:
            what, value = self.wire.receive()
            if what == "stop":
                if self.call.is_stream:
                    self.interface.end_run()
                self.wire.send(("stopped", None))
                return
            try:
                self.wire.send(("done", getattr(self, "do_" + what)(value)))
            except BaseException as error:
                # The class itself may not unpickle on the other side: its name and message do.
                self.wire.send(("error", (type(error).__name__, str(error))))

    def do_call(self, value: tuple[int, dict[str, Any]]) -> tuple[dict[str, Any], list[str], Any]:
        volume, inputs = value
        for field, item in inputs.items():
            setattr(self.interface.inputs, field, item)
        doubts: list[str] = []
        if self.call.is_stream:
            self.interface.volume = volume
        outputs = self.call(volume)
        if self.call.is_stream:
            doubts = self.interface.take_doubts()
        return outputs, doubts, self.interface.snapshot() if self.stateful else None

    def do_gap(self, volume: int) -> Any:
        self.interface.gap(volume)
        return self.interface.snapshot()

    def do_restore(self, state: Any) -> None:
        self.interface.restore(state)


def _lead() -> None:
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _watch(lifeline: int) -> None:
    while os.read(lifeline, 1):
        pass
    end_descendants(os.getpid())
    os._exit(1)
