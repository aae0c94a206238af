"""A BIDS App as a node: once per run, or once per volume, as its place in the graph has it."""

from __future__ import annotations

import copyreg
import hashlib
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

from msgspec.structs import replace
from nipype.interfaces.base import isdefined

from rtflow.bids_apps.app_worker import AppWorker
from rtflow.bids_apps.arguments import given
from rtflow.bids_apps.command_line import Binding
from rtflow.bids_apps.descriptor import BIDS_DIR, OUT_DIR, Descriptor, descriptor_from, read_descriptor
from rtflow.bids_apps.launching import WorkerProcess, worker_command
from rtflow.bids_apps.one_volume import OneVolume, outputs_of
from rtflow.bids_apps.outputs import files_in
from rtflow.bids_apps.running import AppRun, run_app
from rtflow.bids_apps.runtime import Runtime, environment_of, find_runtime
from rtflow.bids_apps.specs import AppInput, AppOutput, class_name, input_spec, output_spec
from rtflow.documents import Event
from rtflow.errors import AppError, DeadlineError, UsageError
from rtflow.setting_types import suggestion
from rtflow.stream.interface import RunContext, StreamInterface


class AppClass(type(StreamInterface)):  # type: ignore[misc]
    """The kind of a node's class that was made for one app: it pickles as that app."""


class BidsApp(StreamInterface, metaclass=AppClass):
    """A BIDS App, whose options are inputs: `from_descriptor` makes it from the app's file.

    Before the stream or after it, and in stock Nipype, it runs once, on ``bids_dir``. In the stream it runs
    with every volume: its worker, which the app must have, is started at set-up, and given each
    ``incremental`` as a data set in memory. The ``deadline`` that `rtflow.stream.stream` sets on the node
    (60 s without one) is what one volume may take; a worker that misses it is replaced while the run goes on.

    Attributes
    ----------
    descriptor
        The app.
    cold
        Whether an app without a worker may run with every volume: a container is started for each. It
        changes nothing for one that has a worker.

    Raises
    ------
    UsageError
        If an input cannot be what it is set to.
    AppError
        If the app fails, or its worker does not start.
    DeadlineError
        If the worker is late for a volume.
    VolumeError
        If the worker says that it cannot process a volume.
    """

    input_spec = AppInput
    output_spec = AppOutput
    own_worker = True
    descriptor: Descriptor
    cold = False

    def __init__(self, *, cold: bool = False, **inputs: Any) -> None:
        if not hasattr(type(self), "descriptor"):
            raise UsageError("a BidsApp is made by BidsApp.from_descriptor('apps/NAME.toml')")
        known = self.input_spec().copyable_trait_names()
        for name in inputs:
            # These are Nipype's own, not inputs.
            if name not in known and name not in ("from_file", "resource_monitor", "ignore_exception"):
                way = suggestion(name, known)
                raise UsageError(f"{self.descriptor.name} has no input {name!r}; {way}")
        super().__init__(**inputs)
        self.inputs.identity = hashlib.sha256(repr(self.descriptor).encode()).hexdigest()
        self.cold = cold
        self._runtime: Runtime | None = None
        self._volume: OneVolume | None = None
        self._worker: AppWorker | None = None
        self._run_dir = Path()
        self._told = False
        self._emit: Callable[[Event], object] | None = None

    @classmethod
    def from_descriptor(
        cls, app: Path | str | Descriptor | Mapping[str, Any], *, cold: bool = False, **inputs: Any
    ) -> Self:
        """The node's interface of an app.

        Parameters
        ----------
        app
            Its file, or what stands in it.
        cold
            Whether it may start a container for every volume, if it has no worker.
        inputs
            Of the node.

        Raises
        ------
        SettingsError
            If there is no such file, or something in it makes no sense.
        """
        if isinstance(app, Mapping):
            app = descriptor_from(dict(app), origin="the description", name="app")
        descriptor = app if isinstance(app, Descriptor) else read_descriptor(Path(app))
        made: Any = app_class(descriptor)
        return made(cold=cold, **inputs)  # type: ignore[no-any-return]

    def not_each_volume(self) -> tuple[str, str] | None:
        """It needs a worker for that, or leave to be cold."""
        native = isdefined(self.inputs.runtime) and self.inputs.runtime == "native"
        if self.cold or worker_command(self.descriptor, Runtime("native") if native else None):
            return None
        return (
            f"'{self.descriptor.name}' has no worker in its file, and would be started for every volume, "
            "which takes a third of a second and more",
            "connect it before the stream or after it, declare its worker, or make it with cold=True",
        )

    def needed_inputs(self) -> Mapping[str, str]:
        """What it works on."""
        if self.each_volume:
            return {"incremental": "it runs with every volume"}
        return {"bids_dir": "it runs once"}

    def start_run(self, context: RunContext) -> None:
        """Start the worker and wait until it takes volumes."""
        if not self.each_volume:
            return
        self._run_dir, self._emit, self._told = context.run_dir, context.emit, False
        self._runtime = self._found_runtime()
        self._volume = OneVolume(self.descriptor.name)
        try:
            if worker_command(self.descriptor, self._runtime):
                self._worker = self._started(context.run_dir / "logs" / f"{self.descriptor.name}.log")
                self._worker.wait_ready()
        except BaseException:
            self.end_run()
            raise

    def _started(self, log: Path) -> AppWorker:
        runtime, volume = self._runtime, self._volume
        assert runtime is not None
        assert volume is not None
        descriptor, options = self.descriptor, self.options()
        lent = given(descriptor, runtime, options, self.mounts(), volume.bids_dir)
        bindings = [*lent.bindings, Binding(volume.out_dir, OUT_DIR, read_only=False)]
        arguments = [*lent.arguments, *self._extra()]
        environment = environment_of(runtime, descriptor)
        served = descriptor.worker
        warming = self._request(0, *volume.zeros()) if served is not None and served.warm else None
        return AppWorker(
            lambda: WorkerProcess(runtime, descriptor, bindings, arguments, log, environment, lent.planted),
            warming=warming,
        )

    def options(self) -> dict[str, Any]:
        """The options that are set, by name."""
        return self._set(self.descriptor.options)

    def mounts(self) -> dict[str, Path]:
        """The files and folders that are given for what the app needs, by name."""
        return {name: Path(value) for name, value in self._set(self.descriptor.mounts).items()}

    def _set(self, names: Mapping[str, Any]) -> dict[str, Any]:
        values = {name: getattr(self.inputs, name) for name in names}
        return {name: value for name, value in values.items() if isdefined(value)}

    def _extra(self) -> list[str]:
        return list(self.inputs.extra_args) if isdefined(self.inputs.extra_args) else []

    def _found_runtime(self) -> Runtime:
        return find_runtime(self.inputs.runtime if isdefined(self.inputs.runtime) else "")

    def end_run(self) -> None:
        """End the worker."""
        worker, volume = self._worker, self._volume
        self._worker = self._volume = self._emit = None
        try:
            if worker is not None:
                worker.close()
        finally:
            if volume is not None:
                volume.close()

    def _run_interface(self, runtime: Any) -> Any:
        if not self.each_volume:
            self._results |= self._once(Path(runtime.cwd or Path.cwd()))
        elif self._worker is not None:
            self._results |= self._by_worker(self._worker)
        else:
            self._results |= self._by_start()
        return runtime

    def _by_worker(self, worker: AppWorker) -> dict[str, Any]:
        began = time.monotonic()
        incremental, volume = self.inputs.incremental, self._volume
        assert volume is not None
        out = volume.put(incremental)
        request = self._request(incremental.volume, volume.bids_dir, out)
        left = None if self.deadline is None else max(0.0, self.deadline - (time.monotonic() - began))
        try:
            said = worker.ask(request, left)
            kinds = self.descriptor.worker.outputs if self.descriptor.worker is not None else {}
            return {"outputs": said, **outputs_of(said, kinds, out, incremental)}
        finally:
            volume.drop(out)

    def _request(self, number: int, *folders: Path) -> dict[str, Any]:
        """What the worker is asked: a data set, and the folder for what is made of it, as it sees them."""
        runtime, volume = self._runtime, self._volume
        assert runtime is not None
        assert volume is not None

        def seen(folder: Path) -> str:
            if runtime.native:
                return str(folder)
            if folder == volume.bids_dir:
                return BIDS_DIR
            return f"{OUT_DIR}/{folder.relative_to(volume.out_dir)}"

        bids_dir, out = map(seen, folders)
        return {"volume": number, "bids_dir": bids_dir, "out_dir": out}

    def _by_start(self) -> dict[str, Any]:
        began = time.monotonic()
        incremental, volume = self.inputs.incremental, self._volume
        assert volume is not None
        assert self._runtime is not None
        volume.put(incremental)
        out = self._run_dir / "work" / self.descriptor.name / f"volume-{incremental.volume:04d}"
        try:
            made = self._run(self._runtime, volume.bids_dir, out, self.deadline)
        except AppError as error:
            if error.kind == "time-out":
                raise DeadlineError(str(error)) from None
            raise
        if self._emit is not None and not self._told:
            self._told = True
            took = f"{(time.monotonic() - began) * 1e3:.0f}"
            says = f"the app is started for every volume, which took {took} ms for the first"
            self._emit(Event(name="cold_app", volume=incremental.volume, data={"says": says}))
        return made

    def _once(self, cwd: Path) -> dict[str, Any]:
        if not isdefined(self.inputs.bids_dir):
            raise UsageError("bids_dir is not set; it runs once, on a data set")
        out = Path(self.inputs.out_dir) if isdefined(self.inputs.out_dir) else cwd / "derivatives"
        return self._run(self._found_runtime(), Path(self.inputs.bids_dir), out)

    def _run(
        self, runtime: Runtime, bids_dir: Path, out: Path, seconds: float | None = None
    ) -> dict[str, Any]:
        limits = self.descriptor.limits
        if seconds is not None:
            limits = replace(limits, seconds=min(seconds, limits.seconds or seconds))
        outcome = run_app(
            AppRun(
                descriptor=replace(self.descriptor, limits=limits),
                runtime=runtime,
                bids_dir=bids_dir,
                out=out,
                level=self.inputs.level,
                values=self.options(),
                extra=tuple(self._extra()),
                mounts=self.mounts(),
            )
        )
        return {"out_dir": str(outcome.folder), "files": files_in(outcome.folder)}


_KNOWN: dict[str, type[BidsApp]] = {}


def app_class(descriptor: Descriptor) -> type[BidsApp]:
    """The class of an app's node; the same one for the same app.

    Raises
    ------
    SettingsError
        If an option, a mount or an output has a name that an input or output cannot have.
    """
    key = repr(descriptor)
    if key not in _KNOWN:
        described = f"The BIDS App {descriptor.name} {descriptor.version}".rstrip()
        about = {
            "__doc__": f"{described}, {descriptor.image or 'native'}.",
            "__module__": __name__,
            "input_spec": input_spec(descriptor),
            "output_spec": output_spec(descriptor),
            "descriptor": descriptor,
        }
        _KNOWN[key] = AppClass(class_name(descriptor), (BidsApp,), about)
    return _KNOWN[key]


def _reduced(made: Any) -> Any:
    """How a class is pickled: as its name, or as the app that it was made for."""
    descriptor = made.__dict__.get("descriptor")
    return str(made.__qualname__) if descriptor is None else (app_class, (descriptor,))


copyreg.pickle(AppClass, _reduced)
