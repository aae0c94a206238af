"""What a workflow needs to run, pinned: packages by version and hash."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec
from packaging.requirements import Requirement

from rtflow.errors import PackageError
from rtflow.packaging.wheels import wheel_of

# What installs the packages: locked as they are, and left out of the image.
BUILDERS = ("pip", "setuptools")


class Locked(msgspec.Struct, frozen=True):
    """A package at one version.

    Parameters
    ----------
    name, version
        As it is installed here.
    sha256
        Of the files that may be installed.
    """

    name: str
    version: str
    sha256: tuple[str, ...]


def needed(names: Iterable[str]) -> dict[str, str]:
    """Version by name of what these packages need to run, themselves included, as it is installed here.

    Parameters
    ----------
    names
        Names of distributions.

    Raises
    ------
    PackageError
        If one is not installed.
    """
    found: dict[str, str] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    waiting = [(name, frozenset[str](), "") for name in names]
    while waiting:
        name, extras, by = waiting.pop()
        normal = re.sub(r"[-_.]+", "-", name).lower()
        if (normal, extras) in seen:
            continue
        seen.add((normal, extras))
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            raise PackageError(
                f"package {name}{f', which {by} needs,' if by else ''} is not installed; install it, "
                "then package again: what is packaged is what runs here"
            ) from None
        found[normal] = distribution.version
        for text in distribution.requires or ():
            one = Requirement(text)
            wanted = one.marker is None or any(one.marker.evaluate({"extra": e}) for e in ("", *extras))
            if wanted:
                waiting.append((one.name, frozenset(one.extras), name))
    return dict(sorted(found.items()))


def lock_by_index(pins: Mapping[str, str], tell: Callable[[str], None] = lambda said: None) -> list[Locked]:
    """The hashes that pip's index has for these versions, for this Python and this kind of machine.

    Nothing is installed. pip is asked as it is set up here (``PIP_INDEX_URL``, ``PIP_FIND_LINKS``, ...).

    Parameters
    ----------
    pins
        Name to version.
    tell
        Called if pip had to be asked once more.

    Raises
    ------
    PackageError
        If the index cannot be reached, or has no such version.
    """
    with tempfile.TemporaryDirectory() as folder:
        listed, report = Path(folder, "pins.txt"), Path(folder, "report.json")
        listed.write_text("".join(f"{name}=={version}\n" for name, version in pins.items()))
        options = ["--dry-run", "--ignore-installed", "--no-deps", "--report", str(report)]
        pip("install", *options, "--requirement", str(listed), tell=tell)
        answered = json.loads(report.read_bytes())["install"]
    by_name = {
        re.sub(r"[-_.]+", "-", one["metadata"]["name"]).lower(): one["download_info"] for one in answered
    }
    return [
        Locked(name, version, (_sha256(by_name[name]["archive_info"]),)) for name, version in pins.items()
    ]


def _sha256(archive: dict[str, Any]) -> str:
    """The hash in what pip reports of an archive; its releases before 23.1 know one field only."""
    hashes: dict[str, str] = archive.get("hashes") or dict([str(archive["hash"]).split("=", 1)])
    return hashes["sha256"]


def lock_as_installed(names: Iterable[str], wheels: Path) -> list[Locked]:
    """Make wheels of what is installed, and lock these: no index is asked.

    Parameters
    ----------
    names
        Names of distributions.
    wheels
        Folder that the wheels are written to.
    """
    locked = []
    for name in names:
        distribution = metadata.distribution(name)
        data = wheel_of(distribution, wheels).read_bytes()
        locked.append(Locked(name, distribution.version, (hashlib.sha256(data).hexdigest(),)))
    return locked


def fetch(requirements: Path, wheels: Path, tell: Callable[[str], None] = lambda said: None) -> None:
    """Download what is locked and not there yet, checked by hash: an image is built without a network."""
    where = ["--find-links", str(wheels), "--dest", str(wheels)]  # no index has what was made here
    asked = ["--no-deps", "--require-hashes", *where, "--requirement", str(requirements)]
    pip("download", *asked, tell=tell)


def pip(*arguments: str, tell: Callable[[str], None] = lambda said: None) -> None:
    """Run pip of this environment; raises `PackageError` with the end of what it says.

    One of the further indexes that pip was told of may be broken: it is asked once more without them, since
    the packages are in the main one, too.
    """
    done = _pip("--quiet", *arguments)
    if done.returncode and "extra-index-url" in _pip("config", "list").stdout:
        tell(f"pip {arguments[0]} failed: once more, without its extra indexes")
        done = _pip("--quiet", *arguments, PIP_EXTRA_INDEX_URL=" ")
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if "ERROR" in line] or done.stderr.splitlines()[-3:]
        raise PackageError(
            f"pip {arguments[0]} failed: {' '.join(said)[:800]}; is there a network? --offline asks no "
            "index, and packages what is installed"
        )


def _pip(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
    )


def requirements(locked: Iterable[Locked]) -> str:
    """The text of a requirements file that pip installs with ``--require-hashes``.

    >>> print(requirements([Locked("numpy", "2.0", ("ab", "cd"))]), end="")
    numpy==2.0 \\
        --hash=sha256:ab \\
        --hash=sha256:cd
    """
    return "".join(
        f"{one.name}=={one.version}"
        + "".join(f" \\\n    --hash=sha256:{hash_}" for hash_ in one.sha256)
        + "\n"
        for one in locked
    )
