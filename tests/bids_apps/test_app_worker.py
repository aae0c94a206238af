"""An app's worker in the stream: asked volume by volume, late, lost, and wrong; without a container."""

from __future__ import annotations

import itertools
import os
import pickle
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from msgspec.structs import replace
from nipype import Node, Workflow

from rtflow.bids_apps import BidsApp
from rtflow.bids_apps.app_worker import AppWorker
from rtflow.bids_apps.descriptor import Descriptor, Native, Option, Worker
from rtflow.bids_apps.launching import WorkerProcess
from rtflow.bids_apps.runtime import Runtime
from rtflow.documents import AnyDocument, Event, Frame
from rtflow.errors import CompileError, DeadlineError, RunError
from rtflow.nodes import DicomToBids, ScannerInput
from rtflow.source_settings import SimulateSource
from rtflow.sources.simulator import SimulatorSource
from rtflow.stream import StreamPlugin, inspect, stream
from rtflow.stream.executor import Decisions
from rtflow.stream.process import WorkerLostError

WORKER = str(Path(__file__).parents[1] / "helpers" / "odd_worker.py")
APP = Descriptor(
    name="odd",
    options={
        "at": Option(flag="--at", kind="list"),
        "unready": Option(flag="--unready", kind="choice", choices=("exit", "hang")),
    },
    worker=Worker(
        command=("worker",),
        outputs={"number": "number", "pid": "number", "picture": "image", "words": "text", "more": "list"},
    ),
    native=Native(command=(sys.executable, WORKER), worker=(sys.executable, WORKER)),
)


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    yield
    assert [child for child in psutil.Process().children(recursive=True) if WORKER in child.cmdline()] == []
    assert list(Path("/dev/shm").glob(f"rtflow-volume-{os.getpid()}-*")) == []


def graph(folder: Path, *, at: tuple[str, ...] = (), app: Any = None, **options: Any) -> Workflow:
    scanner = Node(ScannerInput(uri="simulate:?speed=max"), name="scanner")
    convert = Node(DicomToBids(subject="01", task="rest"), name="convert")
    interface = app or BidsApp.from_descriptor(APP, runtime="native", at=list(at))
    odd = stream(Node(interface, name="odd"), **options)
    flow = Workflow(name="flow", base_dir=str(folder))
    flow.connect([(scanner, convert, [("frame", "frame")]), (convert, odd, [("incremental", "incremental")])])
    return flow


class Few:
    """The first volumes of a simulated run."""

    tr, volumes = 2.0, 6

    def frames(self, stopping: threading.Event) -> Iterator[Frame]:
        spec = SimulateSource(speed="max", shape=(12, 12, 8), voxel=16.0, volumes=20)
        yield from itertools.islice(SimulatorSource(spec).frames(stopping), self.volumes)


def run(
    folder: Path, *, decisions: Decisions | None = None, **asked: Any
) -> tuple[StreamPlugin, list[AnyDocument]]:
    seen: list[AnyDocument] = []
    plugin = StreamPlugin(folder / "out", observers=(seen.append,), decisions=decisions, source=Few())
    graph(folder, **asked).run(plugin=plugin)
    return plugin, seen


def numbers(plugin: StreamPlugin) -> list[Any]:
    return [result.values.get("odd.number") for result in plugin.results]


def test_each_volume_is_asked_for(tmp_path: Path) -> None:
    plugin, _ = run(tmp_path, at=("2:chatter", "4:less"))
    assert [result.status for result in plugin.results] == ["ok"] * 6
    assert numbers(plugin) == [10, 20, 30, None, 50, 60]
    assert plugin.results[3].values["odd.words"] == "less"
    assert len({result.values.get("odd.pid") for result in plugin.results} - {None}) == 1
    (log,) = (tmp_path / "out").rglob("logs/odd.log")
    assert "# native: nothing protects this machine from it" in log.read_text()


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("error", "the app says: it is not good"),
        ("nothing", "expected an answer with outputs"),
        ("text", "number: expected a number from the app, got 'seven'"),
        ("outside", "picture: expected the name of an image in its out_dir"),
        ("link", "picture: expected the name of an image in its out_dir"),
        ("folder", "picture: expected the name of an image in its out_dir"),
        ("pipe", "picture: expected the name of an image in its out_dir"),
    ],
)
def test_a_volume_that_it_cannot_process_fails_alone(tmp_path: Path, what: str, says: str) -> None:
    plugin, _ = run(tmp_path, at=(f"3:{what}",))
    assert [result.status for result in plugin.results] == ["ok", "ok", "failed", "ok", "ok", "ok"]
    assert says in plugin.results[2].errors["odd"]
    assert len({result.values["odd.pid"] for result in plugin.results if result.status == "ok"}) == 1


@pytest.mark.parametrize(
    ("what", "says", "event"),
    [
        ("hang", "no answer within", "deadline_missed"),
        ("babble", "no answer within", "deadline_missed"),
        ("exit", "its worker was lost: it ended: told to go", "worker_lost"),
        ("other", "asked for volume 3, it answered", "worker_lost"),
        ("flood", "a line of more than", "worker_lost"),
    ],
)
def test_a_worker_that_is_lost_is_replaced(tmp_path: Path, what: str, says: str, event: str) -> None:
    plugin, seen = run(tmp_path, at=(f"3:{what}",), deadline=5.0)
    assert [result.status for result in plugin.results] == ["ok", "ok", "failed", "ok", "ok", "ok"]
    assert says in plugin.results[2].errors["odd"]
    pids = [result.values.get("odd.pid") for result in plugin.results]
    assert pids[0] == pids[1] != pids[3] == pids[4] == pids[5]
    told = [one for one in seen if isinstance(one, Event) and one.name in ("deadline_missed", "worker_lost")]
    assert [(one.name, one.volume, one.node) for one in told] == [(event, 3, "odd")]


class Gated(WorkerProcess):
    """A worker whose end takes until it is let go."""

    let_go = threading.Event()

    def end(self) -> None:
        Gated.let_go.wait(60.0)
        super().end()


def by_itself(
    folder: Path, kind: type[WorkerProcess], *arguments: str
) -> tuple[AppWorker, list[WorkerProcess]]:
    """A worker outside of a graph, whose volumes have each a limit of their own; all that were started."""
    started: list[WorkerProcess] = []

    def launch() -> WorkerProcess:
        words = [*arguments, "--gate", str(folder)]
        started.append(kind(Runtime("native"), APP, (), words, folder / "log"))
        return started[-1]

    worker = AppWorker(launch, 60.0)
    worker.wait_ready()
    return worker, started


def request(folder: Path, volume: int) -> dict[str, Any]:
    out = folder / f"out-{volume}"
    out.mkdir()
    image = folder / "data" / "sub-01" / "func" / "sub-01_bold.nii"
    image.parent.mkdir(parents=True, exist_ok=True)
    image.touch()
    return {"volume": volume, "bids_dir": str(folder / "data"), "out_dir": str(out)}


def test_volumes_wait_for_a_new_worker_no_longer_than_their_own_deadline(tmp_path: Path) -> None:
    worker, started = by_itself(tmp_path, WorkerProcess, "--at", "1:exit")
    try:
        with pytest.raises(WorkerLostError, match="told to go"):
            worker.ask(request(tmp_path, 1), None)
        # The next one cannot be ready before the gate is open: whoever asks is told, and goes on.
        for volume in (2, 3):
            with pytest.raises(DeadlineError, match="a new worker is not ready within"):
                worker.ask(request(tmp_path, volume), 0.01)
        (tmp_path / "open").touch()
        assert worker.ask(request(tmp_path, 4), None)["words"] == "4"  # it was asked for none before
        assert worker.ask(request(tmp_path, 5), None)["words"] == "4 5"
    finally:
        (tmp_path / "open").touch()
        worker.close()
    assert len(started) == 2, "one more, however many volumes waited for it"


def test_volumes_do_not_wait_for_the_end_of_the_old_worker(tmp_path: Path) -> None:
    Gated.let_go.clear()
    (tmp_path / "open").touch()
    worker, started = by_itself(tmp_path, Gated, "--at", "1:hang")
    try:
        with pytest.raises(DeadlineError, match="its worker is started again"):
            worker.ask(request(tmp_path, 1), 0.01)
        assert worker.ask(request(tmp_path, 2), None)["number"] == 20
        assert started[0].process.poll() is None, "it is still there"
    finally:
        Gated.let_go.set()
        worker.close()
    assert started[0].process.poll() is not None


def test_it_is_warmed_by_zeros_before_its_first_volume(tmp_path: Path) -> None:
    warmed = replace(APP, worker=replace(APP.worker, warm=True))
    app = BidsApp.from_descriptor(warmed, runtime="native", at=["0:error", "3:exit"])
    plugin, _ = run(tmp_path, app=app, deadline=5.0)
    seen = [result.values.get("odd.words") for result in plugin.results]
    assert seen == ["0 1", "0 1 2", None, "0 4", "0 4 5", "0 4 5 6"]


def test_a_replay_decides_as_the_run_did(tmp_path: Path) -> None:
    plugin, seen = run(tmp_path, at=("3:hang",), deadline=2.0)
    decisions = Decisions([one for one in seen if isinstance(one, Event)])
    again, _ = run(tmp_path / "again", decisions=decisions, deadline=1e-9)
    assert [one.status for one in again.results] == [one.status for one in plugin.results]
    assert numbers(again) == numbers(plugin)


def test_its_image_is_the_next_one_of_the_volume(tmp_path: Path) -> None:
    app = BidsApp.from_descriptor(APP, runtime="native")
    plan = inspect(graph(tmp_path, app=app))
    pictures = []
    step = next(node for node in plan.nodes if node.name == "odd")
    called = type(app)._run_interface

    def keep(self: Any, runtime: Any) -> Any:
        called(self, runtime)
        pictures.append((self.inputs.incremental, self._results["picture"]))
        return runtime

    step.node.interface.__class__ = type("Kept", (type(app),), {"_run_interface": keep})
    StreamPlugin(tmp_path / "out", source=Few()).run_plan(plan)
    volume, picture = pictures[0]
    np.testing.assert_array_equal(volume.data, picture.data)
    assert picture.grid == volume.grid
    assert (picture.metadata, picture.entities) == (volume.metadata, volume.entities)


def test_a_worker_that_does_not_start_ends_the_run(tmp_path: Path) -> None:
    app = BidsApp.from_descriptor(APP, runtime="native", unready="exit")
    with pytest.raises(RunError, match="its worker did not start: it ended: no licence"):
        run(tmp_path, app=app)


def test_a_worker_that_is_never_ready_is_given_up(tmp_path: Path) -> None:
    worker = AppWorker(
        lambda: WorkerProcess(Runtime("native"), APP, (), ["--unready", "hang"], tmp_path / "log"), 0.5
    )
    with pytest.raises(RunError, match=r"did not say that it is ready within 0.5 s"):
        worker.wait_ready()
    worker.close()


def test_without_a_worker_it_is_no_node_of_the_stream(tmp_path: Path) -> None:
    app = BidsApp.from_descriptor(Descriptor(name="slow", image="x@sha256:" + 64 * "0"))
    with pytest.raises(CompileError, match=r"odd: 'slow' has no worker in its file.*cold=True"):
        inspect(graph(tmp_path, app=app))
    app = BidsApp.from_descriptor(Descriptor(name="slow", image="x@sha256:" + 64 * "0"), cold=True)
    inspect(graph(tmp_path, app=app))


def test_it_does_not_run_in_a_process(tmp_path: Path) -> None:
    with pytest.raises(CompileError, match="cannot run in a process"):
        inspect(graph(tmp_path, mode="process"))


def test_in_the_stream_it_needs_a_volume_and_beside_it_a_data_set(tmp_path: Path) -> None:
    flow = graph(tmp_path)
    flow.add_nodes([Node(BidsApp.from_descriptor(APP, runtime="native"), name="once")])
    with pytest.raises(CompileError, match="once: its input 'bids_dir' is not connected: it runs once"):
        inspect(flow)


def test_the_interface_and_its_class_pickle() -> None:
    app = BidsApp.from_descriptor(APP, runtime="native", at=["3:hang"])
    again = pickle.loads(pickle.dumps(app))
    assert type(again) is type(app)
    assert again.inputs.at == ["3:hang"]
    assert pickle.loads(pickle.dumps(type(app))) is type(app)
    assert pickle.loads(pickle.dumps(BidsApp)) is BidsApp
    outputs = app.output_spec()
    outputs.number = 3.0
    assert pickle.loads(pickle.dumps(outputs)).number == 3.0
