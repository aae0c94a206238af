"""What a method of an agent takes and gives: said in words by one host, checked by both.

A signature names types of a closed list and nothing else: ``bool``, ``int``, ``float``, ``str``, ``None``,
``list[...]``, ``dict[str, ...]``, and several of them with ``|`` between.
"""

from __future__ import annotations

import ast
import types
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec

from rtflow.errors import ProtocolError, UsageError

_PLAIN: dict[str, Any] = {"bool": bool, "int": int, "float": float, "str": str, "None": type(None)}
_DEEPEST = 8

MOST_PARAMETERS, LONGEST_NAME, LONGEST_TYPE = 32, 64, 500
"""Of a method; and characters of each name and type."""

ShortName = Annotated[str, msgspec.Meta(max_length=LONGEST_NAME)]
TypeInWords = Annotated[str, msgspec.Meta(max_length=LONGEST_TYPE)]


class Parameter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A parameter of a method: its name, its type in words, and whether it may be left out."""

    name: ShortName
    type: TypeInWords
    optional: bool = False


class Signature(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Parameters of a method, and the type of what it returns."""

    parameters: Annotated[tuple[Parameter, ...], msgspec.Meta(max_length=MOST_PARAMETERS)] = ()
    returns: TypeInWords = "None"

    def check(self, method: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """The arguments, each of its type.

        Raises
        ------
        UsageError
            If one is of another type, unknown, or missing.
        """
        known = {one.name: one for one in self.parameters}
        unknown = sorted(arguments.keys() - known.keys())
        missing = sorted(name for name, one in known.items() if not one.optional and name not in arguments)
        if unknown or missing:
            what = f"has no argument {unknown[0]!r}" if unknown else f"needs the argument {missing[0]!r}"
            raise UsageError(f"{method} {what}; it takes ({self})")
        return {
            name: _converted(value, known[name].type, f"{method}: {name}")
            for name, value in arguments.items()
        }

    def check_result(self, method: str, value: Any) -> Any:
        """What a method gave, of its type.

        Raises
        ------
        UsageError
            If it is of another.
        """
        return _converted(value, self.returns, f"result of {method}")

    def __str__(self) -> str:
        return ", ".join(
            f"{one.name}: {one.type}{' = ...' if one.optional else ''}" for one in self.parameters
        )


def in_words(hint: Any) -> str:
    """A type as text.

    >>> in_words(dict[str, list[float] | None])
    'dict[str, list[float] | None]'

    Raises
    ------
    UsageError
        If it is not of the list.
    """
    for name, plain in _PLAIN.items():
        if hint is plain or (name == "None" and hint is None):
            return name
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return " | ".join(in_words(one) for one in inner)
    if origin is list and len(inner) == 1:
        return f"list[{in_words(inner[0])}]"
    if origin is dict and len(inner) == 2 and inner[0] is str:
        return f"dict[str, {in_words(inner[1])}]"
    raise UsageError(
        f"{hint!r} cannot go from host to host; use bool, int, float, str, None, list[...] or dict[str, ...]"
    )


def from_words(text: str) -> Any:
    """The type that a text says; nothing of it is run.

    >>> from_words("list[int] | None")
    list[int] | None

    Raises
    ------
    ProtocolError
        If it says none of the list.
    """
    try:
        if len(text) > LONGEST_TYPE:
            raise ValueError
        return _read(ast.parse(text, mode="eval").body, 0)
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        raise ProtocolError(f"{text[:100]!r} is no type that can go from host to host") from None


def _read(node: ast.expr, depth: int) -> Any:
    if depth > _DEEPEST:
        raise ValueError
    match node:
        case ast.Constant(value=None):
            return None
        case ast.Name(id=name) if name in _PLAIN:
            return _PLAIN[name]
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _read(left, depth + 1) | _read(right, depth + 1)
        case ast.Subscript(value=ast.Name(id="list"), slice=inner):
            return list[_read(inner, depth + 1)]  # type: ignore[misc]
        case ast.Subscript(value=ast.Name(id="dict"), slice=ast.Tuple(elts=[ast.Name(id="str"), inner])):
            return dict[str, _read(inner, depth + 1)]  # type: ignore[misc]
    raise ValueError


def _converted(value: Any, type_: str, what: str) -> Any:
    try:
        return msgspec.convert(value, from_words(type_), strict=True)
    except msgspec.ValidationError as error:
        raise UsageError(f"{what}: expected {type_}, got {value!r:.100} ({error})") from None
