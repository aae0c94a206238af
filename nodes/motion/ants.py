"""Rigid registration by ANTs (Avants et al., NeuroImage 2011; 54:2033-2044), where it is installed.

What runs is ``antsRegistration``: the command on the path or, where there is none, the same program within
the wheel ``antspyx`` of this environment. Of that wheel nothing else is loaded, so it needs none of its
requirements.
"""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtflow.errors import VolumeError
from rtflow.nodes.motion.itk import itk_image, ras_of

COMMAND = "antsRegistration"

# The command's stand-in: the wheel's library, and the command's arguments.
_OF_WHEEL = (
    "import sys, importlib.util as u; s = u.spec_from_file_location('lib', sys.argv[1]); "
    "m = u.module_from_spec(s); s.loader.exec_module(m); sys.exit(m.antsRegistration(sys.argv[2:]))"
)

# Seconds after which a program that only tells its version hangs.
_TELLS = 30.0

# Mutual information over all points of the mask: none is drawn at random, and two runs are the same.
_SCHEDULE = (
    *("--transform", "Rigid[0.1]"),
    *("--metric", "MI[fixed.nrrd,moving.nrrd,1,32,None]"),
    *("--masks", "[mask.nrrd,NULL]"),
    # More than ten steps on the finest images take most of the time, and change nothing.
    *("--convergence", "[100x10,1e-6,10]"),
    *("--shrink-factors", "2x1"),
    *("--smoothing-sigmas", "1x0mm"),
)


class AntsError(VolumeError):
    """ANTs did not come to a result."""


@dataclass(frozen=True)
class Ants:
    """The program, as it is installed.

    Parameters
    ----------
    command
        What starts it, before its arguments.
    version
        As it tells it: ``v2.5.1``.
    """

    command: tuple[str, ...]
    version: str

    def __str__(self) -> str:
        return f"ANTs {self.version}"

    def run(self, arguments: Sequence[str], folder: Path, limit: float | None = None) -> str:
        """Run it on one thread, in a folder; what it printed.

        Raises
        ------
        AntsError
            If it fails, or takes longer than ``limit`` seconds; it is killed then.
        """
        with tempfile.TemporaryFile() as said:
            try:
                process = subprocess.Popen(
                    [*self.command, *arguments],
                    cwd=folder,
                    env={**os.environ, "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1"},
                    stdin=subprocess.DEVNULL,
                    stdout=said,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # the command may be a script, which has started the program
                )
            except OSError as error:
                raise AntsError(f"{COMMAND} cannot be started: {error}") from None
            try:
                status = process.wait(limit)
            except BaseException as error:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                if isinstance(error, subprocess.TimeoutExpired):
                    raise AntsError(f"{COMMAND} took longer than {limit:g} s and was killed") from None
                raise
            said.seek(0)
            text = said.read().decode(errors="replace")
        if status:
            raise AntsError(f"{COMMAND} ended with status {status}: {_end_of(text)}")
        return text

    def register(
        self,
        fixed: tuple[NDArray[Any], NDArray[np.float64]],
        mask: NDArray[np.bool_],
        moving: tuple[NDArray[Any], NDArray[np.float64]],
        *,
        folder: Path,
        limit: float | None,
    ) -> NDArray[np.float64]:
        """The rigid transform between two images of any contrast that lie within some 10 mm and degrees.

        Parameters
        ----------
        fixed, moving
            Voxels, shapes (i, j, k) and (l, m, n), and 4x4 to RAS+ mm. Turns are about the origin, which
            should be near the middle of the head.
        mask
            Which voxels of ``fixed`` are compared, shape (i, j, k).
        folder
            Where the files of the program may lie meanwhile.
        limit
            Seconds after which it is killed; None for no limit.

        Returns
        -------
        4x4, RAS+ mm, positions in ``fixed`` to positions in ``moving``.

        Raises
        ------
        AntsError
            If the program fails or leaves no transform.
        """
        import SimpleITK

        sitk: Any = SimpleITK
        with tempfile.TemporaryDirectory(prefix="ants-", dir=folder) as made:
            here = Path(made)
            # NRRD keeps positions to the last digit, whatever the angles.
            for name, data, affine in (
                ("fixed", np.asarray(fixed[0], np.float32), fixed[1]),
                ("moving", np.asarray(moving[0], np.float32), moving[1]),
                ("mask", mask.astype(np.uint8), fixed[1]),
            ):
                sitk.WriteImage(itk_image(data, affine), str(here / f"{name}.nrrd"))
            said = self.run(("--dimensionality", "3", "--output", "found", *_SCHEDULE), here, limit)
            try:
                transform = sitk.ReadTransform(str(here / "found0GenericAffine.mat"))
            except RuntimeError:
                raise AntsError(f"{COMMAND} left no transform: {_end_of(said)}") from None
        found = ras_of(transform.TransformPoint)
        if not np.isfinite(found).all():
            raise AntsError(f"{COMMAND} found a transform with values that are no numbers")
        return found


def installed() -> Ants | None:
    """ANTs as the command on the path, or else as the wheel of this environment; None if neither runs."""
    for command in (_on_path(), _in_wheel()):
        if command:
            try:
                told = Ants(command, "").run(("--version",), Path(), _TELLS)
            except AntsError:
                continue
            version = told.partition("ANTs Version:")[2].split()
            return Ants(command, version[0] if version else "of unknown version")
    return None


def _end_of(text: str) -> str:
    return " ".join(text.split()[-40:]) or "it said nothing"


def _on_path() -> tuple[str, ...]:
    found = shutil.which(COMMAND)
    return (found,) if found else ()


def _in_wheel() -> tuple[str, ...]:
    try:
        files = importlib.metadata.files("antspyx") or ()
    except importlib.metadata.PackageNotFoundError:
        return ()
    for file in files:
        if file.match("ants/lib*.so"):
            return (sys.executable, "-c", _OF_WHEEL, str(file.locate()))
    return ()
