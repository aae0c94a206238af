"""Calling a Nipype interface for one volume, without what stock Nipype does around a call."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import platform
import random
import threading
from pathlib import Path
from typing import Any

import numpy as np
from nipype.interfaces.base import BaseInterface, Bunch, CommandLine, SimpleInterface, isdefined
from nipype.interfaces.base.traits_extension import BasePath
from nipype.interfaces.utility import Function

from rtflow.errors import CommandError
from rtflow.stream.interface import StreamInterface

_CLONE_FS = 0x200


def own_working_directory() -> bool:
    """Give the calling thread a working directory of its own; False where that cannot be done.

    The working directory belongs to the process, and Nipype changes it: two threads would meet in the
    same place. On Linux a thread can leave the others by ``unshare(CLONE_FS)``.
    """
    if not hasattr(os, "unshare") and platform.system() != "Linux":
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    return bool(libc.unshare(_CLONE_FS) == 0)


def threads_own_directories() -> bool:
    """Whether `own_working_directory` works here; tried in a thread that ends at once."""
    answer: list[bool] = []
    thread = threading.Thread(target=lambda: answer.append(own_working_directory()))
    thread.start()
    thread.join()
    return bool(answer and answer[0])


def seed_shared(*origin: int | str) -> None:
    """Seed the generators that the process shares: ``random`` and the old one of NumPy."""
    words = hashlib.sha256(repr(origin).encode()).digest()
    random.seed(words)
    np.random.seed(np.frombuffer(words, dtype=np.uint32))


def touches_files(interface: Any) -> bool:
    """Whether a call needs a directory of its own.

    Interfaces of the stream never do. Others do if they run a command, give paths, or may (a Function
    does what its author likes).
    """
    if isinstance(interface, StreamInterface):
        return False
    if not isinstance(interface, SimpleInterface):
        return True
    outputs = interface._outputs()
    return any(_is_path(trait) for trait in outputs.traits(transient=None).values())


def _is_path(trait: Any) -> bool:
    if isinstance(trait.trait_type, BasePath):
        return True
    return any(_is_path(inner) for inner in trait.inner_traits or ())


class Call:
    """One interface, ready to be called once per volume.

    Parameters
    ----------
    interface
        An interface that nobody else calls.
    directory, seed
        Where per-volume directories are made, for interfaces that touch files, and what chance comes from.
        Set by `begin`.
    """

    def __init__(self, interface: Any) -> None:
        self.interface = interface
        self.inputs = interface.inputs
        self.is_stream = isinstance(interface, StreamInterface)
        self.is_command = isinstance(interface, CommandLine)
        self.in_directory = touches_files(interface)
        self.directory = Path()
        self.seed = 0
        cls = type(interface)
        self._simple = isinstance(interface, SimpleInterface)
        self._hooks = not self.is_stream and (
            cls._pre_run_hook is not BaseInterface._pre_run_hook
            or cls._post_run_hook is not BaseInterface._post_run_hook
        )
        # Function lists its outputs in 35 us and needs no checks of them; others may parse what a command
        # printed in aggregate_outputs.
        self._aggregate = self.in_directory and not isinstance(interface, Function)
        self._runtime = self._new_runtime("")
        if self.is_command:
            interface._ldd = False  # 32 ms a call, for a list of libraries that nobody reads
            if interface.terminal_output == "stream":
                interface.terminal_output = "allatonce"

    def begin(self, directory: Path, seed: int) -> None:
        """Name the folder in which per-volume directories are made, and the seed of the run."""
        self.directory = directory
        self.seed = seed
        if self.in_directory:
            directory.mkdir(parents=True, exist_ok=True)

    def __call__(self, volume: int) -> dict[str, Any]:
        """Run the interface on the inputs that are set, and give its outputs.

        Raises
        ------
        CommandError
            If a command ended with a non-zero status.
        Exception
            Whatever the interface raises.
        """
        if not self.in_directory:
            return self._run(self._runtime)
        cwd = self.directory / f"volume-{volume:04d}"
        cwd.mkdir(parents=True, exist_ok=True)
        os.chdir(cwd)
        if not self._aggregate:
            # Its author's code may draw from the shared generators: the same in every run, whichever process
            # it is in and however often that was started.
            seed_shared(self.seed, self.directory.name, volume)
        try:
            return self._run(self._new_runtime(str(cwd)))
        finally:
            os.chdir(self.directory)
            with contextlib.suppress(OSError):  # it holds files, which belong to the run
                cwd.rmdir()

    def _run(self, runtime: Any) -> dict[str, Any]:
        interface = self.interface
        if self._simple:
            interface._results = {}  # else a value that is withheld now would repeat the last one
        if self._hooks:
            runtime = interface._pre_run_hook(runtime)
        runtime = interface._run_interface(runtime) or runtime
        if self._hooks:
            runtime = interface._post_run_hook(runtime)
        if self.is_command:
            _check_status(interface, runtime)
        if self._aggregate:
            outputs = interface.aggregate_outputs(runtime)
            found = outputs.get() if outputs is not None else {}
        elif self._simple:
            return interface._results  # type: ignore[no-any-return]
        else:
            found = interface._list_outputs() or {}
        return {name: value for name, value in found.items() if isdefined(value)}

    def _new_runtime(self, cwd: str) -> Any:
        return Bunch(
            cwd=cwd,
            prevcwd=cwd,
            returncode=0,
            duration=None,
            environ=dict(os.environ) if self.is_command else {},
            startTime="",
            endTime="",
            platform=platform.platform() if self.is_command else "",
            hostname=platform.node() if self.is_command else "",
            version=None,
            stdout="",
            stderr="",
            merged="",
        )


def _check_status(interface: Any, runtime: Any) -> None:
    code = runtime.returncode
    if code in getattr(runtime, "success_codes", (0,)):
        return
    said = (runtime.stderr or runtime.merged or runtime.stdout or "").strip().splitlines()
    raise CommandError(
        f"'{interface.cmdline}' ended with status {code}" + (f": {said[-1]}" if said else " and said nothing")
    )
