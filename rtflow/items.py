"""The items of a session: arrays, their grid and a hash, one ``NAME.npz`` each, nothing pickled."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from rtflow.bids.grid import Grid
from rtflow.errors import GridError, SessionError, UsageError
from rtflow.whole_file import write_whole

_ABOUT = "about.json"
SUFFIX = ".npz"


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

    def require(self, grid: Grid, name: str) -> None:
        """Refuse an item that speaks of another grid.

        Parameters
        ----------
        grid
            The grid that it must speak of.
        name
            Of the item, for the message.

        Raises
        ------
        SessionError
            If it knows none, or another.
        """
        if self.grid is None:
            raise SessionError(f"session item {name!r} knows no grid, expected one; save it anew")
        try:
            grid.require(self.grid, f"session item {name!r}")
        except GridError as error:
            raise SessionError(str(error)) from None


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
    return decode(data, path)


def describe_session(folder: Path, most: int = 1000) -> dict[str, Any]:
    """What a session holds: of each item what stands beside its arrays, which are not read.

    Parameters
    ----------
    folder
        Of the session; one that is not there holds nothing.
    most
        So many items at most.

    Returns
    -------
    dict
        ``folder`` and ``items``, by name: ``name``, ``run_uid`` (which saved it), ``saved`` (seconds since
        1970), ``bytes``, ``shape`` of the grid that it speaks of, or None; and in place of run and shape
        ``trouble`` where it cannot be read.
    """
    found: list[dict[str, Any]] = []
    for path in sorted(folder.glob(f"*{SUFFIX}"))[:most]:
        try:
            status = path.stat()
        except OSError:  # it has gone meanwhile
            continue
        one: dict[str, Any] = {"name": path.stem, "saved": status.st_mtime, "bytes": status.st_size}
        try:
            with np.load(path, allow_pickle=False) as archive:
                about = msgspec.json.decode(archive[_ABOUT].tobytes(), type=About)
        except Exception as error:  # as in `decode`
            one["trouble"] = f"it cannot be read ({error}); do the run that saves it again"
        else:
            one |= {"run_uid": about.run_uid, "shape": about.grid.shape if about.grid else None}
        found.append(one)
    return {"folder": str(folder), "items": found}


def bundle(items: Iterable[Path], file: Path) -> None:
    """Put items into one file, to be taken elsewhere; `read_member` takes them from there.

    Parameters
    ----------
    items
        Files of items.
    file
        What to write: a zip of them, in one step.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path in items:
            # A time of its own would make two equal bundles differ.
            archive.writestr(zipfile.ZipInfo(path.name), path.read_bytes())
    write_whole(file, buffer.getvalue())


def read_member(place: Path, file_name: str) -> bytes:
    """The file of an item that lies in a folder, or in a file that `bundle` wrote.

    Raises
    ------
    SessionError
        If there is no such place, or no such item in it.
    """
    try:
        if place.is_dir():
            return (place / file_name).read_bytes()
        with zipfile.ZipFile(place) as archive:
            return archive.read(file_name)
    except KeyError:
        why = "has no such item"
    except (OSError, zipfile.BadZipFile) as error:
        why = getattr(error, "strerror", None) or str(error)
    raise SessionError(
        f"item {file_name.removesuffix(SUFFIX)!r} of {place}: {why}; give the file or the folder that a run "
        "left its items in"
    )


def release(run_dir: Path) -> None:
    """Save what a run has held until it was known whether it ends well (`rtflow.session.Session.hold`)."""
    for path in sorted((run_dir / "held").glob(f"*{SUFFIX}")):
        write_whole(run_dir / "saved" / path.name, path.read_bytes())
        path.unlink()


def publish(run_dir: Path, session: Path, *, whole: bool) -> str:
    """Let a session have what a run has saved, as one set.

    A run that was cut short, or failed, takes nothing apart: its items stay in ``RUN_DIR/saved`` where one of
    them would replace an item, and leave another one behind that belongs to it.

    Parameters
    ----------
    run_dir, session
        Folders of the run and of the session.
    whole
        Whether the run came to its planned end.

    Returns
    -------
    str
        Why something was not published, or empty.

    Raises
    ------
    OutputError
        If the folder of the session cannot be written.
    """
    saved = sorted((run_dir / "saved").glob(f"*{SUFFIX}"))
    if not whole:
        makers = {path.name: maker_of(path) for path in session.glob(f"*{SUFFIX}")}
        names = {path.name for path in saved}
        replaced = {makers[name] for name in names & makers.keys()} - {""}
        left = sorted(name for name in makers.keys() - names if makers[name] in replaced)
        if left:
            return (
                f"the run did not end well and has no {_listed(left)} of its own: the session stays as it "
                f"was, and {_listed(names)} of this run in {run_dir / 'saved'}"
            )
    for path in saved:
        write_whole(session / path.name, path.read_bytes())
    held = [path.name for path in (run_dir / "held").glob(f"*{SUFFIX}")]
    if held:
        return f"the run did not come to its planned end: {_listed(held)} of it stays in {run_dir / 'held'}"
    return ""


def maker_of(path: Path) -> str:
    """The run that made an item; a damaged one is of none."""
    try:
        return read_item(path).run_uid
    except SessionError:
        return ""


def _listed(names: Iterable[str]) -> str:
    return " and ".join(sorted(name.removesuffix(SUFFIX) for name in names))


def _hash(arrays: Mapping[str, NDArray[Any]], grid: Grid | None, facts: Mapping[str, Any]) -> str:
    digest = hashlib.sha256()
    for key in sorted(arrays):
        array = np.ascontiguousarray(arrays[key])
        digest.update(repr((key, array.dtype.str, array.shape)).encode())
        digest.update(array.tobytes())
    digest.update(msgspec.json.encode([grid, facts], order="deterministic"))
    return digest.hexdigest()


def encode(
    arrays: Mapping[str, ArrayLike], grid: Grid | None, facts: Mapping[str, Any], run_uid: str
) -> tuple[bytes, str]:
    """The bytes of an item's file, and the hash over arrays, grid and facts.

    Raises
    ------
    UsageError
        If an array would have to be pickled.
    """
    whole = {key: np.asarray(value) for key, value in arrays.items()}
    for key, value in whole.items():
        if value.dtype.hasobject:
            raise UsageError(f"array {key!r} has dtype object; give numbers or booleans")
    # Through JSON and back: the hash of what is saved must be that of what is loaded.
    told = msgspec.json.decode(msgspec.json.encode(facts), type=dict[str, Any])
    about = About(sha256=_hash(whole, grid, told), run_uid=run_uid, grid=grid, facts=told)
    buffer = io.BytesIO()
    text = np.frombuffer(msgspec.json.encode(about), dtype=np.uint8)
    np.savez(buffer, allow_pickle=False, **whole, **{_ABOUT: text})
    return buffer.getvalue(), about.sha256


def decode(data: bytes, path: Path) -> Item:
    """The item in the bytes of a file, checked against its hash; its arrays are read-only.

    Raises
    ------
    SessionError
        If it cannot be read, or was changed.
    """
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
