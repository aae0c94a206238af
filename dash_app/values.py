"""Values in nested tables, by dotted names, and how two such tables differ."""

from __future__ import annotations

import copy
import json
from typing import Any

ABSENT = "–"
_NONE = object()


def value_at(values: Any, name: str, default: Any = None) -> Any:
    """The value of a dotted name; numbers in it count along lists."""
    for key in name.split(".") if name else ():
        if isinstance(values, list) and key.isdecimal() and int(key) < len(values):
            values = values[int(key)]
        elif isinstance(values, dict) and key in values:
            values = values[key]
        else:
            return default
    return values


def with_value(values: Any, name: str, value: Any = _NONE) -> Any:
    """A copy in which one value is another; without a value it is taken out.

    One whose table is not there has no place: then nothing is changed.
    """
    changed = copy.deepcopy(values)
    above, _, last = name.rpartition(".")
    into = value_at(changed, above)
    if isinstance(into, list):
        into[int(last) : int(last) + 1] = [] if value is _NONE else [value]
    elif not isinstance(into, dict):
        return changed
    elif value is _NONE:
        into.pop(last, None)
    else:
        into[last] = value
    return changed


def differences(before: dict[str, Any], after: dict[str, Any], above: str = "") -> list[dict[str, Any]]:
    """Settings that are not the same: dotted ``name``, and what they are in each, in words.

    A table of another kind is one difference: what is in it cannot be compared.
    """
    found: list[dict[str, Any]] = []
    for key in {**before, **after}:
        one, other = before.get(key, ABSENT), after.get(key, ABSENT)
        name = f"{above}.{key}" if above else key
        if one == other:
            continue
        if isinstance(one, dict) and isinstance(other, dict):
            if one.get("kind") == other.get("kind"):
                found += differences(one, other, name)
            else:
                found.append({"name": name, "before": str(one.get("kind")), "after": str(other.get("kind"))})
        else:
            found.append({"name": name, "before": in_short(one), "after": in_short(other)})
    return found


def changes(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """The tables to send so that what was before becomes what is after."""
    changed: dict[str, Any] = {}
    for key, value in after.items():
        one = before.get(key, ABSENT)
        if one == value:
            continue
        same = isinstance(one, dict) and isinstance(value, dict) and one.get("kind") == value.get("kind")
        # What is missing is to be missed by the engine: only the whole table says so.
        changed[key] = changes(one, value) if same and set(one) <= set(value) else value
    return changed


def in_short(value: Any) -> str:
    """A value in a line of text.

    >>> in_short(2.0), in_short(None), in_short(["a", 1]), in_short(True)
    ('2', 'none', 'a, 1', 'yes')
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    if isinstance(value, list):
        return ", ".join(map(in_short, value)) or "empty"
    if isinstance(value, dict):
        return json.dumps(value)
    return str(value) if value != "" else "empty"
