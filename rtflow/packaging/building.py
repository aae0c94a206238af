"""A package built into an image, tried in it, and written as an archive."""

from __future__ import annotations

import json
import secrets
import subprocess
from pathlib import Path
from typing import Any

import msgspec

from rtflow.bids_apps.command_line import Invocation, command_line
from rtflow.bids_apps.descriptor import Descriptor
from rtflow.bids_apps.images import by_digest
from rtflow.bids_apps.runtime import Runtime, find_runtime
from rtflow.errors import PackageError, RunError
from rtflow.packaging.containerfile import INSIDE
from rtflow.packaging.manifest import IMAGE
from rtflow.packaging.proving import Tested

_LONGEST = 3600.0  # seconds of a build, or of a self-test


class Image(msgspec.Struct, frozen=True, kw_only=True):
    """An image that was built.

    Parameters
    ----------
    tag
        What it is called here.
    id
        Of its configuration: the same image, the same id.
    size
        In bytes, unpacked.
    base
        What it begins with.
    base_id
        The image that this name stood for.
    base_digest
        The same, as it can be had from a registry, ``NAME@sha256:...``; empty if the builder knows none.
    tested
        What its self-test found in it.
    """

    tag: str
    id: str
    size: int
    base: str
    base_id: str
    base_digest: str = ""
    tested: Tested | None = None


def builder(asked: str = "") -> Runtime:
    """What builds: the runtime that was asked for, RTFLOW_RUNTIME, or the first that works.

    Raises
    ------
    PackageError
        If it is one that builds no images from a Containerfile.
    AppError
        If none works.
    """
    found = find_runtime(asked)
    if not found.named:
        raise PackageError(f"{found.name} builds no image from a Containerfile; install podman, or docker")
    return found


def build(folder: Path, *, runtime: Runtime, tag: str, base: str = "") -> Image:
    """Build the image of a package whose wheels are in its folder; no index is asked.

    Parameters
    ----------
    folder
        The package.
    runtime
        Of `builder`.
    tag
        What the image is to be called.
    base
        Image to begin with; empty is the Containerfile's own.

    Raises
    ------
    RunError
        If it cannot be built, with the end of what the builder says; the whole is in ``build.log``.
    """
    base = base or _base_of(folder)
    argv = [runtime.name, "build", "--file", str(folder / "Containerfile"), "--tag", tag]
    argv += ["--build-arg", "PIP_NO_INDEX=1", "--build-arg", f"BASE={base}"]
    # podman keeps every stage else, and the form that it has by itself is the one that `export` writes: the
    # image has the same id wherever that is loaded
    argv += ["--layers=false"] if runtime.name == "podman" else []
    done = _run([*argv, str(folder)], _LONGEST)
    log = folder / "build.log"
    log.write_text(done.stdout + done.stderr, encoding="utf-8")
    if done.returncode:
        raise RunError(f"the image could not be built: {_end(done.stderr)}; all that was said is in {log}")
    image, begins = _inspect(runtime, tag), _inspect(runtime, base)
    return Image(
        tag=tag,
        id=image["Id"],
        size=image["Size"],
        base=base,
        base_id=begins["Id"],
        base_digest=by_digest(base, begins),
    )


def try_image(image: Image, *, runtime: Runtime) -> Image:
    """Run the self-test of an image in it: without network or capabilities, on a read-only root.

    Raises
    ------
    RunError
        If it does not come to an end.
    """
    argv = command_line(
        runtime,
        Invocation(
            descriptor=Descriptor(name="self-test", image=image.id),
            name=(name := f"rtflow-self-test-{secrets.token_hex(4)}"),
            arguments=("package", "--self-test", INSIDE, "--json"),
            seconds=_LONGEST,
        ),
    )
    try:
        done = _run(argv, _LONGEST)
    finally:  # whoever ends the client does not end the container
        _run([runtime.name, "rm", "--force", name], 60)
    try:
        tested = msgspec.json.decode(done.stdout, type=Tested)
    except msgspec.MsgspecError:
        raise RunError(
            f"the self-test of image {image.tag} ended with status {done.returncode}: {_end(done.stderr)}"
        ) from None
    return msgspec.structs.replace(image, tested=tested)


def export(image: Image, file: Path, *, runtime: Runtime) -> None:
    """Write an image as one file; podman as an OCI archive, docker as it writes them.

    Raises
    ------
    RunError
        If it cannot be written.
    """
    partial = file.with_name(f".{file.name}.part")
    partial.unlink(missing_ok=True)  # podman adds to a file that is there
    options = ["--format", "oci-archive"] if runtime.name == "podman" else []
    try:
        done = _run([runtime.name, "save", *options, "--output", str(partial), image.tag], _LONGEST)
        if done.returncode:
            raise RunError(f"{file} cannot be written: {_end(done.stderr)}; choose another place")
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)


def note(folder: Path, image: Image) -> None:
    """Write what was built into the folder of the package."""
    (folder / IMAGE).write_bytes(msgspec.json.format(msgspec.json.encode(image), indent=2) + b"\n")


def _base_of(folder: Path) -> str:
    for line in (folder / "Containerfile").read_text(encoding="utf-8").splitlines():
        if line.startswith("ARG BASE="):
            return line.removeprefix("ARG BASE=")
    raise PackageError(f"{folder / 'Containerfile'} has no line ARG BASE=...; package the workflow again")


def _inspect(runtime: Runtime, image: str) -> dict[str, Any]:
    done = _run([runtime.name, "image", "inspect", image], 60)
    if done.returncode:
        raise RunError(f"image {image} cannot be found: {_end(done.stderr)}")
    found: dict[str, Any] = json.loads(done.stdout)[0]
    return found


def _run(argv: list[str], seconds: float) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=seconds)
    except subprocess.TimeoutExpired:
        raise RunError(f"{' '.join(argv[:2])} did not end within {seconds:.0f} s") from None


def _end(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return "; ".join(lines[-3:])[-600:] or "it said nothing"
