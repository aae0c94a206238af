"""The typed inputs and outputs of an app's node, made from what is known of the app."""

from __future__ import annotations

import copyreg
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    Directory,
    File,
    TraitedSpec,
    isdefined,
    traits,
)

from rtflow.bids_apps.descriptor import Descriptor, Option, OutputKind
from rtflow.bids_apps.found import reserved
from rtflow.errors import SettingsError

RUNTIMES = ("podman", "docker", "apptainer", "native")


class Given(File):  # type: ignore[misc]
    """A file of the person's: a relative path counts from where they set it, for Nipype changes folder."""

    def validate(self, objekt: Any, name: str, value: Any) -> Any:
        """The whole path of a file that is there."""
        return super().validate(objekt, name, _whole(value))


class Folder(Directory):  # type: ignore[misc]
    """A folder of the person's, as `Given`."""

    def validate(self, objekt: Any, name: str, value: Any) -> Any:
        """The whole path of a folder."""
        return super().validate(objekt, name, _whole(value))


def _whole(value: Any) -> Any:
    return str(Path(value).expanduser().absolute()) if isinstance(value, str | Path) and str(value) else value


class Made(type(BaseInterfaceInputSpec)):  # type: ignore[misc]
    """The kind of a set of inputs or outputs that was made for one app: it pickles as that app."""


class AppInput(BaseInterfaceInputSpec, metaclass=Made):  # type: ignore[misc]
    """Inputs that every app's node has."""

    bids_dir = Folder(exists=True, desc="BIDS data set that the app is given, where it runs once")
    incremental = traits.Any(
        desc="volume that the app is given as a data set, where it runs with every volume"
    )
    out_dir = Folder(
        desc="folder of derivatives: outputs go into one of the app's name in it; default: the node's own"
    )
    level = traits.Str(desc="level of analysis")
    runtime = traits.Enum(
        *RUNTIMES, desc="what runs the container; default $RTFLOW_RUNTIME, or the first that works"
    )
    extra_args = traits.List(traits.Str(), desc="further arguments, as they stand on the command line")
    identity = traits.Str(desc="of the app: what is cached of another one is not taken")

    def get_hashval(self, hash_method: str | None = None) -> tuple[list[Any], str]:
        """What Nipype's cache knows a call by: beside the inputs also what the data set holds."""
        described, value = super().get_hashval(hash_method)
        if isdefined(self.bids_dir):
            import hashlib

            held = held_by(Path(self.bids_dir))
            value = hashlib.md5(f"{value} {held}".encode(), usedforsecurity=False).hexdigest()
            described = [*described, ("held by bids_dir", held)]
        return described, value


class AppOutput(TraitedSpec, metaclass=Made):  # type: ignore[misc]
    """Outputs that every app's node has."""

    out_dir = Directory(desc="folder of what the app has written")
    files = traits.List(traits.Str(), desc="files in it, in order")
    outputs = traits.Dict(traits.Str(), traits.Any(), desc="all that its worker said of the volume")


def held_by(folder: Path) -> str:
    """A hash over names, sizes and times of change of all files below a folder, derivatives left out."""
    import hashlib
    import os

    found = hashlib.sha256()
    seen = {os.path.realpath(folder)}
    for where, folders, files in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not (where == str(folder) and name == "derivatives"))
        for link in [name for name in folders if Path(where, name).is_symlink()]:
            real = os.path.realpath(Path(where, link))
            if real in seen:  # a circle, or the same once more
                folders.remove(link)
            seen.add(real)
        for name in sorted(files):
            path = Path(where, name)
            about = path.stat() if path.exists() else path.lstat()
            found.update(f"{path.relative_to(folder)} {about.st_size} {about.st_mtime_ns}\n".encode())
    return found.hexdigest()


def input_spec(descriptor: Descriptor) -> type[AppInput]:
    """The inputs of an app's node.

    Raises
    ------
    SettingsError
        If an option or a mount has a name that an input cannot have.
    """
    names = [*descriptor.options, *descriptor.mounts]
    for name in names:
        if reserved(name) or names.count(name) > 1:
            raise SettingsError(
                f"{descriptor.name}: '{name}' is the name of another input; call it something else"
            )
    made = {name: _trait(option) for name, option in descriptor.options.items()}
    for name, mount in descriptor.mounts.items():
        said = f"file or folder of this machine that the app finds at {mount.inside}"
        made[name] = _path(desc=f"{mount.help or name}: {said}", mandatory=mount.required or None)
    levels = ", ".join(descriptor.levels)
    made["level"] = traits.Enum(*descriptor.levels, usedefault=True, desc=f"level of analysis: {levels}")
    spec: type[AppInput] = _made("Input", AppInput, descriptor, made)
    return spec


def output_spec(descriptor: Descriptor) -> type[AppOutput]:
    """The outputs of an app's node: those of its worker have their names.

    Raises
    ------
    SettingsError
        If an output has a name that cannot be one.
    """
    outputs = descriptor.worker.outputs if descriptor.worker is not None else {}
    for name in outputs:
        if reserved(name) or name in ("files", "outputs"):
            raise SettingsError(f"{descriptor.name}: worker.outputs.{name}: choose another name")
    made = {name: _OUTPUTS[kind](desc=f"{name}, as the app's worker says") for name, kind in outputs.items()}
    spec: type[AppOutput] = _made("Output", AppOutput, descriptor, made)
    return spec


def _trait(option: Option) -> Any:
    said = option.help or f"as {option.flag} of the app"
    if option.default is not None:
        said += f" (the app's default: {option.default})"
    about = {"desc": said, "mandatory": option.required or None}
    match option.kind:
        case "switch":
            return traits.Bool(**about)
        case "whole":
            return traits.Int(**about)
        case "number":
            # Not a Float alone, which would make 4 into 4.0: that is no number of processors.
            return traits.Either(traits.Int(), traits.Float(), **about)
        case "choice":
            return traits.Enum(*option.choices, **about)
        case "path":
            return _path(**about)
        case "list":
            one = (
                traits.Enum(*option.choices)
                if option.choices
                else traits.Either(traits.Str(), traits.Int(), traits.Float())
            )
            return traits.List(one, **about)
    return traits.Either(traits.Str(), traits.Int(), traits.Float(), **about)


def _path(**about: Any) -> Any:
    return traits.Either(Given(exists=True), Folder(exists=True), **about)


_OUTPUTS: dict[OutputKind, Callable[..., Any]] = {
    "number": traits.Float,
    "text": traits.Str,
    "list": traits.List,
    "image": traits.Any,
}
_KNOWN: dict[tuple[str, str], Any] = {}


def _made(kind: str, base: Any, descriptor: Descriptor, made: dict[str, Any]) -> Any:
    key = kind, repr(descriptor)
    if key not in _KNOWN:
        name = f"{class_name(descriptor)}{kind}"
        about = {
            "__doc__": f"{kind}s of the app {descriptor.name}.",
            "__module__": __name__,
            "descriptor": descriptor,
        }
        _KNOWN[key] = type(base)(name, (base,), {**made, **about})
    return _KNOWN[key]


def class_name(descriptor: Descriptor) -> str:
    """What the node's class is called.

    >>> class_name(Descriptor(name="example-app"))
    'ExampleApp'
    """
    import re

    words = re.split(r"[^A-Za-z0-9]+", descriptor.name)
    return "".join(word[:1].upper() + word[1:] for word in words)


def _reduced(made: Any) -> Any:
    """How a class is pickled: as its name, or as the app that it was made for."""
    descriptor = made.__dict__.get("descriptor")
    if descriptor is None:
        return str(made.__qualname__)
    return (input_spec if issubclass(made, AppInput) else output_spec), (descriptor,)


copyreg.pickle(Made, _reduced)
