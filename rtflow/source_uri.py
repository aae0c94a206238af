"""A source in one word: the URI of a table of `rtflow.source_settings`, and back."""

from __future__ import annotations

import re
from typing import Any, get_args
from urllib.parse import quote, unquote

import msgspec
from msgspec import inspect

from rtflow.errors import SettingsError
from rtflow.setting_types import from_text, nearest, suggestion
from rtflow.source_settings import ADDRESS, AgentSource, AnySource

_KINDS: dict[str, inspect.StructType] = {
    str(type_.tag): type_
    for type_ in (inspect.type_info(one) for one in get_args(AnySource))
    if isinstance(type_, inspect.StructType)
}


def parse_source(text: str) -> AnySource:
    """The source that a URI stands for.

    ``KIND:PATH?option=value&option=value``. The first ``?`` ends the path, so that a pattern may have
    some of its own; a path with a ``?`` or a ``%`` in its name is written with ``%3F`` or ``%25``.

    Raises
    ------
    SettingsError
        If the kind or an option is unknown, or a value is of the wrong type.

    Examples
    --------
    >>> source = parse_source("folder:/data/in?pattern=00?.dcm&volumes=10")
    >>> source.path, source.pattern, source.volumes
    ('/data/in', '00?.dcm', 10)
    >>> parse_source("simulate:?tr=1").tr
    1.0
    """
    kind, colon, rest = text.partition(":")
    if not colon or kind not in _KINDS:
        raise SettingsError(_unknown_kind(text, kind if colon else ""))
    path, _, query = rest.partition("?")
    fields = {field.encode_name: field.type for field in _KINDS[kind].fields}
    values: dict[str, Any] = {"kind": kind}
    if "path" in fields:
        if not path:
            raise SettingsError(f"source '{text}' names no folder; write {kind}:DIR")
        values["path"] = _decoded(path, text)
        del fields["path"]
    elif "address" in fields:
        if not path.startswith("//") or not re.fullmatch(ADDRESS, path[2:]):
            raise SettingsError(f"source '{text}' names no address; write {kind}://HOST:PORT")
        values["address"] = path[2:]
        del fields["address"]
    elif "name" in fields:
        if path:
            values["name"] = _decoded(path, text)
        del fields["name"]
    elif "dataset" in fields:
        if not path:
            raise SettingsError(f"source '{text}' names no data set; write {kind}:ds002338")
        values["dataset"] = _decoded(path, text)
        del fields["dataset"]
    elif path:
        raise SettingsError(f"source '{text}' has no use for '{path}'; write {kind}:?option=value")
    for item in filter(None, query.split("&")):
        name, equals, value = item.partition("=")
        name = _decoded(name, text)
        if name not in fields:
            raise SettingsError(f"source '{text}': {kind} has no option '{name}'; {suggestion(name, fields)}")
        if not equals or name in values:
            raise SettingsError(f"source '{text}': option '{name}' needs one value; write {name}=VALUE once")
        try:
            values[name] = from_text(_decoded(value, text), fields[name])
        except ValueError as error:
            raise SettingsError(f"source '{text}': {name}: {error}") from None
    try:
        source: AnySource = msgspec.convert(values, AnySource)
    except msgspec.ValidationError as error:
        raise SettingsError(f"source '{text}': {error}") from None
    return source


def format_source(source: AnySource) -> str:
    """The URI of a source, without the options that are at their defaults; `parse_source` reads it back.

    >>> from rtflow.source_settings import FolderSource
    >>> format_source(FolderSource(path="/data/run 1", pattern="*.dcm"))
    'folder:/data/run%201?pattern=*.dcm'
    """
    table = msgspec.to_builtins(source)
    kind = table.pop("kind")
    path = quote(table.pop("path", table.pop("dataset", table.pop("name", ""))), safe="/:\\~+,@=")
    if "address" in table:
        path = f"//{table.pop('address')}"
    options = [
        f"{field.encode_name}={quote(_text(table[field.encode_name]), safe='/:*?[]!,~+@')}"
        for field in _KINDS[kind].fields
        if field.encode_name in table and table[field.encode_name] != field.default
    ]
    return f"{kind}:{path}" + ("?" + "&".join(options) if options else "")


def no_port_for(source: AgentSource) -> SettingsError:
    """What to say of an agent as the source of a run that nothing can connect to."""
    return SettingsError(
        f"source '{format_source(source)}' is an agent on the scanner's host, and this run has no port that "
        "it could connect to; add --listen HOST:PORT to 'rtflow run', or use 'rtflow serve'"
    )


def _text(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return repr(value).removesuffix(".0")
    if isinstance(value, list | tuple):
        items = ",".join(_text(item) for item in value)
        return f"[{items}]" if items.startswith("[") else items
    return str(value)


def _decoded(text: str, uri: str) -> str:
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise SettingsError(f"source '{uri}' is not UTF-8 after %-decoding; write % itself as %25") from None


def _unknown_kind(text: str, kind: str) -> str:
    near = nearest(kind, _KINDS)
    if near:
        way = f"did you mean '{near}:'?"
    elif any(sign in text for sign in "/\\.~"):  # what looks like a path most likely is one
        way = f"did you mean 'folder:{text}'?"
    else:
        way = f"known are {', '.join(f'{name}:' for name in _KINDS)}"
        way += "" if kind else f"; if it is a folder, write 'folder:{text}'"
    return f"source '{text}' is of no known kind; {way}"
