"""What can be known to be wrong before the first job of a batch: files that its settings name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
from msgspec import inspect

from rtflow.errors import UsageError
from rtflow.setting_types import bare, is_path
from rtflow.settings import RunSettings

#: What each job has of its own, or a workflow writes: nothing that must be there before.
_OF_EACH_JOB = ("source", "work_dir")
_WRITTEN = "save"


def require_files(settings: RunSettings, folder: Path) -> None:
    """Refuse settings that name a file or folder which is not there.

    Parameters
    ----------
    settings
        Those of all jobs; a `LocalPath` called ``save`` is written, not read.
    folder
        Of the batch, where the jobs are run: a relative path, which only a default can be, counts from there.

    Raises
    ------
    UsageError
        Naming each such setting and its file.
    """
    absent = [
        f"{name}={path}"
        for name, path in _paths(settings)
        if name not in _OF_EACH_JOB
        and not name.startswith("source.")
        and name.rpartition(".")[2] != _WRITTEN
        and not (folder / Path(path).expanduser()).exists()
    ]
    if absent:
        raise UsageError(
            f"no run was begun: the settings name what does not exist, {', '.join(absent)}; correct --set or "
            "the TOML (a setting that names a file to be written is a str, not a LocalPath)"
        )


def _paths(settings: msgspec.Struct, before: str = "") -> Iterator[tuple[str, str]]:
    """Name and value of each setting that is a path, or a list of them."""
    schema = inspect.type_info(type(settings))
    assert isinstance(schema, inspect.StructType)
    for field in schema.fields:
        name, value = f"{before}{field.encode_name}", getattr(settings, field.name)
        if isinstance(value, msgspec.Struct):
            yield from _paths(value, f"{name}.")
        elif isinstance(value, str):
            if value and is_path(field.type):
                yield name, value
        elif isinstance(value, list | tuple):
            of_many = bare(field.type)
            if isinstance(of_many, inspect.ListType | inspect.VarTupleType) and is_path(of_many.item_type):
                yield from ((name, one) for one in value if one)
