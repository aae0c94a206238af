"""Podman, Docker, Apptainer or none: which of them works here, and the command line that each runs an app by.

An app gets what it needs and nothing else: it runs as the user, without network, without capabilities, on a
root file system that it cannot write, with a ``/tmp`` that is gone afterwards. Command lines are lists of
arguments; no shell reads them.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
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

#: Podman ends the container itself this long after its time, should nobody else do it.
_MARGIN_SECONDS = 60

_SELINUX = Path("/sys/fs/selinux/enforce")


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


@dataclass(frozen=True)
class Binding:
    """A file or folder of this machine that the app sees.

    Parameters
    ----------
    host
        Where it is.
    inside
        Where the app sees it.
    read_only
        Whether the app may only read it.
    """

    host: Path
    inside: str
    read_only: bool = True


@dataclass(frozen=True, kw_only=True)
class Invocation:
    """One start of an app.

    Parameters
    ----------
    descriptor
        The app.
    name
        Of the container: unique on this machine.
    arguments
        After the command; paths as the app sees them.
    bindings
        What it sees of this machine.
    command
        In place of the descriptor's command; a worker's, say.
    environment
        Variables to set; nothing of this machine's environment is passed into a container.
    interactive
        Whether it reads stdin.
    keep
        Whether the container stays when it has ended, to be asked how; who keeps it has to remove it.
    seconds
        Time that it may take.
    """

    descriptor: Descriptor
    name: str
    arguments: tuple[str, ...] = ()
    bindings: tuple[Binding, ...] = ()
    command: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    interactive: bool = False
    keep: bool = False
    seconds: float | None = None


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
    remedy = "install podman, or use --runtime native for an app that is installed on this machine"
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
        return _last_line(done.stderr or done.stdout) or f"exit status {done.returncode}"
    words = done.stdout.split() or ["unknown"]
    if name == "podman":
        return Runtime(name, words[0], rootless=words[-1] == "true")
    return Runtime(name, words[-1])


def command_line(runtime: Runtime, invocation: Invocation) -> list[str]:
    """The arguments that start an app; the first is the program.

    Raises
    ------
    UsageError
        If the app cannot be run by this runtime, or a path has a line break.
    """
    for binding in invocation.bindings:
        if not str(binding.host).isprintable():
            raise UsageError(f"{str(binding.host)!r} has a character that no mount can have; rename it")
    if runtime.native:
        command = invocation.command or invocation.descriptor.native.command
        if not command:
            raise UsageError(
                f"{invocation.descriptor.name} has no native.command, so it only runs in a container; "
                "give one in its file, or another --runtime"
            )
        return [*command, *invocation.arguments]
    if not invocation.descriptor.image:
        raise UsageError(f"{invocation.descriptor.name} has no image; run it with --runtime native")
    if runtime.name == "apptainer":
        return _apptainer(invocation)
    return _docker_like(runtime, invocation)


def _docker_like(runtime: Runtime, invocation: Invocation) -> list[str]:
    descriptor, podman = invocation.descriptor, runtime.name == "podman"
    argv: list[str] = [
        runtime.name,
        "run",
        "--pull=never",
        f"--name={invocation.name}",
        "--label=rtflow.bids-app",
    ]
    argv += [] if invocation.keep else ["--rm"]
    argv += ["--interactive"] if invocation.interactive else []
    argv += ["--cap-drop=ALL", "--security-opt=no-new-privileges"]
    argv += [] if descriptor.relaxed.writable_root else ["--read-only"]
    argv += ["--tmpfs=/tmp:rw,nosuid,nodev,mode=1777", "--tmpfs=/var/tmp:rw,nosuid,nodev,mode=1777"]
    argv += [] if descriptor.relaxed.network else ["--network=none"]
    argv.append(f"--user={os.getuid()}:{os.getgid()}")
    if podman:
        argv.append("--http-proxy=false")
        argv += ["--userns=keep-id"] if runtime.rootless else []
        # Nothing of the user's may be relabelled for the sake of one run.
        argv += ["--security-opt=label=disable"] if _SELINUX.exists() else []
        if invocation.seconds is not None:
            argv.append(f"--timeout={math.ceil(invocation.seconds) + _MARGIN_SECONDS}")
    limits = descriptor.limits
    argv += [f"--memory={limits.memory}", f"--memory-swap={limits.memory}"] if limits.memory else []
    argv += [f"--cpus={limits.cpus:g}"] if limits.cpus else []
    argv += [f"--env={name}={value}" for name, value in invocation.environment.items()]
    for binding in invocation.bindings:
        argv += _mount(binding)
    command = invocation.command or descriptor.command
    argv += [f"--entrypoint={command[0]}"] if command else []
    return [*argv, descriptor.image, *command[1:], *invocation.arguments]


def _mount(binding: Binding) -> list[str]:
    """The option that mounts something; a colon would end the path in one spelling, a comma in the other."""
    host = str(binding.host)
    if ":" not in host:
        return [f"--volume={host}:{binding.inside}:{'ro' if binding.read_only else 'rw'}"]
    source = f"source={host}"
    if set(host) & set(',"'):
        source = '"' + source.replace('"', '""') + '"'
    return [
        "--mount",
        f"type=bind,{source},destination={binding.inside}{',readonly' if binding.read_only else ''}",
    ]


def _apptainer(invocation: Invocation) -> list[str]:
    descriptor, limits = invocation.descriptor, invocation.descriptor.limits
    command = invocation.command or descriptor.command
    argv = ["apptainer", "exec" if command else "run"]
    # --containall: neither the home folder nor /tmp nor the environment of this machine are seen.
    argv += ["--containall", "--cleanenv", "--no-home", "--no-privs", "--drop-caps=all"]
    argv += ["--writable-tmpfs"] if descriptor.relaxed.writable_root else []
    argv += [] if descriptor.relaxed.network else ["--net", "--network=none"]
    argv += [f"--memory={limits.memory.upper()}"] if limits.memory else []
    argv += [f"--cpus={limits.cpus:g}"] if limits.cpus else []
    argv += [f"--env={name}={value}" for name, value in invocation.environment.items()]
    for binding in invocation.bindings:
        if set(str(binding.host)) & set(':,"'):
            raise UsageError(f"{binding.host}: Apptainer mounts no path with ':', ',' or '\"'; rename it")
        argv.append(f"--bind={binding.host}:{binding.inside}:{'ro' if binding.read_only else 'rw'}")
    return [*argv, apptainer_image(descriptor.image), *command, *invocation.arguments]


def apptainer_image(image: str) -> str:
    """An image as Apptainer wants it named.

    >>> apptainer_image("nipreps/fmriprep@sha256:0"), apptainer_image("/images/fmriprep.sif")
    ('docker://nipreps/fmriprep@sha256:0', '/images/fmriprep.sif')
    """
    return image if image.endswith(".sif") or "://" in image else f"docker://{image}"


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
        raise AppError(
            f"the image {descriptor.image}{asked_for} is not on this machine: {_last_line(done.stderr)}; "
            f"fetch it: {runtime.name} pull {descriptor.image}",
            "image",
            argv=argv,
        )
    pairs: list[str] = json.loads(done.stdout) or []
    return dict(pair.split("=", 1) for pair in pairs if "=" in pair)


def container_state(runtime: Runtime, name: str) -> dict[str, Any]:
    """What the runtime knows of a container, in its words (``State``, ``HostConfig``); empty if nothing."""
    done = _inspect(runtime, name)
    state: dict[str, Any] = json.loads(done.stdout)[0] if done.returncode == 0 else {}
    return state


def is_gone(runtime: Runtime, name: str) -> bool:
    """Whether the runtime says that there is no such container; one that does not answer says nothing."""
    done = _inspect(runtime, name)
    return done.returncode != 0 and "no such" in done.stderr.lower()


def _inspect(runtime: Runtime, name: str) -> subprocess.CompletedProcess[str]:
    return ask([runtime.name, "container", "inspect", name])


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


def _last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")
