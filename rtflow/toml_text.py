"""Nested values as the text of a TOML file."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from rtflow.setting_types import NONE

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def to_toml(values: Mapping[str, Any], *, none: str | None = NONE) -> str:
    """Nested values as TOML, in which None is this text, or is left out.

    >>> print(to_toml({"seed": 1, "deadline": None, "bids": {"subject": "01"}}), end="")
    seed = 1
    deadline = "none"
    <BLANKLINE>
    [bids]
    subject = "01"
    """
    return "\n".join(_lines(values, (), none)).strip("\n") + "\n"


def _lines(values: Mapping[str, Any], where: tuple[str, ...], none: str | None) -> Iterator[str]:
    tables = {key: value for key, value in values.items() if isinstance(value, Mapping)}
    if where and (len(tables) < len(values) or not values):
        yield ""
        yield f"[{'.'.join(map(_key, where))}]"
    for key, value in values.items():
        said = none if value is None else value
        if key not in tables and said is not None:
            yield f"{_key(key)} = {_value(said)}"
    for key, table in tables.items():
        yield from _lines(table, (*where, key), none)


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else _value(key)


def _value(value: Any) -> str:
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, Mapping):  # TOML has no null within a list's tables either: it is left out
        pairs = (f"{_key(key)} = {_value(one)}" for key, one in value.items() if one is not None)
        return f"{{{', '.join(pairs)}}}"
    return str(value).lower() if isinstance(value, bool) else repr(value)
