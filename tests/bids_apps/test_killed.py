"""An engine that is killed leaves no container of a worker behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

from containers import Podman

SCRIPT = """
import sys, time
from pathlib import Path
from rtflow.bids_apps.app_worker import AppWorker
from rtflow.bids_apps.descriptor import Descriptor, Worker
from rtflow.bids_apps.launching import WorkerProcess
from rtflow.bids_apps.runtime import Runtime
served = Worker(command=("python3", "/app/run.py", "--worker"))
app = Descriptor(name="orphan", image=sys.argv[1], worker=served)
worker = AppWorker(lambda: WorkerProcess(Runtime("podman"), app, (), (), Path("/dev/null")))
worker.wait_ready()
print("ready", flush=True)
time.sleep(1000)
"""


def test_a_worker_ends_with_its_engine(podman: Podman) -> None:
    def orphans() -> list[str]:
        return [name for name in podman.running() if name.startswith("rtflow-orphan")]

    command = [sys.executable, "-c", SCRIPT, podman.pinned("example-app")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as engine:
        assert engine.stdout is not None
        assert engine.stdout.readline() == "ready\n"
        assert len(orphans()) == 1
        os.kill(engine.pid, signal.SIGKILL)
    deadline = time.monotonic() + 60
    while orphans() and time.monotonic() < deadline:
        time.sleep(0.2)
    assert orphans() == []
