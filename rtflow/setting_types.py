"""What a setting may be: read from a piece of text, and said in words.

Both the options of a source URI and ``--set`` bring text where a typed value is wanted, and both must
tell a person what would have been right.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable
from typing import Annotated, Any

import msgspec
from msgspec import inspect

LocalPath = Annotated[str, msgspec.Meta(extra_json_schema={"format": "path"})]
"""A path on this machine. A relative one counts from the folder of the TOML file that it stands in."""

_LABEL, _LABEL_OR_NONE = r"^[0-9A-Za-z+]+$(?!\n)", r"^[0-9A-Za-z+]*$(?!\n)"
Label = Annotated[str, msgspec.Meta(pattern=_LABEL)]
"""A BIDS label, without its key and hyphen (``sub-``)."""
LabelOrNone = Annotated[str, msgspec.Meta(pattern=_LABEL_OR_NONE)]
"""The same, or an empty text."""

Positive = Annotated[float, msgspec.Meta(gt=0)]
NotNegative = Annotated[float, msgspec.Meta(ge=0)]
Whole = Annotated[int, msgspec.Meta(ge=0)]
Count = Annotated[int, msgspec.Meta(ge=1)]

NONE = "none"

_TEXTS = {
    None: "text",
    _LABEL: "text of letters and digits only",
    _LABEL_OR_NONE: "text of letters and digits only, or an empty one",
}


def bare(type_: inspect.Type) -> inspect.Type:
    """A type without what is only said about it."""
    return bare(type_.type) if isinstance(type_, inspect.Metadata) else type_


def members(type_: inspect.Type) -> list[inspect.Type]:
    """The types of a union, or the one type."""
    type_ = bare(type_)
    return [bare(one) for one in type_.types] if isinstance(type_, inspect.UnionType) else [type_]


def is_path(type_: inspect.Type) -> bool:
    """Whether the setting is a `LocalPath` (or none)."""
    found = type_.types if isinstance(type_, inspect.UnionType) else (type_,)
    return any(
        isinstance(one, inspect.Metadata) and (one.extra_json_schema or {}).get("format") == "path"
        for one in found
    )


def takes_text(type_: inspect.Type) -> bool:
    """Whether any text at all is a value of the type."""
    return any(isinstance(one, inspect.StrType | inspect.AnyType) for one in members(type_))


def takes_none(type_: inspect.Type) -> bool:
    """Whether the setting may be without a value, which TOML cannot say: the text ``none`` says it."""
    return not takes_text(type_) and any(isinstance(one, inspect.NoneType) for one in members(type_))


def from_text(text: str, type_: inspect.Type) -> Any:
    """The value that a piece of text stands for.

    ``true`` and ``false``, numbers, words of a choice, ``none`` where there may be none, and lists of
    these with commas between; anything where text is wanted.

    Raises
    ------
    ValueError
        If the text is no value of the type; the message says what would be.
    """
    if takes_none(type_) and text == NONE:
        return None
    for one in sorted(members(type_), key=lambda one: isinstance(one, inspect.StrType)):
        try:
            return _read(text, one)
        except ValueError:
            continue
    raise ValueError(f"expected {in_words(type_)}, got {text!r}")


def _read(text: str, type_: inspect.Type) -> Any:
    match type_:
        case inspect.StrType() | inspect.AnyType():
            return text
        case inspect.LiteralType(values) if text in values:
            return text
        case inspect.BoolType() if text in ("true", "false"):
            return text == "true"
        case inspect.IntType() if _within(int(text), type_):
            return int(text)
        case inspect.FloatType() if _within(float(text), type_):
            return float(text)
        case inspect.TupleType(items):
            parts = _items(text)
            if len(parts) == len(items):
                return tuple(from_text(part.strip(), item) for part, item in zip(parts, items, strict=True))
        case inspect.ListType(item) | inspect.VarTupleType(item):
            return [from_text(part.strip(), item) for part in _items(text) if part.strip()]
    raise ValueError(text)


def _items(text: str) -> list[str]:
    """What stands between commas, in brackets or not."""
    return (text[1:-1] if text[:1] == "[" and text[-1:] == "]" else text).split(",")


def _within(value: float, type_: inspect.IntType | inspect.FloatType) -> bool:
    return (
        math.isfinite(value)
        and (type_.gt is None or value > type_.gt)
        and (type_.ge is None or value >= type_.ge)
        and (type_.lt is None or value < type_.lt)
        and (type_.le is None or value <= type_.le)
    )


def in_words(type_: inspect.Type) -> str:
    """What a setting of this type wants, as a person would say it.

    >>> in_words(inspect.type_info(int | None))
    'a whole number or none'
    >>> in_words(inspect.type_info(Annotated[float, msgspec.Meta(gt=0)]))
    'a number above 0'
    """
    ordered = sorted(members(type_), key=lambda one: isinstance(one, inspect.NoneType))
    return " or ".join(dict.fromkeys(_word(one) for one in ordered))


def _word(type_: inspect.Type) -> str:
    match type_:
        case inspect.NoneType():
            return NONE
        case inspect.BoolType():
            return "true or false"
        case inspect.IntType():
            return "a whole number" + _bounds(type_)
        case inspect.FloatType():
            return "a number" + _bounds(type_)
        case inspect.StrType(pattern=pattern):
            return _TEXTS.get(pattern, f"text that matches {pattern}")
        case inspect.LiteralType(values):
            return " or ".join(f"'{value}'" for value in values)
        case inspect.TupleType(items):
            return f"a list of {len(items)}, each {in_words(items[0])}" if items else "an empty list"
        case inspect.ListType(item) | inspect.VarTupleType(item):
            return f"a list, each {in_words(item)}"
        case inspect.StructType() | inspect.DictType():
            return "a table"
    return type(type_).__name__.removesuffix("Type").lower()


def _bounds(type_: inspect.IntType | inspect.FloatType) -> str:
    said = [
        f"{word} {limit:g}"
        for word, limit in (
            ("above", type_.gt),
            ("of at least", type_.ge),
            ("below", type_.lt),
            ("of at most", type_.le),
        )
        if limit is not None
    ]
    return " " + " and ".join(said) if said else ""


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that was most likely meant, if any is near."""
    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return found[0] if found else None


def suggestion(word: str, known: Iterable[str]) -> str:
    """What to write in place of an unknown word.

    >>> suggestion("actvation", ["activation", "tr"])
    "did you mean 'activation'?"
    >>> suggestion("xyz", ["activation", "tr"])
    'known are activation, tr'
    """
    names = list(known)
    near = nearest(word, names)
    return f"did you mean '{near}'?" if near else f"known are {', '.join(names)}"
