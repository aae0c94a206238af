"""The files that settings name (a mask, events, a decoder), kept with the run that was given them.

::

    RUN_DIR/workflow/files/SETTING/NAME   the copy
    RUN_DIR/workflow/files.json           setting to path, hash and size of the file, and its copy

A replay and a run that goes on take the copies. Folders are not kept, nor is what a source reads: its
volumes are in the journal.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import inspect

from rtflow.errors import JournalError
from rtflow.setting_types import is_path, members
from rtflow.source_settings import SourceTable

LARGEST = 200_000_000  # bytes of a file that is kept

_LOG = logging.getLogger("rtflow")
_FILES = Path("workflow/files")
_TABLE = Path("workflow/files.json")
# What settings of these names say is where something is written to.
_WRITTEN = frozenset({"save", "work_dir"})
# Images in two files: each needs the other one.
_PAIRS = {".hdr": ".img", ".img": ".hdr"}

Where = tuple[str, ...]


class NamedFile(msgspec.Struct, frozen=True):
    """A file that a setting names.

    Parameters
    ----------
    path
        Where it was when the run began.
    sha256
        Hash of its content.
    size
        In bytes.
    copy
        Its copy, relative to the run's folder; empty if it was too large to be kept.
    """

    path: str
    sha256: str
    size: int
    copy: str = ""


def to_keep(settings_type: type[msgspec.Struct], values: Mapping[str, Any]) -> dict[str, bytes]:
    """What to write into the folder of a run to keep the files that its settings name.

    A file of more than `LARGEST` bytes is not kept, which is said: its hash is noted.

    Parameters
    ----------
    settings_type
        Of the settings.
    values
        The settings as JSON holds them.

    Returns
    -------
    dict
        Name in the run's folder to content; empty if no setting names a file.
    """
    found: dict[str, NamedFile] = {}
    content: dict[str, bytes] = {}
    for where, name in _paths(values, inspect.type_info(settings_type), ()):
        path, setting = Path(name).absolute(), ".".join(where)
        try:
            size = path.stat().st_size
            if not path.is_file():
                continue
            if size > LARGEST:
                with path.open("rb") as file:
                    found[setting] = NamedFile(
                        str(path), hashlib.file_digest(file, "sha256").hexdigest(), size
                    )
                _LOG.warning(
                    "rtflow: %s is not kept with the run (%d MB, at most %d MB are): a replay needs it where "
                    "it is, and as it is (%s)",
                    *(path, size // 1_000_000, LARGEST // 1_000_000, setting),
                )
                continue
            data = path.read_bytes()
            beside = path.with_suffix(_PAIRS.get(path.suffix, path.suffix))
            pair = beside.read_bytes() if beside != path and beside.is_file() else None
        except OSError:
            continue  # who needs it will say that it cannot be read
        copy = _FILES / re.sub(r"[^0-9A-Za-z._-]", "_", setting) / path.name
        found[setting] = NamedFile(str(path), hashlib.sha256(data).hexdigest(), len(data), str(copy))
        content[str(copy)] = data
        if pair is not None:
            content[str(copy.with_name(beside.name))] = pair
    if found:
        content[str(_TABLE)] = msgspec.json.format(msgspec.json.encode(found), indent=2)
    return content


def as_kept(run_dir: Path, settings_type: type[msgspec.Struct], values: dict[str, Any]) -> dict[str, Any]:
    """The settings of a recorded run, with the kept files in place of those that they named.

    Parameters
    ----------
    run_dir
        Folder of the run.
    settings_type
        Of the settings.
    values
        The settings as RunStart has them; they stay as they are.

    Raises
    ------
    JournalError
        If a copy is missing or was changed, or a file that was too large to be kept.
    """
    try:
        table = msgspec.json.decode((run_dir / _TABLE).read_bytes(), type=dict[str, NamedFile])
    except FileNotFoundError:
        return values  # it names none, or is of a version that kept none
    except (OSError, msgspec.MsgspecError) as error:
        raise JournalError(f"{run_dir / _TABLE} cannot be read ({error}); restore it") from None
    kept = msgspec.json.decode(msgspec.json.encode(values), type=dict[str, Any])
    for where, _ in list(_paths(kept, inspect.type_info(settings_type), ())):
        if (named := table.get(".".join(where))) is not None:
            _put(kept, where, str(_unchanged(run_dir, named)))
    return kept


def _unchanged(run_dir: Path, named: NamedFile) -> Path:
    path = run_dir / named.copy if named.copy else Path(named.path)
    what = "" if named.copy else f" (it was too large to be kept, {named.size // 1_000_000} MB)"
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise JournalError(
            f"{path}: {error.strerror or error}; the run needs this file as it was{what}: restore it"
        ) from None
    if found != named.sha256:
        raise JournalError(
            f"{path} was changed since the run{what}; restore it, or run the workflow as a new run"
        )
    return path


def _paths(value: Any, type_: inspect.Type, where: Where) -> Iterator[tuple[Where, str]]:
    """Settings that name a file or a folder to read, with what they say."""
    if isinstance(value, str):
        if value and is_path(type_):
            yield where, value
    elif isinstance(value, Mapping):
        for key, one in value.items():
            inner = None if key in _WRITTEN else _inner(type_, key, value)
            if inner is not None:
                yield from _paths(one, inner, (*where, key))
    elif isinstance(value, (list, tuple)):
        items = (one for one in members(type_) if isinstance(one, inspect.ListType | inspect.VarTupleType))
        if (of := next(items, None)) is not None:
            for number, one in enumerate(value):
                yield from _paths(one, of.item_type, (*where, str(number)))


def _inner(type_: inspect.Type, key: str, table: Mapping[str, Any]) -> inspect.Type | None:
    """The type of what stands under a key of a table."""
    for one in members(type_):
        if isinstance(one, inspect.DictType):
            return one.value_type
        if not isinstance(one, inspect.StructType) or issubclass(one.cls, SourceTable):
            continue
        if one.tag_field is None or table.get(one.tag_field) == one.tag:
            return next((field.type for field in one.fields if field.encode_name == key), None)
    return None


def _put(values: Any, where: Where, value: str) -> None:
    for key in where[:-1]:
        values = values[int(key) if isinstance(values, list) else key]
    values[int(where[-1]) if isinstance(values, list) else where[-1]] = value
