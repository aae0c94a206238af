"""The test by which a package proves itself: a simulated run, recorded when it was made, is replayed."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import msgspec

from rtflow.errors import RunError
from rtflow.packaging.manifest import NAME, SELF_TEST, differences, read_manifest

# What every processor of a kind has: libraries that take more where there is more add in another order.
_ARITHMETIC = {
    "x86_64": {
        "OPENBLAS_CORETYPE": "Haswell",
        "NUMBA_CPU_NAME": "haswell",
        "NUMBA_CPU_FEATURES": "+sse3,+ssse3,+sse4.1,+sse4.2,+popcnt,+avx,+avx2,+fma,+f16c,+bmi,+bmi2,+lzcnt",
    },
    "aarch64": {"OPENBLAS_CORETYPE": "ARMV8", "NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""},
}
_SETTINGS = ("OPENBLAS_", "NUMBA_", "OMP_", "MKL_", "NPY_", "RTFLOW_")


class Tested(msgspec.Struct, frozen=True, kw_only=True):
    """What a self-test found.

    Parameters
    ----------
    equal
        Volumes whose values are what they were, bit for bit.
    differing
        The others.
    wrong
        What else is not as the manifest says.
    """

    equal: int
    differing: tuple[int, ...] = ()
    wrong: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether everything is as it was."""
        return bool(self.equal) and not self.differing and not self.wrong


def environment(**more: str) -> dict[str, str]:
    """Variables for a run whose values are to be the same on another processor of this kind."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_SETTINGS)}
    return kept | {"OPENBLAS_NUM_THREADS": "1"} | _ARITHMETIC.get(platform.machine(), {}) | more


def self_test(folder: Path, tell: Callable[[str], None] = lambda said: None) -> Tested:
    """Compare a package with its manifest, run its recorded run once more, and compare the values.

    Parameters
    ----------
    folder
        The package.
    tell
        Called with what is being done.

    Raises
    ------
    PackageError
        If there is no manifest.
    RunError
        If the run cannot be replayed.
    """
    folder = folder.absolute()
    manifest = read_manifest(folder)
    wrong = tuple(differences(folder, manifest))
    tell(f"{len(manifest.files)} files and {len(manifest.packages)} packages compared with {NAME}")
    beside = os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), str(folder / "workflow"))))
    with tempfile.TemporaryDirectory(prefix="rtflow-self-test-") as out:
        done = subprocess.run(
            [sys.executable, "-m", "rtflow", "replay", str(folder / SELF_TEST), "--out", out, "--json"],
            env=environment(PYTHONPATH=beside),
            capture_output=True,
            text=True,
            check=False,
        )
    try:
        found = json.loads(done.stdout)
        equal, differing = int(found["replay"]["equal"]), tuple(found["replay"]["differing"])
    except (ValueError, KeyError):
        said = done.stderr.strip().splitlines() or ["it said nothing"]
        raise RunError(
            f"the run of {folder} cannot be replayed: {said[-1].removeprefix('rtflow: ')}"
        ) from None
    tell(f"{equal} of {manifest.volumes} volumes have the values that were recorded, bit for bit")
    if found["status"] != "completed" or equal + len(differing) != manifest.volumes:
        wrong += (f"the replay ended with {found['status']}, {manifest.volumes} volumes were recorded",)
    return Tested(equal=equal, differing=differing, wrong=wrong)
