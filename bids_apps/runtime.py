"""Podman, Docker, Apptainer or none: which of them works here, and what it knows of images and containers."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from rtflow.bids_apps.descriptor import Descriptor
from rtflow.errors import AppError, UsageError

Name = Literal["podman", "docker", "apptainer", "native"]

#: In this order, if none is asked for. `native` is never chosen by itself: it protects nothing.
CONTAINER_RUNTIMES: tuple[Name, ...] = ("podman", "docker", "apptainer")

_PROBES: Mapping[str, tuple[str, ...]] = {
    "podman": ("info", "--format", "{{.Version.Version}} {{.Host.Security.Rootless}}"),
    "docker": ("version", "--format", "{{.Server.Version}}"),
    "apptainer": ("--version",),
}
_PROBE_SECONDS = 30.0


@dataclass(frozen=True)
class Runtime:
    """What runs apps here.

    Parameters
    ----------
    name
        Which one it is.
    version
        Its version.
    rootless
        Whether it runs without root's rights itself, so that users have other numbers inside.
    """

    name: Name
    version: str = ""
    rootless: bool = False

    @property
    def native(self) -> bool:
        """Whether there is no container, so that paths are those of this machine."""
        return self.name == "native"

    @property
    def named(self) -> bool:
        """Whether containers have names, and outlive the command that started them."""
        return self.name in ("podman", "docker")


def find_runtime(asked: str = "") -> Runtime:
    """The runtime that was asked for, else that of RTFLOW_RUNTIME, else the first that works.

    Raises
    ------
    UsageError
        If a name is unknown.
    AppError
        If it does not work, or none does; what each said is told.
    """
    source = "--runtime" if asked else "RTFLOW_RUNTIME"
    wanted = asked or os.environ.get("RTFLOW_RUNTIME", "")
    known = (*CONTAINER_RUNTIMES, "native")
    if wanted and wanted not in known:
        raise UsageError(f"{source}: unknown runtime {wanted!r}; known are {', '.join(known)}")
    if wanted == "native":
        return Runtime("native")
    said = []
    for name in (cast(Name, wanted),) if wanted else CONTAINER_RUNTIMES:
        found = _probe(name)
        if isinstance(found, Runtime):
            return found
        said.append(f"{name}: {found}")
    what = f"{wanted} does not work" if wanted else "no container runtime works"
    others = [name for name in CONTAINER_RUNTIMES if wanted and name != wanted]
    working = [f"--runtime {name}" for name in others if isinstance(_probe(name), Runtime)]
    remedy = (
        f"here works: {', '.join(working)}"
        if working
        else "install podman; an app that is installed on this machine runs by --runtime native"
    )
    raise AppError(f"{what} ({'; '.join(said)}); {remedy}", "runtime")


def _probe(name: Name) -> Runtime | str:
    """The runtime, or what is wrong with it."""
    try:
        done = subprocess.run(
            [name, *_PROBES[name]], capture_output=True, text=True, timeout=_PROBE_SECONDS, check=False
        )
    except FileNotFoundError:
        return "not installed"
    except OSError as error:
        return error.strerror or str(error)
    except subprocess.TimeoutExpired:
        return f"no answer in {_PROBE_SECONDS:.0f} s"
    if done.returncode != 0:
        return last_line(done.stderr or done.stdout) or f"exit status {done.returncode}"
    words = done.stdout.split() or ["unknown"]
    if name == "podman":
        return Runtime(name, words[0], rootless=words[-1] == "true")
    rootless = (
        name == "docker" and "rootless" in ask([name, "info", "--format", "{{.SecurityOptions}}"]).stdout
    )
    return Runtime(name, words[-1], rootless=rootless)


def image_environment(runtime: Runtime, descriptor: Descriptor) -> dict[str, str]:
    """The variables that an image sets; of Apptainer's and of a native app none are known.

    Raises
    ------
    AppError
        If the image is not on this machine: a run fetches nothing.
    """
    if not runtime.named:
        if (
            runtime.name == "apptainer"
            and descriptor.image.endswith(".sif")
            and not Path(descriptor.image).is_file()
        ):
            raise AppError(
                f"the image {descriptor.image} does not exist; give its path, or build it", "image"
            )
        return {}
    argv = [runtime.name, "image", "inspect", "--format", "{{json .Config.Env}}", descriptor.image]
    done = ask(argv)
    if done.returncode != 0:
        asked_for = f" (wrapped as {descriptor.tag})" if descriptor.tag else ""
        # What was never in a registry cannot be fetched, and built again it has another digest.
        built_here = descriptor.image.startswith(("localhost/", "sha256:"))
        again = f"rtflow bids-app wrap {descriptor.tag or 'IMAGE'} --force"
        remedy = (
            f"it was built on a machine, and can only be built: build it, and wrap it anew: {again}"
            if built_here
            else f"fetch it: {runtime.name} pull {descriptor.image}"
        )
        raise AppError(
            f"the image {descriptor.image}{asked_for} is not on this machine: {last_line(done.stderr)}; "
            f"{remedy}",
            "image",
            argv=argv,
        )
    pairs: list[str] = json.loads(done.stdout) or []
    return dict(pair.split("=", 1) for pair in pairs if "=" in pair)


def environment_of(runtime: Runtime, descriptor: Descriptor) -> dict[str, str]:
    """The variables that are set for an app.

    Raises
    ------
    AppError
        If its image is not on this machine.
    """
    image = image_environment(runtime, descriptor)
    # A user that the image does not know has the root as home, which cannot be written.
    return {} if "HOME" in image or runtime.native else {"HOME": "/tmp"}


def container_state(runtime: Runtime, name: str) -> dict[str, Any]:
    """What the runtime knows of a container, in its words (``State``, ``HostConfig``); empty if nothing."""
    done = ask([runtime.name, "container", "inspect", name])
    state: dict[str, Any] = json.loads(done.stdout)[0] if done.returncode == 0 else {}
    return state


def ask(argv: list[str], seconds: float = 60) -> subprocess.CompletedProcess[str]:
    """Run a short command; whatever goes wrong with it is an exit status.

    Raises
    ------
    AppError
        If the program does not answer in time.
    """
    try:
        # In a session of its own: Ctrl-C at the terminal must not hit what removes a container.
        return subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            check=False,
            start_new_session=True,
        )
    except OSError as error:
        return subprocess.CompletedProcess(argv, 127, "", error.strerror or str(error))
    except subprocess.TimeoutExpired:
        raise AppError(
            f"{argv[0]} did not answer in {seconds:.0f} s; is it well?", "runtime", argv=argv
        ) from None


def last_line(text: str) -> str:
    """The last line of a text that holds something."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")
