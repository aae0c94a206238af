"""What settings there may be, as JSON Schema, with what the docstrings say of each."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

import msgspec

_SECTION = re.compile(r"\nParameters\n-+\n(.*?)(?=\n\n?[A-Z]\w+\n-{3,}\n|\Z)", re.DOTALL)
_ENTRY = re.compile(r"^(\S.*)\n((?:(?:    .*)?\n?)*)", re.MULTILINE)


def meanings(thing: object) -> dict[str, str]:
    """What the section on parameters of a numpydoc docstring says of each, in one line each."""
    found: dict[str, str] = {}
    section = _SECTION.search(inspect.getdoc(thing) or "")
    for names, text in _ENTRY.findall(section.group(1) if section else ""):
        said = " ".join(line.strip() for line in text.splitlines() if line.strip())
        found |= dict.fromkeys((name.strip(" *") for name in names.partition(" : ")[0].split(",")), said)
    return found


def setting_meanings(struct: type[msgspec.Struct]) -> dict[str, str]:
    """What is said of each setting of a structure, there or where it was inherited from."""
    said: dict[str, str] = {}
    for base in reversed(struct.__mro__):
        if issubclass(base, msgspec.Struct) and base is not msgspec.Struct:
            said |= meanings(base)
    return said


def settings_schema(struct: type[msgspec.Struct]) -> dict[str, Any]:
    """The JSON Schema of a structure, in which every setting has its ``description``."""
    schema = msgspec.json.schema(struct)
    said = {kind.__name__: setting_meanings(kind) for kind in _structs(struct)}
    for name, table in schema["$defs"].items():
        for setting, about in table.get("properties", {}).items():
            if meaning := said.get(name, {}).get(setting):
                # Beside a reference, JSON Schema of 2020 allows it.
                about["description"] = meaning
    return schema


def _structs(struct: type[msgspec.Struct]) -> Iterator[type[msgspec.Struct]]:
    """A structure, and all those that its settings are of."""
    seen: set[object] = set()
    waiting: list[Any] = [msgspec.inspect.type_info(struct)]
    while waiting:
        one = waiting.pop()
        if isinstance(one, msgspec.inspect.StructType):
            if one.cls in seen:
                continue
            seen.add(one.cls)
            yield one.cls
            waiting += [field.type for field in one.fields]
        else:
            for name in ("type", "types", "item_type", "item_types", "value_type"):
                inner = getattr(one, name, ())
                waiting += inner if isinstance(inner, tuple) else [inner]
