"""Podman with a storage of its own, and images that are built from Debian's packages: no registry is asked.

The storage stands in one folder below the temporary one, and an image is named by the hash of what it is
built from: processes of a test run share what one of them has built, and the next test run finds it again.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "containers"
HERE = Path(__file__).parent

#: What each image is built from: a folder with a Containerfile, and the base that stands in for its own.
IMAGES = {
    "example-app": (EXAMPLES / "example-app", "python"),
    "example-app-shell": (EXAMPLES / "example-app-shell", "busybox"),
    "prep-app": (HERE / "prep_app", "python"),
}

_OURS = "localhost/rtflow-tests/"
_KEPT_SECONDS = 24 * 3600

_NO_DOCUMENTATION = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*")


@dataclass(frozen=True)
class Podman:
    """Podman as the tests use it.

    Parameters
    ----------
    root
        Its storage, its configuration, and what it keeps while it runs.
    """

    root: Path

    @property
    def environment(self) -> dict[str, str]:
        """What makes any podman of this machine use that storage."""
        return {} if os.getuid() else self.variables  # a person's own podman works as it was set up

    @property
    def variables(self) -> dict[str, str]:
        """Where its configuration stands."""
        return {
            "CONTAINERS_CONF": str(self.root / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(self.root / "storage.conf"),
            "BUILDAH_ISOLATION": "chroot",
        }

    def __call__(self, *arguments: str, check: bool = True, timeout: float = 300) -> str:
        """Run podman; what it says on stdout, without spaces around."""
        done = subprocess.run(
            ["podman", *arguments],
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert done.returncode == 0 or not check, f"podman {' '.join(arguments)}: {done.stderr[-3000:]}"
        return done.stdout.strip()

    def running(self) -> list[str]:
        """Names of all containers, whatever state they are in."""
        return self("ps", "--all", "--format", "{{.Names}}").split()

    def digest(self, tag: str) -> str:
        """``sha256:...`` of an image."""
        return self("image", "inspect", "--format", "{{.Digest}}", tag)

    def image(self, name: str) -> str:
        """Tag of one of `IMAGES`, or of a base (``python``, ``busybox``), built first if it is not there."""
        return self._base(name) if name in _BASES else self.build(*IMAGES[name])

    def pinned(self, name: str) -> str:
        """One of `IMAGES` by its digest, as a descriptor names it."""
        tag = self.image(name)
        return f"{tag.rpartition(':')[0]}@{self.digest(tag)}"

    def build(self, folder: Path, base: str) -> str:
        """Tag of the image that a folder with a Containerfile makes on a base of the tests."""
        parts = [self._base(base)]
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            if "__pycache__" not in file.parts:
                parts += [
                    f"{file.relative_to(folder)} {file.stat().st_mode & 0o111}",
                    _hash(file.read_bytes()),
                ]
        tag = f"{_OURS}{folder.name.replace('_', '-')}:{_hash(*parts)}"
        with self._lock():
            if not self._has(tag):
                self("build", "--quiet", "--build-arg", f"BASE={parts[0]}", "--tag", tag, str(folder))
        return tag

    def _base(self, name: str) -> str:
        base = _BASES[name]()
        stamp = _hash(_suite(), repr(base), (ROOT / "constraints.txt").read_text(encoding="utf-8"))
        tag = f"{_OURS}{name}:{stamp}"
        with self._lock():
            if not self._has(tag):
                with tempfile.TemporaryDirectory(dir=self.root) as work:
                    archive = base.write(Path(work))
                    self("import", "--quiet", "--change", "ENV PYTHONPATH=/opt/python", str(archive), tag)
        return tag

    def prune(self) -> None:
        """Remove images of tests that none has used for a day: those of what has changed since."""
        with self._lock():
            said = self("images", "--format", "json", "--filter", f"reference={_OURS}*", check=False)
            for image in json.loads(said or "[]"):
                for tag in [name for name in image.get("Names") or [] if name.startswith(_OURS)]:
                    mark = self._mark(tag)
                    used = mark.stat().st_mtime if mark.exists() else image["Created"]
                    if time.time() - used > _KEPT_SECONDS:
                        self("rmi", tag, check=False)
                        mark.unlink(missing_ok=True)
            self("image", "prune", "--force", "--filter", f"until={_KEPT_SECONDS}s", check=False)

    def _mark(self, tag: str) -> Path:
        """A file that is as old as the last use of an image."""
        return self.root / f"used-{tag.removeprefix(_OURS).replace('/', '-')}"

    def _has(self, tag: str) -> bool:
        self._mark(tag).touch()
        # Not by a list of all: that fails while another process makes an image.
        done = subprocess.run(
            ["podman", "image", "exists", tag],
            env={**os.environ, **self.environment},
            check=False,
            timeout=300,
        )
        return done.returncode == 0

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        with (self.root / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _hash(*parts: str | bytes) -> str:
    found = hashlib.sha256()
    for part in parts:
        found.update(hashlib.sha256(part.encode() if isinstance(part, str) else part).digest())
    return found.hexdigest()[:12]


def _suite() -> str:
    release = Path("/etc/os-release").read_text(encoding="utf-8")
    return next(
        line.partition("=")[2] for line in release.splitlines() if line.startswith("VERSION_CODENAME=")
    )


def _asked(*command: str) -> list[str]:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def _mirror() -> str:
    """Where this machine has Debian's packages from."""
    said = _asked("apt-get", "indextargets", "--format", "$(REPO_URI) $(CODENAME) $(COMPONENT) $(CREATED_BY)")
    wanted = f"{_suite()} main Packages"
    return next(uri for uri, _, rest in (line.partition(" ") for line in said) if rest == wanted)


def _python_of_debian() -> str:
    said = _asked("apt-cache", "depends", "python3-minimal")
    found = next(line.split()[-1] for line in said if "python3." in line)
    return found.removesuffix("-minimal")


@dataclass(frozen=True)
class Base:
    """A root file system of Debian's packages, as they are unpacked, and what pip brings.

    Parameters
    ----------
    packages
        Of Debian.
    links
        Path to what it leads to.
    requirements
        Of pip, in ``/opt/python``.
    commands
        Run in it when it is there.
    """

    packages: tuple[str, ...]
    links: tuple[tuple[str, str], ...] = ()
    requirements: tuple[str, ...] = ()
    commands: tuple[tuple[str, ...], ...] = ()

    def write(self, work: Path) -> Path:
        """An archive of it."""
        system, archive = work / "system", work / "system.tar"
        subprocess.run(
            ["mmdebstrap", "--quiet", "--variant=extract", "--format=directory"]
            + [f"--dpkgopt=path-exclude={pattern}" for pattern in _NO_DOCUMENTATION]
            + [f"--include={','.join(self.packages)}", _suite(), str(system), _mirror()],
            check=True,
            env={**os.environ, "TMPDIR": str(work)},
        )
        for path, target in self.links:
            (system / path).unlink(missing_ok=True)
            (system / path).symlink_to(target)
        if self.requirements:
            self._install(system / "opt" / "python")
        for command in self.commands:
            subprocess.run(["chroot", str(system), *command], check=True)
        for folder in ("var/lib/apt", "var/cache/apt"):
            shutil.rmtree(system / folder, ignore_errors=True)
        subprocess.run(["tar", "--numeric-owner", "-C", str(system), "-cf", str(archive), "."], check=True)
        return archive

    def _install(self, folder: Path) -> None:
        version = _python_of_debian().removeprefix("python")
        foreign = ["--python-version", version, "--implementation", "cp", "--only-binary", ":all:"]
        where = ["--target", str(folder), "--constraint", str(ROOT / "constraints.txt")]
        command = [sys.executable, "-m", "pip", "install", "-q", "--no-compile"]
        command += [*foreign, *where, *self.requirements]
        known = os.environ | {"PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        if subprocess.run(command, check=False, env=known).returncode:
            # One of the further indexes may be broken; the packages are in the main one, too.
            shutil.rmtree(folder, ignore_errors=True)
            subprocess.run(command, check=True, env=known | {"PIP_EXTRA_INDEX_URL": " "})
        for tests in [path for path in folder.rglob("tests") if path.is_dir()]:
            shutil.rmtree(tests, ignore_errors=True)


def _python() -> Base:
    name = _python_of_debian()
    return Base(
        packages=(f"{name}-minimal", f"lib{name}-stdlib", "coreutils", "dash", "libstdc++6", "zlib1g"),
        links=(("usr/bin/python3", name), ("bin/sh", "dash")),
        requirements=("numpy", "nibabel"),
    )


def _bare_python() -> Base:
    """What stands in for Python's own slim image: an interpreter, and no packages."""
    with_numpy = _python()
    return replace(with_numpy, packages=(*with_numpy.packages, "findutils"), requirements=())


def _busybox() -> Base:
    return Base(packages=("busybox-static",), commands=(("/bin/busybox", "--install", "-s", "/bin"),))


_BASES = {"python": _python, "bare-python": _bare_python, "busybox": _busybox}


def configure(root: Path) -> None:
    """Write the configuration of a podman that runs where cgroups and networks cannot be had."""
    (root / "bin").mkdir(exist_ok=True)
    runtime = shutil.which("crun") or "/usr/bin/crun"
    if Path("/sys/fs/cgroup/unified/cgroup.controllers").exists():
        # crun refuses a machine with both kinds of cgroups; what it does not see it does not refuse.
        wrapper = root / "bin" / "crun"
        # Mounted over, not unmounted: without root's rights nobody can do that.
        hidden = f'mount -t tmpfs none /sys/fs/cgroup/unified; exec {runtime} "$@"'
        wrapper.write_text(
            f"#!/bin/sh\nexec unshare -m --propagation slave sh -c '{hidden}' crun \"$@\"\n", encoding="utf-8"
        )
        wrapper.chmod(0o755)
        runtime = str(wrapper)
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    (root / "containers.conf").write_text(
        f"""[containers]
cgroups = "disabled"
netns = "none"
default_ulimits = ["nofile={files}:{files}", "nproc=32768:32768"]
[engine]
runtime = "crun"
cgroup_manager = "cgroupfs"
events_logger = "none"
tmp_dir = "{root}/run/libpod"
[engine.runtimes]
crun = ["{runtime}"]
""",
        encoding="utf-8",
    )
    (root / "storage.conf").write_text(
        f"""[storage]
driver = "overlay"
graphroot = "{root}/storage"
runroot = "{root}/run/storage"
""",
        encoding="utf-8",
    )


def find_podman() -> Podman:
    """Podman, ready for use; the test fails where there is none."""
    for program in ("podman", "crun", "mmdebstrap", "newuidmap"):
        if not shutil.which(program):
            pytest.fail(
                f"{program} is missing, which the tests of BIDS Apps need. On Debian and Ubuntu, as root: "
                "apt-get install podman crun catatonit mmdebstrap uidmap",
                pytrace=False,
            )
    root = Path(tempfile.gettempdir()) / f"rtflow-podman-{os.getuid()}"
    root.mkdir(mode=0o700, exist_ok=True)
    podman = Podman(root)
    with podman._lock():
        configure(root)
    return podman


@pytest.fixture(scope="session")
def podman() -> Iterator[Podman]:
    """Podman with a storage of its own; what the tests start finds it, too."""
    found = find_podman()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in found.environment.items():
            patch.setenv(name, value)
        yield found
        found.prune()
