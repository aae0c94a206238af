"""An engine that is killed leaves nothing of an app behind, though the app hangs and hears no signal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from containers import Podman
from rtflow.bids_apps.descriptor import Descriptor, Native
from rtflow.bids_apps.running import AppRun, run_app
from rtflow.bids_apps.runtime import Runtime

SCRIPT = """
import sys, threading, time
from pathlib import Path
from rtflow.bids_apps.app_worker import AppWorker
from rtflow.bids_apps.descriptor import Descriptor, Native, Worker
from rtflow.bids_apps.launching import WorkerProcess
from rtflow.bids_apps.running import AppRun, run_app
from rtflow.bids_apps.runtime import Runtime

name, image, data, out = sys.argv[1:]
runtime = Runtime(name)
script = 'echo "{\\\\"ready\\\\": true}"; trap "" TERM HUP INT; while true; do sleep 1000; done'
hanging = ("/bin/sh", "-c", script, out)
app = Descriptor(
    name="orphan", image=image, command=hanging, worker=Worker(command=hanging),
    native=Native(command=hanging, worker=hanging),
)
workers = [
    AppWorker(lambda: WorkerProcess(one, app, (), (), Path("/dev/null")))
    for one in {runtime, Runtime("native")}
]
for worker in workers:
    worker.wait_ready()
run = AppRun(descriptor=app, runtime=runtime, bids_dir=Path(data), out=Path(out))
threading.Thread(target=run_app, args=(run, lambda line: print("running", flush=True))).start()
time.sleep(1000)
"""


@pytest.mark.parametrize("runtime", ["podman", "docker"])
def test_an_app_ends_with_its_engine(
    podman: Podman, request: pytest.FixtureRequest, data_set: Path, tmp_path: Path, runtime: str
) -> None:
    if runtime == "docker":
        request.getfixturevalue("docker")

    def containers() -> list[str]:
        return [name for name in podman.running() if name.startswith("rtflow-orphan")]

    def processes() -> list[int]:
        return [one.pid for one in psutil.process_iter() if str(tmp_path / "out") in _command(one)]

    image = podman.pinned("example-app-shell")
    command = [sys.executable, "-c", SCRIPT, runtime, image, str(data_set), str(tmp_path / "out")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as engine:
        assert engine.stdout is not None
        assert engine.stdout.readline() == "running\n"
        assert len(containers()) == 2
        assert len(processes()) > 2
        os.kill(engine.pid, signal.SIGKILL)
    _wait_until(lambda: not containers())
    _wait_until(lambda: not processes())
    (left,) = (path for path in (tmp_path / "out" / ".orphan").iterdir() if path.is_dir())
    well = Native(command=("/bin/sh", "-c", "touch $2/done", "sh"))
    app = Descriptor(name="orphan", image=image, native=well)
    run = AppRun(descriptor=app, runtime=Runtime("native"), bids_dir=data_set, out=tmp_path / "out")
    outcome = run_app(run)
    assert outcome.notes == (f"what a run that was killed had left was removed: {left}",)
    assert sorted(path.name for path in left.parent.iterdir()) == [f"{left.name}.log", outcome.log.name]


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def _wait_until(reached: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.1)
