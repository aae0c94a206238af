"""The command line that each runtime runs an app by.

An app gets what it needs and nothing else: it runs as the user, without network, without capabilities, on a
root file system that it cannot write, with a ``/tmp`` that is gone afterwards. Command lines are lists of
arguments; no shell reads them.
"""

from __future__ import annotations

import math
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rtflow.bids_apps.descriptor import Descriptor
from rtflow.bids_apps.runtime import Runtime
from rtflow.errors import UsageError

#: Podman ends the container itself this long after its time, should nobody else do it.
_MARGIN_SECONDS = 60

_SELINUX = Path("/sys/fs/selinux/enforce")


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


def command_line(runtime: Runtime, invocation: Invocation) -> list[str]:
    """The arguments that start an app; the first is the program.

    Raises
    ------
    UsageError
        If the app cannot be run by this runtime, or a path has a line break.
    """
    for binding in invocation.bindings:
        if not f"{binding.host}{binding.inside}".isprintable():
            raise UsageError(
                f"{str(binding.host)!r}, seen at {binding.inside!r}, has a character that no mount can have; "
                "rename it"
            )
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


def header(descriptor: Descriptor, runtime: Runtime, argv: list[str], planted: Sequence[Path] = ()) -> bytes:
    """What the log of an app begins with: what protects this machine, and the command line.

    Links that apps have left, and that are not followed, are named.
    """
    relaxed = descriptor.relaxed
    opened = {"it may use the network": relaxed.network, "it may write its root": relaxed.writable_root}
    lines = [
        f"# {descriptor.name} {descriptor.version}".rstrip(),
        f"# {runtime.name} {runtime.version}".rstrip(),
        *(f"# relaxed in its file: {words}" for words, is_so in opened.items() if is_so),
        *(["# native: nothing protects this machine from it"] if runtime.native else []),
        *(
            []
            if is_pinned(descriptor, runtime)
            else [f"# only a tag is known of its image: {descriptor.image}"]
        ),
        *(f"# {link} was left by an app and leads out of the data set: not followed" for link in planted),
        f"# {shlex.join(argv)}",
    ]
    return "".join(f"{line}\n" for line in lines).encode(errors="backslashreplace")


def is_pinned(descriptor: Descriptor, runtime: Runtime) -> bool:
    """Whether it is certain which image runs."""
    return runtime.native or bool(descriptor.digest) or descriptor.image.endswith(".sif")


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
    # Root of a daemon without root's rights is the user, and every other number is somebody else's.
    user = "0:0" if runtime.rootless and not podman else f"{os.getuid()}:{os.getgid()}"
    argv.append(f"--user={user}")
    # Nothing of the user's may be relabelled for the sake of one run.
    argv += ["--security-opt=label=disable"] if _SELINUX.exists() else []
    if podman:
        argv.append("--http-proxy=false")
        argv += ["--userns=keep-id"] if runtime.rootless else []
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
    host, inside = str(binding.host), binding.inside
    if ":" not in host + inside:
        return [f"--volume={host}:{inside}:{'ro' if binding.read_only else 'rw'}"]
    fields = ["type=bind", f"source={host}", f"destination={inside}"]
    fields += ["readonly"] if binding.read_only else []
    quoted = ['"' + one.replace('"', '""') + '"' if set(one) & set(',"') else one for one in fields]
    return ["--mount", ",".join(quoted)]


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
        if set(f"{binding.host}{binding.inside}") & set(':,"'):
            raise UsageError(
                f"{binding.host}, seen at {binding.inside}: Apptainer mounts no path with ':', ',' or '\"'; "
                "rename it"
            )
        argv.append(f"--bind={binding.host}:{binding.inside}:{'ro' if binding.read_only else 'rw'}")
    return [*argv, apptainer_image(descriptor.image), *command, *invocation.arguments]


def apptainer_image(image: str) -> str:
    """An image as Apptainer wants it named.

    >>> apptainer_image("nipreps/fmriprep@sha256:0"), apptainer_image("/images/fmriprep.sif")
    ('docker://nipreps/fmriprep@sha256:0', '/images/fmriprep.sif')
    """
    return image if image.endswith(".sif") or "://" in image else f"docker://{image}"
