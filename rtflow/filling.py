"""Fill a typed structure from tables and texts, and say precisely what does not fit.

Each value is remembered with its origin (a file, an option of the command line), so that whatever is
wrong with it is told with the name of the setting, what was expected, what came, and from where.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec
import tomli
from msgspec import inspect

from rtflow.errors import SettingsError
from rtflow.setting_types import (
    NONE,
    from_text,
    in_words,
    is_path,
    members,
    nearest,
    suggestion,
    takes_none,
    takes_text,
)
from rtflow.source_settings import SourceTable
from rtflow.source_uri import parse_source

T = TypeVar("T", bound=msgspec.Struct)
Where = tuple[str, ...]


class _Text(str):
    """A value as it was typed, before the type that it should have is known."""


@dataclass(frozen=True)
class _Origin:
    name: str
    folder: Path | None


class Filling(Generic[T]):
    """A structure's defaults, and what is put over them.

    Parameters
    ----------
    struct_type
        The structure to fill: scalars, lists, tables (dict), and structures of these. Where a structure has
        a ``text_is``, a text in its place is the value of the field of that name.
    merging
        Whether a table is merged with the structure's default for it, or stands for the whole of it.

    Raises
    ------
    SettingsError
        If the structure has a field of a type that no table can give.
    """

    def __init__(self, struct_type: type[T], *, merging: bool = True) -> None:
        self._type = struct_type
        try:
            schema = inspect.type_info(struct_type)
        except (TypeError, NameError) as error:
            raise SettingsError(
                f"{struct_type.__name__} cannot be filled from a file: {error}; "
                "annotate each setting with bool, int, float, str, a list of these or a msgspec.Struct"
            ) from None
        assert isinstance(schema, inspect.StructType)
        self._schema = schema
        self._values = _defaults(schema) if merging else {}
        self._origins: dict[Where, str] = {}

    def add(self, values: dict[str, Any], *, origin: str, folder: Path | None = None) -> None:
        """Put values over those that stand.

        Parameters
        ----------
        values
            Nested tables.
        origin
            Where they come from, for messages.
        folder
            What relative paths count from; None leaves them as they are.

        Raises
        ------
        SettingsError
            If a key is unknown.
        """
        self._merge(values, self._schema, self._values, (), _Origin(origin, folder))

    def add_text(self, keys: Sequence[str], text: str, *, origin: str, folder: Path | None = None) -> None:
        """Put one value over the one that stands: in TOML syntax, else text. As `add` otherwise."""
        value: Any = _Text(text)
        for key in reversed(keys):
            value = {key: value}
        self.add(value, origin=origin, folder=folder)

    def filled(self) -> T:
        """The structure.

        Raises
        ------
        SettingsError
            If a value is missing or of the wrong type.
        """
        try:
            return msgspec.convert(self._values, self._type)
        except msgspec.ValidationError as error:
            raise SettingsError(self._complaint(str(error))) from None

    def _merge(
        self,
        values: dict[str, Any],
        struct: inspect.StructType,
        into: dict[str, Any],
        where: Where,
        origin: _Origin,
    ) -> None:
        fields = {field.encode_name: field.type for field in struct.fields}
        for key, value in values.items():
            here = (*where, key)
            if key == struct.tag_field:
                into[key] = value
            elif key in fields:
                self._origins[here] = origin.name
                into[key] = self._ready(value, fields[key], into.get(key), here, origin)
            else:
                raise SettingsError(f"{origin.name}: {self._unknown(here, struct)}")

    def _ready(self, value: Any, type_: inspect.Type, standing: Any, where: Where, origin: _Origin) -> Any:
        """A value as conversion wants it: text read, tables merged with what stands, paths absolute."""
        structs = [one for one in members(type_) if isinstance(one, inspect.StructType)]
        if isinstance(value, _Text):
            value = _typed(value, type_)
        if isinstance(value, str) and any(issubclass(one.cls, SourceTable) for one in structs):
            try:
                value, standing = msgspec.to_builtins(parse_source(value)), None
            except SettingsError as error:
                raise SettingsError(f"{origin.name}: {error}") from None
        if isinstance(value, str) and not (value == NONE and takes_none(type_)):
            named = next((one.cls.text_is for one in structs if hasattr(one.cls, "text_is")), "")
            value = {named: value} if named else value
        if isinstance(value, dict) and structs:
            kind, struct, table = _table(value, structs, standing, where, origin)
            self._merge({**value, **kind}, struct, table, where, origin)
            return table
        if isinstance(value, dict):
            inner = next(
                (one.value_type for one in members(type_) if isinstance(one, inspect.DictType)), type_
            )
            table = dict(standing) if isinstance(standing, dict) else {}
            for key, one in value.items():
                table[key] = self._ready(one, inner, table.get(key), (*where, key), origin)
            return table
        if isinstance(value, list):
            item = next((one.item_type for one in members(type_) if isinstance(one, _Lists)), None)
            return [self._ready(one, item, None, where, origin) for one in value] if item else value
        if value == NONE and takes_none(type_):
            return None
        if isinstance(value, str) and value and is_path(type_) and origin.folder:
            return str(origin.folder / Path(value).expanduser())
        if isinstance(value, float) and not math.isfinite(value):
            raise SettingsError(f"{origin.name}: {_name(where)}: expected {in_words(type_)}, got {value}")
        return value

    def _unknown(self, where: Where, struct: inspect.StructType) -> str:
        """What to say of a key that the structure does not have."""
        *tables, key = where
        known = {field.encode_name: _name((*tables, field.encode_name)) for field in struct.fields}
        near = nearest(key, known)
        elsewhere = [
            name for name in _names(self._schema) if name.endswith(f".{key}") and name != _name(where)
        ]
        of_kind = f" of a source of kind '{struct.tag}'" if struct.tag_field else ""
        if elsewhere:  # the right name in the wrong table, such as activation for source.activation
            way = f"did you mean '{elsewhere[0]}'?"
        else:
            way = f"did you mean '{known[near]}'?" if near else f"known are {', '.join(known.values())}"
        return f"unknown setting '{_name(where)}'{of_kind}; {way}"

    def _complaint(self, error: str) -> str:
        """What msgspec found wrong, in the words of whoever wrote the settings."""
        what, _, path = error.partition(" - at `$.")
        where: list[str] = []
        type_: inspect.Type = self._schema
        value: Any = self._values
        for key in re.findall(r"[^.\[\]`]+", path.partition("[")[0]):
            field = _field(type_, key, value)
            if field is None or not isinstance(value, dict):
                break
            where.append(key)
            type_, value = field.type, value.get(key)
        origin = next(
            (
                f"{self._origins[at]}: "
                for at in (tuple(where[:length]) for length in range(len(where), 0, -1))
                if at in self._origins
            ),
            "",
        )
        missing = re.fullmatch(r"Object missing required field `(.+)`", what)
        if missing:
            name = _name((*where, missing[1]))
            return f"{origin}setting '{name}' has no value; give it in the TOML file or by --set {name}=VALUE"
        return f"{origin}{_name(tuple(where))}: expected {in_words(type_)}, got {_shown(value)}"


_Lists = inspect.ListType | inspect.VarTupleType


def _defaults(struct: inspect.StructType) -> dict[str, Any]:
    """The defaults that are tables themselves: what is set in them is merged with the rest of them."""
    values: dict[str, Any] = {}
    for field in struct.fields:
        factory = field.default_factory
        default = field.default if factory is msgspec.NODEFAULT else factory()
        if isinstance(default, msgspec.Struct | dict):
            values[field.encode_name] = msgspec.to_builtins(default)
    return values


def _typed(text: str, type_: inspect.Type) -> Any:
    """The value that was typed: TOML where it is TOML and text is not what is wanted, else text."""
    try:
        table = tomli.loads(f"value = {text}")
    except tomli.TOMLDecodeError:
        table = {}
    only = {type(one) for one in members(type_)} <= {inspect.StrType, inspect.NoneType}
    if set(table) == {"value"} and (isinstance(table["value"], str) or not (only and takes_text(type_))):
        return table["value"]
    try:
        return from_text(str(text), type_)
    except ValueError:
        return str(text)


def _table(
    value: dict[str, Any], structs: list[inspect.StructType], standing: Any, where: Where, origin: _Origin
) -> tuple[dict[str, str], inspect.StructType, dict[str, Any]]:
    """Which structure a table is for (as its tag, and itself), and the table that it is merged into."""
    table = dict(standing) if isinstance(standing, dict) else {}
    tag = structs[0].tag_field
    if tag is None:
        return {}, structs[0], table
    kind = str(value.get(tag, table.get(tag)))
    kinds = {str(struct.tag): struct for struct in structs}
    if kind not in kinds:
        raise SettingsError(
            f"{origin.name}: unknown {_name((*where, tag))} '{kind}'; {suggestion(kind, kinds)}"
        )
    return {tag: kind}, kinds[kind], table if table.get(tag) == kind else {}


def _field(type_: inspect.Type, key: str, value: Any) -> inspect.Field | None:
    """The field of a structure; where it may be one of several, of the one that the value says it is."""
    for struct in members(type_):
        if isinstance(struct, inspect.StructType):
            named = struct.tag_field is None or not isinstance(value, dict)
            if named or value.get(struct.tag_field) == struct.tag:
                return next((field for field in struct.fields if field.encode_name == key), None)
    return None


def _names(struct: inspect.StructType, before: Where = ()) -> Iterator[str]:
    """The dotted names of all settings."""
    for field in struct.fields:
        here = (*before, field.encode_name)
        yield _name(here)
        for inner in members(field.type):
            if isinstance(inner, inspect.StructType):
                yield from _names(inner, here)


def _shown(value: object) -> str:
    """A value much as it stands in a file."""
    text = "nothing" if value is None else msgspec.json.encode(value).decode()
    return text if len(text) <= 60 else f"{text[:57]}..."


def _name(where: Where) -> str:
    return ".".join(where)
