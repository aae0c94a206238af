"""What one run leaves for the next: references, masks, models, normalisation, each with its grid and a hash.

An item is one ``NAME.npz`` in the folder of the session, without pickled objects. What a run loads is
copied into ``RUN_DIR/session``, so that a replay takes the very same item from there; what it saves
stands in ``RUN_DIR/saved`` too, so that a later run of the same name cannot take it away. A replay
saves there only: it never changes the session. ``runs.tsv`` lists the runs of the session.
"""

from __future__ import annotations

import difflib
import hashlib
import io
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from rtflow.bids.grid import Grid
from rtflow.errors import GridError, OutputError, SessionError, UsageError

if TYPE_CHECKING:
    from rtflow.stream.interface import RunContext

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_ABOUT = "about.json"
_SUFFIX = ".npz"


class About(msgspec.Struct, frozen=True, kw_only=True):
    """What stands beside the arrays of an item."""

    sha256: str
    run_uid: str
    grid: Grid | None = None
    facts: dict[str, Any] = {}
    schema_version: int = 1


@dataclass(frozen=True)
class Item:
    """One item of a session.

    Parameters
    ----------
    arrays
        Name to array, read-only.
    grid
        Which grid they speak of, or None.
    facts
        What else was noted: JSON scalars and lists.
    sha256
        Hash over arrays, grid and facts; not over the run that made it.
    run_uid
        The run that made it.
    """

    arrays: Mapping[str, NDArray[Any]]
    grid: Grid | None
    facts: Mapping[str, Any]
    sha256: str
    run_uid: str = ""


class Session:
    """The items of a session, as a run sees them.

    Parameters
    ----------
    context
        The run: says where the session stands, and where the run's own folder is.
    """

    def __init__(self, context: RunContext) -> None:
        self._folder = context.session_dir
        self._run_dir = context.run_dir
        self._run_uid = context.run_uid
        self._replaying = context.replaying
        self._resuming = context.resuming

    def save(
        self, name: str, arrays: Mapping[str, NDArray[Any]], grid: Grid | None = None, **facts: Any
    ) -> str:
        """Keep an item under a name; one of that name is replaced, in one step.

        Parameters
        ----------
        name
            Letters, digits, ``.``, ``-`` and ``_``.
        arrays
            Name to array, of numbers or booleans.
        grid
            Which grid the arrays speak of; whoever loads the item is held to it.
        **facts
            JSON scalars and lists that belong to it.

        Returns
        -------
        str
            SHA-256 over arrays, grid and facts.

        Raises
        ------
        UsageError
            If the name cannot be a file's name, or an array would have to be pickled.
        OutputError
            If the folder cannot be written.
        """
        file_name = _file_name(name)
        arrays = {key: np.asarray(value) for key, value in arrays.items()}
        for key, value in arrays.items():
            if value.dtype.hasobject:
                raise UsageError(
                    f"session item {name!r}: array {key!r} has dtype object; give numbers or booleans"
                )
        # Through JSON and back: the hash of what was saved must be that of what is loaded.
        facts = msgspec.json.decode(msgspec.json.encode(facts))
        about = About(sha256=_hash(arrays, grid, facts), run_uid=self._run_uid, grid=grid, facts=facts)
        buffer = io.BytesIO()
        text = np.frombuffer(msgspec.json.encode(about), dtype=np.uint8)
        np.savez(buffer, allow_pickle=False, **arrays, **{_ABOUT: text})
        data = buffer.getvalue()
        _write(self._run_dir / "saved" / file_name, data)
        if not self._replaying:
            _write(self._folder / file_name, data)
        return about.sha256

    def load(self, name: str, grid: Grid | None = None) -> Item:
        """An item that an earlier run has saved.

        Parameters
        ----------
        name
            As it was saved.
        grid
            The grid that the item must speak of; None takes any.

        Raises
        ------
        UsageError
            If the name cannot be a file's name.
        SessionError
            If there is no such item, if it is damaged, or if it speaks of another grid.
        """
        path = self._folder / _file_name(name)
        taken = self._run_dir / "session" / path.name
        if self._resuming and taken.exists():
            path = taken  # the run itself may have saved another under this name before it was cut off
        try:
            data = path.read_bytes()
        except OSError:
            raise SessionError(self._absent(name)) from None
        item = _decode(data, path)
        if grid is not None:
            if item.grid is None:
                raise SessionError(f"session item {name!r} knows no grid, expected one; save it anew")
            try:
                grid.require(item.grid, f"session item {name!r}")
            except GridError as error:
                raise SessionError(str(error)) from None
        _write(taken, data)
        return item

    def names(self) -> list[str]:
        """Names of the items that there are."""
        return sorted(path.stem for path in self._folder.glob(f"*{_SUFFIX}") if not path.name.startswith("."))

    def _absent(self, name: str) -> str:
        names = self.names()
        near = difflib.get_close_matches(name, names, 1)
        there = f"did you mean {near[0]!r}" if near else f"it has {', '.join(names) or 'nothing'}"
        return f"the session in {self._folder} has no {name!r}, {there}; do the run that saves it first"


def read_item(path: Path) -> Item:
    """The item in a file.

    Raises
    ------
    SessionError
        If it cannot be read, or was changed.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SessionError(
            f"session item {path}: {error.strerror or error}; do the run that saves it again"
        ) from None
    return _decode(data, path)


def list_run(folder: Path, row: Mapping[str, object]) -> None:
    """Add a row to the session's table of runs, ``runs.tsv``.

    Parameters
    ----------
    folder
        Of the session; made if it is missing.
    row
        Column to value; the same columns for every run.

    Raises
    ------
    OutputError
        If the table cannot be written.
    """
    path = folder / "runs.tsv"
    line = "\t".join(str(value) for value in row.values()) + "\n"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        earlier = listed_runs(folder)
        if earlier and list(earlier[0]) != list(row):  # of a version that had other columns
            columns = [*row, *(name for name in earlier[0] if name not in row)]
            rows = [*earlier, {name: str(value) for name, value in row.items()}]
            lines = [columns, *([one.get(name, "n/a") for name in columns] for one in rows)]
            _write(path, "".join("\t".join(cells) + "\n" for cells in lines).encode())
            return
        if not earlier:
            line = "\t".join(row) + "\n" + line
            path.unlink(missing_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(line)
    except OSError as error:
        raise OutputError(
            f"table of runs {path}: {error.strerror or error}; choose a folder that can be written"
        ) from None


def listed_runs(folder: Path) -> list[dict[str, str]]:
    """The rows of the session's table of runs, by their columns; none if there is no table."""
    try:
        lines = (folder / "runs.tsv").read_text(encoding="utf-8").splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return []
    columns = lines[0].split("\t") if lines else []
    return [dict(zip(columns, line.split("\t"), strict=False)) for line in lines[1:]]


def _file_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise UsageError(f"session item {name!r}: a name has letters, digits, '.', '-' and '_' only")
    return name + _SUFFIX


def _hash(arrays: Mapping[str, NDArray[Any]], grid: Grid | None, facts: Mapping[str, Any]) -> str:
    digest = hashlib.sha256()
    for key in sorted(arrays):
        array = np.ascontiguousarray(arrays[key])
        digest.update(repr((key, array.dtype.str, array.shape)).encode())
        digest.update(array.tobytes())
    digest.update(msgspec.json.encode([grid, facts], order="deterministic"))
    return digest.hexdigest()


def _decode(data: bytes, path: Path) -> Item:
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
        about = msgspec.json.decode(arrays.pop(_ABOUT).tobytes(), type=About)
    # A damaged zip shows itself in many ways (zipfile, zlib, struct, numpy), all of them meaning the same.
    except Exception as error:
        raise SessionError(
            f"session item {path} cannot be read ({error}); do the run that saves it again"
        ) from None
    found = _hash(arrays, about.grid, about.facts)
    if found != about.sha256:
        raise SessionError(
            f"session item {path} has hash {found[:12]}, expected {about.sha256[:12]}: it was changed; "
            "do the run that saves it again"
        )
    for array in arrays.values():
        array.flags.writeable = False
    return Item(arrays, about.grid, about.facts, about.sha256, about.run_uid)


def _write(path: Path, data: bytes) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(data)
        partial.replace(path)
    except OSError as error:
        raise OutputError(
            f"session item {path}: {error.strerror or error}; choose a folder that can be written"
        ) from None
