"""The command as a person calls it, and what its runs have come to."""

import os
import subprocess
import sys
from pathlib import Path

from rtflow.batch.table import rows_of

RTFLOW = [sys.executable, "-m", "rtflow"]
SMALL = ("source.shape=[24,24,12]", "source.voxel=8", "source.volumes=24")


def rtflow(*words: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*RTFLOW, *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environment,
        timeout=240,
    )


def simulated(out: Path, run: int) -> None:
    """Record a run."""
    settings = [word for one in (*SMALL, f"source.seed={run}", f"bids.run={run}") for word in ("--set", one)]
    done = rtflow("run", "roi_feedback", "--speed", "max", *settings, "--quiet", "--out", out)
    assert done.returncode == 0, done.stderr


def states(folder: Path) -> dict[str, str]:
    return {row["name"]: row["status"] for row in rows_of(folder)}
