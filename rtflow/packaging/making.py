"""A package made: files chosen, looked at, pinned, and run once on the simulated scanner."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import rtflow
from rtflow.errors import PackageError
from rtflow.journal import Recording
from rtflow.packaging.containerfile import containerfile
from rtflow.packaging.contents import descriptors, imported, lay_out
from rtflow.packaging.locking import (
    BUILDERS,
    Locked,
    fetch,
    lock_as_installed,
    lock_by_index,
    needed,
    requirements,
)
from rtflow.packaging.manifest import (
    IMAGE,
    NAME,
    SELF_TEST,
    Manifest,
    hashes,
    image_name,
    read_manifest,
    this_python,
    write_manifest,
)
from rtflow.packaging.proving import environment
from rtflow.packaging.scanning import refuse
from rtflow.settings import RunSettings
from rtflow.source_settings import SimulateSource
from rtflow.source_uri import format_source
from rtflow.workflow_file import WorkflowFile

# The simulated head of the self-test is small: what is tested is that values are the same, not what they are.
_SMALL = ("source.shape=[24, 24, 12]", "source.voxel=8", "source.speed=max")
# Of a recorded run, what a replay reads.
_RECORDED = ("journal", "workflow", "session")
# What a package consists of, and what building its image leaves there. The manifest goes last: until then it
# says that the folder may be made anew.
_PARTS = (
    *("workflow", SELF_TEST, "wheels", "requirements-build.txt", "requirements.txt", "Containerfile"),
    *("build.log", IMAGE, NAME),
)


@dataclass(frozen=True)
class Wanted:
    """What is packaged, and how.

    Parameters
    ----------
    workflow, settings
        The workflow file and its settings.
    include
        Further files and folders.
    base
        Image to build on; empty is Python's own of this version.
    tag
        What the image is to be called; empty is the workflow's name.
    test_settings
        Of the self-test alone, as for ``--set``.
    offline
        Whether wheels are made of what is installed, and no index is asked.
    """

    workflow: WorkflowFile
    settings: RunSettings
    include: tuple[Path, ...] = ()
    base: str = ""
    tag: str = ""
    test_settings: tuple[str, ...] = ()
    offline: bool = False


def make_package(wanted: Wanted, folder: Path, tell: Callable[[str], None] = lambda said: None) -> Manifest:
    """Write a package into a folder; one that is there already is made anew.

    It appears when it is whole: files that are refused, or a workflow that does not run without what stands
    beside it on this machine, leave nothing behind.

    Parameters
    ----------
    wanted
        What, and how.
    folder
        Where.
    tell
        Called with what is being done.

    Raises
    ------
    PackageError
        If the folder holds anything but a package; if something holds keys, tokens or participant data; if a
        package cannot be pinned; or if the workflow does not run on the simulated scanner.
    """
    folder = folder.absolute()
    require_ours(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="rtflow-package-") as temporary:
        stage = Path(temporary) / "package"
        (stage / "wheels").mkdir(parents=True)
        files = lay_out(wanted.workflow, wanted.settings, wanted.include, stage)
        refuse(files)
        tell(f"{len(files)} files, without keys, tokens or participant data: {', '.join(files)}")
        apps = descriptors(path for name, path in files.items() if name.startswith("workflow/apps/"))
        packages = imported(wanted.workflow.path).packages
        locked = _lock(["rtflow", *packages], stage, offline=wanted.offline, tell=tell)
        tell(f"{len(locked)} packages locked by their hashes")
        workflow = f"workflow/{wanted.workflow.path.name}"
        volumes = _record(wanted, stage, workflow)
        tell(f"self-test: {volumes} simulated volumes recorded")
        manifest = Manifest(
            workflow=workflow,
            rtflow=rtflow.__version__,
            python=this_python(),
            machine=platform.machine(),
            made=time.strftime("%Y-%m-%d", time.gmtime()),
            packages={one.name: one.version for one in locked},
            files=hashes(stage),
            apps=apps,
            volumes=volumes,
        )
        write_manifest(stage, manifest)
        base = wanted.base or f"docker.io/library/python:{manifest.python}-slim-bookworm"
        tag = wanted.tag or image_name(workflow)
        text = containerfile(workflow, base=base, python=manifest.python, tag=tag, version=rtflow.__version__)
        (stage / "Containerfile").write_text(text, encoding="utf-8")
        clear(folder)
        shutil.copytree(stage, folder, dirs_exist_ok=True)
    return manifest


def require_ours(folder: Path) -> None:
    """Refuse to write into what is there, unless that is an empty folder or a package.

    Raises
    ------
    PackageError
        If it is something else.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    try:
        read_manifest(folder)
    except PackageError:
        raise PackageError(
            f"{folder} is there already, and is no package that could be made anew; give another folder by "
            "--to, or move it away"
        ) from None


def clear(folder: Path) -> None:
    """Remove what an earlier package consists of; what else somebody laid beside it, such as .git, stays."""
    for name in _PARTS:
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def fetch_wheels(folder: Path, tell: Callable[[str], None] = lambda said: None) -> None:
    """Download the packages that a package is locked to, those that are not there yet, checked by hash."""
    for name in ("requirements-build.txt", "requirements.txt"):
        fetch(folder / name, folder / "wheels", tell)


def _lock(names: Iterable[str], stage: Path, *, offline: bool, tell: Callable[[str], None]) -> list[Locked]:
    """Write both files of requirements, and the wheel of this package; what is locked for use."""
    wheels = stage / "wheels"
    pins = needed(names)
    del pins["rtflow"]
    builders = {name: needed([name])[name] for name in BUILDERS}
    if offline:
        locked, building = lock_as_installed(pins, wheels), lock_as_installed(builders, wheels)
    else:
        both = {one.name: one for one in lock_by_index({**builders, **pins}, tell)}
        locked, building = [both[name] for name in pins], [both[name] for name in builders]
    (stage / "requirements-build.txt").write_text(requirements(building), encoding="utf-8")
    mine = lock_as_installed(["rtflow"], wheels)[0]  # no index has it as it runs here
    (stage / "requirements.txt").write_text(requirements([*locked, mine]), encoding="utf-8")
    return [*locked, mine]


def _record(wanted: Wanted, stage: Path, workflow: str) -> int:
    """Run the packaged workflow, from the package alone, on the simulated scanner; number of volumes."""
    source = wanted.settings.source
    uri = format_source(source if isinstance(source, SimulateSource) else SimulateSource())
    given = [part for setting in (*_SMALL, *wanted.test_settings) for part in ("--set", setting)]
    with tempfile.TemporaryDirectory(prefix="rtflow-package-") as out:
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "rtflow",
                "run",
                workflow,
                "--source",
                uri,
                "--out",
                out,
                "--quiet",
                *given,
            ],
            cwd=stage,
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise PackageError(
                f"the packaged workflow does not run on the simulated scanner: {_last(done.stderr)}. A "
                "file that it needs is given by --include, a setting of the self-test by --test-set"
            )
        [run_dir] = (Path(out) / "runs").iterdir()
        for part in _RECORDED:
            if (run_dir / part).is_dir():
                shutil.copytree(run_dir / part, stage / SELF_TEST / part)
        return len(Recording(run_dir).results)


def _last(said: str) -> str:
    lines = [line for line in said.splitlines() if line.strip()]
    return lines[-1].removeprefix("rtflow: ") if lines else "it said nothing"
