"""Five hundred volumes at full speed, five in a hundred with each fault: 500 Results, and flat memory."""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from processes import LIMIT, Run, environment

VOLUMES = 500
FAULTS = ("drop", "duplicate", "delay", "reorder", "truncate", "stray")

pytestmark = pytest.mark.slow


def simulate(out: Path, *options: str) -> subprocess.Popen[str]:
    """A scanner in a process of its own."""
    faults = [one for name in FAULTS for one in (f"--{name}", "0.05")]
    command = [sys.executable, "-m", "rtflow", "simulate", str(out), "--speed", "max", "--quiet"]
    command += ["--volumes", str(VOLUMES), "--tr", "1", "--seed", "7", *faults, *options]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment()
    )


@pytest.mark.parametrize("way", ["folder", "dicom"])
@pytest.mark.parametrize(
    ("vendor", "shape"), [("siemens-mosaic", "32,32,12"), ("ge", "24,24,8")], ids=["volume", "slice"]
)
def test_five_hundred_volumes(way: str, vendor: str, shape: str, tmp_path: Path) -> None:
    incoming = tmp_path / "incoming"
    incoming.mkdir()
    options = "idle=6&patience=2&wait=60"
    source = f"folder:{incoming}?{options}" if way == "folder" else f"dicom://127.0.0.1:0?{options}"
    lenient = ["--set", "limits.missing=none", "--set", "limits.late=none"]
    with Run(tmp_path / "out", "--source", source, *lenient) as run:
        run.until(lambda: any((run.out / "runs").glob("*/work")))
        scan = incoming / "scan" if way == "folder" else tmp_path / "scan"
        send = ["--send", f"dicom://127.0.0.1:{run.port()}"] if way == "dicom" else []
        began = time.monotonic()
        scanner = simulate(scan, "--vendor", vendor, "--shape", shape, "--voxel", "8", *send)
        said, _ = scanner.communicate(timeout=LIMIT)
        made = time.monotonic() - began
        assert scanner.returncode == 0, said
        status, _, err = run.wait()
    assert status == 0, err
    results = run.recording.results
    assert [result.volume for result in results] == list(range(1, VOLUMES + 1))
    facts = json.loads(next(tmp_path.rglob("faults.json")).read_text())
    (lost,) = facts["missing"].values()
    assert lost, "nothing was lost: this tests nothing"
    assert [result.volume for result in results if result.status == "missing"] == lost
    # Those that wait for one that never comes are late; none failed.
    assert {result.status for result in results} <= {"ok", "late", "missing"}
    # Of 500 volumes the last 300 may take no more memory than noise.
    table = np.loadtxt(run.run_dir / "memory.tsv")
    memory = {
        part: float(np.median(table[(table[:, 0] > part[0]) & (table[:, 0] <= part[1]), 1]))
        for part in ((100, 200), (400, 500))
    }
    early, late = memory.values()
    last = results[-1].time - run.recording.volumes[0].time
    print(
        f"{way} {vendor}: {VOLUMES / last:.0f} volumes/s, made in {made:.1f} s; "
        f"{early:.1f} MB at 100-200, {late:.1f} MB at 400-500; {len(lost)} missing"
    )
    assert late < early * 1.1
