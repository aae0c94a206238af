"""What an image is by its digest, what its labels say, and what its app prints when it is asked."""

from __future__ import annotations

import difflib
import json
import re
import secrets
import subprocess
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from rtflow.bids_apps.command_line import Invocation, apptainer_image, command_line
from rtflow.bids_apps.descriptor import Descriptor
from rtflow.bids_apps.process import AppProcess
from rtflow.bids_apps.runtime import Runtime, ask, last_line
from rtflow.errors import AppError, UsageError

#: Seconds in which an app must say what its options are.
ASK_SECONDS = 60.0

_PULL_SECONDS = 6 * 3600.0  # of tens of gigabytes
_LONGEST = 4 << 20  # bytes of an answer
_TAG = re.compile(r":[A-Za-z0-9_][A-Za-z0-9_.-]*$")
_UNSTARTED = re.compile(r"exec container process|exec format error")
_DIGEST = re.compile(r"@sha256:[0-9a-f]{64}$")


@dataclass(frozen=True)
class Image:
    """An image.

    Parameters
    ----------
    pinned
        By its digest, where that is known.
    asked
        As it was asked for.
    labels
        Of it.
    """

    pinned: str
    asked: str
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def moves(self) -> bool:
        """Whether the same name may be another image tomorrow."""
        return "sha256:" not in self.pinned and not self.pinned.endswith(".sif")


def repository(image: str) -> str:
    """An image's name without tag and digest.

    >>> repository("localhost:5000/a/app:1.0"), repository("docker://app@sha256:" + 64 * "0")
    ('localhost:5000/a/app', 'app')
    """
    return _TAG.sub("", _DIGEST.sub("", re.sub(r"^[a-z-]+://", "", image)))


def find_image(runtime: Runtime, asked: str) -> Image:
    """The image of a name, which is fetched if it is not on this machine.

    Raises
    ------
    UsageError
        If the runtime has no images.
    AppError
        If it cannot be had.
    """
    if runtime.native:
        raise UsageError(
            "an app without a container has no image; write its file by hand, with native.command"
        )
    if runtime.name == "apptainer":
        return _of_apptainer(asked)
    inspect = [runtime.name, "image", "inspect", asked]
    done = ask(inspect)
    if done.returncode != 0:
        pull = [runtime.name, "pull", asked]
        pulled = ask(pull, _PULL_SECONDS)
        if pulled.returncode != 0:
            near = similar(runtime, asked)
            remedy = f"did you mean {' or '.join(near)}? " if near else ""
            remedy += f"An image of your own is built first: {runtime.name} build -t NAME FOLDER"
            raise AppError(
                f"the image {asked} is not here and cannot be fetched: {last_line(pulled.stderr)}; {remedy}",
                "image",
                argv=pull,
            )
        done = ask(inspect)
    try:
        about = json.loads(done.stdout)[0]
        labels = (about.get("Config") or {}).get("Labels") or about.get("Labels") or {}
        return Image(_pinned(asked, about), asked, {str(key): str(value) for key, value in labels.items()})
    except (ValueError, AttributeError, LookupError) as error:
        raise AppError(
            f"{runtime.name} says nothing of the image {asked} that can be read: {error}",
            "runtime",
            argv=inspect,
        ) from None


def similar(runtime: Runtime, asked: str) -> list[str]:
    """Images of this machine, by their tags, whose names are near to one; three at most."""
    listed = ask([runtime.name, "images", "--format", "{{.Repository}}:{{.Tag}}"]).stdout.split()
    here = {name: _last_part(name) for name in sorted(set(listed)) if "<none>" not in name}
    near = difflib.get_close_matches(_last_part(asked), sorted(set(here.values())), n=3)
    return sorted((name for name in here if here[name] in near), key=lambda name: near.index(here[name]))[:3]


def _last_part(image: str) -> str:
    return repository(image).rpartition("/")[2]


def _pinned(asked: str, about: Mapping[str, Any]) -> str:
    """The image by a digest: of its repository, else that of the image itself, which was never in one."""
    identity = str(about.get("Id") or "")
    return by_digest(asked, about) or (identity if identity.startswith("sha256:") else f"sha256:{identity}")


def by_digest(asked: str, about: Mapping[str, Any]) -> str:
    """The image by the digest of its repository; empty if that is not known.

    Parameters
    ----------
    asked
        As it was asked for.
    about
        What the runtime's ``image inspect`` says of it.

    >>> digest = "sha256:" + 64 * "0"
    >>> by_digest("lab/app:1", {"RepoDigests": [f"quay.io/lab/app@{digest}"]}).partition("@")[0]
    'quay.io/lab/app'
    >>> by_digest("lab/app:1", {"RepoDigests": [f"quay.io/other/app@{digest}"]})
    ''
    """
    if _DIGEST.search(asked):
        return asked
    wanted = repository(asked)
    for known in about.get("RepoDigests") or []:
        name, _, digest = str(known).partition("@")
        if _in_full(name) == _in_full(wanted) or name.endswith(f"/{wanted}"):
            return f"{name}@{digest}"
    return ""


def _in_full(name: str) -> str:
    """A repository with its registry; Docker leaves its own out.

    >>> _in_full("busybox"), _in_full("docker.io/busybox"), _in_full("localhost/lab/app")
    ('docker.io/library/busybox', 'docker.io/library/busybox', 'localhost/lab/app')
    """
    first, slash, rest = name.partition("/")
    if not slash or not (set(first) & set(".:") or first == "localhost"):
        first, rest = "docker.io", name
    return f"{first}/library/{rest}" if first == "docker.io" and "/" not in rest else f"{first}/{rest}"


def _of_apptainer(asked: str) -> Image:
    local = asked.endswith(".sif")
    if local and not Path(asked).is_file():
        raise AppError(f"the image {asked} does not exist; give its path, or build it", "image")
    labels: Any = {}
    if local:
        asked = str(Path(asked).absolute())
        done = ask(["apptainer", "inspect", "--json", "--labels", asked])
        try:
            labels = json.loads(done.stdout)["data"]["attributes"]["labels"] or {}
        except (ValueError, KeyError, TypeError):
            labels = {}
    return Image(asked if local else apptainer_image(asked), asked, labels)


def app_says(
    runtime: Runtime, image: str, argument: str, seconds: float = ASK_SECONDS
) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of the app at one argument; it runs hardened and without network.

    Raises
    ------
    AppError
        If it does not end in time (``time-out``), or cannot be started (``image``).
    """
    name = f"rtflow-ask-{secrets.token_hex(6)}"
    wide = {"COLUMNS": "1000", "NO_COLOR": "1", "TERM": "dumb", "HOME": "/tmp"}
    argv = command_line(
        runtime,
        Invocation(
            descriptor=Descriptor(name="asked", image=image),
            name=name,
            arguments=(argument,),
            environment=wide,
            seconds=seconds,
        ),
    )
    process = AppProcess(runtime, name, argv, stdin=subprocess.DEVNULL)
    said = [_Kept(process.stdout), _Kept(process.stderr)]
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        raise AppError(
            f"it did not answer {argument} in {seconds:g} s", "time-out", argv=argv, stderr=said[1].text
        ) from None
    finally:
        process.end(grace=0)
        texts = [one.text for one in said]
    # Of the runtime, not of the app; crun ends with 1 where a script's interpreter is missing.
    if process.returncode in (125, 126, 127) or (process.returncode and _UNSTARTED.search(texts[1])):
        raise AppError(
            f"the image {image} cannot be run: {last_line(texts[1]) or 'nothing was said'}",
            "image",
            argv=argv,
        )
    return process.returncode, texts[0], texts[1]


class _Kept:
    """What comes from a pipe, as far as it is kept; the rest is read as well, so that nobody waits."""

    def __init__(self, pipe: IO[bytes] | None) -> None:
        assert pipe is not None
        self._pipe = pipe
        self._data = bytearray()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with self._pipe:
            while piece := self._pipe.read(1 << 16):
                self._data += piece[: max(0, _LONGEST - len(self._data))]

    @property
    def text(self) -> str:
        """What came until the end, or within two seconds more."""
        self._thread.join(2.0)
        return self._data.decode(errors="replace")
