"""The command as a person calls it: a process of its own, in an empty folder."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]

#: A scan that takes no time to simulate.
TINY = [
    *("--set", "source.shape=[24, 24, 10]", "--set", "source.voxel=8", "--set", "source.volumes=20"),
]

Rtflow = Callable[..., subprocess.CompletedProcess]


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    """Of a process that finds rtflow, and writes for no terminal in particular."""
    kept = {name: value for name, value in os.environ.items() if name not in ("RTFLOW_DEBUG", "COLUMNS")}
    return kept | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "default"}


@pytest.fixture
def rtflow(tmp_path: Path, environment: dict[str, str]) -> Rtflow:
    """Run ``rtflow ARGUMENTS`` in ``tmp_path``."""

    def call(*arguments: str | Path) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, "-m", "rtflow", *map(str, arguments)],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    return call
