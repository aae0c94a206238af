"""The arguments of an app: options by name, checked against what the app knows, spelled as it spells them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rtflow.bids_apps.command_line import Binding
from rtflow.bids_apps.descriptor import BIDS_DIR, Descriptor, Option
from rtflow.bids_apps.links import link_targets
from rtflow.bids_apps.planted import AppFolders
from rtflow.bids_apps.runtime import Runtime
from rtflow.errors import UsageError
from rtflow.setting_types import suggestion

Seen = Callable[[str, Path], str]
"""From the name of an option and a path of this machine to where the app sees it."""


@dataclass(frozen=True)
class Given:
    """What an app is given.

    Parameters
    ----------
    arguments
        Its options, as it spells them.
    bindings
        What it sees of this machine, to read.
    planted
        Links that apps have left: they lead nowhere for it.
    """

    arguments: list[str]
    bindings: list[Binding]
    planted: list[Path] = field(default_factory=list)


def given(
    descriptor: Descriptor,
    runtime: Runtime,
    values: Mapping[str, Any],
    mounts: Mapping[str, Path],
    bids_dir: Path,
    subjects: Sequence[str] = (),
    results: Path | None = None,
) -> Given:
    """What an app is given: its options as it spells them, and what it sees of this machine to read.

    Parameters
    ----------
    descriptor
        The app.
    runtime
        What runs it; without a container, paths are those of this machine.
    values
        By the names of its options.
    mounts
        Path on this machine by the name of the mount.
    bids_dir
        The data set.
    subjects
        Labels of the participants that are analysed; empty is all.
    results
        The folder of its results.

    Raises
    ------
    UsageError
        If an option, a mount or a link makes no sense, or two would be seen in one place.
    """
    for label in subjects:
        if not re.fullmatch(r"[A-Za-z0-9+]+", label.removeprefix("sub-")):
            raise UsageError(
                f"{descriptor.name}: participant_label: expected letters and digits, as behind sub-, got "
                f"{label!r}"
            )
    inputs: dict[str, Binding] = {}
    apps = _app_folders(bids_dir, results)

    def seen(name: str, path: Path) -> str:
        inputs[name] = path_binding(name, path)
        _require_trusted(apps, f"option {name}", path, inputs[name].host, bids_dir)
        return str(inputs[name].host) if runtime.native else inputs[name].inside

    arguments = option_arguments(descriptor, values, seen)
    bindings = [*inputs.values(), *mount_bindings(descriptor, mounts)]
    if runtime.native:
        return Given(arguments, [])
    for name, path in mounts.items():
        _require_trusted(apps, f"--mount {name}", path, path.expanduser().resolve(), bids_dir)
    led = [link_targets(bids_dir, BIDS_DIR, subjects, apps=apps)]
    led += [
        link_targets(one.host, one.inside, broken=True, apps=apps, data=bids_dir)
        for one in bindings
        if one.host.is_dir()
    ]
    places: dict[str, Binding] = {}
    for place in (Binding(bids_dir, BIDS_DIR), *bindings):
        _place(descriptor, places, place, str(place.host))
    for links in led:
        for link, place in links.bindings.items():
            _place(descriptor, places, place, f"{place.host}, where {link} leads,")
    return Given(arguments, list(places.values()), [link for links in led for link in links.planted])


def _app_folders(bids_dir: Path, results: Path | None) -> AppFolders:
    """Where links are not trusted."""
    collections, own = [bids_dir / "derivatives"], []
    if results is not None:
        own = [results, results.with_name(f".{results.name}")]
        # What holds the data set, or is elsewhere, has folders of others.
        out = results.parent.resolve()
        collections += [out] if out.is_relative_to(bids_dir) and out != bids_dir else []
    return AppFolders(collections, own)


def _require_trusted(apps: AppFolders, what: str, path: Path, real: Path, bids_dir: Path) -> None:
    """Refuse a path whose end an app has chosen by a link of its own, but not among what apps made."""
    inside = real.is_relative_to(bids_dir) or apps.hold(real.parent)
    if not inside and apps.planted(path.expanduser().absolute()):
        raise UsageError(
            f"{what}: {path} leads to {real} by a link that an app has left; give {real} itself, "
            "if that is meant"
        )


def _place(descriptor: Descriptor, places: dict[str, Binding], one: Binding, said: str) -> None:
    other = places.setdefault(one.inside, one)
    if other.host != one.host:
        raise UsageError(
            f"{descriptor.name} would see both {other.host} and {said} at {one.inside}; "
            "replace the link that leads there by a copy"
        )


def option_arguments(descriptor: Descriptor, values: Mapping[str, Any], seen: Seen) -> list[str]:
    """The options of a run, as the app spells them.

    Parameters
    ----------
    descriptor
        The app.
    values
        By the names of its options; None, False of a switch and an empty list leave an option out.
    seen
        Where the app sees a file.

    Raises
    ------
    UsageError
        If an option is unknown or missing, or its value is not of its kind.
    """
    for name in values:
        if name not in descriptor.options:
            way = suggestion(name, descriptor.options) if descriptor.options else "none is known"
            raise UsageError(
                f"{descriptor.name} has no option {name!r}; {way}; other arguments go behind '--'"
            )
    argv: list[str] = []
    for name, option in descriptor.options.items():
        value = values.get(name)
        if value is None or value is False or value == []:
            if option.required:
                raise UsageError(f"{descriptor.name} needs the option {name} ({option.flag}): {option.help}")
            continue
        argv += _spelled(descriptor.name, name, option, value, seen)
    return argv


def _spelled(app: str, name: str, option: Option, value: Any, seen: Seen) -> list[str]:
    def wrong(expected: str) -> UsageError:
        return UsageError(f"{app}: option {name} ({option.flag}): expected {expected}, got {value!r}")

    if option.kind != "list" and isinstance(value, list | tuple):
        # As the labels of participants come; who knows that the app takes several makes it a list.
        if len(value) != 1:
            raise wrong("one value")
        value = value[0]
    match option.kind:
        case "switch":
            if value is not True:
                raise wrong("true or false")
            return [option.flag]
        case "list":
            words = [str(one) for one in ([value] if isinstance(value, str | int | float) else value)]
            for word in words:
                _require_choice(option, word, wrong)
                if word.startswith("-"):
                    raise wrong("words that do not begin with '-'")
            if option.repeated:
                return [part for word in words for part in (option.flag, word)]
            return [option.flag, *words]
        case "path":
            return [option.flag, seen(name, Path(value))]
        case "whole" if isinstance(value, bool) or not isinstance(value, int):
            raise wrong("a whole number")
        case "number" if isinstance(value, bool) or not isinstance(value, int | float):
            raise wrong("a number")
    _require_choice(option, str(value), wrong)
    # In one word: a value that begins with '-' is no option then. Short flags have no such spelling.
    return [f"{option.flag}={value}"] if _joins(option, str(value)) else [option.flag, str(value)]


def _joins(option: Option, value: str) -> bool:
    return value.startswith("-") and option.flag.startswith("--")


def _require_choice(option: Option, word: str, wrong: Callable[[str], UsageError]) -> None:
    if option.choices and word not in option.choices:
        raise wrong(" or ".join(option.choices))


def from_text(descriptor: Descriptor, texts: Sequence[str]) -> dict[str, Any]:
    """Values of options as they are typed, ``NAME=VALUE`` each; of a list with commas, or several times.

    Raises
    ------
    UsageError
        If one is no ``NAME=VALUE``, or its value is not of the option's kind.
    """
    values: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        option = descriptor.options.get(name)
        if not equals:
            raise UsageError(f"--set {text}: expected NAME=VALUE, such as participant_label=01")
        if option is None:
            values[name] = value  # told as unknown with the others
        elif option.kind == "list":
            values[name] = [*values.get(name, []), *(part for part in value.split(",") if part)]
        else:
            values[name] = _typed(option, value)
    return values


def _typed(option: Option, text: str) -> Any:
    """The value of a text, or the text, which is refused later with what was expected."""
    if option.kind == "switch" and text in ("true", "false"):
        return text == "true"
    kinds: Mapping[str, Callable[[str], Any]] = {"whole": int, "number": float}
    try:
        return kinds.get(option.kind, str)(text)
    except ValueError:
        return text


def path_binding(name: str, path: Path) -> Binding:
    """Where a file or folder that is given by an option is mounted: by itself, read-only, under its own name.

    Raises
    ------
    UsageError
        If it does not exist.
    """
    try:
        real = path.expanduser().resolve(strict=True)
    except (OSError, RuntimeError):
        raise UsageError(
            f"option {name}: {path} does not exist; an app is only given what is there"
        ) from None
    return Binding(real, f"/inputs/{name}/{path.name or real.name}")


def mount_bindings(descriptor: Descriptor, given: Mapping[str, Path]) -> list[Binding]:
    """What is mounted of what the app declares that it needs.

    Parameters
    ----------
    descriptor
        The app.
    given
        Path on this machine by the name of the mount.

    Raises
    ------
    UsageError
        If one is unknown, missing, does not exist, or cannot be read or written as the app wants it.
    """
    for name in given:
        if name not in descriptor.mounts:
            way = suggestion(name, descriptor.mounts) if descriptor.mounts else "its file declares none"
            raise UsageError(f"{descriptor.name} has no mount {name!r}; {way}")
    bindings = []
    for name, mount in descriptor.mounts.items():
        if name not in given:
            if mount.required:
                about = f" ({mount.help})" if mount.help else ""
                raise UsageError(f"{descriptor.name} needs {name}{about}; give it: --mount {name}=PATH")
            continue
        try:
            real = given[name].expanduser().resolve(strict=True)
        except (OSError, RuntimeError):
            raise UsageError(f"--mount {name}={given[name]}: it does not exist; give what is there") from None
        if not os.access(real, os.R_OK if mount.read_only else os.R_OK | os.W_OK):
            may = "read" if mount.read_only else "written"
            raise UsageError(
                f"--mount {name}={real}: it cannot be {may} by you, nor by the app, which runs as you"
            )
        bindings.append(Binding(real, mount.inside, mount.read_only))
    return bindings
