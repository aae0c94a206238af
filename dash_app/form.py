"""Settings as a form: what can be entered, from the JSON Schema, and what was entered, as values again.

Everything here is a pure function of schema and values; `rtflow.dash_app.tabs.settings` draws it.
"""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from rtflow.dash_app.values import in_short

Reads = Literal["number", "switch", "choice", "text", "path", "texts", "list", "word", "json"]
"""What a field reads: a number, one of a choice, texts, a list of numbers, a number or a word, JSON."""
Empty = Literal["none", "text"]
"""What it stands for that nothing was entered: no value (where there must be one, the engine says so), or an
empty text."""


OUT, GIVEN = "left out", "given"
"""Kinds of a table that there may be, or not."""
_NEVER_EMPTY = ("number", "word", "json", "choice")


@dataclass(frozen=True)
class Field:
    """One setting.

    Parameters
    ----------
    name
        Dotted, from the top.
    reads, empty
        How what was entered is read.
    meaning
        What it is for.
    value
        As it stands; None where there is none.
    bounds
        What it must be, in words; empty for no bounds.
    choices
        What may be chosen.
    optional
        Whether it may have no value.
    """

    name: str
    reads: Reads
    empty: Empty
    meaning: str = ""
    value: Any = None
    bounds: str = ""
    choices: tuple[str, ...] = ()
    optional: bool = False


@dataclass(frozen=True)
class Table:
    """Settings that belong together.

    Parameters
    ----------
    name
        Dotted; empty for the whole.
    meaning
        What they are for.
    parts
        What is in it.
    kind, kinds
        Which of several tables it is, and which there are; empty where there is one only.
    """

    name: str
    meaning: str
    parts: tuple[Field | Table | Tables, ...]
    kind: str = ""
    kinds: tuple[str, ...] = ()


@dataclass(frozen=True)
class Tables:
    """Tables in a row, as many as are wanted."""

    name: str
    meaning: str
    items: tuple[Table, ...]


def make_form(schema: dict[str, Any], values: dict[str, Any]) -> Table:
    """The form of all settings.

    Parameters
    ----------
    schema
        JSON Schema with ``$defs``, as the engine tells it.
    values
        Nested tables of values; what is missing in them is still to be entered.
    """
    return _table(schema, schema, "", values, _text(schema.get("description")))


def fields(part: Field | Table | Tables) -> Iterator[Field]:
    """All fields, in their order."""
    if isinstance(part, Field):
        yield part
    for inner in part.parts if isinstance(part, Table) else part.items if isinstance(part, Tables) else ():
        yield from fields(inner)


def read(reads: Reads, empty: Empty, entered: Any) -> Any:
    """The value that was entered; what cannot be read is left as it is, and the engine says what it wants."""
    if reads == "texts":
        return list(entered or [])
    if entered is None or entered == "":
        return None if empty == "none" else [] if reads == "list" else ""
    if not isinstance(entered, str):
        return entered
    if reads in ("number", "word"):
        return _number(entered)
    if reads == "list":
        return [_number(part.strip()) for part in entered.strip(" []").split(",") if part.strip()]
    if reads == "json":
        try:
            return json.loads(entered)
        except ValueError:
            return entered
    return entered


def shown(reads: Reads, value: Any) -> Any:
    """A value as it stands in its field."""
    if value is None:
        return "" if reads != "texts" else []
    if reads == "list":
        return ", ".join(map(in_short, value)) if isinstance(value, list) else str(value)
    if reads == "json":
        return json.dumps(value)
    return str(value) if reads in ("word", "text", "path") else value


def blank(schema: dict[str, Any], name: str, kind: str = "") -> dict[str, Any] | None:
    """The defaults of a table of a kind, for the setting of a name; or of one more in a row of tables."""
    if kind == OUT:
        return None
    about = _resolved(schema, schema)
    for key in name.split("."):
        about = _one_table(schema, about.get("properties", {}).get(key, {}))
    table = _of_kind(schema, about.get("items", about), kind)
    values = {"kind": kind} if "discriminator" in about else {}
    for key, inner in table.get("properties", {}).items():
        if "default" in inner:
            values[key] = copy.deepcopy(inner["default"])
    return values


# The schema


def _table(
    schema: dict[str, Any], about: dict[str, Any], name: str, values: dict[str, Any], meaning: str
) -> Table:
    kinds = tuple(about.get("discriminator", {}).get("mapping", ()))
    kind = str(values.get("kind", "")) if kinds else ""
    table = _of_kind(schema, about, kind)
    required = table.get("required", ())
    parts = tuple(
        _part(
            schema,
            inner,
            f"{name}.{key}" if name else key,
            values.get(key, inner.get("default")),
            key in required,
        )
        for key, inner in table.get("properties", {}).items()
        if not (kinds and key == "kind")
    )
    says = " ".join(text for text in (meaning, _text(table.get("description")) if kinds else "") if text)
    return Table(name, says, parts, kind, kinds)


def _part(
    schema: dict[str, Any], about: dict[str, Any], name: str, value: Any, required: bool
) -> Field | Table | Tables:
    meaning = str(about.get("description", ""))
    resolved = _resolved(schema, about)
    if "discriminator" in resolved or resolved.get("properties"):
        return _table(schema, resolved, name, value if isinstance(value, dict) else {}, meaning)
    items = _resolved(schema, resolved.get("items") or {})
    if resolved.get("type") == "array" and items.get("properties"):
        rows = value if isinstance(value, list) else []
        made = (_table(schema, items, f"{name}.{at}", row, "") for at, row in enumerate(rows))
        return Tables(name, meaning, tuple(made))
    options = [_resolved(schema, one) for one in resolved.get("anyOf", [resolved])]
    may_be_none = any(one.get("type") == "null" for one in options)
    options = [one for one in options if one.get("type") != "null"]
    if may_be_none and len(options) == 1 and options[0].get("properties"):
        table = _table(schema, options[0], name, value if isinstance(value, dict) else {}, meaning)
        if value is None:
            return Table(name, meaning, (), OUT, (OUT, GIVEN))
        return Table(name, meaning, table.parts, GIVEN, (OUT, GIVEN))
    reads = _reads(options)
    empty: Empty = "none" if may_be_none or required or reads in _NEVER_EMPTY else "text"
    bounds = " or ".join(text for text in map(_bounds, options) if text)
    choices = tuple(map(str, options[0].get("enum", ()))) if reads == "choice" else ()
    return Field(name, reads, empty, meaning, value, bounds, choices, may_be_none)


def _reads(options: list[dict[str, Any]]) -> Reads:
    types = [one.get("type") or ("enum" if "enum" in one else "") for one in options]
    match types:
        case ["boolean"]:
            return "switch"
        case ["integer"] | ["number"]:
            return "number"
        case ["enum"] if all(isinstance(one, str) for one in options[0]["enum"]):
            return "choice"
        case ["string"]:
            return "path" if options[0].get("format") == "path" else "text"
        case ["array"]:
            inner = options[0].get("prefixItems") or [options[0].get("items") or {}]
            kinds = {one.get("type") for one in inner}
            if kinds == {"string"}:
                return "texts"
            return "list" if kinds <= {"integer", "number"} else "json"
    if set(types) <= {"integer", "number", "enum", "string"}:
        return "word"
    return "json"


def _bounds(about: dict[str, Any]) -> str:
    words = {
        "minimum": "at least",
        "exclusiveMinimum": "above",
        "maximum": "at most",
        "exclusiveMaximum": "below",
    }
    said = " and ".join(f"{word} {about[key]:g}" for key, word in words.items() if key in about)
    if "enum" in about:
        said = ", ".join(map(str, about["enum"]))
    if about.get("type") == "array" and about.get("minItems") == about.get("maxItems", -1):
        said = f"{about['minItems']} of them"
    whole = "a whole number" if about.get("type") == "integer" else ""
    return ", ".join(text for text in (whole, said) if text)


def _of_kind(schema: dict[str, Any], about: dict[str, Any], kind: str) -> dict[str, Any]:
    about = _resolved(schema, about)
    if "discriminator" in about:
        reference = about["discriminator"]["mapping"].get(kind)
        return _resolved(schema, {"$ref": reference}) if reference else {}
    return about


def _resolved(schema: dict[str, Any], about: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in about:
        about = schema["$defs"][about["$ref"].rpartition("/")[2]]
    return about


def _one_table(schema: dict[str, Any], about: dict[str, Any]) -> dict[str, Any]:
    """A table, also where there may be none."""
    about = _resolved(schema, about)
    if "anyOf" in about and "discriminator" not in about:
        return next(
            (one for one in (_resolved(schema, it) for it in about["anyOf"]) if "properties" in one), about
        )
    return about


def _text(description: Any) -> str:
    """The first paragraph of a docstring."""
    return " ".join(str(description or "").split("\n\n")[0].split())


def _number(text: str) -> Any:
    """The number that a text is; else the text."""
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return text
