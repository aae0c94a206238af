"""What is known of a BIDS App: its image, its options and what it needs, in a small TOML file to review.

``rtflow bids-app wrap`` writes the file once; every run reads it. Whatever loosens the protection of the
machine has to stand in it (``[relaxed]``), and what would give an app all rights has no name there at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec
import tomli

from rtflow.errors import SettingsError
from rtflow.filling import Filling
from rtflow.setting_types import Positive
from rtflow.toml_text import to_toml
from rtflow.whole_file import write_whole

Kind = Literal["text", "whole", "number", "switch", "choice", "path", "list"]
Origin = Literal["boutiques", "labels", "bids-exec-spec", "help", "hand"]
OutputKind = Literal["number", "text", "list", "image"]
Command = tuple[str, ...]
T = TypeVar("T", bound=msgspec.Struct)
Scalar = bool | int | float | str

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_KEY = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_FLAG = re.compile(r"-{1,2}[A-Za-z0-9][A-Za-z0-9_.-]*")
_MEMORY = re.compile(r"[1-9][0-9]*[kmg]")
_DIGEST = re.compile(r"(?:^|@)(sha256:[0-9a-f]{64})$")

#: Where the data set and the outputs are in every container.
BIDS_DIR, OUT_DIR = "/data", "/out"


class Option(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """An option of the app's command line.

    Parameters
    ----------
    flag
        As the app spells it, such as ``--participant-label``.
    kind
        What follows the flag: one value of that kind, ``list`` several, ``switch`` none. A ``path`` is a file
        or folder of this machine, which is mounted for the run.
    choices
        What the value must be one of.
    default
        What the app takes without the option; told, never passed on.
    help
        What the app says of it.
    required
        Whether the app does not run without it.
    repeated
        Whether each value of a list has the flag before it; else the flag stands once.
    origin
        Where this was found; ``hand`` is whoever edited the file.
    """

    flag: str
    kind: Kind = "text"
    choices: tuple[str, ...] = ()
    default: Scalar | tuple[Scalar, ...] | None = None
    help: str = ""
    required: bool = False
    repeated: bool = False
    origin: Origin = "hand"


class Mount(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A file or folder that the app needs beside its data set: a licence, a folder of templates.

    Parameters
    ----------
    inside
        Where the app looks for it; an absolute path.
    read_only
        Whether the app may only read it.
    required
        Whether a run without it is refused.
    help
        What it is, for whoever has to bring it.
    """

    inside: str
    read_only: bool = True
    required: bool = True
    help: str = ""


class AppLimits(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How much of the machine a run of the app may take.

    Parameters
    ----------
    memory
        Such as ``2g`` or ``500m``; empty is no limit.
    cpus
        Processors, such as 1.5; none is no limit.
    seconds
        Time after which the app is ended; none is no limit.
    """

    memory: str = ""
    cpus: Positive | None = None
    seconds: Positive | None = None


class Relaxed(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Protections that this app cannot work with; each is told in the log of every run.

    Parameters
    ----------
    network
        The app may use the network.
    writable_root
        The app may write into its image's folders; what it writes there is lost.
    """

    network: bool = False
    writable_root: bool = False


class Worker(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How the app serves volume after volume, started once.

    Parameters
    ----------
    command
        Starts it, in place of the image's entry point.
    protocol
        ``json-lines``: it says ``{"ready": true}``, then reads a line ``{"volume": n, "bids_dir": path,
        "out_dir": path}`` and answers ``{"volume": n, "outputs": {...}}``, or with ``"error": text``. What it
        says of a volume comes from that volume and its options alone: another worker may take its place.
    warm
        Whether it is given a volume of zeros, of number 0, before it is taken as ready, so that the first of
        a run does not wait for what is loaded with it. The answer, or an error in it, is not looked at.
    outputs
        What it says of each volume, by name: these become outputs of the node. An ``image`` is said by the
        name of a NIfTI file in ``out_dir``.
    """

    command: Annotated[Command, msgspec.Meta(min_length=1)]
    protocol: Literal["json-lines"] = "json-lines"
    warm: bool = False
    outputs: dict[str, OutputKind] = msgspec.field(default_factory=dict)


class Native(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The app as it is installed on this machine, for the runtime ``native``, which asks for no container.

    Parameters
    ----------
    command
        Starts it.
    worker
        Starts its worker.
    """

    command: Command = ()
    worker: Command = ()


class Descriptor(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """A BIDS App.

    Parameters
    ----------
    name
        What the app is called here, and its folder in ``derivatives``.
    image
        ``NAME@sha256:...``, or a file of Apptainer's (``.sif``); empty for an app that is only native.
    tag
        What the image was asked for by.
    wrapped
        When the image was looked at, ``YYYY-MM-DD``.
    version
        Of the app, as its image says; empty if it does not.
    levels
        Of analysis that it knows.
    command
        In place of the image's entry point; empty keeps that.
    options
        By the name that the node's input has.
    mounts
        What it needs beside its data set, by name.
    limits, relaxed, worker, native
        See these.
    """

    name: str = ""
    image: str = ""
    tag: str = ""
    wrapped: str = ""
    version: str = ""
    levels: tuple[str, ...] = ("participant",)
    command: Command = ()
    options: dict[str, Option] = msgspec.field(default_factory=dict)
    mounts: dict[str, Mount] = msgspec.field(default_factory=dict)
    limits: AppLimits = msgspec.field(default_factory=AppLimits)
    relaxed: Relaxed = msgspec.field(default_factory=Relaxed)
    worker: Worker | None = None
    native: Native = msgspec.field(default_factory=Native)

    @property
    def digest(self) -> str:
        """``sha256:...`` of the image, empty if only a tag is known, which may move."""
        found = _DIGEST.search(self.image)
        return found[1] if found else ""


def read_descriptor(path: Path) -> Descriptor:
    """The app that a file describes; without a ``name`` it is called as its file.

    Raises
    ------
    SettingsError
        If there is no such file, or something in it is unknown, of the wrong type or makes no sense.
    """
    try:
        table = tomli.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise SettingsError(
            f"{path} does not exist; 'rtflow bids-app wrap IMAGE' writes such a file"
        ) from None
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}; give the TOML file of an app") from None
    except (UnicodeDecodeError, tomli.TOMLDecodeError) as error:
        raise SettingsError(f"{path} is not valid TOML: {error}; correct it, or wrap the app again") from None
    return descriptor_from(table, origin=str(path), name=path.stem)


def descriptor_from(table: dict[str, Any], *, origin: str, name: str) -> Descriptor:
    """The app that a table describes.

    Parameters
    ----------
    table
        As it is written in TOML.
    origin
        Where it comes from, for messages.
    name
        Of the app, if the table does not say.

    Raises
    ------
    SettingsError
        If something in it is unknown, of the wrong type or makes no sense.
    """
    try:
        # Each of these first by itself: of a table in a table the name would not be told.
        for key, type_ in (("options", Option), ("mounts", Mount)):
            inner = table.get(key)
            for one, values in inner.items() if isinstance(inner, dict) else ():
                _filled(type_, values, f"{origin}: {key}.{one}")
        descriptor = _filled(Descriptor, {"name": name, **table}, origin)
    except SettingsError as error:  # a setting of a run can be given otherwise, too
        raise SettingsError(str(error).partition(" or by --set ")[0]) from None
    for wrong in complaints(descriptor):
        raise SettingsError(f"{origin}: {wrong}")
    return descriptor


def _filled(type_: type[T], values: Any, origin: str) -> T:
    if not isinstance(values, dict):
        raise SettingsError(f"{origin}: expected a table, got {values!r}")
    filling = Filling(type_)
    filling.add(values, origin=origin)
    try:
        return filling.filled()
    except SettingsError as error:  # of a value that is missing no place is told
        raise SettingsError(str(error) if origin in str(error) else f"{origin}: {error}") from None


def complaints(descriptor: Descriptor) -> Iterable[str]:
    """What makes no sense in a descriptor, and what would.

    >>> list(complaints(Descriptor(name="mask", image="x@sha256:" + 64 * "0")))
    []
    """
    if not _NAME.fullmatch(descriptor.name):
        yield f"name {descriptor.name!r}: expected letters, digits, '_', '.' and '-': it names a folder"
    if not descriptor.image and not descriptor.native.command:
        yield "neither image nor native.command: nothing to run; give one of the two"
    if descriptor.image.startswith("-") or any(letter.isspace() for letter in descriptor.image):
        yield f"image {descriptor.image!r}: expected NAME@sha256:...; wrap the app again"
    if not descriptor.levels:
        yield "levels is empty: give 'participant', 'group' or both"
    for name, option in descriptor.options.items():
        if not _KEY.fullmatch(name):
            yield f"options.{name}: expected letters, digits and '_': it is an input of the node"
        if not _FLAG.fullmatch(option.flag):
            yield f"options.{name}.flag: expected something like --{name}, got {option.flag!r}"
        if option.kind == "choice" and not option.choices:
            yield f'options.{name}: a choice needs its choices; give them, or kind = "text"'
    for name, mount in descriptor.mounts.items():
        inside = Path(mount.inside)
        where = f"mounts.{name}.inside"
        if (
            not inside.is_absolute()
            or ".." in inside.parts
            or inside == Path("/")
            or re.search("[:,]", mount.inside)
        ):
            yield f"{where}: expected a path from the root, such as /license.txt, got {mount.inside!r}"
        elif inside.is_relative_to(BIDS_DIR) or inside.is_relative_to(OUT_DIR):
            yield f"{where}: {BIDS_DIR} and {OUT_DIR} are the data set's and the outputs'; choose another"
    if descriptor.limits.memory and not _MEMORY.fullmatch(descriptor.limits.memory):
        yield f"limits.memory: expected something like 2g or 500m, got {descriptor.limits.memory!r}"


def write_descriptor(path: Path, descriptor: Descriptor) -> None:
    """Write the file of an app; what has its default is left out.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    table = {
        key: value
        for key, value in msgspec.to_builtins(descriptor).items()
        if value or key in ("name", "image", "levels")
    }
    write_whole(path, to_toml(table, none=None).encode())
