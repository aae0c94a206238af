"""Docker's command line on the service of the tests' podman."""

import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from containers import Podman


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user can see: pytest closes those above its own to others, each time it starts."""
    with tempfile.TemporaryDirectory(prefix="rtflow-open-") as made:
        Path(made).chmod(0o755)
        yield Path(made)


@pytest.fixture
def docker(podman: Podman, open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Docker's command line works, and what it starts can be seen by podman."""
    socket = open_folder / "docker.sock"
    service = subprocess.Popen(["podman", "system", "service", "--time=0", f"unix://{socket}"])
    try:
        monkeypatch.setenv("DOCKER_HOST", f"unix://{socket}")
        give_up = time.monotonic() + 60
        while subprocess.run(["docker", "version"], capture_output=True, check=False).returncode:
            assert time.monotonic() < give_up, "podman's service does not answer"
            time.sleep(0.1)
        socket.chmod(0o666)
        yield
    finally:
        service.terminate()
        service.wait()
