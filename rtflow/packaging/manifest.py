"""What a package says of itself.

::

    manifest.json      versions, hashes of all files, images of apps, the recorded run
    requirements.txt   packages by version and hash
    Containerfile      an image of all this
    wheels/            the packages themselves, if they were fetched
    workflow/          the lab's: workflow file, modules, settings, the files they name
    self-test/         a simulated run, as it was recorded here
"""

from __future__ import annotations

import hashlib
import platform
import re
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

import msgspec

from rtflow.errors import PackageError

NAME = "manifest.json"
SELF_TEST = "self-test"
IMAGE = "image.json"
"""What was built from a package, noted in its folder; it cannot stand in the image itself."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a package says of itself.

    Parameters
    ----------
    workflow
        The workflow file, in the package.
    rtflow
        Version.
    python
        Such as ``3.11``: the compiled packages are for that one.
    machine
        Such as ``x86_64``: likewise, and on another one floating-point numbers end in other bits.
    made
        When, ``YYYY-MM-DD``.
    packages
        Version by name.
    files
        SHA-256 of each file that is the lab's or the self-test's, by name.
    apps
        Image of each BIDS App, by name.
    volumes
        Of the run of the self-test.
    """

    workflow: str
    rtflow: str
    python: str
    machine: str
    made: str
    packages: dict[str, str]
    files: dict[str, str]
    apps: dict[str, str] = {}
    volumes: int = 0


def this_python() -> str:
    """Such as ``3.11``."""
    return ".".join(map(str, sys.version_info[:2]))


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of each file of a package that is the lab's or the self-test's, by name."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for part in ("workflow", SELF_TEST)
        for path in sorted((folder / part).rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest of a package."""
    (folder / NAME).write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n")


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a package; raises `PackageError` where there is none."""
    try:
        return msgspec.json.decode((folder / NAME).read_bytes(), type=Manifest)
    except (OSError, msgspec.MsgspecError) as error:
        raise PackageError(
            f"{folder / NAME} cannot be read ({error}); give the folder that 'rtflow package' made"
        ) from None


def differences(folder: Path, manifest: Manifest) -> Iterable[str]:
    """What is not as the manifest says: files, Python, packages."""
    there = hashes(folder)
    for name, hash_ in manifest.files.items():
        if name not in there:
            yield f"{name} is missing"
        elif there[name] != hash_:
            yield f"{name} was changed"
    yield from (f"{name} does not belong to it" for name in there.keys() - manifest.files.keys())
    if this_python() != manifest.python:
        yield f"Python is {this_python()}, not {manifest.python}"
    if platform.machine() != manifest.machine:
        yield f"the machine is {platform.machine()}, not {manifest.machine}"
    for name, version in manifest.packages.items():
        try:
            found = metadata.version(name)
        except metadata.PackageNotFoundError:
            found = "not installed"
        if found != version:
            yield f"{name} is {found}, not {version}"


def image_name(workflow: str) -> str:
    """What the image of a workflow is called, unless another name is given.

    >>> image_name("workflow/My Study.py")
    'localhost/my-study'
    """
    return "localhost/" + re.sub(r"[^a-z0-9]+", "-", Path(workflow).stem.lower()).strip("-")
