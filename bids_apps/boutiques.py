"""The options of a command line, read from a Boutiques descriptor.

It is a file that somebody wrote, or what the app prints at ``--bids-exec-spec``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from rtflow.bids_apps.descriptor import Kind, Option, Origin, Scalar
from rtflow.bids_apps.found import Found, Spelled, levels_among
from rtflow.errors import SettingsError

_KINDS: dict[str, Kind] = {"String": "text", "Number": "number", "File": "path", "Flag": "switch"}
_FLAG = re.compile(r"-{1,2}[A-Za-z0-9][A-Za-z0-9_.-]*")
#: What stands at its place in every BIDS App's command line.
_PLACES = re.compile(r"(?i)(bids|in(put)?|out(put)?)_?(dir|directory|dir_name)")


def from_boutiques(text: str, where: str, *, origin: Origin = "boutiques") -> Found:
    """What a descriptor says.

    Parameters
    ----------
    text
        JSON.
    where
        Where it comes from, for messages.
    origin
        Of the options.

    Raises
    ------
    SettingsError
        If it is no such descriptor.
    """
    try:
        about = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"{where} is not valid JSON: {error}; give a Boutiques descriptor") from None
    inputs = about.get("inputs") if isinstance(about, dict) else None
    if not isinstance(inputs, list) or not all(isinstance(one, dict) for one in inputs):
        raise SettingsError(f"{where}: expected a Boutiques descriptor, with a list of inputs; give one")
    options: list[Spelled] = []
    left_out: list[str] = []
    levels: tuple[str, ...] = ()
    for one in inputs:
        name = str(one.get("id") or one.get("name") or "?")
        flag = one.get("command-line-flag")
        choices = _texts(one.get("value-choices"))
        if not flag:
            if found := levels_among(choices) if choices else ():
                levels = levels or found
            elif not _PLACES.fullmatch(name) and "level" not in name:
                left_out.append(f"{name}: it has no flag")
        elif not isinstance(flag, str) or not _FLAG.fullmatch(flag):
            left_out.append(f"{name}: {flag!r} is no flag")
        elif one.get("command-line-flag-separator") or one.get("list-separator"):
            left_out.append(f"{name}: its value is written in a way of its own")
        elif flag not in ("-h", "--help", "--version"):
            options.append(Spelled(_option(flag, one, choices, origin), (flag,)))
    version = about.get("tool-version")
    return Found(
        tuple(options), levels, version if isinstance(version, str) else "", left_out=tuple(left_out)
    )


def _option(flag: str, one: Mapping[str, Any], choices: tuple[str, ...], origin: Origin) -> Option:
    kind = _KINDS.get(str(one.get("type")), "text")
    if kind == "switch":
        choices = ()
    elif one.get("list") is True:
        kind = "list"
    elif choices:
        kind = "choice"
    elif kind == "number" and one.get("integer") is True:
        kind = "whole"
    return Option(
        flag=flag,
        kind=kind,
        choices=choices,
        default=None if kind == "switch" else _default(one.get("default-value")),
        help=" ".join(str(one.get("description") or one.get("name") or "").split()),
        required=kind != "switch" and one.get("optional") is not True,
        origin=origin,
    )


def _default(value: Any) -> Scalar | tuple[Scalar, ...] | None:
    if isinstance(value, list):
        return tuple(one for one in value if isinstance(one, bool | int | float | str)) or None
    return value if isinstance(value, bool | int | float | str) and value != "" else None


def _texts(values: Any) -> tuple[str, ...]:
    return tuple(map(str, values)) if isinstance(values, list) else ()
